//! A full socket refuses a send as a whole; the connection is blocked until it is writable and its owner unblocks it.

mod common;

use bytes::Bytes;
use common::{Driver, pattern, read_exactly, small};
use corecast_ring::SendOutcome;

#[test]
fn a_refused_send_blocks_until_writable_and_unblocked() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    // Fill the socket: the first send is cut, the next one (as the owner of the outbox) would have to wait.
    let filler = pattern(16 << 20);
    assert_eq!(driver.send(conn, std::slice::from_ref(&filler)), SendOutcome::Queued);
    let mut rest = driver.unsent(conn);
    let small_frame = Bytes::from_static(b"later");

    // It awaits writability: neither the fan-out nor the owner may send past the rest.
    assert_eq!(driver.send(conn, std::slice::from_ref(&small_frame)), SendOutcome::Busy);
    assert_eq!(driver.send_blocked(conn, std::slice::from_ref(&small_frame)), SendOutcome::Busy);
    // Unblocking too early does not help either.
    driver.reactor.unblock(conn);
    assert_eq!(driver.send(conn, std::slice::from_ref(&small_frame)), SendOutcome::Busy);

    let mut read = 0;
    let mut refused_as_a_whole = false;
    while !rest.is_empty() {
        // Enough room for POLLOUT, not for everything.
        let left: usize = rest.iter().map(Bytes::len).sum();
        let target = (filler.len() - left).min(read + (4 << 20));
        let piece = read_exactly(&mut peer, target - read);
        assert!(piece == filler[read..target]);
        read = target;
        driver.writable(conn);
        assert_eq!(driver.send_blocked(conn, &rest), SendOutcome::Queued);
        driver.wait();
        rest = driver
            .log
            .iter()
            .find_map(|event| match event {
                common::Seen::Unsent { rest, .. } => Some(rest.frames.clone()),
                _ => None,
            })
            .unwrap_or_default();
        refused_as_a_whole |= rest.iter().map(Bytes::len).sum::<usize>() == left;
        driver.log.retain(|event| !matches!(event, common::Seen::Unsent { .. }));
    }
    assert!(!refused_as_a_whole, "after POLLOUT there is room for something");

    // The outbox is empty, but the owner has not said so yet.
    assert_eq!(driver.send(conn, std::slice::from_ref(&small_frame)), SendOutcome::Busy);
    driver.reactor.unblock(conn);
    assert_eq!(driver.send(conn, std::slice::from_ref(&small_frame)), SendOutcome::Queued);
    driver.wait();
    assert!(read_exactly(&mut peer, filler.len() - read) == filler[read..]);
    assert_eq!(read_exactly(&mut peer, 5), b"later");
}

#[test]
fn a_socket_that_takes_nothing_hands_everything_back() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    let frame = pattern(64 * 1024);
    let mut sent = 0;
    // Sends of this size end, sooner or later, exactly at a full buffer or in the middle of one; in the second case
    // the next one is not tried, so refusal as a whole is provoked by many small frames.
    let give_up = std::time::Instant::now() + common::PATIENCE;
    let rest = loop {
        assert!(std::time::Instant::now() < give_up);
        assert_eq!(driver.send(conn, std::slice::from_ref(&frame)), SendOutcome::Queued);
        driver.wait();
        let rest = driver.log.iter().find_map(|event| match event {
            common::Seen::Unsent { rest, .. } => Some(rest.frames.clone()),
            _ => None,
        });
        match rest {
            Some(rest) => break rest,
            None => sent += frame.len(),
        }
    };
    let stats = *driver.reactor.stats();
    assert_eq!(stats.short_sends + stats.refused_sends, 1);
    if stats.refused_sends == 1 {
        assert_eq!(rest, std::slice::from_ref(&frame));
    }
    sent += frame.len() - rest[0].len();
    let all = read_exactly(&mut peer, sent);
    assert!(all.chunks(frame.len()).all(|piece| piece == &frame[..piece.len()]));
    driver.writable(conn);
}

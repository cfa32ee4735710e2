//! A fan-out larger than the submission queue submits on its own, and failures found then are known at once.

mod common;

use std::net::TcpStream;

use bytes::Bytes;
use common::{Driver, Seen, pattern, read_exactly, small};
use corecast_ring::{ReactorConfig, SendOutcome, TcpOptions, Wait};

#[test]
fn everybody_gets_the_frame_and_a_blocked_one_is_known_before_the_turn() {
    const PEERS: usize = 100;
    let mut driver = Driver::new(&ReactorConfig { connections: 128, sq_entries: 8, ..small() });
    let address = driver.listen(&TcpOptions::default());
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut conns = Vec::new();
    driver.until_true("all connections", |driver| {
        conns.extend(driver.log.drain(..).filter_map(|event| match event {
            Seen::Accepted { conn, .. } => Some(conn),
            _ => None,
        }));
        conns.len() == PEERS
    });
    let before = driver.reactor.stats().enters;
    // The first one's socket takes only a part of this.
    let long = pattern(16 << 20);
    assert_eq!(driver.send(conns[0], std::slice::from_ref(&long)), SendOutcome::Queued);
    let staged = driver.reactor.stage(&[Bytes::from_static(b"to all")]);
    for &conn in &conns[1..] {
        assert_eq!(driver.reactor.send(conn, staged), SendOutcome::Queued);
    }
    assert!(driver.reactor.stats().enters > before, "the queue was too small for all");
    assert_eq!(driver.reactor.stats().short_sends, 1, "known without a turn");
    assert_eq!(driver.reactor.send(conns[0], staged), SendOutcome::Busy);
    // A second send in the same turn is fine for those whose first one was submitted already.
    assert_eq!(driver.reactor.send(conns[1], staged), SendOutcome::Queued);
    driver.turn(Wait::Poll);
    let rest = driver.unsent(conns[0]);
    assert!(long.ends_with(&rest[0]));

    // Which peer is behind the first slot depends on the host's load; all others got the frame, one of them twice.
    let mut got_the_frame = 0;
    for peer in &mut peers {
        peer.set_read_timeout(Some(common::PATIENCE)).unwrap();
        if read_exactly(peer, 1) == b"t" {
            assert_eq!(read_exactly(peer, 5), b"o all");
            got_the_frame += 1;
        }
    }
    assert!(got_the_frame >= PEERS - 1);
    assert_eq!(driver.reactor.stats().sends, PEERS as u64 + 1);
}

#[test]
fn two_sends_to_one_connection_never_share_a_submission() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    assert_eq!(driver.send(conn, &[Bytes::from_static(b"first ")]), SendOutcome::Queued);
    assert_eq!(driver.send(conn, &[Bytes::from_static(b"second")]), SendOutcome::Busy);
    // It is blocked from then on, also in later turns: the caller's outbox owns the order.
    driver.turn(Wait::Poll);
    assert_eq!(driver.send(conn, &[Bytes::from_static(b"third")]), SendOutcome::Busy);
    assert_eq!(driver.send_blocked(conn, &[Bytes::from_static(b"second")]), SendOutcome::Queued);
    assert_eq!(driver.send_blocked(conn, &[Bytes::from_static(b" third")]), SendOutcome::Busy);
    driver.reactor.unblock(conn);
    assert_eq!(driver.send(conn, &[Bytes::from_static(b" third")]), SendOutcome::Busy, "still the same submission");
    driver.turn(Wait::Poll);
    assert_eq!(driver.send_blocked(conn, &[Bytes::from_static(b" third")]), SendOutcome::Queued);
    driver.turn(Wait::Poll);
    assert_eq!(read_exactly(&mut peer, 18), b"first second third");
}

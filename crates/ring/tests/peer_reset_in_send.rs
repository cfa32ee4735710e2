//! A peer that resets the connection in the middle of a send ends that connection once, and no other.

#![allow(unsafe_code)] // sets up what std cannot

mod common;

use std::os::fd::AsRawFd;

use bytes::Bytes;
use common::{Driver, Seen, pattern, read_exactly, small};
use corecast_ring::{CloseReason, SendOutcome};

/// Closing this socket sends RST, whatever is in its buffers.
fn reset_on_close(peer: &std::net::TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: pointer and length describe `linger`, which lives across the call.
    let result = unsafe {
        libc::setsockopt(
            peer.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}

#[test]
fn a_reset_while_the_rest_waits_is_reported_once() {
    let mut driver = Driver::new(&small());
    let (conn, peer) = driver.pair();
    let (other, mut other_peer) = driver.pair();
    assert_eq!(driver.send(conn, &[pattern(16 << 20)]), SendOutcome::Queued);
    let rest = driver.unsent(conn);
    reset_on_close(&peer);
    drop(peer);
    let reason = driver.closed(conn);
    assert!(
        matches!(reason, CloseReason::Error(libc::ECONNRESET | libc::EPIPE)),
        "the peer reset the connection, but: {reason:?}"
    );
    assert_eq!(driver.send_blocked(conn, &rest), SendOutcome::Gone);
    assert_eq!(driver.send(conn, &rest), SendOutcome::Gone);

    let frame = Bytes::from_static(b"still here");
    assert_eq!(driver.send(other, std::slice::from_ref(&frame)), SendOutcome::Queued);
    driver.wait();
    assert_eq!(read_exactly(&mut other_peer, frame.len()), frame);

    driver.reactor.close(conn);
    driver.until_true("the close", |driver| driver.reactor.stats().closes == 1);
    // The broken socket may count as writable before the reset is read; nothing else is said.
    driver.log.retain(|event| !matches!(event, Seen::Writable { .. }));
    assert!(driver.log.is_empty(), "one end, one event: {:?}", driver.log);
}

#[test]
fn a_send_after_an_unnoticed_reset_ends_the_connection() {
    let mut driver = Driver::new(&small());
    let (conn, peer) = driver.pair();
    reset_on_close(&peer);
    drop(peer);
    // The reset is in the socket, but no turn has seen it. Both the send and the receive will fail; one event.
    let frame = Bytes::from_static(b"too late");
    assert_eq!(driver.send(conn, &[frame]), SendOutcome::Queued);
    assert!(matches!(driver.closed(conn), CloseReason::Error(_)));
    for _ in 0..3 {
        driver.wait();
    }
    assert!(driver.log.is_empty(), "one end, one event: {:?}", driver.log);
    assert_eq!(driver.reactor.stats().failed_sends, 1);
}

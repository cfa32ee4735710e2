//! Stopping a listener refuses new peers and keeps the old ones; dropping a reactor ends all its connections.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use common::{Driver, Seen, pattern, read_exactly, small};
use corecast_ring::{CloseReason, ListenAddr, Listener, SendOutcome, TcpOptions, Wait};

#[test]
fn a_stopped_listener_refuses_and_its_connections_stay() {
    let mut driver = Driver::new(&small());
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let ListenAddr::Tcp(address) = *listener.local_addr() else { unreachable!("it is TCP") };
    let id = driver.reactor.listen(listener).unwrap();
    let mut peer = TcpStream::connect(address).unwrap();
    let conn = driver.accepted();
    driver.reactor.stop_listening(id);
    driver.until_true("the listener to be gone", |_| TcpStream::connect(address).is_err());
    driver.reactor.stop_listening(id);
    peer.write_all(b"still").unwrap();
    assert_eq!(driver.bytes(conn, 5), b"still");

    // Its place is used again, under another name.
    let next = Listener::tcp(address, &TcpOptions::default()).unwrap();
    assert_ne!(driver.reactor.listen(next).unwrap(), id);
    let _second = TcpStream::connect(address).unwrap();
    driver.accepted();
}

#[test]
fn dropping_a_reactor_ends_its_connections() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    let (_blocked, _blocked_peer) = driver.pair();
    assert_eq!(driver.send(conn, &[Bytes::from_static(b"last")]), SendOutcome::Queued);
    driver.turn(Wait::Poll);
    drop(driver);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
}

#[test]
fn shutdown_follows_everything_sent_and_a_close_right_behind_it_is_safe() {
    let mut driver = Driver::new(&small());
    let address = driver.listen(&TcpOptions::default());
    for round in 1..=200_u64 {
        let mut peer = TcpStream::connect(address).unwrap();
        let conn = driver.accepted();
        let frame = pattern(1_000);
        assert_eq!(driver.send(conn, std::slice::from_ref(&frame)), SendOutcome::Queued);
        driver.reactor.shutdown(conn);
        driver.reactor.shutdown(conn);
        // The first turn settles the send, the second one starts the shutdown, in a thread of the kernel.
        driver.turn(Wait::Poll);
        driver.turn(Wait::Poll);
        if round % 2 == 0 {
            // The slot must not be used again before the shutdown has run, or the next connection would be cut.
            driver.reactor.close(conn);
            driver.turn(Wait::Poll);
        }
        assert_eq!(read_exactly(&mut peer, frame.len()), frame);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        if round % 2 == 1 {
            peer.shutdown(Shutdown::Write).unwrap();
            driver.closed(conn);
            driver.reactor.close(conn);
        }
        // Not waited for: the next connection comes while this one goes.
    }
    driver.until_true("all closes", |driver| driver.reactor.stats().closes == 200);
    assert!(!driver.log.iter().any(|event| matches!(event, Seen::Accepted { .. })));
}

#[test]
fn shutdown_waits_for_the_rest_of_a_send() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    let frame = pattern(16 << 20);
    assert_eq!(driver.send(conn, std::slice::from_ref(&frame)), SendOutcome::Queued);
    driver.reactor.shutdown(conn);
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    let mut rest = Vec::new();
    driver.until_true("the reader to see the end", |driver| {
        for event in std::mem::take(&mut driver.log) {
            match event {
                Seen::Unsent { rest: next, .. } => rest = next.frames,
                Seen::Writable { .. } => assert_eq!(driver.send_blocked(conn, &rest), SendOutcome::Queued),
                Seen::Closed { reason: CloseReason::Eof, .. } => {} // the reader has the end, and drops its socket
                other => panic!("unexpected {other:?}"),
            }
        }
        reading.is_finished()
    });
    assert!(driver.reactor.stats().short_sends > 0);
    assert!(reading.join().unwrap() == frame);
}

//! A TCP connection is accepted with its peer's address, receives, sends single and vectored frames, and ends.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use common::{Driver, Seen, pattern, read_exactly, small};
use corecast_ring::{CloseReason, PeerAddr, SendOutcome, TcpOptions};

#[test]
fn bytes_go_both_ways_and_the_end_is_reported_once() {
    let mut driver = Driver::new(&small());
    let address = driver.listen(&TcpOptions::default());
    let mut peer = TcpStream::connect(address).unwrap();
    let (conn, reported) = driver.until("a connection", |event| match event {
        Seen::Accepted { conn, peer, .. } => Some((*conn, *peer)),
        _ => None,
    });
    assert_eq!(reported, PeerAddr::Tcp(peer.local_addr().unwrap()));

    // More than one receive buffer holds.
    let question = pattern(5_000);
    peer.write_all(&question).unwrap();
    assert_eq!(driver.bytes(conn, question.len()), question);

    assert_eq!(driver.send(conn, &[Bytes::from_static(b"one")]), SendOutcome::Queued);
    driver.wait();
    let several = [Bytes::from_static(b"two"), Bytes::new(), Bytes::from_static(b"three")];
    assert_eq!(driver.send(conn, &several), SendOutcome::Queued);
    driver.wait();
    assert_eq!(read_exactly(&mut peer, 11), b"onetwothree");

    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(driver.closed(conn), CloseReason::Eof);
    assert_eq!(driver.send(conn, &[Bytes::from_static(b"bye")]), SendOutcome::Queued, "our direction is still open");
    driver.reactor.shutdown(conn);
    driver.wait();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye");

    driver.reactor.close(conn);
    driver.until_true("the slot to be free", |driver| driver.reactor.stats().closes == 1);
    assert_eq!(driver.send(conn, &[Bytes::from_static(b"x")]), SendOutcome::Gone);
    assert!(driver.log.is_empty(), "{:?}", driver.log);
    let stats = driver.reactor.stats();
    assert_eq!((stats.accepts, stats.open, stats.short_sends, stats.refused_sends), (1, 0, 0, 0));
    assert_eq!(stats.received_bytes, 5_000);
}

//! Completions of a closed connection never reach the next holder of its slot.
//!
//! Must never be deleted: a leak here delivers one member's bytes to another.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use common::{Driver, Seen, pattern, read_exactly, small};
use corecast_ring::{ConnId, ReactorConfig, SendOutcome, TcpOptions, Wait};

#[test]
fn a_reused_slot_gets_only_its_own_bytes() {
    const ROUNDS: u32 = 300;
    // One slot: every connection uses it after the other.
    let mut driver = Driver::new(&ReactorConfig { connections: 1, ..small() });
    let long = pattern(8 << 20);
    let address = driver.listen(&TcpOptions::default());
    let mut previous: Option<ConnId> = None;
    for round in 0..ROUNDS {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let conn = driver.accepted();
        assert_eq!(conn.slot(), 0);
        if let Some(previous) = previous {
            assert_ne!(previous, conn);
            let stale = driver.send(previous, &[Bytes::from_static(b"to whom?")]);
            assert_eq!(stale, SendOutcome::Gone);
            // None of these may touch the new holder.
            driver.reactor.close(previous);
            driver.reactor.shutdown(previous);
            driver.reactor.block(previous);
        }
        let mark = round.to_be_bytes();
        peer.write_all(&mark).unwrap();
        assert_eq!(driver.bytes(conn, 4), mark);
        assert_eq!(driver.send(conn, &[Bytes::copy_from_slice(&mark)]), SendOutcome::Queued);
        driver.turn(Wait::Poll);
        assert_eq!(read_exactly(&mut peer, 4), mark);

        // Leave as much as possible in flight: bytes to receive, a send, every third time a rest that awaits
        // writability, a shutdown in a kernel worker. Then close without looking.
        peer.write_all(b"these bytes belong to the old holder").unwrap();
        let frame = if round % 3 == 0 { long.clone() } else { Bytes::from_static(b"last words") };
        assert_eq!(driver.send(conn, &[frame]), SendOutcome::Queued);
        if round % 2 == 0 {
            driver.turn(Wait::Poll);
        }
        if round % 5 == 0 {
            driver.reactor.shutdown(conn);
        }
        driver.log.clear();
        driver.reactor.close(conn);
        assert_eq!(driver.send(conn, &[Bytes::from_static(b"x")]), SendOutcome::Gone);
        driver.until_true("the close", |driver| driver.reactor.stats().closes == u64::from(round) + 1);
        let about_the_dead = |event: &Seen| match event {
            Seen::Received { conn: of, .. }
            | Seen::Unsent { conn: of, .. }
            | Seen::Writable { conn: of }
            | Seen::Closed { conn: of, .. } => *of == conn,
            _ => false,
        };
        assert!(!driver.log.iter().any(about_the_dead), "round {round}: {:?}", driver.log);
        // The peer sees an end, and before it nothing but the frame.
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
        previous = Some(conn);
    }
    assert_eq!(driver.reactor.stats().accepts, u64::from(ROUNDS));
}

//! A completion queue that overflows delays events but loses none, and no connection hangs.

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;

use bytes::Bytes;
use common::{Driver, Seen, pattern, read_exactly, small};
use corecast_ring::{ConnId, ReactorConfig, SendOutcome, TcpOptions, Wait};

/// The smallest queues that the kernel makes.
fn tiny(connections: u32) -> ReactorConfig {
    ReactorConfig { connections, sq_entries: 4, cq_entries: 8, receive_buffers: 256, ..small() }
}

#[test]
fn accepts_and_receives_survive_an_overflow() {
    const PEERS: usize = 200;
    let mut driver = Driver::new(&tiny(256));
    let address = driver.listen(&TcpOptions::default());
    let peers: Vec<TcpStream> = (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    driver.until_true("all connections", |driver| driver.reactor.stats().accepts == PEERS as u64);
    driver.log.clear();
    for round in 1..=3_u8 {
        for mut peer in &peers {
            peer.write_all(&[round; 100]).unwrap();
        }
        let mut bytes: HashMap<ConnId, usize> = HashMap::new();
        driver.until_true("a round of bytes", |driver| {
            for event in driver.log.drain(..) {
                let Seen::Received { conn, bytes: piece } = event else { panic!("unexpected {event:?}") };
                assert!(piece.iter().all(|&byte| byte == round));
                *bytes.entry(conn).or_default() += piece.len();
            }
            bytes.len() == PEERS && bytes.values().all(|&count| count == 100)
        });
    }
    let stats = driver.reactor.stats();
    assert!(stats.cq_overflows > 0, "the test did not overflow the queue: {stats:?}");
}

#[test]
fn every_failed_send_of_an_overflowing_submission_is_settled() {
    const PEERS: usize = 40;
    let mut driver = Driver::new(&tiny(64));
    let address = driver.listen(&TcpOptions::default());
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut conns = HashMap::new();
    driver.until_true("all connections", |driver| {
        for event in driver.log.drain(..) {
            if let Seen::Accepted { conn, peer, .. } = event {
                conns.insert(peer, conn);
            }
        }
        conns.len() == PEERS
    });
    // Completions of receives are on their way as well when all sends fail at once.
    for peer in &mut peers {
        peer.write_all(&[1; 10]).unwrap();
    }
    let frame = pattern(16 << 20);
    let staged = driver.reactor.stage(std::slice::from_ref(&frame));
    for &conn in conns.values() {
        assert_eq!(driver.reactor.send(conn, staged), SendOutcome::Queued);
    }
    driver.turn(Wait::Poll);
    let mut rests: HashMap<ConnId, Bytes> = HashMap::new();
    for event in driver.log.drain(..) {
        if let Seen::Unsent { conn, mut rest } = event {
            rests.insert(conn, rest.frames.remove(0));
        }
    }
    assert_eq!(rests.len(), PEERS, "every send was cut");
    for peer in &mut peers {
        let conn = conns[&corecast_ring::PeerAddr::Tcp(peer.local_addr().unwrap())];
        let taken = frame.len() - rests[&conn].len();
        assert!(read_exactly(peer, taken) == frame[..taken]);
    }
    let mut writable = 0;
    driver.until_true("writability of all", |driver| {
        writable += driver.log.drain(..).filter(|event| matches!(event, Seen::Writable { .. })).count();
        writable == PEERS
    });
}

//! When all receive buffers are taken, connections wait for them without spinning, and no byte is lost.

mod common;

use std::io::Write;
use std::net::TcpStream;

use common::{Driver, Seen, pattern, small};
use corecast_ring::{ReactorConfig, TcpOptions, Wait};

#[test]
fn two_buffers_serve_fifty_busy_connections() {
    const PEERS: usize = 50;
    const BYTES: usize = 20_000;
    let config = ReactorConfig { receive_buffers: 2, receive_buffer_bytes: 512, ..small() };
    let mut driver = Driver::new(&config);
    let address = driver.listen(&TcpOptions::default());
    let peers: Vec<TcpStream> = (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let text = pattern(BYTES);
    for mut peer in &peers {
        peer.write_all(&text).unwrap();
    }
    let mut received = std::collections::HashMap::new();
    driver.until_true("all bytes", |driver| {
        for event in driver.log.drain(..) {
            match event {
                Seen::Accepted { .. } => {}
                Seen::Received { conn, bytes } => received.entry(conn).or_insert_with(Vec::new).extend(bytes),
                other => panic!("unexpected {other:?}"),
            }
        }
        received.len() == PEERS && received.values().all(|bytes| bytes.len() >= BYTES)
    });
    assert!(received.values().all(|bytes| bytes == &text));
    let stats = *driver.reactor.stats();
    assert!(stats.enobufs > 0, "the test did not exhaust the buffers: {stats:?}");
    // Every failed attempt was paid for by a buffer of data that came in: at most two of them per turn.
    assert!(stats.enobufs <= 2 * stats.receives + PEERS as u64, "{stats:?}");
}

#[test]
fn silent_connections_do_not_spin_while_buffers_are_short() {
    let config = ReactorConfig { receive_buffers: 1, receive_buffer_bytes: 64, ..small() };
    let mut driver = Driver::new(&config);
    let address = driver.listen(&TcpOptions::default());
    let peers: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
    driver.until_true("all connections", |driver| driver.reactor.stats().accepts == 30);
    for mut peer in &peers {
        peer.write_all(&[7; 64]).unwrap();
    }
    driver.until_true("all bytes", |driver| driver.reactor.stats().received_bytes == 30 * 64);
    // A few turns to arm again whoever starved last; then nothing happens any more.
    for _ in 0..40 {
        driver.turn(Wait::Poll);
    }
    let before = *driver.reactor.stats();
    for _ in 0..5 {
        driver.wait();
    }
    let after = *driver.reactor.stats();
    assert_eq!(after.enobufs, before.enobufs);
    assert!(after.enters - before.enters <= 6, "it spins: {before:?} {after:?}");
    // And all of them are armed.
    for mut peer in &peers {
        peer.write_all(&[8; 64]).unwrap();
    }
    driver.until_true("all bytes", |driver| driver.reactor.stats().received_bytes == 60 * 64);
}

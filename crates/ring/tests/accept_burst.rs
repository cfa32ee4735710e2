//! Thousands of connections that arrive at once are all accepted, each with its peer's address, and leak no descriptor.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::HashSet;
use std::net::TcpStream;

use common::{Driver, Seen, small};
use corecast_ring::{PeerAddr, ReactorConfig, TcpOptions};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn three_thousand_at_once() {
    const PEERS: usize = 3_000;
    let config = ReactorConfig { connections: 4_096, cq_entries: 16_384, ..small() };
    let mut driver = Driver::new(&config);
    let address = driver.listen(&TcpOptions::default());
    // The kernel completes the handshakes without us; all of them wait when the first turn begins (as far as the
    // host's somaxconn reaches, the others follow).
    let connecting = std::thread::spawn(move || -> Vec<TcpStream> {
        (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect()
    });
    let somaxconn: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    let peers = if somaxconn >= PEERS { Ok(connecting.join().unwrap()) } else { Err(connecting) };
    let before = open_descriptors();
    let mut seen = HashSet::new();
    let mut slots = HashSet::new();
    driver.until_true("all connections", |driver| {
        for event in driver.log.drain(..) {
            let Seen::Accepted { conn, peer, .. } = event else { panic!("unexpected {event:?}") };
            assert!(seen.insert(peer), "{peer:?} twice");
            assert!(slots.insert(conn.slot()));
        }
        seen.len() == PEERS
    });
    let peers = peers.unwrap_or_else(|connecting| connecting.join().unwrap());
    let expected: HashSet<_> = peers.iter().map(|peer| PeerAddr::Tcp(peer.local_addr().unwrap())).collect();
    assert_eq!(seen, expected);
    if somaxconn >= PEERS {
        assert_eq!(open_descriptors(), before, "accepted sockets live in the file table only");
    }
    let stats = driver.reactor.stats();
    assert_eq!((stats.accepts, stats.failed_accepts, stats.open), (PEERS as u64, 0, PEERS as u64));

    // And they end all at once.
    drop(peers);
    let mut ended = 0;
    driver.until_true("all closes", |driver| {
        for event in std::mem::take(&mut driver.log) {
            if let Seen::Closed { conn, .. } = event {
                ended += 1;
                driver.reactor.close(conn);
            }
        }
        driver.reactor.stats().closes == PEERS as u64
    });
    assert_eq!(ended, PEERS);
    assert_eq!(driver.reactor.stats().open, 0);
}

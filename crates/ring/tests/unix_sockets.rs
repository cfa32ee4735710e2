//! Unix sockets work like TCP ones, by path and by abstract name, in both directions.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use bytes::Bytes;
use common::{Driver, Seen, pattern, small};
use corecast_ring::{Listener, PeerAddr, SendOutcome, Target, UnixAddr};

fn exchange(address: UnixAddr) {
    let mut driver = Driver::new(&small());
    driver.reactor.listen(Listener::unix(&address, 128).unwrap()).unwrap();
    let client = driver.reactor.connect(&Target::Unix(address)).unwrap();
    assert_eq!(driver.send(client, &[Bytes::from_static(b"early")]), SendOutcome::Busy, "not connected yet");
    assert_eq!(driver.connected(), client);
    let (server, peer) = driver.until("a connection", |event| match event {
        Seen::Accepted { conn, peer, .. } => Some((*conn, *peer)),
        _ => None,
    });
    assert_eq!(peer, PeerAddr::Unix);
    driver.reactor.unblock(client);
    assert_eq!(driver.send(client, &[Bytes::from_static(b"ping")]), SendOutcome::Queued);
    assert_eq!(driver.bytes(server, 4), b"ping");

    // A frame that does not fit the socket arrives whole as well.
    let long = pattern(4 << 20);
    assert_eq!(driver.send(server, std::slice::from_ref(&long)), SendOutcome::Queued);
    let mut rest = driver.unsent(server);
    let mut got = Vec::new();
    while got.len() < long.len() {
        driver.wait();
        for event in std::mem::take(&mut driver.log) {
            match event {
                Seen::Received { bytes, .. } => got.extend(bytes),
                Seen::Unsent { rest: next, .. } => rest = next.frames,
                Seen::Writable { .. } => {
                    assert_eq!(driver.send_blocked(server, &rest), SendOutcome::Queued);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    assert!(got == long);

    driver.reactor.close(client);
    assert_eq!(driver.closed(server), corecast_ring::CloseReason::Eof);
}

#[test]
fn by_path() {
    let path = std::env::temp_dir().join(format!("corecast-ring-test-{}.sock", std::process::id()));
    exchange(UnixAddr::Path(path.clone()));
    assert!(!path.exists(), "the path goes with the listener");
}

#[test]
fn by_abstract_name() {
    exchange(UnixAddr::Abstract(format!("corecast-ring-test-{}", std::process::id()).into_bytes()));
}

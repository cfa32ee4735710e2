//! A connect that fails says why and leaves nothing behind; one that is given up says nothing.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};

use common::{Driver, Seen, small};
use corecast_ring::{Listener, ReactorConfig, SendOutcome, Target, TcpOptions, UnixAddr};

fn failure(driver: &mut Driver, target: &Target) -> std::io::ErrorKind {
    let conn = driver.reactor.connect(target).unwrap();
    let error = driver.until("a refusal", |event| match event {
        Seen::ConnectFailed { conn: of, error } if *of == conn => Some(error.kind()),
        _ => None,
    });
    assert_eq!(driver.send(conn, &[]), SendOutcome::Gone);
    driver.reactor.close(conn);
    driver.until_true("a free slot", |driver| driver.reactor.stats().open == 0);
    error
}

/// A port that nobody listens on.
fn dead_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn refused_connects_free_their_slot() {
    // One slot: each attempt needs the one before to be gone completely.
    let mut driver = Driver::new(&ReactorConfig { connections: 1, ..small() });
    for _ in 0..5 {
        let target = Target::Tcp { addr: dead_port(), source: None };
        assert_eq!(failure(&mut driver, &target), std::io::ErrorKind::ConnectionRefused);
        let missing = Target::Unix(UnixAddr::Path("/nonexistent/corecast.sock".into()));
        assert_eq!(failure(&mut driver, &missing), std::io::ErrorKind::NotFound);
    }
    assert_eq!(driver.reactor.stats().failed_connects, 10);
    assert!(driver.log.is_empty());
}

#[test]
fn a_source_address_is_used_and_a_foreign_one_refused() {
    let mut driver = Driver::new(&small());
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = outside.local_addr().unwrap();
    for source in ["127.0.0.2:0", "127.0.0.3:0"] {
        let source: SocketAddr = source.parse().unwrap();
        driver.reactor.connect(&Target::Tcp { addr, source: Some(source) }).unwrap();
        driver.connected();
        let (_, peer) = outside.accept().unwrap();
        assert_eq!(peer.ip(), source.ip());
    }
    let foreign = "192.0.2.1:0".parse().unwrap(); // TEST-NET-1, RFC 5737
    let error = driver.reactor.connect(&Target::Tcp { addr, source: Some(foreign) }).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
    assert_eq!(driver.reactor.stats().open, 2);
}

#[test]
fn an_ipv6_source_address_is_used() {
    let Ok(outside) = TcpListener::bind("[::1]:0") else { return }; // a host without IPv6
    let mut driver = Driver::new(&small());
    let source: SocketAddr = "[::1]:0".parse().unwrap();
    let addr = outside.local_addr().unwrap();
    driver.reactor.connect(&Target::Tcp { addr, source: Some(source) }).unwrap();
    driver.connected();
    assert_eq!(outside.accept().unwrap().1.ip(), source.ip());
}

#[test]
fn a_connect_that_hangs_can_be_given_up() {
    // A full accept queue: the kernel ignores further SYNs, so the connect neither succeeds nor fails.
    let options = TcpOptions { backlog: 1, ..TcpOptions::default() };
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let corecast_ring::ListenAddr::Tcp(addr) = *listener.local_addr() else { unreachable!("it is TCP") };
    let _first = TcpStream::connect(addr).unwrap();
    let _second = TcpStream::connect(addr).unwrap();

    let mut driver = Driver::new(&small());
    let conn = driver.connect(addr);
    for _ in 0..3 {
        driver.wait();
    }
    assert!(driver.log.is_empty(), "it hangs: {:?}", driver.log);
    driver.reactor.close(conn);
    driver.until_true("the close", |driver| driver.reactor.stats().closes == 1);
    assert!(driver.log.is_empty(), "given up without a word: {:?}", driver.log);
}

//! Claim: a listener that hands out arrivals costs no slots; an arrival is served by whichever reactor admits it, and
//! one without a place suspends accepting without spinning and is not lost.

#![allow(clippy::unwrap_used)] // helpers of tests, too

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{Driver, PATIENCE, Seen, small};
use corecast_ring::{Arrival, ListenAddr, Listener, ListenerId, NotAdmitted, ReactorConfig, TcpOptions};

fn listen(driver: &mut Driver) -> (SocketAddr, ListenerId) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let ListenAddr::Tcp(address) = *listener.local_addr() else { panic!("a TCP listener has a TCP address") };
    (address, driver.reactor.listen_for_arrivals(listener).unwrap())
}

fn arrival(driver: &mut Driver) -> Arrival {
    let mut found = None;
    driver.until_true("an arrival", |driver| {
        found = driver.reactor.next_arrival();
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn another_reactor_serves_what_this_one_accepted() {
    let mut here = Driver::new(&small());
    let (address, _) = listen(&mut here);
    let mut peer = TcpStream::connect(address).unwrap();
    // Before anybody has admitted it: nothing of it may be lost on the way.
    peer.write_all(b"early").unwrap();
    let arrival = arrival(&mut here);
    assert_eq!(here.reactor.stats().open, 0, "no slot was used");
    std::thread::spawn(move || {
        let mut there = Driver::new(&small());
        let (conn, who) = there.reactor.admit(arrival).unwrap();
        assert_eq!(who, corecast_ring::PeerAddr::Tcp(peer.local_addr().unwrap()));
        assert_eq!(there.bytes(conn, 5), b"early");
        let frames = [bytes::Bytes::from_static(b"served")];
        let staged = there.reactor.stage(&frames);
        there.reactor.send(conn, staged);
        there.wait();
        let mut answer = [0; 6];
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"served");
        assert_eq!(there.reactor.stats().accepts, 1);
    })
    .join()
    .unwrap();
    assert!(here.log.iter().all(|event| matches!(event, Seen::Woken)), "{:?}", here.log);
}

#[test]
fn a_full_reactor_hands_arrivals_back_and_accepts_on_for_others() {
    let mut driver = Driver::new(&ReactorConfig { connections: 2, ..small() });
    let (address, _) = listen(&mut driver);
    let _peers: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in 0..2 {
        let arrival = arrival(&mut driver);
        driver.reactor.admit(arrival).unwrap();
    }
    assert_eq!(driver.reactor.room(), 0);
    for _ in 0..3 {
        let arrival = arrival(&mut driver);
        assert!(matches!(driver.reactor.admit(arrival), Err(NotAdmitted::Full(_))));
    }
}

#[test]
fn what_has_no_place_waits_and_is_served_later() {
    let mut driver = Driver::new(&ReactorConfig { connections: 1, ..small() });
    let (address, _) = listen(&mut driver);
    let mut peers: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    let first = arrival(&mut driver);
    let (mut conn, _) = driver.reactor.admit(first).unwrap();
    let second = arrival(&mut driver);
    driver.reactor.put_back(second);
    for _ in 0..3 {
        driver.wait();
    }
    let before = driver.reactor.stats().enters;
    for _ in 0..5 {
        driver.wait();
    }
    assert!(driver.reactor.stats().enters - before <= 6, "it spins");
    // A newcomer meanwhile waits in the kernel.
    peers.push(TcpStream::connect(address).unwrap());
    for _ in 1..5 {
        driver.reactor.close(conn);
        driver.until_true("the slot to be free", |driver| driver.reactor.room() == 1);
        let next = arrival(&mut driver);
        (conn, _) = driver.reactor.admit(next).unwrap();
    }
    assert_eq!(driver.reactor.stats().accepts, 5);
}

#[test]
fn what_waits_is_closed_with_its_listener() {
    let mut driver = Driver::new(&small());
    let (address, listener) = listen(&mut driver);
    let mut peer = TcpStream::connect(address).unwrap();
    let waiting = arrival(&mut driver);
    driver.reactor.put_back(waiting);
    driver.reactor.stop_listening(listener);
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "closed");
    assert!(driver.reactor.next_arrival().is_none());
}

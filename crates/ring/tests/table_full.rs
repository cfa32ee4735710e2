//! When all slots are used, accepting is suspended without spinning and resumes as soon as a slot frees.

mod common;

use std::io::Write;
use std::net::TcpStream;

use common::{Driver, Seen, small};
use corecast_ring::{ReactorConfig, Target, TcpOptions};

#[test]
fn accepting_pauses_at_the_last_slot_and_resumes() {
    const SLOTS: usize = 4;
    const PEERS: usize = 40;
    let mut driver = Driver::new(&ReactorConfig { connections: SLOTS as u32, ..small() });
    let address = driver.listen(&TcpOptions::default());
    let peers: Vec<TcpStream> = (0..PEERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (index, mut peer) in peers.iter().enumerate() {
        peer.write_all(&[index as u8]).unwrap();
    }
    let mut open = Vec::new();
    let mut bytes = Vec::new();
    let collect = |driver: &mut Driver, open: &mut Vec<_>, bytes: &mut Vec<u8>| {
        for event in driver.log.drain(..) {
            match event {
                Seen::Accepted { conn, .. } => open.push(conn),
                Seen::Received { bytes: piece, .. } => bytes.extend(piece),
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    driver.until_true("a full table", |driver| {
        collect(driver, &mut open, &mut bytes);
        open.len() == SLOTS && bytes.len() == SLOTS
    });
    let before = *driver.reactor.stats();
    for _ in 0..5 {
        driver.wait();
    }
    let after = *driver.reactor.stats();
    assert_eq!(after.accepts, SLOTS as u64);
    assert!(after.accept_pauses > 0);
    assert!(after.enters - before.enters <= 6, "it spins: {before:?} {after:?}");

    // One goes, one comes, until everybody was served.
    while bytes.len() < PEERS {
        let conn = open.remove(0);
        driver.reactor.close(conn);
        let served = bytes.len();
        driver.until_true("the next connection", |driver| {
            collect(driver, &mut open, &mut bytes);
            assert!(open.len() <= SLOTS);
            bytes.len() > served
        });
    }
    bytes.sort_unstable();
    assert_eq!(bytes, (0..PEERS as u8).collect::<Vec<_>>());
}

#[test]
fn reserved_slots_are_left_for_outgoing_connections() {
    let mut driver = Driver::new(&ReactorConfig { connections: 4, connect_reserve: 2, ..small() });
    let address = driver.listen(&TcpOptions::default());
    let _peers: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    driver.until_true("two accepted connections", |driver| driver.reactor.stats().accepts == 2);
    let outside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp { addr: outside.local_addr().unwrap(), source: None };
    driver.reactor.connect(&target).unwrap();
    driver.reactor.connect(&target).unwrap();
    let error = driver.reactor.connect(&target).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENFILE));
    driver.connected();
    driver.connected();
    assert_eq!(driver.reactor.stats().accepts, 2);
}

//! The batching window gathers events while traffic flows, and an idle reactor still answers the first one at once.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::{Driver, PATIENCE, Seen, small};
use corecast_ring::Wait;

#[test]
fn events_within_the_window_share_a_turn() {
    let mut driver = Driver::new(&small());
    let peers: Vec<_> = (0..5).map(|_| driver.pair()).collect();
    driver.log.clear();
    let window = Duration::from_millis(10);
    let feeding = std::thread::spawn(move || {
        for (_, mut peer) in peers.iter().map(|(conn, peer)| (conn, peer)) {
            peer.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
        peers
    });
    let mut turns = 0;
    let mut received = 0;
    let start = Instant::now();
    while received < 5 {
        driver.turn(Wait::Until { deadline: Some(start + PATIENCE), window });
        turns += 1;
        received += driver.log.drain(..).filter(|event| matches!(event, Seen::Received { .. })).count();
        assert!(start.elapsed() < PATIENCE);
    }
    // How many share a turn depends on the host's load; that a turn ends for each of them does not.
    assert!(turns <= 5, "{turns} turns for 5 events");
    drop(feeding.join().unwrap());
}

#[test]
fn a_deadline_within_the_window_is_kept() {
    let mut driver = Driver::new(&small());
    driver.turn(Wait::Poll);
    let start = Instant::now();
    let deadline = start + Duration::from_millis(3);
    driver.turn(Wait::Until { deadline: Some(deadline), window: Duration::from_millis(10) });
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(3) && elapsed < PATIENCE, "{elapsed:?}");
}

#[test]
fn a_wait_without_deadline_ends_with_the_first_event() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    let feeding = std::thread::spawn(move || {
        // Longer than the window: the reactor is idle when the byte comes.
        std::thread::sleep(Duration::from_millis(50));
        peer.write_all(b"x").unwrap();
        peer
    });
    let start = Instant::now();
    driver.turn(Wait::Until { deadline: None, window: Duration::from_millis(5) });
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(driver.bytes(conn, 1), b"x");
    drop(feeding.join().unwrap());
}

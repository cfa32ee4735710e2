//! A connection that is closed while the rest of its send waits for room is gone completely, and its slot is usable.

mod common;

use std::io::Read;

use common::{Driver, pattern, small};
use corecast_ring::{ReactorConfig, SendOutcome, Wait};

#[test]
fn closing_cancels_the_wait_for_room() {
    let mut driver = Driver::new(&ReactorConfig { connections: 1, ..small() });
    let frame = pattern(16 << 20);
    for round in 1..=20 {
        let (conn, mut peer) = driver.pair();
        assert_eq!(driver.send(conn, std::slice::from_ref(&frame)), SendOutcome::Queued);
        let rest = driver.unsent(conn);
        let taken = frame.len() - rest[0].len();
        if round % 2 == 0 {
            // Not yet submitted: the poll for room, its cancellation and the close share a submission.
            driver.turn(Wait::Poll);
        }
        driver.reactor.close(conn);
        assert_eq!(driver.send_blocked(conn, &rest), SendOutcome::Gone);
        driver.until_true("the close", |driver| driver.reactor.stats().closes == round);
        assert!(driver.log.is_empty(), "{:?}", driver.log);
        // What the kernel had taken arrives, then the end.
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert!(got == frame[..taken]);
    }
}

//! Claim: a drain refuses newcomers, closes 3001 spread over its window, and says when it is done.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::{Client, In};
use crate::{Edge, wait_until};

#[test]
fn a_drain_closes_everyone_within_its_window_and_not_all_at_once() {
    let edge = Edge::with(1, |config| config.drain_window = Duration::from_secs(2));
    let mut clients: Vec<Client> = (0..40).map(|_| edge.client()).collect();
    assert!(!edge.gateway().drained());
    let begin = Instant::now();
    edge.gateway().control().drain();
    let mut times = Vec::new();
    for client in &mut clients {
        match client.next() {
            In::Close(3001, reason) => assert_eq!(reason, "shutdown"),
            other => panic!("{other:?}"),
        }
        times.push(begin.elapsed());
    }
    assert!(times[39] - times[0] > Duration::from_millis(1_000), "{times:?}");
    // The window, and as much again for a busy machine.
    assert!(times[39] < Duration::from_secs(4), "{times:?}");
    drop(clients);
    wait_until("drained", || edge.gateway().drained());
    wait_until("nobody listens", || {
        TcpStream::connect(edge.gateway().local_addr()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

#[test]
fn a_client_that_never_closes_does_not_hold_up_the_drain() {
    let edge = Edge::with(1, |config| {
        config.drain_window = Duration::from_millis(100);
        config.timing.close = Duration::from_millis(300);
    });
    let _silent = edge.client();
    edge.gateway().control().drain();
    wait_until("drained", || edge.gateway().drained());
}

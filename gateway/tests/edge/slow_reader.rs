//! Claim: a member that does not read is cut (2500 once it reads again, else 3008), costs bounded memory, and nobody
//! else loses anything.

use std::net::TcpStream;
use std::time::Duration;

use corecast_gateway::config::GatewayConfig;

use crate::client::{Client, In, recover};
use crate::{Edge, wait_until};

/// Small kernel buffers, so that a socket is full soon.
fn small_buffers(config: &mut GatewayConfig) {
    config.ring.send_buffer = Some(16 * 1024);
}

fn body(n: usize) -> String {
    format!("\"{n} {}\"", "x".repeat(1_000))
}

/// Publishes until `stop` says so; every message is read by `reader`.
fn publish_until(edge: &Edge, reader: &mut Client, mut stop: impl FnMut() -> bool) -> u64 {
    let mut top = 0;
    while !stop() {
        edge.router().publish_all("a", (0..50).map(body));
        top += 50;
        reader.read_to("a", top);
        assert!(top < 100_000, "the slow reader was never noticed");
    }
    top
}

#[test]
fn a_reader_that_wakes_up_is_told_2500_and_recovers_or_learns_that_it_cannot() {
    let edge = Edge::with(1, small_buffers);
    let mut steady = edge.client();
    let mut slow = Client::connect(edge.gateway().local_addr());
    steady.subscribe("a");
    let epoch = slow.subscribe("a").epoch;
    let stats = edge.gateway().stats();
    let behind = || stats.snapshot()[0].counters.fell_behind == 1;
    let top = publish_until(&edge, &mut steady, behind);
    loop {
        match slow.next() {
            In::Push(..) => {}
            In::Unsubscribed(chat, 2500) => break assert_eq!(chat, "a"),
            other => panic!("{other:?}"),
        }
    }
    let position = slow.received.last().unwrap().1;
    assert!(position < top);
    let result = slow.subscribe_with(recover("a", &epoch, position)).unwrap();
    assert!(result.recovered || result.offset >= top);
    edge.router().publish("a", "1");
    slow.read_to("a", top + 1);
    steady.read_to("a", top + 1);
    assert_eq!(edge.counted("cut_behind", 1), 1);
    assert_eq!(edge.counted("slow", 0), 0);
}

#[test]
fn a_reader_that_takes_nothing_is_closed_3008() {
    let edge = Edge::with(1, |config| {
        small_buffers(config);
        config.limits.progress_window = Duration::from_secs(1);
    });
    let mut steady = edge.client();
    let mut dead = Client::connect(edge.gateway().local_addr());
    steady.subscribe("a");
    // Many chats: whoever falls behind in one is still sent the others, until really nothing is taken any more.
    let chats: Vec<String> = (0..100).map(|n| format!("chat:{n}")).collect();
    chats.iter().for_each(|chat| drop(dead.subscribe(chat)));
    let stats = edge.gateway().stats();
    let mut round = 0;
    while stats.snapshot()[0].counters.slow == 0 {
        edge.router().publish_all(&chats[round % 100], (0..5).map(body));
        round += 1;
        edge.router().publish("a", "1");
        steady.read_to("a", round as u64);
        assert!(round < 20_000, "never closed");
        std::thread::sleep(Duration::from_millis(5));
    }
    // What was half sent is completed, then comes the close frame.
    assert_eq!(dead.closed(), 3008);
    wait_until("its memory is free", || stats.snapshot()[0].gauges.outbox_bytes == 0);
    assert_eq!(edge.counted("slow", 1), 1);
}

#[test]
fn all_readers_together_are_bounded_and_the_largest_go_first() {
    let edge = Edge::with(1, |config| {
        small_buffers(config);
        config.limits.outbox_total = 64 * 1024;
        config.limits.outbox_soft = 60 * 1024;
    });
    let mut steady = edge.client();
    steady.subscribe("a");
    let mut dead: Vec<Client> = (0..10).map(|_| edge.client()).collect();
    for (n, client) in dead.iter_mut().enumerate() {
        client.subscribe(&format!("own:{n}"));
    }
    let stats = edge.gateway().stats();
    let mut round = 0;
    while stats.snapshot()[0].counters.shed == 0 {
        for n in 0..10 {
            edge.router().publish_all(&format!("own:{n}"), (0..20).map(body));
        }
        round += 1;
        edge.router().publish("a", &round.to_string());
        steady.read_to("a", round);
        assert!(round < 10_000, "the total was never reached");
    }
    wait_until("below the total again", || stats.snapshot()[0].gauges.outbox_bytes <= 64 * 1024);
    steady.publish("a", "1").unwrap();
}

#[test]
fn falling_behind_again_and_again_ends_in_3008() {
    let edge = Edge::with(1, |config| {
        small_buffers(config);
        config.limits.circle_rounds = 2;
    });
    let mut steady = edge.client();
    steady.subscribe("a");
    let mut slow = Client::over(TcpStream::connect(edge.gateway().local_addr()).unwrap(), "", None);
    slow.connect_with("").unwrap();
    slow.subscribe("a");
    let stats = edge.gateway().stats();
    let mut top = 0;
    for round in 1..=3 {
        while stats.snapshot()[0].counters.fell_behind < round {
            edge.router().publish_all("a", (0..50).map(body));
            top += 50;
            steady.read_to("a", top);
        }
        let code = loop {
            match slow.next() {
                In::Push(..) => {}
                In::Unsubscribed(_, 2500) => break 2500,
                In::Close(code, _) => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, if round < 3 { 2500 } else { 3008 });
        if round < 3 {
            slow.subscribe("a");
        }
    }
}

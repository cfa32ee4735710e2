//! Claim: members on all cores and chats on all links see the same; nothing depends on which core a client landed on.

use std::time::Duration;

use crate::client::Client;
use crate::{Edge, wait_until};

#[test]
fn members_on_three_cores_and_chats_on_two_links_get_everything() {
    let edge = Edge::with(2, |config| config.cores = 3);
    let address = edge.gateway().local_addr();
    // So many that every core gets some.
    let mut clients: Vec<Client> = (0..60).map(|_| Client::connect(address)).collect();
    let snapshot = || edge.gateway().stats().snapshot();
    wait_until("connections are counted", || snapshot().iter().map(|core| core.gauges.clients).sum::<u64>() == 60);
    assert!(snapshot().iter().all(|core| core.gauges.clients > 0), "SO_REUSEPORT spreads");
    let chats: Vec<String> = (0..20).map(|n| format!("chat:{n}")).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&chats[n % 20]);
    }
    for round in 0..10 {
        for (n, client) in clients.iter_mut().enumerate() {
            // To a chat of which the publisher is not a member, on whatever core and link.
            client.publish(&chats[(n + 7) % 20], &format!("{round}")).unwrap();
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.read_to(&chats[n % 20], 30);
    }
    let seen: Vec<_> = edge.routers.iter().map(|router| router.seen()).collect();
    assert_eq!(seen.iter().map(|seen| seen.subscribes).sum::<usize>(), 20, "one subscription per chat and gateway");
    assert!(seen.iter().all(|seen| seen.subscribes > 0), "slots spread over both endpoints");
    for chat in &chats {
        wait_until("members of all cores are added up", || {
            edge.routers.iter().any(|router| router.seen().members.get(chat) == Some(&3))
        });
    }
}

/// Also where members leave in the middle of a fan-out that takes many slices, and beside it small chats go on.
#[test]
fn large_chats_on_cores_that_share_a_cpu_get_everything() {
    let cpu = corecast_ring::affinity::available().unwrap()[0];
    let edge = Edge::with(1, |config| {
        config.cores = 3;
        config.cpus = vec![cpu];
        // Members of one core need many slices, and a turn's budget does not reach all of them.
        config.limits.slice_sends = 2;
        config.limits.turn_sends = 8;
    });
    let mut members: Vec<Client> = (0..90).map(|_| edge.client()).collect();
    let mut small = edge.client();
    small.subscribe("small");
    for member in &mut members {
        member.subscribe("large");
        member.subscribe("larger");
    }
    for round in 1..=4_u64 {
        edge.router().publish_all("large", (0..100).map(|n| format!("{n}")));
        edge.router().publish_all("larger", (0..100).map(|n| format!("{n}")));
        edge.router().publish("small", "\"x\"");
        assert_eq!(small.expect("small").0, round);
        // Some leave while messages are on their way to them.
        members.truncate(members.len() - 20);
        for member in &mut members {
            member.read_to("large", round * 100);
            member.read_to("larger", round * 100);
        }
    }
}

#[test]
fn a_gateway_without_load_sleeps() {
    let edge = Edge::with(1, |config| config.cores = 2);
    let _client = edge.client();
    std::thread::sleep(Duration::from_millis(300));
    let turns = || edge.gateway().stats().snapshot().iter().map(|core| core.counters.turns).sum::<u64>();
    let before = turns();
    std::thread::sleep(Duration::from_secs(2));
    let made = turns() - before;
    assert!(made < 100, "{made} turns in two idle seconds");
}

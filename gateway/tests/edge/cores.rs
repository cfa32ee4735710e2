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

//! Claim: a chat whose sequence cannot be continued is cut for all its members: unsubscribe 2500, paced, nothing after
//! it; and they can come back at once.

use std::time::{Duration, Instant};

use corecast_centrifuge::Request;

use crate::client::{Client, In, recover};
use crate::{Edge, wait_until};

#[test]
fn a_restarted_router_is_a_new_epoch_and_everybody_is_told() {
    let edge = Edge::with(1, |config| config.limits.cut_per_ms = 1);
    let mut clients: Vec<Client> = (0..60).map(|_| edge.client()).collect();
    let mut epoch = String::new();
    for client in &mut clients {
        epoch = client.subscribe("a").epoch;
    }
    edge.router().publish("a", "1");
    clients.iter_mut().for_each(|client| client.read_to("a", 1));
    edge.router().restart();
    let begin = Instant::now();
    for client in &mut clients {
        match client.next() {
            In::Unsubscribed(chat, 2500) => assert_eq!(chat, "a"),
            other => panic!("{other:?}"),
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    // Nothing of the chat follows: `Client` would refuse a publication in a chat that it is not subscribed to.
    edge.router().publish("a", "2");
    for client in &mut clients {
        let result = client.subscribe_with(recover("a", &epoch, 1)).unwrap();
        assert!(result.was_recovering && !result.recovered);
        assert_ne!(result.epoch, epoch);
    }
    edge.router().publish("a", "3");
    clients.iter_mut().for_each(|client| client.read_to("a", 2));
    assert_eq!(edge.counted("cut_reset", 60), 60);
}

#[test]
fn those_who_wait_for_a_chat_that_is_refused_are_told_to_try_again() {
    let edge = Edge::start();
    let mut member = edge.client();
    let epoch = member.subscribe("a").epoch;
    edge.router().publish_all("a", (0..100).map(|n| n.to_string()));
    member.read_to("a", 100);
    edge.router().hold_histories();
    // Beyond what the cache holds after a restart of the gateway's view: the router has to be asked.
    let mut waiting = edge.client();
    let id = waiting.send([Request::Subscribe(recover("b", &epoch, 0))])[0];
    assert!(!waiting.subscribed(id).unwrap().recovered);
    edge.router().drop_chat("a");
    assert!(matches!(member.next(), In::Unsubscribed(_, 2500)));
    let result = member.subscribe_with(recover("a", &epoch, 100)).unwrap();
    assert!(!result.recovered, "a chat that was forgotten has a new epoch");
    wait_until("the reset is counted", || edge.counted("resets", 1) == 1);
}

//! Claim: a connection in many chats that all move in the same turn, and a publisher that gets replies and its own
//! messages at once, lose nothing: what finds the socket busy goes through the outbox, in order.

use corecast_centrifuge::Request;

use crate::client::{fresh, publication};
use crate::{Edge, client::Client};

#[test]
fn a_hundred_chats_in_one_batch_reach_one_connection_completely() {
    let edge = Edge::start();
    let mut client = edge.client();
    let names: Vec<String> = (0..100).map(|n| format!("chat:{n}")).collect();
    let ids = client.send(names.iter().map(|name| Request::Subscribe(fresh(name))));
    for id in ids {
        client.subscribed(id).unwrap();
    }
    for round in 1..=20_u64 {
        // One frame on the link, so that all chats move in the same turn.
        for name in &names {
            edge.router().publish_all(name, [round.to_string()].into_iter());
        }
    }
    for name in &names {
        client.read_to(name, 20);
    }
    assert!(edge.counted("fanout_busy", 1) > 0, "nothing went through the outbox: the test proves nothing");
    assert_eq!(client.received.len(), 2_000);
}

#[test]
fn replies_and_own_messages_share_the_way_out() {
    let edge = Edge::start();
    let mut client = edge.client();
    client.subscribe("a");
    client.subscribe("b");
    let mut other = Client::connect_protobuf(edge.gateway().local_addr());
    other.subscribe("a");
    for _ in 0..20 {
        let ids = client.send((0..50).map(|n| publication(if n % 2 == 0 { "a" } else { "b" }, "1")));
        for id in ids {
            client.reply_to(id).unwrap();
        }
    }
    client.read_to("a", 500);
    client.read_to("b", 500);
    other.read_to("a", 500);
}

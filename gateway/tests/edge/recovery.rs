//! Claim: a member that comes back gets exactly what it missed, in order, or is told that it cannot be had; and a storm
//! of them asks the router once per chat.

use corecast_centrifuge::Request;

use crate::client::{Client, fresh, recover};
use crate::{Edge, wait_until};

#[test]
fn what_was_missed_comes_with_the_reply_from_the_local_cache() {
    let edge = Edge::start();
    let mut staying = edge.client();
    let first = staying.subscribe("a");
    for n in 1..=5 {
        edge.router().publish("a", &format!("{{\"n\":{n}}}"));
    }
    staying.read_to("a", 5);
    for mut client in
        [Client::connect(edge.gateway().local_addr()), Client::connect_protobuf(edge.gateway().local_addr())]
    {
        let result = client.subscribe_with(recover("a", &first.epoch, 2)).unwrap();
        assert!(result.recovered && result.was_recovering);
        assert_eq!(result.offset, 2, "the client's own offset");
        let bodies: Vec<&str> = client.received.iter().map(|(_, _, data)| data.as_str()).collect();
        assert_eq!(bodies, ["{\"n\":3}", "{\"n\":4}", "{\"n\":5}"]);
        let nothing =
            Client::connect(edge.gateway().local_addr()).subscribe_with(recover("a", &first.epoch, 5)).unwrap();
        assert_eq!((nothing.recovered, nothing.offset, nothing.publications.len()), (true, 5, 0));
    }
    assert_eq!(edge.router().seen().histories, 0);
}

#[test]
fn what_cannot_be_recovered_is_said_and_not_half_returned() {
    let edge = Edge::start();
    let mut staying = edge.client();
    let epoch = staying.subscribe("a").epoch;
    edge.router().publish_all("a", (1..=400).map(|n| n.to_string()));
    staying.read_to("a", 400);
    for (epoch, offset) in [("_", 0), ("zzz", 399), (epoch.as_str(), 50), (epoch.as_str(), 401)] {
        let result = edge.client().subscribe_with(recover("a", epoch, offset)).unwrap();
        assert!(result.was_recovering && !result.recovered, "{epoch} {offset}");
        assert_eq!((result.offset, result.publications.len()), (400, 0));
    }
    let strict = corecast_centrifuge::SubscribeRequest { flag: 3, ..recover("a", "_", 0) };
    assert_eq!(edge.client().subscribe_with(strict).unwrap_err().code, 112);
}

#[test]
fn a_storm_of_returning_members_asks_the_router_once() {
    let edge = Edge::start();
    edge.router().publish_all("a", (1..=250).map(|n| n.to_string()));
    let epoch = corecast_wire::epoch::EpochText::new(edge.router().position("a").epoch);
    edge.router().hold_histories();
    let mut clients: Vec<Client> = (0..100).map(|_| edge.client()).collect();
    let ids: Vec<u32> = clients
        .iter_mut()
        .enumerate()
        .map(|(n, client)| client.send([Request::Subscribe(recover("a", epoch.as_str(), 10 + n as u64))])[0])
        .collect();
    wait_until("the router was asked", || edge.router().seen().histories >= 1);
    // While members wait, messages go on; they are part of what was missed.
    edge.router().publish_all("a", (251..=260).map(|n| n.to_string()));
    edge.router().release_histories();
    for (n, (client, id)) in clients.iter_mut().zip(ids).enumerate() {
        let result = client.subscribed(id).unwrap();
        assert!(result.recovered, "{n}");
        client.read_to("a", 260);
        let bodies: Vec<u64> = client.received.iter().map(|(_, _, data)| data.parse().unwrap()).collect();
        assert_eq!(bodies, (11 + n as u64..=260).collect::<Vec<_>>());
    }
    let seen = edge.router().seen();
    assert_eq!(seen.subscribes, 1);
    assert!(seen.histories <= 2, "{}", seen.histories);
    assert_eq!(edge.counted("recovered", 100), 100);
}

#[test]
fn ten_thousand_bytes_more_than_fit_a_recovery_are_not_recovered() {
    let edge = Edge::with(1, |config| config.limits.recovery_bytes = 10_000);
    let mut staying = edge.client();
    let epoch = staying.subscribe("a").epoch;
    let body = format!("\"{}\"", "x".repeat(998));
    edge.router().publish_all("a", (0..20).map(|_| body.clone()));
    staying.read_to("a", 20);
    assert!(!edge.client().subscribe_with(recover("a", &epoch, 9)).unwrap().recovered);
    assert!(edge.client().subscribe_with(recover("a", &epoch, 10)).unwrap().recovered);
}

#[test]
fn warm_up_is_not_delivered_to_anybody() {
    let edge = Edge::start();
    edge.router().publish_all("a", (1..=100).map(|n| n.to_string()));
    let mut client = edge.client();
    assert_eq!(client.subscribe_with(fresh("a")).unwrap().offset, 100);
    edge.router().publish("a", "101");
    assert_eq!(client.expect("a"), (101, "101".into()));
}

//! Claim: when a router cannot be reached, publishes fail at once and say so, members are told within 5 s, and
//! everything works again when it is back.

use std::time::{Duration, Instant};

use crate::client::{In, recover};
use crate::{Edge, wait_until};

#[test]
fn a_short_cut_goes_unnoticed_by_members() {
    let edge = Edge::start();
    let mut client = edge.client();
    client.subscribe("a");
    edge.router().publish("a", "1");
    client.read_to("a", 1);
    edge.router().cut_links();
    edge.router().publish("a", "2");
    wait_until("the link is back", || edge.gateway().link_health().up == 1);
    edge.router().publish("a", "3");
    client.read_to("a", 3);
    assert_eq!(edge.router().seen().subscribes, 2);
}

#[test]
fn a_lost_router_is_announced_and_its_return_repairs_everything() {
    let edge = Edge::start();
    let mut client = edge.client();
    let epoch = client.subscribe("a").epoch;
    edge.router().publish("a", "1");
    client.read_to("a", 1);
    edge.router().close();
    let begin = Instant::now();
    wait_until("the link is down", || edge.gateway().link_health().up == 0);
    let error = client.publish("a", "2").unwrap_err();
    assert_eq!((error.code, error.temporary), (100, true));
    loop {
        match client.next() {
            In::Unsubscribed(chat, 2500) => break assert_eq!(chat, "a"),
            In::Push(..) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    // Coming back too early: an error that invites another try, not silence.
    let error = client.subscribe_with(recover("a", &epoch, 1)).unwrap_err();
    assert_eq!((error.code, error.temporary), (100, true));
    edge.router().publish("a", "2");
    edge.router().open();
    wait_until("the link is back", || edge.gateway().link_health().up == 1);
    let result = client.subscribe_with(recover("a", &epoch, 1)).unwrap();
    assert!(result.recovered);
    assert_eq!(client.received.last().unwrap(), &("a".to_owned(), 2, "2".to_owned()));
}

#[test]
fn a_publish_without_an_answer_is_unknown() {
    let edge = Edge::start();
    let mut client = edge.client();
    edge.router().mute();
    let ids = client.send([crate::client::publication("a", "1")]);
    wait_until("the publish arrived", || edge.router().seen().publishes == 1);
    edge.router().cut_links();
    let error = client.reply_to(ids[0]).unwrap_err();
    assert_eq!((error.code, error.temporary), (1_000, false), "a repetition might publish it twice");
}

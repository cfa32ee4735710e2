//! Claim: the control handle publishes, reads, counts and disconnects from any thread, with one answer per request.

use std::sync::mpsc;

use corecast_gateway::control::{
    ControlError, DisconnectRequest, HistoryRequest, PublishRequest, Reply, StreamPosition,
};

use crate::client::{Client, In};
use crate::{Edge, PATIENCE};

fn ask<T: Send + 'static>(start: impl FnOnce(Reply<T>)) -> Result<T, ControlError> {
    let (sender, receiver) = mpsc::channel();
    start(Box::new(move |answer| sender.send(answer).unwrap()));
    receiver.recv_timeout(PATIENCE).unwrap()
}

fn publication(chat: &str, data: &'static str, key: Option<&str>) -> PublishRequest {
    PublishRequest { chat: chat.into(), data: data.as_bytes().into(), idempotency_key: key.map(Into::into) }
}

#[test]
fn publish_with_a_key_happens_once_and_history_shows_it() {
    let edge = Edge::with(2, |config| config.cores = 2);
    let control = edge.gateway().control();
    let mut members: Vec<Client> = (0..10).map(|_| edge.client()).collect();
    members.iter_mut().for_each(|member| drop(member.subscribe("a")));
    let publish = |data, key| ask(|reply| control.publish(publication("a", data, key), reply));
    let first = publish("{\n\"n\": 1}", Some("k")).unwrap();
    assert_eq!((first.offset, first.duplicate), (1, false));
    let again = publish("{\"n\": 1}", Some("k")).unwrap();
    assert_eq!((again.offset, again.duplicate, &again.epoch), (1, true, &first.epoch));
    assert_eq!(publish("2", None).unwrap().offset, 2);
    for member in &mut members {
        assert_eq!(member.expect("a"), (1, "{ \"n\": 1}".into()), "the newline is gone");
        assert_eq!(member.expect("a"), (2, "2".into()));
    }
    let history = |since, limit, reverse| {
        ask(|reply| control.history(HistoryRequest { chat: "a".into(), limit, since, reverse }, reply))
    };
    let page = history(None, 10, false).unwrap();
    assert_eq!((page.offset, page.epoch.as_str(), page.publications.len()), (2, first.epoch.as_str(), 2));
    let since = StreamPosition { offset: 1, epoch: first.epoch };
    assert_eq!(history(Some(since), 10, false).unwrap().publications[0].offset, 2);
    let beginning = StreamPosition { offset: 0, epoch: String::new() };
    assert_eq!(history(Some(beginning), 1, false).unwrap().publications[0].offset, 1);
    let foreign = StreamPosition { offset: 1, epoch: "other".into() };
    assert_eq!(history(Some(foreign), 10, false), Err(ControlError::UnrecoverablePosition));
    assert_eq!(history(None, 1, true).unwrap().publications[0].offset, 2);
}

#[test]
fn wrong_requests_are_answered_at_once() {
    let edge = Edge::start();
    let control = edge.gateway().control();
    let publish = |request| ask(|reply| control.publish(request, reply)).unwrap_err().code();
    assert_eq!(publish(publication("", "1", None)), 107);
    assert_eq!(publish(publication("a", "not json", None)), 107);
    assert_eq!(publish(publication("a", "1", Some(""))), 107);
    assert_eq!(publish(publication(&"x".repeat(256), "1", None)), 106);
    let everybody = DisconnectRequest {
        user: String::new(),
        client: None,
        code: 3503,
        reason: String::new(),
        whitelist: Vec::new(),
    };
    assert_eq!(control.disconnect(everybody.clone()).unwrap_err().code(), 107);
    let advice = DisconnectRequest { user: "u".into(), reason: "503".into(), ..everybody };
    assert_eq!(control.disconnect(advice).unwrap_err().code(), 107);
}

#[test]
fn disconnect_by_client_spares_the_others() {
    let edge = Edge::with(1, |config| config.cores = 2);
    let (mut one, mut other) = (edge.client(), edge.client());
    assert_ne!(one.connected.client, other.connected.client);
    let request = DisconnectRequest {
        user: String::new(),
        client: Some(one.connected.client.clone()),
        code: 4_001,
        reason: "go away".into(),
        whitelist: Vec::new(),
    };
    edge.gateway().control().disconnect(request).unwrap();
    match one.next() {
        In::Close(4_001, reason) => assert_eq!(reason, "go away"),
        other => panic!("{other:?}"),
    }
    other.subscribe("a");
}

#[test]
fn counts_and_nodes() {
    let edge = Edge::start();
    let control = edge.gateway().control();
    let mut member = edge.client();
    member.subscribe("a");
    crate::wait_until("the member is counted", || {
        ask(|reply| control.presence_stats("a".into(), reply)).unwrap().clients == 1
    });
    let nodes = ask(|reply| control.nodes(reply)).unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].name, "gateway");
    assert!(!nodes[0].uid.is_empty());
}

#[test]
fn a_router_that_is_gone_is_not_available() {
    let edge = Edge::start();
    edge.router().close();
    crate::wait_until("the link is down", || edge.gateway().link_health().up == 0);
    let control = edge.gateway().control();
    assert_eq!(ask(|reply| control.publish(publication("a", "1", None), reply)), Err(ControlError::NotAvailable));
    assert_eq!(ask(|reply| control.nodes(reply)), Err(ControlError::NotAvailable));
}

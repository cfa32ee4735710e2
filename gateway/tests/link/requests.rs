//! A request is answered exactly once, and a publish that may have happened is never reported as one that did not.

use std::time::Duration;

use bytes::Bytes;
use corecast_gateway::link::{FromLink, HistoryQuery, LinkBlame, LinkLimits, Publish, PublishError, RequestRefused};
use corecast_wire::Text;
use corecast_wire::message::{Disconnect, GoAway, GoAwayReason, NodeStats, RefusalReason, Signal, ToGateway, ToRouter};

use crate::gap::pages;
use crate::harness::{Harness, chat};

fn publish(harness: &mut Harness, origin: u32) -> Result<(), RequestRefused> {
    let publish = Publish { chat: chat("chat"), key: None, payload: Bytes::from_static(b"hi") };
    harness.link.publish(publish, 1, origin, harness.now)
}

fn request(harness: &mut Harness) -> u64 {
    match harness.asked().pop() {
        Some(ToRouter::Publish(publish)) => publish.request,
        Some(
            ToRouter::PresenceStats { request, .. } | ToRouter::Nodes { request } | ToRouter::Signal { request, .. },
        ) => request,
        Some(ToRouter::History(history)) => history.request,
        other => panic!("{other:?}"),
    }
}

fn signal() -> Signal {
    Signal::Disconnect(Box::new(Disconnect {
        user: Text::from_static("u42"),
        client: Text::default(),
        code: 3_503,
        reason: Text::default(),
        except: Vec::new(),
    }))
}

#[test]
fn acks_and_refusals_find_who_asked() {
    let mut harness = Harness::up();
    publish(&mut harness, 11).expect("taken");
    let first = request(&mut harness);
    publish(&mut harness, 12).expect("taken");
    let second = request(&mut harness);
    publish(&mut harness, 13).expect("taken");
    let third = request(&mut harness);
    harness.say(&[
        ToGateway::Refusal { request: second, reason: RefusalReason::KeyTableFull, retry_after_ms: 5 },
        ToGateway::Ack { request: first, epoch: 3, offset: 8, duplicate: true },
        ToGateway::Refusal { request: third, reason: RefusalReason::OutcomeUnknown, retry_after_ms: 0 },
    ]);
    assert_eq!(
        harness.seen(),
        [
            "1 published 12 Err(Refused { reason: KeyTableFull, retry_after_ms: 5 })",
            "1 published 11 Ok(Acked { position: Position { epoch: 3, offset: 8 }, duplicate: true })",
            "1 published 13 Err(Unknown)",
        ]
    );
    assert_eq!(harness.link.open_requests(), 0);
}

#[test]
fn a_lost_link_tells_sent_from_unsent() {
    let mut harness = Harness::up();
    publish(&mut harness, 1).expect("taken");
    harness.drain();
    harness.socket_is_full = true;
    publish(&mut harness, 2).expect("taken");
    harness.cut();
    assert_eq!(harness.seen(), ["1 published 1 Err(Unknown)", "1 published 2 Err(NotSent)"]);
    // What was not sent is not sent later either.
    harness.socket_is_full = false;
    harness.come_up();
    assert_eq!(harness.asked(), []);
}

#[test]
fn frames_of_many_publishes_are_told_apart_exactly() {
    let mut harness = Harness::up_with_limits(LinkLimits { requests_max: 1_000, ..LinkLimits::default() });
    harness.welcome.requests_max = 10_000;
    harness.cut();
    harness.come_up();
    harness.socket_is_full = true;
    let payload = Bytes::from(vec![7; 900]);
    for origin in 0..200 {
        let publish = Publish { chat: chat("chat"), key: None, payload: payload.clone() };
        harness.link.publish(publish, 0, origin, harness.now).expect("taken");
    }
    // The socket takes one frame of several.
    let frame = harness.link.poll_transmit(harness.now).expect("a frame");
    harness.on_the_way.push(frame);
    let sent = harness.sent().len();
    assert!((50..150).contains(&sent), "{sent}");
    harness.link.handle_disconnected(harness.now);
    for (index, (_, event)) in harness.events().into_iter().enumerate() {
        let FromLink::Published { origin, result } = event else { panic!("{event:?}") };
        assert_eq!(origin as usize, index);
        let expected = if index < sent { PublishError::Unknown } else { PublishError::NotSent };
        assert_eq!(result, Err(expected), "{index} of {sent}");
    }
}

#[test]
fn no_answer_in_time() {
    let mut harness = Harness::up();
    publish(&mut harness, 1).expect("taken");
    let late = request(&mut harness);
    harness.link.presence_stats(chat("chat"), 2, 2, harness.now).expect("taken");
    harness.pass_in_health(Duration::from_secs(5));
    assert_eq!(harness.seen(), ["1 published 1 Err(Unknown)", "2 presence 2 Err(TimedOut)"]);
    harness.say(&[ToGateway::Ack { request: late, epoch: 3, offset: 8, duplicate: false }]);
    assert_eq!(harness.seen(), [""; 0]);
    assert_eq!(harness.link.stats().late_answers, 1);
}

#[test]
fn a_link_that_is_down_takes_nothing() {
    let mut harness = Harness::new();
    assert_eq!(publish(&mut harness, 1), Err(RequestRefused::LinkDown));
    assert_eq!(harness.link.nodes(0, 1, harness.now), Err(RequestRefused::LinkDown));
    harness.come_up();
    publish(&mut harness, 1).expect("taken");
    harness.cut();
    harness.seen();
    assert_eq!(publish(&mut harness, 2), Err(RequestRefused::LinkDown));
}

#[test]
fn a_router_that_goes_away_gets_nothing_new_but_may_still_answer() {
    let mut harness = Harness::up();
    publish(&mut harness, 1).expect("taken");
    let open = request(&mut harness);
    harness.say(&[ToGateway::GoAway(GoAway { reason: GoAwayReason::Shutdown, drain_ms: 500 })]);
    assert_eq!(publish(&mut harness, 2), Err(RequestRefused::LinkDown));
    harness.say(&[ToGateway::Ack { request: open, epoch: 3, offset: 8, duplicate: false }]);
    assert_eq!(harness.seen().len(), 1);
}

#[test]
fn too_many_and_too_much_are_refused() {
    let mut harness = Harness::up();
    // The router takes 100, of which 32 are kept for repairs.
    for origin in 0..68 {
        publish(&mut harness, origin).expect("taken");
    }
    assert_eq!(publish(&mut harness, 68), Err(RequestRefused::QueueFull));
    let last = request(&mut harness);
    harness.say(&[ToGateway::Ack { request: last, epoch: 3, offset: 8, duplicate: false }]);
    publish(&mut harness, 69).expect("room again");

    let limits = LinkLimits { outbound_bytes_max: 5_000, ..LinkLimits::default() };
    let mut harness = Harness::up_with_limits(limits);
    harness.socket_is_full = true;
    let mut taken = 0;
    let payload = Bytes::from(vec![7; 900]);
    let outcome = loop {
        let publish = Publish { chat: chat("chat"), key: None, payload: payload.clone() };
        match harness.link.publish(publish, 0, taken, harness.now) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((outcome, taken), (RequestRefused::QueueFull, 5));
    assert!(harness.link.queued_bytes() <= 5_000);
}

#[test]
fn what_the_protocol_cannot_carry_is_refused_before_it_is_sent() {
    let mut harness = Harness::up();
    let mut publish = |key: Option<&[u8]>, bytes| {
        let key = key.map(Bytes::copy_from_slice);
        let publish = Publish { chat: chat("chat"), key, payload: Bytes::from(vec![0; bytes]) };
        harness.link.publish(publish, 0, 1, harness.now)
    };
    assert_eq!(publish(None, 1_000), Ok(()));
    assert_eq!(publish(None, 1_001), Err(RequestRefused::TooLarge));
    assert_eq!(publish(Some(b""), 1), Err(RequestRefused::Invalid));
    assert_eq!(publish(Some(&[b'k'; 256]), 1), Err(RequestRefused::Invalid));
    assert_eq!(publish(Some(&[b'k'; 255]), 1), Ok(()));
}

#[test]
fn history_presence_nodes_and_signals_are_answered() {
    let mut harness = Harness::up();
    let query = HistoryQuery { chat: chat("chat"), since: None, limit: 2, max_bytes: 1_000, reverse: true };
    harness.link.history(query, 0, 1, harness.now).expect("taken");
    let id = request(&mut harness);
    harness.say(&[pages(id, 3, [9, 8], 9)]);
    let events = harness.events();
    let [(0, FromLink::History { origin: 1, result: Ok(page) })] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((page.top.epoch, page.top.offset), (3, 9));
    assert_eq!(page.publications.iter().map(|each| each.offset).collect::<Vec<_>>(), [9, 8]);

    harness.link.presence_stats(chat("chat"), 1, 2, harness.now).expect("taken");
    let id = request(&mut harness);
    harness.say(&[ToGateway::PresenceResult { request: id, clients: 5, users: 4 }]);
    assert_eq!(harness.seen(), ["1 presence 2 Ok(PresenceStats { clients: 5, users: 4 })"]);

    harness.link.nodes(2, 3, harness.now).expect("taken");
    let id = request(&mut harness);
    harness.say(&[ToGateway::NodesResult { request: id, nodes: Vec::new() }]);
    assert_eq!(harness.seen(), ["2 nodes 3 Ok([])"]);

    harness.link.signal(signal(), 0, 4, harness.now).expect("taken");
    let id = request(&mut harness);
    harness.say(&[ToGateway::Signal(signal()), ToGateway::SignalResult { request: id, gateways: 2 }]);
    let seen = harness.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen[..3].iter().enumerate().all(|(core, event)| event.starts_with(&format!("{core} signal Disconnect"))));
    assert_eq!(seen[3], "0 signaled 4 Ok(2)");
}

#[test]
fn reads_on_a_lost_link_fail_as_lost() {
    let mut harness = Harness::up();
    let query = HistoryQuery { chat: chat("chat"), since: None, limit: 2, max_bytes: 1_000, reverse: false };
    harness.link.history(query, 0, 1, harness.now).expect("taken");
    harness.link.presence_stats(chat("chat"), 1, 2, harness.now).expect("taken");
    harness.link.nodes(2, 3, harness.now).expect("taken");
    harness.link.signal(signal(), 0, 4, harness.now).expect("taken");
    harness.cut();
    assert_eq!(
        harness.seen(),
        [
            "0 history 1 Err(LinkLost)",
            "1 presence 2 Err(LinkLost)",
            "2 nodes 3 Err(LinkLost)",
            "0 signaled 4 Err(LinkLost)"
        ]
    );
}

#[test]
fn an_answer_of_the_wrong_kind_is_a_bug_of_the_router() {
    let mut harness = Harness::up();
    publish(&mut harness, 1).expect("taken");
    let id = request(&mut harness);
    let error = harness.try_say(&[ToGateway::PresenceResult { request: id, clients: 1, users: 1 }]);
    assert_eq!(error.expect_err("the wrong kind").blame(), LinkBlame::Router);
}

#[test]
fn figures_of_the_node_go_out_while_the_link_is_up() {
    let mut harness = Harness::new();
    harness.link.report(NodeStats::default());
    assert_eq!(harness.sent(), []);
    harness.come_up();
    harness.link.report(NodeStats { clients: 3, ..NodeStats::default() });
    assert!(matches!(harness.sent().as_slice(), [ToRouter::NodeStats(stats)] if stats.clients == 3));
}

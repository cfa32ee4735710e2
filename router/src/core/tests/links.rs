//! Links that fall behind, fall silent, break, and the router that stops.

use corecast_wire::message::{Disconnect, GoAwayReason, HelloRefusal, NodeStats, Signal};

use super::*;

/// Limits at which 20 updates fill a link's queue.
fn narrow(config: &mut CoreConfig) {
    config.limits.link_soft_bytes = 500;
    config.limits.link_drained_bytes = 100;
}

#[test]
fn a_link_that_is_behind_is_told_so_and_repairs_by_history() {
    let mut world = World::new(narrow);
    let (slow, publisher) = (world.link("a"), world.link("b"));
    let epoch = world.subscribe(slow, 1, "x", None, 0).epoch;
    world.subscribe(slow, 2, "y", None, 0);
    world.gateways[slow].stalled = true;
    for number in 1..=100 {
        world.publish(publisher, "x", None, &format!("message number {number}"));
    }
    world.publish(publisher, "y", None, "1");
    let stats = world.core.stats();
    assert!(stats.queued_bytes < 600 && stats.withheld > 50 && stats.lagged == 2, "{stats:?}");
    world.unstall(slow);
    let inbox = world.inbox(slow);
    let got = updates(&inbox);
    assert!(got.iter().enumerate().all(|(index, (handle, offset, _))| (*handle, *offset) == (1, index as u64 + 1)));
    let last = got.len() as u64;
    let lagged: Vec<&ToGateway> = inbox.iter().filter(|message| matches!(message, ToGateway::Lagged { .. })).collect();
    let [ToGateway::Lagged { handle: 1, epoch: told, offset: 100 }, ToGateway::Lagged { handle: 2, offset: 1, .. }] =
        lagged[..]
    else {
        panic!("{lagged:?}")
    };
    assert_eq!(*told, epoch);
    let missed = world.history(slow, "x", Some(Position { epoch, offset: last }), 1_000, false);
    let offsets: Vec<u64> = missed.publications.iter().map(|publication| publication.offset).collect();
    assert_eq!(offsets, (last + 1..=100).collect::<Vec<_>>());
    world.publish(publisher, "x", None, "101");
    assert_eq!(updates(&world.inbox(slow)), [(1, 101, "101".into())], "and goes on");
}

#[test]
fn a_resumption_larger_than_the_queue_ends_in_lagged() {
    let mut world = World::new(narrow);
    let (slow, publisher) = (world.link("a"), world.link("b"));
    for number in 1..=100 {
        world.publish(publisher, "x", None, &format!("message number {number}"));
    }
    let epoch = world.history_epoch(publisher);
    let subscribed = world.subscribe(slow, 1, "x", Some(Position { epoch, offset: 0 }), 0);
    assert_eq!((subscribed.start, subscribed.offset), (0, 100));
    world.settle();
    let inbox = world.inbox(slow);
    let got = updates(&inbox).len();
    assert!(got > 10 && got < 30, "{got}");
    assert_eq!(inbox.last(), Some(&ToGateway::Lagged { handle: 1, epoch, offset: 100 }));
    assert_eq!(inbox.len(), got + 1);
}

#[test]
fn history_waits_for_a_link_that_is_behind() {
    let mut world = World::new(narrow);
    let slow = world.link("a");
    world.subscribe(slow, 1, "x", None, 0);
    world.gateways[slow].stalled = true;
    for number in 1..=100 {
        world.publish(slow, "x", None, &format!("message number {number}"));
    }
    let request = world.request();
    let (chat, since) = (name("x"), None);
    let ask = History { request, chat, since, limit: 100, max_bytes: 1 << 20, reverse: false };
    world.send(slow, ToRouter::History(ask));
    world.unstall(slow);
    let reason = RefusalReason::Overloaded;
    assert!(world.inbox(slow).contains(&ToGateway::Refusal { request, reason, retry_after_ms: 200 }));
}

#[test]
fn a_link_that_asks_and_does_not_read_is_cut() {
    let mut world = World::new(|config| {
        narrow(config);
        config.limits.link_hard_bytes = 3 << 20;
    });
    let slow = world.link("a");
    world.gateways[slow].stalled = true;
    let mut pings = 0_u64;
    while !world.gateways[slow].gone {
        for _ in 0..10_000 {
            world.post(slow, ToRouter::Ping { nonce: u64::MAX });
        }
        world.turn();
        pings += 10_000;
        assert!(pings < 1_000_000, "a queue without end");
    }
    assert_eq!((world.core.stats().links, world.core.stats().links_cut), (0, 1));
}

#[test]
fn a_silent_link_is_dead_and_its_members_are_gone() {
    let mut world = World::plain();
    let (silent, living) = (world.link("a"), world.link("b"));
    world.subscribe(silent, 1, "x", None, 0);
    world.send(silent, ToRouter::Members { handle: 1, count: 3 });
    for _ in 0..49 {
        world.post(living, ToRouter::Ping { nonce: 1 });
        world.advance(Duration::from_millis(100));
    }
    assert!(!world.gateways[silent].gone);
    world.post(living, ToRouter::Ping { nonce: 1 });
    world.advance(Duration::from_millis(100));
    assert!(world.gateways[silent].gone && !world.gateways[living].gone);
    world.inbox(living);
    assert_eq!(world.presence(living, "x"), 0);
}

#[test]
fn both_sides_hear_something_each_heartbeat() {
    let mut world = World::plain();
    let gateway = world.link("a");
    for _ in 0..5 {
        world.post(gateway, ToRouter::Pong { nonce: 0 });
        world.advance(Duration::from_millis(1_000));
        assert!(matches!(world.inbox(gateway)[..], [ToGateway::Ping { .. }]));
    }
    world.send(gateway, ToRouter::Ping { nonce: 77 });
    assert_eq!(world.inbox(gateway), [ToGateway::Pong { nonce: 77 }]);
    world.post(gateway, ToRouter::Pong { nonce: 0 });
    world.advance(Duration::from_millis(500));
    assert_eq!(world.inbox(gateway), [], "the pong was a sign of life");
}

#[test]
fn timeouts_are_asked_for_when_they_are_due() {
    let mut world = World::plain();
    assert_eq!(world.core.next_timeout(), None);
    let gateway = world.link("a");
    world.publish(gateway, "x", None, "1");
    for _ in 0..1_000 {
        let next = world.core.next_timeout().expect("a link has deadlines");
        assert!(next > world.now.instant, "no busy loop");
        assert!(next <= world.now.instant + Duration::from_secs(1));
        world.post(gateway, ToRouter::Pong { nonce: 0 });
        let wait = next - world.now.instant;
        world.advance(wait);
    }
    assert_eq!(world.core.stats().chats, 0, "after 1,000 heartbeats the chat is forgotten");
}

#[test]
fn damaged_and_foreign_bytes_cut_the_link_and_nothing_else() {
    let mut world = World::plain();
    let (bad, good) = (world.link("a"), world.link("b"));
    world.subscribe(bad, 1, "x", None, 0);
    let mut encoder = FrameEncoder::new();
    encoder.push(&ToRouter::Ping { nonce: 5 }).expect("encodable");
    let mut frame = encoder.take().expect("a frame").to_vec();
    frame[9] ^= 1;
    world.core.handle_received(world.gateways[bad].link, &frame, world.now);
    world.turn();
    assert!(matches!(&world.inbox(bad)[..], [ToGateway::GoAway(notice)] if notice.reason == GoAwayReason::Corrupt));
    world.published(good, "x", None, "1").expect("taken");
    assert_eq!(world.inbox(bad), []);
}

#[test]
fn bytes_in_any_portions_mean_the_same() {
    let mut world = World::plain();
    let gateway = world.link("a");
    let mut encoder = FrameEncoder::new();
    for nonce in 0..5 {
        encoder.push(&ToRouter::Ping { nonce }).expect("encodable");
    }
    let frame = encoder.take().expect("a frame");
    for byte in frame.chunks(1) {
        world.core.handle_received(world.gateways[gateway].link, byte, world.now);
    }
    world.turn();
    assert_eq!(world.inbox(gateway).len(), 5);
}

#[test]
fn signals_reach_every_gateway() {
    let mut world = World::plain();
    let (first, second) = (world.link("a"), world.link("b"));
    let stranger = world.accept();
    let text = Text::truncated;
    let (user, client, reason) = (text("u"), text(""), text("bye"));
    let disconnect = Disconnect { user, client, code: 3_500, reason, except: vec![text("c1")] };
    let signal = Signal::Disconnect(Box::new(disconnect));
    world.send(first, ToRouter::Signal { request: 5, signal: signal.clone() });
    assert_eq!(world.inbox(second), [ToGateway::Signal(signal.clone())]);
    let result = ToGateway::SignalResult { request: 5, gateways: 2 };
    assert_eq!(world.inbox(first), [ToGateway::Signal(signal), result]);
    assert_eq!(world.inbox(stranger), []);
}

#[test]
fn nodes_and_their_figures_are_known() {
    let mut world = World::plain();
    let (first, second) = (world.link("a"), world.link("b"));
    let stats = NodeStats { version: Text::truncated("1.2.3"), clients: 7, rss_bytes: 1 << 40, ..NodeStats::default() };
    world.send(first, ToRouter::NodeStats(stats.clone()));
    world.send(second, ToRouter::Nodes { request: 9 });
    let ToGateway::NodesResult { request: 9, mut nodes } = world.answer(second) else { panic!("no nodes") };
    nodes.sort_by(|left, right| left.node.cmp(&right.node));
    let nodes: Vec<(&str, &NodeStats)> = nodes.iter().map(|node| (node.node.as_str(), &node.stats)).collect();
    assert_eq!(nodes, [("a", &stats), ("b", &NodeStats::default())]);
}

#[test]
fn a_stopping_router_says_so_answers_on_and_ends() {
    let mut world = World::plain();
    let (first, second) = (world.link("a"), world.link("b"));
    let stranger = world.accept();
    world.core.drain(Duration::from_secs(3), world.now);
    world.turn();
    for gateway in [first, second] {
        let [ToGateway::GoAway(notice)] = &world.inbox(gateway)[..] else { panic!("no notice") };
        assert_eq!((notice.reason, notice.drain_ms), (GoAwayReason::Shutdown, 3_000));
    }
    assert!(world.gateways[stranger].gone);
    assert_eq!(world.published(first, "x", None, "1").expect("what is in flight is answered").offset, 1);
    let late = world.accept();
    let ToGateway::Refused(refused) = world.greet(late, hello("c"), SECRET) else { panic!("not refused") };
    assert_eq!(refused.reason, HelloRefusal::Draining);
    world.core.handle_closed(world.gateways[first].link, world.now);
    world.core.handle_closed(world.gateways[late].link, world.now);
    assert!(!world.core.is_drained());
    world.live(Duration::from_secs(3));
    assert!(world.gateways[second].gone && world.core.is_drained());
}

impl World {
    fn history_epoch(&mut self, gateway: usize) -> u64 {
        self.inbox(gateway);
        self.history(gateway, "x", None, 0, false).epoch
    }
}

//! Subscriptions, resumption, history, counts.

use corecast_wire::message::{SubscribeOutcome, UnsubscribedReason};

use super::*;

/// A world with a gateway and `count` messages "1", "2", … in chat "x"; the chat's epoch.
fn filled(change: impl FnOnce(&mut CoreConfig), count: u64) -> (World, usize, u64) {
    let mut world = World::new(change);
    let gateway = world.link("a");
    let mut epoch = 0;
    for offset in 1..=count {
        epoch = world.published(gateway, "x", None, &offset.to_string()).expect("taken").epoch;
    }
    (world, gateway, epoch)
}

fn texts(range: std::ops::RangeInclusive<u64>, handle: u32) -> Vec<(u32, u64, String)> {
    range.map(|offset| (handle, offset, offset.to_string())).collect()
}

#[test]
fn a_fresh_subscription_is_warmed_with_the_newest() {
    let (mut world, gateway, epoch) = filled(|_| {}, 10);
    let subscribed = world.subscribe(gateway, 5, "x", None, 3);
    let outcome = SubscribeOutcome::Fresh;
    assert_eq!(subscribed, Subscribed { handle: 5, epoch, offset: 10, start: 7, oldest: 1, outcome });
    assert_eq!(updates(&world.inbox(gateway)), texts(8..=10, 5));
    let subscribed = world.subscribe(gateway, 6, "empty", None, 3);
    assert_eq!((subscribed.offset, subscribed.start, subscribed.oldest), (0, 0, 1));
}

#[test]
fn a_resumption_gets_exactly_what_it_missed() {
    let (mut world, gateway, epoch) = filled(|config| config.limits.kept.messages = 5, 10);
    let mut resume = |handle, epoch, offset| {
        let subscribed = world.subscribe(gateway, handle, "x", Some(Position { epoch, offset }), 2);
        (subscribed.outcome, subscribed.start, updates(&world.inbox(gateway)))
    };
    assert_eq!(resume(1, epoch, 10), (SubscribeOutcome::Resumed, 10, vec![]));
    assert_eq!(resume(2, epoch, 5), (SubscribeOutcome::Resumed, 5, texts(6..=10, 2)));
    assert_eq!(resume(3, epoch, 4), (SubscribeOutcome::Reset, 8, texts(9..=10, 3)), "5 is not kept any more");
    assert_eq!(resume(4, epoch, 11), (SubscribeOutcome::Reset, 8, texts(9..=10, 4)));
    assert_eq!(resume(5, epoch ^ 1, 8), (SubscribeOutcome::Reset, 8, texts(9..=10, 5)));
    let stats = world.core.stats();
    assert_eq!((stats.resumed, stats.reset, stats.subscriptions), (2, 3, 5));
}

#[test]
fn an_unsubscribed_handle_is_silent_and_free() {
    let (mut world, gateway, _) = filled(|_| {}, 1);
    world.subscribe(gateway, 5, "x", None, 0);
    world.send(gateway, ToRouter::Unsubscribe { handle: 5 });
    let reason = UnsubscribedReason::Requested;
    assert_eq!(world.inbox(gateway), [ToGateway::Unsubscribed { handle: 5, reason, retry_after_ms: 0 }]);
    world.published(gateway, "x", None, "2").expect("the acknowledgement comes alone");
    world.subscribe(gateway, 5, "y", None, 0);
    world.publish(gateway, "y", None, "1");
    assert_eq!(updates(&world.inbox(gateway)), texts(1..=1, 5));
}

#[test]
fn a_handle_in_use_breaks_the_protocol() {
    let (mut world, gateway, _) = filled(|_| {}, 1);
    world.subscribe(gateway, 5, "x", None, 0);
    world.send(gateway, ToRouter::Subscribe(Subscribe { handle: 5, chat: name("y"), resume: None, want: 0 }));
    assert!(matches!(world.answer(gateway), ToGateway::GoAway(_)));
}

#[test]
fn too_many_subscriptions_are_refused() {
    let (mut world, gateway, _) = filled(|config| config.limits.subscriptions_per_link = 2, 1);
    world.subscribe(gateway, 1, "x", None, 0);
    world.subscribe(gateway, 2, "y", None, 0);
    world.send(gateway, ToRouter::Subscribe(Subscribe { handle: 3, chat: name("z"), resume: None, want: 0 }));
    let reason = UnsubscribedReason::TooManyChats;
    assert_eq!(world.inbox(gateway), [ToGateway::Unsubscribed { handle: 3, reason, retry_after_ms: 200 }]);
}

#[test]
fn history_is_bounded_and_says_where_it_stands() {
    let (mut world, gateway, epoch) = filled(|config| config.limits.history_messages = 4, 10);
    let offsets = |result: &HistoryResult| -> Vec<u64> { result.publications.iter().map(|p| p.offset).collect() };
    let result = world.history(gateway, "x", Some(Position { epoch, offset: 3 }), 100, false);
    assert_eq!((result.epoch, result.offset, offsets(&result)), (epoch, 10, vec![4, 5, 6, 7]));
    assert_eq!(result.publications[0].payload, "4");
    assert_eq!(result.publications[0].time_ms, world.now.unix_ms);
    let result = world.history(gateway, "x", None, 2, true);
    assert_eq!(offsets(&result), [10, 9]);
    let result = world.history(gateway, "x", None, 0, false);
    assert_eq!((result.offset, offsets(&result)), (10, vec![]));
    let other = Some(Position { epoch: epoch ^ 1, offset: 3 });
    let reason = |answer| match answer {
        ToGateway::Refusal { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(world.ask(gateway, "x", other, 9, false)), RefusalReason::UnrecoverablePosition);
    assert_eq!(reason(world.ask(gateway, "new", other, 9, false)), RefusalReason::UnrecoverablePosition);
    let zero = Some(Position { epoch, offset: 0 });
    assert_eq!(reason(world.ask(gateway, "x", zero, 9, true)), RefusalReason::BadRequest);
}

#[test]
fn an_empty_history_names_the_epoch_that_follows() {
    let (mut world, gateway, _) = filled(|_| {}, 0);
    let empty = world.history(gateway, "x", None, 9, false);
    assert_eq!((empty.offset, empty.publications.len()), (0, 0));
    let told = world.published(gateway, "x", None, "1").expect("taken");
    assert_eq!(told.epoch, empty.epoch);
}

#[test]
fn members_are_summed_over_gateways() {
    let mut world = World::plain();
    let (first, second) = (world.link("a"), world.link("b"));
    assert_eq!(world.presence(first, "x"), 0);
    world.subscribe(first, 1, "x", None, 0);
    world.subscribe(second, 7, "x", None, 0);
    world.send(first, ToRouter::Members { handle: 1, count: 30 });
    world.send(second, ToRouter::Members { handle: 7, count: 12 });
    world.send(second, ToRouter::Members { handle: 99, count: 1_000 });
    assert_eq!(world.presence(first, "x"), 42);
    world.send(first, ToRouter::Members { handle: 1, count: u32::MAX });
    assert_eq!(world.presence(first, "x"), u32::MAX, "no overflow");
    world.core.handle_closed(world.gateways[first].link, world.now);
    assert_eq!(world.presence(second, "x"), 12);
    assert_eq!(world.core.stats().chats, 1, "asking does not make chats");
}

#[test]
fn an_idle_chat_leaves_memory_and_comes_back_under_a_new_epoch() {
    let (mut world, gateway, epoch) = filled(|_| {}, 3);
    world.subscribe(gateway, 1, "watched", None, 0);
    world.live(Duration::from_secs(299));
    world.inbox(gateway);
    assert_eq!(world.history(gateway, "x", None, 9, false).epoch, epoch);
    world.live(Duration::from_secs(299));
    world.inbox(gateway);
    assert_eq!(world.history(gateway, "x", None, 9, false).epoch, epoch, "a question is a use");
    world.live(Duration::from_secs(301));
    world.inbox(gateway);
    let stats = world.core.stats();
    assert_eq!((stats.chats, stats.chats_forgotten, stats.kept_bytes), (1, 1, 0));
    let subscribed = world.subscribe(gateway, 2, "x", Some(Position { epoch, offset: 3 }), 0);
    assert_eq!((subscribed.outcome, subscribed.offset), (SubscribeOutcome::Reset, 0));
    assert_ne!(subscribed.epoch, epoch);
}

#[test]
fn a_key_keeps_its_chat_in_memory() {
    let mut world = World::new(|config| config.limits.idle_retention = Duration::from_secs(10));
    let gateway = world.link("a");
    let told = world.published(gateway, "x", Some("k"), "1").expect("taken");
    world.live(Duration::from_secs(200));
    world.inbox(gateway);
    assert_eq!(world.published(gateway, "x", Some("k"), "1"), Ok(Told { duplicate: true, ..told }));
    world.live(Duration::from_secs(200));
    assert_eq!(world.core.stats().chats, 0);
}

//! Updates that the router withheld are fetched once it says so, before those that follow.

use corecast_gateway::link::{LinkBlame, LocalChat};
use corecast_wire::message::{SubscribeOutcome, ToGateway, ToRouter, UnsubscribedReason};

use crate::gap::{history, pages};
use crate::harness::{Harness, subscribed, update};

fn lagged(epoch: u64, offset: u64) -> ToGateway {
    ToGateway::Lagged { handle: 0, epoch, offset }
}

#[test]
fn what_was_withheld_comes_before_what_follows() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[update(0, 8), lagged(3, 12), update(0, 13)]);
    assert_eq!(harness.seen(), ["0/0 update 8"]);
    let question = history(&mut harness);
    harness.say(&[update(0, 14), pages(question.request, 3, 9..=14, 14)]);
    let expected: Vec<_> = (9..=14).map(|offset| format!("0/0 update {offset}")).collect();
    assert_eq!(harness.seen(), expected);
}

#[test]
fn a_chat_that_is_silent_afterwards_is_completed_too() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[lagged(3, 9)]);
    let question = history(&mut harness);
    harness.say(&[pages(question.request, 3, 8..=9, 9)]);
    assert_eq!(harness.seen(), ["0/0 update 8", "0/0 update 9"]);
    harness.say(&[update(0, 10)]);
    assert_eq!(harness.seen(), ["0/0 update 10"]);
}

#[test]
fn a_second_lag_during_the_repair_extends_it() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 0);
    harness.say(&[lagged(3, 2), update(0, 3), lagged(3, 5), update(0, 6)]);
    let question = history(&mut harness);
    harness.say(&[pages(question.request, 3, 1..=2, 6)]);
    assert_eq!(harness.seen(), ["0/0 update 1", "0/0 update 2", "0/0 update 3"]);
    let question = history(&mut harness);
    harness.say(&[pages(question.request, 3, 4..=6, 6)]);
    assert_eq!(harness.seen(), ["0/0 update 4", "0/0 update 5", "0/0 update 6"]);
    assert_eq!(harness.asked(), []);
}

#[test]
fn a_lag_that_withheld_nothing_changes_nothing() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[lagged(3, 7), update(0, 8)]);
    assert_eq!(harness.seen(), ["0/0 update 8"]);
    assert_eq!(harness.asked(), []);
}

#[test]
fn the_warm_up_may_lag_too() {
    let mut harness = Harness::up();
    harness.join("chat", 0, 0);
    harness.asked();
    harness.say(&[subscribed(0, 3, 2, 6, SubscribeOutcome::Fresh), update(0, 3), lagged(3, 8), update(0, 9)]);
    assert_eq!(harness.seen(), ["0/0 joined 3:2", "0/0 update 3"]);
    let question = history(&mut harness);
    harness.say(&[pages(question.request, 3, 4..=9, 9)]);
    let expected: Vec<_> = (4..=9).map(|offset| format!("0/0 update {offset}")).collect();
    assert_eq!(harness.seen(), expected);
}

#[test]
fn many_chats_that_lag_at_once_are_repaired_a_few_at_a_time() {
    let mut harness = Harness::up();
    for local in 0..100 {
        harness.join(&format!("chat {local}"), 0, local);
    }
    harness.asked();
    let mut messages: Vec<_> = (0..100).map(|handle| subscribed(handle, 3, 0, 0, SubscribeOutcome::Fresh)).collect();
    messages.extend((0..100).map(|handle| ToGateway::Lagged { handle, epoch: 3, offset: 1 }));
    harness.say(&messages);
    let mut asked = harness.asked();
    assert_eq!(asked.len(), 32);
    let mut repaired = 0;
    while let Some(ToRouter::History(question)) = asked.pop() {
        harness.say(&[pages(question.request, 3, 1..=1, 1)]);
        asked.extend(harness.asked());
        repaired += 1;
    }
    assert_eq!((repaired, harness.link.open_requests()), (100, 0));
    assert_eq!(harness.seen().iter().filter(|event| event.ends_with("update 1")).count(), 100);
}

#[test]
fn who_leaves_during_a_repair_ends_it() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[lagged(3, 9)]);
    let question = history(&mut harness);
    harness.link.leave(0, LocalChat(0), harness.now);
    assert_eq!(harness.asked(), [ToRouter::Unsubscribe { handle: 0 }]);
    harness.say(&[pages(question.request, 3, 8..=9, 9), lagged(3, 20), update(0, 21)]);
    assert_eq!(harness.seen(), ["0/0 left"]);
    assert_eq!(harness.link.open_requests(), 0);
    harness.say(&[requested(0)]);
    harness.join("other", 0, 0);
    assert!(matches!(harness.asked().as_slice(), [ToRouter::Subscribe(subscribe)] if subscribe.handle == 0));
}

fn requested(handle: u32) -> ToGateway {
    ToGateway::Unsubscribed { handle, reason: UnsubscribedReason::Requested, retry_after_ms: 0 }
}

#[test]
fn an_answer_for_the_chat_that_had_the_handle_before_is_not_taken_for_this_one() {
    let mut harness = Harness::up();
    harness.live("old", 3, 7);
    harness.say(&[lagged(3, 9)]);
    let old = history(&mut harness);
    harness.link.leave(0, LocalChat(0), harness.now);
    harness.say(&[requested(0)]);
    harness.asked();
    harness.join("new", 0, 0);
    harness.asked();
    harness.say(&[subscribed(0, 3, 7, 7, SubscribeOutcome::Fresh), lagged(3, 9)]);
    let new = history(&mut harness);
    harness.say(&[pages(old.request, 3, [], 9)]);
    assert_eq!(harness.seen(), ["0/0 left", "0/0 joined 3:7"]);
    harness.say(&[pages(new.request, 3, 8..=9, 9)]);
    assert_eq!(harness.seen(), ["0/0 update 8", "0/0 update 9"]);
}

#[test]
fn lost_links_leave_no_repair_behind() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    for _ in 0..40 {
        // Something is kept, and a question is open, when the link breaks.
        harness.say(&[lagged(3, 9), update(0, 10)]);
        history(&mut harness);
        harness.cut();
        harness.come_up();
        harness.asked();
        harness.say(&[subscribed(0, 3, 7, 7, SubscribeOutcome::Resumed)]);
    }
    assert_eq!(harness.link.open_requests(), 0);
}

#[test]
fn another_epoch_on_the_same_subscription_is_a_bug_of_the_router() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    assert_eq!(harness.try_say(&[lagged(4, 9)]).expect_err("another epoch").blame(), LinkBlame::Router);
}

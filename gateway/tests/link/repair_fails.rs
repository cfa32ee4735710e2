//! What cannot be fetched any more cuts the members of that chat, once, and of no other.

use std::time::Duration;

use corecast_gateway::link::LinkBlame;
use corecast_wire::message::{RefusalReason, SubscribeOutcome, ToGateway, ToRouter};

use crate::gap::{history, pages};
use crate::harness::{Harness, subscribed, update};

/// Two chats; the first misses offsets 8 and 9.
fn with_a_gap() -> (Harness, u64) {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.join("other", 0, 1);
    harness.asked();
    harness.say(&[subscribed(1, 5, 0, 0, SubscribeOutcome::Fresh), update(0, 10), update(1, 1)]);
    assert_eq!(harness.seen(), ["0/1 joined 5:0", "0/1 update 1"]);
    let question = history(&mut harness);
    (harness, question.request)
}

/// The chat goes on behind everything that was known, for who joins anew.
fn goes_on(harness: &mut Harness) {
    assert_eq!(harness.seen(), ["0/0 reset Lost"]);
    assert_eq!(harness.link.stats().repairs_failed, 1);
    harness.join("chat", 0, 0);
    harness.say(&[update(0, 11), update(1, 2)]);
    assert_eq!(harness.seen(), ["0/0 joined 3:10", "0/0 update 11", "0/1 update 2"]);
    assert_eq!(harness.asked(), []);
}

#[test]
fn a_history_that_begins_too_late() {
    let (mut harness, request) = with_a_gap();
    harness.say(&[pages(request, 3, 9..=10, 10)]);
    goes_on(&mut harness);
}

#[test]
fn a_history_with_nothing_in_it() {
    let (mut harness, request) = with_a_gap();
    harness.say(&[pages(request, 3, [], 10)]);
    goes_on(&mut harness);
}

#[test]
fn a_refusal() {
    for reason in [RefusalReason::UnrecoverablePosition, RefusalReason::Overloaded] {
        let (mut harness, request) = with_a_gap();
        harness.say(&[ToGateway::Refusal { request, reason, retry_after_ms: 0 }]);
        goes_on(&mut harness);
    }
}

#[test]
fn no_answer() {
    let (mut harness, request) = with_a_gap();
    harness.pass_in_health(Duration::from_secs(3));
    harness.sent();
    goes_on(&mut harness);
    // It comes after all, and finds nobody.
    harness.say(&[pages(request, 3, 8..=10, 10), update(0, 12)]);
    assert_eq!(harness.seen(), ["0/0 update 12"]);
    assert_eq!(harness.link.stats().late_answers, 1);
}

#[test]
fn part_of_it_is_passed_on_before_the_cut() {
    let (mut harness, request) = with_a_gap();
    harness.say(&[pages(request, 3, 8..=8, 10)]);
    assert_eq!(harness.seen(), ["0/0 update 8"]);
    let request = history(&mut harness).request;
    harness.say(&[pages(request, 3, [], 10)]);
    goes_on(&mut harness);
}

#[test]
fn an_answer_of_another_epoch_is_a_bug_of_the_router() {
    let (mut harness, request) = with_a_gap();
    let error = harness.try_say(&[pages(request, 4, 8..=10, 10)]).expect_err("another epoch");
    assert_eq!(error.blame(), LinkBlame::Router);
}

#[test]
fn a_chat_that_runs_away_from_its_history_is_cut() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 0);
    harness.say(&[ToGateway::Lagged { handle: 0, epoch: 3, offset: 1_000 }]);
    let mut rounds = 0;
    loop {
        let mut asked = harness.asked();
        let Some(ToRouter::History(question)) = asked.pop() else { break };
        rounds += 1;
        harness.say(&[pages(question.request, 3, rounds..=rounds, 1_000 + rounds)]);
        assert!(rounds <= 100, "it must end");
    }
    let seen = harness.seen();
    assert_eq!(seen.last().map(String::as_str), Some("0/0 reset Lost"));
    assert_eq!(seen.len() as u64, rounds + 1);
}

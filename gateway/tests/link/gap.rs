//! A gap in the middle of a chat is fetched before anything behind it is passed on.

use corecast_wire::Position;
use corecast_wire::message::{History, HistoryResult, Publication, SubscribeOutcome, ToGateway, ToRouter};

use crate::harness::{Harness, chat, subscribed, update};

pub(crate) fn history(harness: &mut Harness) -> History {
    let mut sent = harness.asked();
    let Some(ToRouter::History(history)) = sent.pop() else { panic!("no question: {sent:?}") };
    assert_eq!(sent, []);
    history
}

pub(crate) fn pages(request: u64, epoch: u64, offsets: impl IntoIterator<Item = u64>, top: u64) -> ToGateway {
    let publication = |offset| {
        let payload = format!("payload {offset}").into();
        Publication { offset, time_ms: 1_000 + offset, payload }
    };
    let publications = offsets.into_iter().map(publication).collect();
    ToGateway::HistoryResult(HistoryResult { request, epoch, offset: top, publications })
}

#[test]
fn what_is_missing_is_asked_for_and_what_comes_meanwhile_waits() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[update(0, 8), update(0, 11), update(0, 12)]);
    assert_eq!(harness.seen(), ["0/0 update 8"]);
    let question = history(&mut harness);
    assert_eq!(question.chat, chat("chat"));
    assert_eq!((question.since, question.reverse), (Some(Position { epoch: 3, offset: 8 }), false));
    assert!(question.limit > 0 && question.max_bytes > 0);

    harness.say(&[update(0, 13), update(0, 13), update(0, 12)]);
    assert_eq!(harness.seen(), [""; 0]);
    assert_eq!(harness.link.stats().duplicates, 2);
    // The answer overlaps with what came meanwhile.
    harness.say(&[pages(question.request, 3, 9..=12, 12), update(0, 14)]);
    let expected: Vec<_> = (9..=14).map(|offset| format!("0/0 update {offset}")).collect();
    assert_eq!(harness.seen(), expected);
    assert_eq!(harness.asked(), []);
}

#[test]
fn a_gap_larger_than_one_answer_takes_several() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 0);
    harness.say(&[update(0, 10)]);
    for (first, last) in [(1, 4), (5, 7), (8, 9)] {
        let question = history(&mut harness);
        assert_eq!(question.since, Some(Position { epoch: 3, offset: first - 1 }));
        harness.say(&[pages(question.request, 3, first..=last, 10)]);
    }
    let expected: Vec<_> = (1..=10).map(|offset| format!("0/0 update {offset}")).collect();
    assert_eq!(harness.seen(), expected);
    assert_eq!(harness.asked(), []);
}

#[test]
fn repeated_updates_are_passed_on_once() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[update(0, 7), update(0, 8), update(0, 8), update(0, 3), update(0, 9)]);
    assert_eq!(harness.seen(), ["0/0 update 8", "0/0 update 9"]);
    assert_eq!(harness.link.stats().duplicates, 3);
}

#[test]
fn who_joins_during_a_repair_gets_the_rest_of_it() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[update(0, 10)]);
    harness.join("chat", 2, 6);
    assert_eq!(harness.seen(), ["2/6 joined 3:7"]);
    let question = history(&mut harness);
    harness.say(&[pages(question.request, 3, 8..=9, 10)]);
    let expected: Vec<_> =
        (8..=10).flat_map(|offset| [format!("0/0 update {offset}"), format!("2/6 update {offset}")]).collect();
    assert_eq!(harness.seen(), expected);
}

#[test]
fn a_link_lost_during_a_repair_resumes_before_the_gap() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[update(0, 10)]);
    history(&mut harness);
    harness.cut();
    harness.come_up();
    let sent = harness.asked();
    let [ToRouter::Subscribe(subscribe)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(subscribe.resume, Some(Position { epoch: 3, offset: 7 }));
    harness.say(&[subscribed(0, 3, 7, 10, SubscribeOutcome::Resumed), update(0, 8), update(0, 9), update(0, 10)]);
    assert_eq!(harness.seen(), ["0/0 update 8", "0/0 update 9", "0/0 update 10"]);
}

#[test]
fn more_than_can_be_kept_is_fetched_again() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 0);
    // Offset 1 is missing; of the 2,500 behind it only 1,000 are kept.
    let late: Vec<_> = (2..=2_501).map(|offset| update(0, offset)).collect();
    harness.say(&late);
    let mut answered = 0;
    while answered < 2_501 {
        let question = history(&mut harness);
        let since = question.since.expect("a position").offset;
        answered = (since + u64::from(question.limit)).min(2_501);
        harness.say(&[pages(question.request, 3, since + 1..=answered, 2_501)]);
    }
    harness.say(&[update(0, 2_502)]);
    let expected: Vec<_> = (1..=2_502).map(|offset| format!("0/0 update {offset}")).collect();
    assert_eq!(harness.seen(), expected);
}

#[test]
fn a_gap_that_nobody_would_notice_is_not_repaired() {
    let mut harness = Harness::up_with_limits(corecast_gateway::link::LinkLimits {
        linger: std::time::Duration::from_secs(5),
        ..Default::default()
    });
    harness.live("chat", 3, 7);
    harness.link.leave(0, corecast_gateway::link::LocalChat(0), harness.now);
    assert_eq!(harness.seen(), ["0/0 left"]);
    harness.say(&[update(0, 10)]);
    assert_eq!(harness.asked(), []);
    harness.join("chat", 0, 1);
    assert_eq!(harness.seen(), ["0/1 joined 3:10"]);
}

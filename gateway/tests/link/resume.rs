//! After a reconnect a chat goes on without a gap or a repetition, or its members are cut: never anything else.

use std::time::Duration;

use corecast_gateway::link::LocalChat;
use corecast_wire::Position;
use corecast_wire::message::{SubscribeOutcome, ToRouter};

use crate::harness::{Harness, chat, subscribed, update};

fn resubscription(harness: &mut Harness) -> Option<(u64, u64)> {
    let sent = harness.asked();
    let [ToRouter::Subscribe(subscribe)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(subscribe.handle, 0);
    subscribe.resume.map(|position| (position.epoch, position.offset))
}

#[test]
fn the_same_epoch_resumes_behind_the_last_update() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.say(&[update(0, 8)]);
    assert_eq!(harness.seen(), ["0/0 update 8"]);
    harness.cut();
    harness.pass(Duration::from_millis(500));
    harness.come_up();
    assert_eq!(resubscription(&mut harness), Some((3, 8)));
    harness.say(&[subscribed(0, 3, 8, 10, SubscribeOutcome::Resumed), update(0, 9), update(0, 10), update(0, 11)]);
    assert_eq!(harness.seen(), ["0/0 update 9", "0/0 update 10", "0/0 update 11"]);
}

#[test]
fn a_new_epoch_cuts_the_members_and_a_new_join_finds_the_chat_subscribed() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.cut();
    harness.come_up();
    assert_eq!(resubscription(&mut harness), Some((3, 7)));
    harness.say(&[subscribed(0, 4, 0, 1, SubscribeOutcome::Reset), update(0, 1)]);
    assert_eq!(harness.seen(), ["0/0 reset NotResumed"]);
    // The members come back at once.
    harness.join("chat", 0, 0);
    harness.join("chat", 1, 5);
    assert_eq!(harness.seen(), ["0/0 joined 4:1", "1/5 joined 4:1"]);
    assert_eq!(harness.asked(), []);
    harness.say(&[update(0, 2)]);
    assert_eq!(harness.seen(), ["0/0 update 2", "1/5 update 2"]);
}

#[test]
fn a_history_that_does_not_reach_back_far_enough_cuts_the_members() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.cut();
    harness.come_up();
    assert_eq!(resubscription(&mut harness), Some((3, 7)));
    harness.say(&[subscribed(0, 3, 90, 100, SubscribeOutcome::Reset)]);
    assert_eq!(harness.seen(), ["0/0 reset NotResumed"]);
}

#[test]
fn members_that_do_not_come_back_are_unsubscribed_after_a_while() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.cut();
    harness.come_up();
    harness.asked();
    harness.say(&[subscribed(0, 4, 0, 0, SubscribeOutcome::Reset)]);
    harness.pass_in_health(Duration::from_secs(6));
    assert_eq!(harness.asked(), [ToRouter::Unsubscribe { handle: 0 }]);
}

#[test]
fn cores_that_joined_during_the_outage_start_where_the_chat_goes_on() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.cut();
    harness.join("chat", 1, 4);
    assert_eq!(harness.seen(), [""; 0]);
    harness.come_up();
    harness.asked();
    harness.say(&[subscribed(0, 3, 7, 8, SubscribeOutcome::Resumed), update(0, 8)]);
    assert_eq!(harness.seen(), ["1/4 joined 3:7", "0/0 update 8", "1/4 update 8"]);
}

#[test]
fn a_join_may_bring_the_position_of_a_client() {
    let mut harness = Harness::up();
    let resume = Position { epoch: 3, offset: 5 };
    harness.link.join(&chat("chat"), 0, LocalChat(0), Some(resume), 10, harness.now);
    assert_eq!(resubscription(&mut harness), Some((3, 5)));
    harness.say(&[subscribed(0, 3, 5, 7, SubscribeOutcome::Resumed), update(0, 6), update(0, 7)]);
    assert_eq!(harness.seen(), ["0/0 joined 3:5", "0/0 update 6", "0/0 update 7"]);

    // One that nobody can have is ignored.
    for resume in [Position { epoch: 3, offset: u64::MAX }, Position { epoch: 0, offset: 5 }] {
        let mut harness = Harness::up();
        harness.link.join(&chat("chat"), 0, LocalChat(0), Some(resume), 10, harness.now);
        assert_eq!(resubscription(&mut harness), None);
    }
}

#[test]
fn a_wish_that_cannot_be_granted_is_no_reset_for_who_never_joined() {
    let mut harness = Harness::up();
    let resume = Position { epoch: 99, offset: 5 };
    harness.link.join(&chat("chat"), 0, LocalChat(0), Some(resume), 10, harness.now);
    harness.asked();
    harness.say(&[subscribed(0, 3, 6, 7, SubscribeOutcome::Reset), update(0, 7)]);
    assert_eq!(harness.seen(), ["0/0 joined 3:6", "0/0 update 7"]);
}

#[test]
fn resubscriptions_are_paced_by_their_answers() {
    let mut harness = Harness::up();
    for local in 0..3_000 {
        harness.join(&format!("chat {local}"), 0, local);
    }
    assert_eq!(harness.asked().len(), 1_024);
    let answers: Vec<_> = (0..100).map(|handle| subscribed(handle, 1, 0, 0, SubscribeOutcome::Fresh)).collect();
    harness.say(&answers);
    assert_eq!(harness.asked().len(), 100);
    harness.cut();
    harness.come_up();
    assert_eq!(harness.asked().len(), 1_024);
}

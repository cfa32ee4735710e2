//! The router sees each chat once per gateway; a handle is never used for two chats that the router could confuse.

use std::time::Duration;

use corecast_gateway::link::{FromLink, LinkBlame, LinkLimits, LocalChat};
use corecast_wire::message::{SubscribeOutcome, ToGateway, ToRouter, UnsubscribedReason};

use crate::harness::{Harness, chat, subscribed, update};

fn unsubscribed(handle: u32, reason: UnsubscribedReason) -> ToGateway {
    ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 }
}

fn handles(harness: &mut Harness) -> Vec<(u32, String)> {
    let subscribes = harness.asked().into_iter().filter_map(|message| match message {
        ToRouter::Subscribe(subscribe) => Some((subscribe.handle, subscribe.chat.to_string())),
        _ => None,
    });
    subscribes.collect()
}

#[test]
fn all_cores_share_one_subscription() {
    let mut harness = Harness::up();
    harness.join("chat", 0, 4);
    harness.join("chat", 2, 9);
    assert_eq!(handles(&mut harness), [(0, "chat".to_owned())]);
    harness.say(&[subscribed(0, 3, 5, 6, SubscribeOutcome::Fresh), update(0, 6)]);
    harness.join("chat", 1, 0);
    harness.say(&[update(0, 7)]);
    assert_eq!(
        harness.seen(),
        [
            "0/4 joined 3:5",
            "2/9 joined 3:5",
            "0/4 update 6",
            "2/9 update 6",
            "1/0 joined 3:6",
            "0/4 update 7",
            "2/9 update 7",
            "1/0 update 7"
        ]
    );
    assert_eq!(handles(&mut harness), []);
}

#[test]
fn joined_says_how_far_the_warm_up_goes() {
    let mut harness = Harness::up();
    harness.join("chat", 0, 0);
    harness.asked();
    harness.say(&[subscribed(0, 3, 5, 8, SubscribeOutcome::Fresh), update(0, 6)]);
    harness.join("chat", 1, 0);
    let tops: Vec<_> = harness
        .events()
        .into_iter()
        .filter_map(|(core, event)| match event {
            FromLink::Joined { position, top, oldest, .. } => Some((core, position.offset, top, oldest)),
            _ => None,
        })
        .collect();
    assert_eq!(tops, [(0, 5, 8, 1), (1, 6, 8, 1)]);
}

#[test]
fn one_core_may_leave_without_the_others() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.join("chat", 1, 2);
    harness.link.leave(0, LocalChat(0), harness.now);
    harness.say(&[update(0, 8)]);
    assert_eq!(harness.seen(), ["1/2 joined 3:7", "0/0 left", "1/2 update 8"]);
    assert_eq!(harness.asked(), []);
}

#[test]
fn a_handle_is_free_only_after_the_router_said_so() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.link.leave(0, LocalChat(0), harness.now);
    assert_eq!(harness.asked(), [ToRouter::Unsubscribe { handle: 0 }]);

    // The same chat and another one get other handles; the old one may still be mentioned.
    harness.join("chat", 0, 0);
    harness.join("other", 0, 1);
    assert_eq!(handles(&mut harness), [(1, "chat".to_owned()), (2, "other".to_owned())]);
    harness.say(&[update(0, 8), ToGateway::Lagged { handle: 0, epoch: 3, offset: 9 }]);
    harness.say(&[unsubscribed(0, UnsubscribedReason::Requested)]);
    assert_eq!(harness.seen(), ["0/0 left"]);
    harness.join("chat", 1, 0);
    assert_eq!(handles(&mut harness), [], "the name stands for the new handle");

    harness.join("third", 0, 2);
    assert_eq!(handles(&mut harness), [(0, "third".to_owned())]);
    let error = harness.try_say(&[update(0, 10)]).expect_err("not subscribed yet");
    assert_eq!(error.blame(), LinkBlame::Router);
}

#[test]
fn leaving_before_the_answer_takes_both_answers() {
    let mut harness = Harness::up();
    harness.join("chat", 0, 0);
    harness.asked();
    harness.link.leave(0, LocalChat(0), harness.now);
    assert_eq!(harness.asked(), [ToRouter::Unsubscribe { handle: 0 }]);
    harness.say(&[
        subscribed(0, 3, 0, 1, SubscribeOutcome::Fresh),
        update(0, 1),
        unsubscribed(0, UnsubscribedReason::Requested),
    ]);
    assert_eq!(harness.seen(), ["0/0 left"]);
    harness.join("other", 0, 0);
    assert_eq!(handles(&mut harness), [(0, "other".to_owned())]);
}

#[test]
fn a_refusal_that_crosses_the_unsubscribe_frees_nothing_yet() {
    let mut harness = Harness::up();
    harness.join("chat", 0, 0);
    harness.asked();
    harness.link.leave(0, LocalChat(0), harness.now);
    harness.say(&[unsubscribed(0, UnsubscribedReason::TooManyChats)]);
    harness.join("other", 0, 1);
    assert_eq!(handles(&mut harness), [(1, "other".to_owned())]);
    harness.say(&[unsubscribed(0, UnsubscribedReason::Requested)]);
    harness.join("third", 0, 2);
    assert_eq!(handles(&mut harness), [(0, "third".to_owned())]);
}

#[test]
fn leaving_before_the_subscription_is_written_takes_nothing() {
    let mut harness = Harness::new();
    harness.join("chat", 0, 0);
    harness.link.leave(0, LocalChat(0), harness.now);
    harness.join("other", 0, 1);
    harness.come_up();
    assert_eq!(handles(&mut harness), [(0, "other".to_owned())]);
    assert_eq!(harness.seen(), ["0/0 left"]);
}

#[test]
fn refused_and_ended_subscriptions_reset_their_chat_alone() {
    for reason in [UnsubscribedReason::WrongSlot, UnsubscribedReason::TooManyChats, UnsubscribedReason::Draining] {
        let mut harness = Harness::up();
        harness.live("chat", 3, 7);
        harness.join("other", 1, 1);
        harness.asked();
        harness.say(&[unsubscribed(1, reason), unsubscribed(0, reason)]);
        let seen = [format!("1/1 reset Refused({reason:?})"), format!("0/0 reset Refused({reason:?})")];
        assert_eq!(harness.seen(), seen);
        assert_eq!(harness.link.chats(), 0);
        assert_eq!(harness.asked(), [], "nothing is left to unsubscribe");
        harness.join("chat", 0, 0);
        assert_eq!(handles(&mut harness).len(), 1);
    }
}

#[test]
fn a_chat_lingers_if_the_link_is_told_to() {
    let limits = LinkLimits { linger: Duration::from_secs(5), ..LinkLimits::default() };
    let mut harness = Harness::up_with_limits(limits);
    harness.live("chat", 3, 7);
    harness.link.leave(0, LocalChat(0), harness.now);
    harness.pass_in_health(Duration::from_secs(4));
    harness.join("chat", 0, 3);
    assert_eq!(harness.seen(), ["0/0 left", "0/3 joined 3:7"]);
    harness.pass_in_health(Duration::from_secs(4));
    assert_eq!(harness.asked(), [], "the first deadline is void");
    harness.link.leave(0, LocalChat(3), harness.now);
    harness.pass_in_health(Duration::from_secs(6));
    assert_eq!(harness.asked(), [ToRouter::Unsubscribe { handle: 0 }]);
}

#[test]
fn chats_that_nobody_wants_do_not_outlive_their_link() {
    let limits = LinkLimits { linger: Duration::from_secs(60), ..LinkLimits::default() };
    let mut harness = Harness::up_with_limits(limits);
    harness.live("lingering", 3, 7);
    harness.link.leave(0, LocalChat(0), harness.now);
    harness.cut();
    assert_eq!(harness.link.chats(), 0);
    harness.come_up();
    harness.join("chat", 0, 0);
    assert_eq!(handles(&mut harness), [(0, "chat".to_owned())]);
}

#[test]
fn member_counts_are_summed_and_sent_when_they_change() {
    let members = |harness: &mut Harness| {
        harness.pass(Duration::from_millis(250));
        let mut sent = harness.sent();
        sent.retain(|message| matches!(message, ToRouter::Members { .. }));
        sent
    };
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.join("chat", 1, 2);
    harness.link.members(0, LocalChat(0), 5, harness.now);
    harness.link.members(1, LocalChat(2), 3, harness.now);
    harness.link.members(1, LocalChat(2), 4, harness.now);
    assert_eq!(members(&mut harness), [ToRouter::Members { handle: 0, count: 9 }]);
    harness.link.members(0, LocalChat(0), 5, harness.now);
    assert_eq!(members(&mut harness), []);
    harness.link.leave(0, LocalChat(0), harness.now);
    assert_eq!(members(&mut harness), [ToRouter::Members { handle: 0, count: 4 }]);

    // A router that was restarted knows nothing.
    harness.cut();
    harness.come_up();
    harness.asked();
    harness.say(&[subscribed(0, 3, 7, 7, SubscribeOutcome::Resumed)]);
    assert_eq!(members(&mut harness), [ToRouter::Members { handle: 0, count: 4 }]);
}

#[test]
fn a_subscription_without_an_answer_keeps_nobody_waiting() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.join("slow", 1, 1);
    harness.pass_in_health(Duration::from_secs(5));
    assert_eq!(harness.seen(), ["1/1 reset Unanswered"]);
    harness.join("slow", 1, 1);
    assert_eq!(harness.seen(), ["1/1 reset Unanswered"], "at once, while it is so");
    harness.asked();
    harness.say(&[subscribed(1, 4, 0, 0, SubscribeOutcome::Fresh), update(0, 8)]);
    harness.join("slow", 1, 1);
    assert_eq!(harness.seen(), ["0/0 update 8", "1/1 joined 4:0"]);
}

#[test]
fn members_of_a_chat_that_is_not_resubscribed_are_told() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.cut();
    harness.come_up();
    harness.pass_in_health(Duration::from_secs(5));
    assert_eq!(harness.seen(), ["0/0 reset Unanswered"]);
}

#[test]
fn who_asks_for_the_counts_is_counted() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.link.members(0, LocalChat(0), 5, harness.now);
    harness.link.presence_stats(chat("chat"), 0, 1, harness.now).expect("taken");
    let sent = harness.sent();
    assert!(
        matches!(sent.as_slice(), [ToRouter::Members { handle: 0, count: 5 }, ToRouter::PresenceStats { .. }]),
        "{sent:?}"
    );
    harness.pass(Duration::from_millis(250));
    assert_eq!(harness.sent(), [], "once is enough");
}

#[test]
fn too_many_chats_are_refused_here() {
    let mut harness = Harness::up_with_limits(LinkLimits { chats_max: 2, ..LinkLimits::default() });
    for local in 0..3 {
        harness.join(&format!("chat {local}"), 0, local);
    }
    assert_eq!(harness.seen(), ["0/2 reset TooManyChats"]);
    harness.join("chat 1", 1, 0);
    assert_eq!(harness.seen(), [""; 0], "a chat that is there may be joined");
}

#[test]
fn leaving_what_was_never_joined_is_ignored() {
    let mut harness = Harness::up();
    harness.link.leave(0, LocalChat(7), harness.now);
    harness.link.leave(9, LocalChat(0), harness.now);
    harness.link.members(0, LocalChat(7), 3, harness.now);
    assert_eq!(harness.seen(), [""; 0]);
    assert_eq!(chat("x").as_str(), "x");
}

//! Acknowledgement and fan-out wait for the log; what the log refuses is refused with its reason and leaves no trace.

use corecast_wire::message::UnsubscribedReason;

use super::*;
use crate::log::scripted::Failure;
use crate::log::{LogError, Outcome};

fn fails(outcome: Outcome, applied: usize) -> Option<Failure> {
    Some(Failure { outcome, applied })
}

/// A world with a subscriber, a publisher, and one message at offset 1 of chat "x".
fn prepared() -> (World, usize, usize) {
    let mut world = World::plain();
    let (subscriber, publisher) = (world.link("a"), world.link("b"));
    world.subscribe(subscriber, 1, "x", None, 0);
    world.published(publisher, "x", None, "1").expect("taken");
    world.inbox(subscriber);
    (world, subscriber, publisher)
}

#[test]
fn acknowledgement_fan_out_and_history_wait_for_durability() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().held = true;
    world.publish(publisher, "x", None, "2");
    world.publish(publisher, "x", None, "3");
    assert_eq!(world.log().waiting(), 2);
    assert_eq!((world.inbox(subscriber), world.inbox(publisher)), (vec![], vec![]));
    assert_eq!(world.history(publisher, "x", None, 10, false).offset, 1);
    let late = world.link("c");
    let subscribed = world.subscribe(late, 9, "x", None, 10);
    assert_eq!((subscribed.start, subscribed.offset), (0, 1));
    assert_eq!(updates(&world.inbox(late)), [(9, 1, "1".into())]);
    world.log().settle(1);
    world.turn();
    assert_eq!(updates(&world.inbox(subscriber)), [(1, 2, "2".into())]);
    assert_eq!(updates(&world.inbox(late)), [(9, 2, "2".into())]);
    assert!(matches!(world.inbox(publisher)[..], [ToGateway::Ack { offset: 2, duplicate: false, .. }]));
    world.log().held = false;
    world.turn();
    assert_eq!(updates(&world.inbox(subscriber)), [(1, 3, "3".into())]);
    assert!(matches!(world.inbox(publisher)[..], [ToGateway::Ack { offset: 3, .. }]));
    assert_eq!(world.core.stats().pending, 0);
}

#[test]
fn a_duplicate_of_a_waiting_message_waits_with_it() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().held = true;
    let original = world.publish(publisher, "x", Some("k"), "2");
    let again = world.publish(publisher, "x", Some("k"), "2");
    world.live(Duration::from_secs(400));
    let third = world.publish(publisher, "x", Some("k"), "2");
    assert_eq!(world.log().waiting(), 1);
    world.inbox(publisher);
    world.log().held = false;
    world.turn();
    let told: Vec<(u64, u64, bool)> = world
        .inbox(publisher)
        .into_iter()
        .map(|message| match message {
            ToGateway::Ack { request, offset, duplicate, .. } => (request, offset, duplicate),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(original, 2, false), (again, 2, true), (third, 2, true)]);
    assert_eq!(updates(&world.inbox(subscriber)), [(1, 2, "2".into())]);
}

#[test]
fn an_unavailable_log_is_a_typed_refusal_and_the_offset_is_free_again() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().fail = fails(Outcome::Unavailable, 0);
    let request = world.publish(publisher, "x", Some("k"), "lost");
    let reason = RefusalReason::StorageUnavailable;
    assert_eq!(world.answer(publisher), ToGateway::Refusal { request, reason, retry_after_ms: 200 });
    assert_eq!(world.published(publisher, "x", None, "too soon"), Err(reason));
    world.advance(Duration::from_millis(200));
    let told = world.published(publisher, "x", Some("k"), "2").expect("taken");
    assert_eq!((told.offset, told.duplicate), (2, false), "the key of a refused publish is free");
    assert_eq!(updates(&world.inbox(subscriber)), [(1, 2, "2".into())]);
    assert_eq!(world.history(publisher, "x", None, 10, false).publications.len(), 2);
    world.send(subscriber, ToRouter::Unsubscribe { handle: 1 });
    world.live(Duration::from_secs(302));
    assert_eq!(world.core.stats().chats, 0, "nothing keeps the chat in memory");
}

#[test]
fn a_log_that_does_not_open_is_a_typed_refusal() {
    let mut world = World::plain();
    let gateway = world.link("a");
    world.log().fail_open = Some(LogError::Unavailable);
    assert_eq!(world.published(gateway, "x", None, "1"), Err(RefusalReason::StorageUnavailable));
    world.advance(Duration::from_millis(200));
    assert_eq!(world.published(gateway, "x", None, "1").expect("taken").offset, 1);
}

#[test]
fn a_busy_log_delays_and_loses_nothing() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().busy = true;
    for text in ["2", "3", "4"] {
        world.publish(publisher, "x", None, text);
    }
    assert_eq!(world.inbox(publisher), []);
    world.log().busy = false;
    world.turn();
    assert_eq!(world.inbox(publisher).len(), 3);
    let texts: Vec<String> = updates(&world.inbox(subscriber)).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["2", "3", "4"]);
}

#[test]
fn an_unknown_outcome_is_told_as_unknown_and_settled_by_the_tail() {
    for applied in 0..=3 {
        let (mut world, subscriber, publisher) = prepared();
        let epoch = world.history(publisher, "x", None, 1, false).epoch;
        world.log().held = true;
        for text in ["2", "3", "4"] {
            world.publish(publisher, "x", Some(text), text);
        }
        world.log().fail = fails(Outcome::Unknown, applied);
        world.log().held = false;
        world.turn();
        let told = world.inbox(publisher);
        assert_eq!(told.len(), 3);
        let unknown = RefusalReason::OutcomeUnknown;
        assert!(told.iter().all(|told| matches!(told, ToGateway::Refusal { reason, .. } if *reason == unknown)));
        // What is in the log happened, for subscribers and for a repetition; what is not is published anew.
        let texts: Vec<String> = updates(&world.inbox(subscriber)).into_iter().map(|(_, _, text)| text).collect();
        assert_eq!(texts, ["2", "3", "4"][..applied]);
        for (index, text) in ["2", "3", "4"].into_iter().enumerate() {
            let told = world.published(publisher, "x", Some(text), text).expect("taken");
            assert_eq!(told, Told { epoch, offset: index as u64 + 2, duplicate: index < applied });
        }
        let kept = world.history(publisher, "x", None, 10, false).publications;
        let kept: Vec<&[u8]> = kept.iter().map(|publication| &publication.payload[..]).collect();
        assert_eq!(kept, [b"1", b"2", b"3", b"4"]);
        assert_eq!(world.core.stats().unknown_outcomes, 3);
    }
}

#[test]
fn while_outcomes_are_unknown_offsets_stay_taken() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().fail = fails(Outcome::Unknown, 1);
    world.log().fail_open = Some(LogError::Unavailable);
    assert_eq!(world.published(publisher, "x", Some("k"), "2"), Err(RefusalReason::OutcomeUnknown));
    for key in [Some("k"), Some("other"), None] {
        assert_eq!(world.published(publisher, "x", key, "3"), Err(RefusalReason::StorageUnavailable));
    }
    assert_eq!(world.inbox(subscriber), []);
    world.advance(Duration::from_millis(200));
    world.turn();
    assert_eq!(updates(&world.inbox(subscriber)), [(1, 2, "2".into())]);
    let told = world.published(publisher, "x", Some("k"), "2").expect("known");
    assert!(told.duplicate && told.offset == 2);
    assert_eq!(world.published(publisher, "x", None, "3").expect("taken").offset, 3);
}

#[test]
fn a_fenced_slot_ends_its_chats_here() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().fail = fails(Outcome::Fenced, 0);
    assert_eq!(world.published(publisher, "x", None, "2"), Err(RefusalReason::WrongSlot));
    let reason = UnsubscribedReason::WrongSlot;
    let ended = ToGateway::Unsubscribed { handle: 1, reason, retry_after_ms: 0 };
    assert_eq!(world.inbox(subscriber), std::slice::from_ref(&ended));
    world.send(subscriber, ToRouter::Unsubscribe { handle: 1 });
    assert_eq!(world.inbox(subscriber), [], "the handle has had its last mention");
    assert_eq!(world.published(publisher, "x", None, "3"), Err(RefusalReason::WrongSlot));
    world.send(subscriber, ToRouter::Subscribe(Subscribe { handle: 1, chat: name("x"), resume: None, want: 0 }));
    assert_eq!(world.inbox(subscriber), [ended]);
    assert!(matches!(
        world.ask(publisher, "x", None, 10, false),
        ToGateway::Refusal { reason: RefusalReason::WrongSlot, .. }
    ));
    assert_eq!(world.core.stats().slots_lost, 1);
    // Chats of other slots go on.
    let elsewhere = (0..).map(|number| format!("chat {number}")).find(|chat| {
        let slot = |name: &str| corecast_wire::placement::slot_of(name.as_bytes(), 16);
        slot(chat) != slot("x")
    });
    let elsewhere = elsewhere.expect("a chat of another slot");
    assert_eq!(world.published(publisher, &elsewhere, None, "1").expect("taken").offset, 1);
}

#[test]
fn a_publisher_that_left_gets_no_answer_and_its_message_stays() {
    let (mut world, subscriber, publisher) = prepared();
    world.log().held = true;
    world.publish(publisher, "x", None, "2");
    world.core.handle_closed(world.gateways[publisher].link, world.now);
    let newcomer = world.link("c");
    world.log().held = false;
    world.turn();
    assert_eq!(updates(&world.inbox(subscriber)), [(1, 2, "2".into())]);
    assert_eq!(world.inbox(newcomer), [], "the index of the link is used again, its answers are not");
}

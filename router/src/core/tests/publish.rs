//! Offsets, acknowledgements, duplicates and refusals of publishes.

use super::*;

#[test]
fn offsets_count_up_per_chat() {
    let mut world = World::plain();
    let gateway = world.link("a");
    let first = world.published(gateway, "x", None, "1").expect("taken");
    let second = world.published(gateway, "x", None, "2").expect("taken");
    let other = world.published(gateway, "y", None, "1").expect("taken");
    assert_eq!((first.offset, second.offset, other.offset), (1, 2, 1));
    assert_eq!(first.epoch, second.epoch);
    assert_ne!(first.epoch, other.epoch);
}

#[test]
fn every_subscribed_gateway_gets_each_update_once_and_in_order() {
    let mut world = World::plain();
    let (first, second, third) = (world.link("a"), world.link("b"), world.link("c"));
    world.subscribe(first, 10, "x", None, 0);
    world.subscribe(second, 20, "x", None, 0);
    world.subscribe(second, 21, "y", None, 0);
    for text in ["1", "2", "3"] {
        world.publish(third, "x", None, text);
    }
    let expected = |handle: u32| vec![(handle, 1, "1".into()), (handle, 2, "2".into()), (handle, 3, "3".into())];
    assert_eq!(updates(&world.inbox(first)), expected(10));
    assert_eq!(updates(&world.inbox(second)), expected(20));
    let acks = world.inbox(third);
    assert_eq!((acks.len(), updates(&acks).len()), (3, 0));
    assert_eq!(world.core.stats().updates, 6);
}

#[test]
fn messages_of_one_turn_travel_in_one_frame() {
    let mut world = World::plain();
    let gateway = world.link("a");
    world.subscribe(gateway, 1, "x", None, 0);
    let before = world.core.stats().sent_frames;
    for request in 100..150 {
        let payload = Bytes::from_static(b"hello");
        world.post(gateway, ToRouter::Publish(Publish { request, chat: name("x"), key: None, payload }));
    }
    world.turn();
    assert_eq!(world.inbox(gateway).len(), 100, "50 updates and 50 acknowledgements");
    assert_eq!(world.core.stats().sent_frames - before, 1);
}

#[test]
fn a_duplicate_is_answered_with_the_original_offset() {
    let mut world = World::plain();
    let gateway = world.link("a");
    let original = world.published(gateway, "x", Some("k"), "1").expect("taken");
    world.published(gateway, "x", None, "2").expect("taken");
    let again = world.published(gateway, "x", Some("k"), "1").expect("taken");
    assert_eq!(again, Told { duplicate: true, ..original });
    let elsewhere = world.published(gateway, "y", Some("k"), "1").expect("another chat, another key");
    assert!(!elsewhere.duplicate);
    world.live(Duration::from_secs(299));
    assert!(world.published(gateway, "x", Some("k"), "1").expect("taken").duplicate);
    world.live(Duration::from_secs(2));
    let late = world.published(gateway, "x", Some("k"), "1").expect("taken");
    assert_eq!(late, Told { offset: 3, ..original }, "the window is over");
}

#[test]
fn a_full_key_table_refuses_keys_and_nothing_else() {
    let mut world = World::new(|config| config.limits.keys.keys = 2);
    let gateway = world.link("a");
    world.published(gateway, "x", Some("1"), "1").expect("taken");
    world.live(Duration::from_secs(10));
    world.published(gateway, "x", Some("2"), "2").expect("taken");
    let request = world.publish(gateway, "x", Some("3"), "3");
    let refusal = ToGateway::Refusal { request, reason: RefusalReason::KeyTableFull, retry_after_ms: 290_000 };
    assert_eq!(world.answer(gateway), refusal);
    assert!(world.published(gateway, "x", Some("1"), "1").expect("known").duplicate);
    assert_eq!(world.published(gateway, "x", None, "4").expect("without a key").offset, 3);
    world.live(Duration::from_secs(291));
    assert_eq!(world.published(gateway, "x", Some("3"), "3").expect("room again").offset, 4);
}

#[test]
fn limits_are_typed_refusals() {
    let mut world = World::new(|config| {
        config.limits.payload_bytes = 10;
        config.limits.chats = 2;
        config.limits.pending_bytes = 25;
        config.limits.requests_per_link = 4;
        config.limits.history_bytes = 100;
    });
    let gateway = world.link("a");
    assert_eq!(world.published(gateway, "x", None, "12345678901"), Err(RefusalReason::TooLarge));
    world.published(gateway, "x", None, "1234567890").expect("at the limit");
    world.published(gateway, "y", None, "").expect("an empty message is a message");
    assert_eq!(world.published(gateway, "z", None, "1"), Err(RefusalReason::TooManyChats));
    world.log().held = true;
    world.publish(gateway, "x", None, "1234567890");
    world.publish(gateway, "x", None, "1234567890");
    assert_eq!(world.published(gateway, "x", None, "1234567890"), Err(RefusalReason::Overloaded));
    world.publish(gateway, "x", None, "");
    world.publish(gateway, "x", None, "");
    assert_eq!(world.published(gateway, "x", None, ""), Err(RefusalReason::TooManyRequests));
    world.log().held = false;
    world.turn();
    assert_eq!(world.inbox(gateway).len(), 4);
    assert_eq!(world.published(gateway, "x", None, "1").expect("room again").offset, 6);
    assert_eq!(world.core.stats().refused, 4);
}

#[test]
fn the_memory_of_all_chats_is_bounded() {
    let mut world = World::new(|config| config.limits.kept_bytes_total = 100_000);
    let gateway = world.link("a");
    let text = "x".repeat(1_000);
    for number in 0..300 {
        world.publish(gateway, &format!("chat {}", number % 20), None, &text);
        let kept = world.core.stats().kept_bytes;
        assert!(kept <= 102_000, "{kept}");
    }
    assert!(world.core.stats().shrunk > 0);
    let history = world.history_of_last(gateway);
    assert_eq!(history.offset, 15);
    assert_eq!(history.publications.last().map(|publication| publication.offset), Some(15));
}

impl World {
    fn history_of_last(&mut self, gateway: usize) -> HistoryResult {
        self.inbox(gateway);
        self.history(gateway, "chat 19", None, 1_000, false)
    }
}

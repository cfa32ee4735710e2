//! The claim: whatever joins, leaves, recovers and is published in whatever order, each member sees exactly what
//! follows its reply's position, and a recovery returns all that was missed or nothing.

use std::collections::BTreeMap;

use corecast_centrifuge::client::{Incoming, decode_replies};
use proptest::prelude::*;

use super::*;
use crate::time::Tick;

const RECENT: RecentLimits = RecentLimits { messages: 8, bytes: 100_000 };
const RECOVERY: RecoveryLimits = RecoveryLimits { messages: 20, bytes: 100_000 };
const BATCH: BatchLimits = BatchLimits { frames: 4, bytes: 100_000 };
const EPOCH: u64 = 77;

fn payload(offset: u64) -> String {
    format!("{{\"n\":{offset}}}")
}

/// Offsets and payloads of the WebSocket frames in `bytes`.
fn publications(encoding: Encoding, mut bytes: &[u8]) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        assert!(bytes[1] < 126, "test frames are short");
        let (frame, rest) = bytes.split_at(2 + usize::from(bytes[1]));
        for reply in decode_replies(encoding, &frame[2..]) {
            let Ok(Incoming::Publication(publication)) = reply else { panic!("{reply:?}") };
            found.push((publication.offset, String::from_utf8(publication.data.to_vec()).unwrap()));
        }
        bytes = rest;
    }
    found
}

fn live_chat(top: u64) -> Chat<u32> {
    let mut chat = Chat::new("c:1", 0);
    chat.begin_join();
    chat.handle_joined(Position { epoch: EPOCH, offset: top }, top);
    chat
}

fn recover(offset: u64) -> Wish {
    Wish::Recover { epoch: EpochWish::Known(EPOCH), offset }
}

fn waiter(member: u32, wish: Wish) -> Waiter<u32> {
    Waiter {
        member,
        ticket: member,
        encoding: Encoding::Json,
        wish,
        error_if_lost: false,
        data: Bytes::new(),
        deadline: Tick(50),
    }
}

#[test]
fn the_kept_payload_is_a_slice_of_the_first_frame() {
    for encoding in Encoding::ALL {
        for offset in [1, 9, 10, 127, 128, 16_383, 16_384, (1 << 53) - 1] {
            let encoder = PublicationEncoder::new("näme \"quoted\"");
            let frame = publication_frame(&encoder, encoding, offset, br#"{"a":1}"#, &mut Vec::new());
            let end = frame.len() - tail_bytes(encoding, offset);
            assert_eq!(&frame[end - 7..end], br#"{"a":1}"#, "{encoding:?} {offset}");
        }
    }
}

#[test]
fn updates_must_continue_the_position() {
    let mut chat = live_chat(5);
    let mut pool = Pool::default();
    let wrong = chat.handle_update(7, b"1", RECENT, &mut pool);
    assert_eq!(wrong, Err(OutOfOrder { expected: 6, got: 7 }));
    assert_eq!(chat.handle_update(6, b"1", RECENT, &mut pool), Ok(false));
    assert_eq!(chat.handle_update(6, b"1", RECENT, &mut pool), Err(OutOfOrder { expected: 7, got: 6 }));
    assert_eq!(chat.position(), Position { epoch: EPOCH, offset: 6 });
}

#[test]
fn warm_up_fills_the_cache_before_anybody_joins() {
    let mut chat = Chat::new("c:1", 0);
    let mut pool = Pool::default();
    chat.begin_join();
    chat.wait(waiter(1, Wish::Now));
    chat.wait(waiter(2, recover(9)));
    chat.handle_joined(Position { epoch: EPOCH, offset: 8 }, 10);
    assert_eq!(chat.phase(), Phase::Warming { left: 2 });
    assert!(chat.serve(RECOVERY, 9).is_empty());
    assert_eq!(chat.handle_update(9, b"9", RECENT, &mut pool), Ok(false));
    assert!(chat.serve(RECOVERY, 9).is_empty());
    assert_eq!(chat.handle_update(10, b"10", RECENT, &mut pool), Ok(false));
    assert_eq!(chat.next_ask(RECOVERY), None);
    let served: Vec<_> =
        chat.serve(RECOVERY, 9).into_iter().map(|(waiter, admission)| (waiter.member, admission)).collect();
    assert_eq!(served, [(1, Admission::Fresh), (2, Admission::Recovered { offset: 9, missed: 1 })]);
    assert_eq!(
        chat.newest(1).map(|(offset, data)| (offset, data.to_vec())).collect::<Vec<_>>(),
        [(10, b"10".to_vec())]
    );
    assert!(chat.is_unused());
}

#[test]
fn what_cannot_be_recovered_is_lost_at_once() {
    let chat = live_chat(100);
    let lost = [
        Wish::Recover { epoch: EpochWish::Known(EPOCH + 1), offset: 100 },
        Wish::Recover { epoch: EpochWish::Foreign, offset: 100 },
        Wish::Recover { epoch: EpochWish::parse("_"), offset: 0 },
        recover(101),
        recover(79),
    ];
    for wish in lost {
        assert_eq!(chat.admit(wish, RECOVERY), Admission::Lost, "{wish:?}");
    }
    let nothing_missed = Admission::Recovered { offset: 100, missed: 0 };
    assert_eq!(chat.admit(recover(100), RECOVERY), nothing_missed);
    assert_eq!(chat.admit(Wish::Recover { epoch: EpochWish::parse(""), offset: 100 }, RECOVERY), nothing_missed);
    assert_eq!(chat.admit(recover(80), RECOVERY), Admission::Wait);
}

#[test]
fn a_recovery_over_the_byte_cap_is_lost_not_cut() {
    let mut chat = live_chat(0);
    let mut pool = Pool::default();
    for offset in 1..=3 {
        chat.handle_update(offset, &[b'1'; 100], RECENT, &mut pool).unwrap();
    }
    let cap = RecoveryLimits { messages: 20, bytes: 250 };
    assert_eq!(chat.admit(recover(0), cap), Admission::Lost);
    assert_eq!(chat.admit(recover(1), cap), Admission::Recovered { offset: 1, missed: 2 });
}

#[test]
fn one_history_request_serves_all_who_wait_and_later_ones_ask_again_only_for_more() {
    let mut chat = live_chat(100);
    chat.wait(waiter(1, recover(95)));
    chat.wait(waiter(2, recover(93)));
    assert_eq!(chat.next_ask(RECOVERY), Some(93));
    chat.wait(waiter(3, recover(97)));
    chat.wait(waiter(4, recover(92)));
    assert_eq!(chat.next_ask(RECOVERY), None, "one at a time");
    let texts: Vec<_> = (94..=100).map(|offset| (offset, payload(offset))).collect();
    chat.handle_history(EPOCH, texts.iter().map(|(offset, text)| (*offset, text.as_bytes())), RECENT);
    let served: Vec<_> =
        chat.serve(RECOVERY, 99).into_iter().map(|(waiter, admission)| (waiter.member, admission)).collect();
    let recovered = |offset, missed| Admission::Recovered { offset, missed };
    assert_eq!(served, [(1, recovered(95, 5)), (2, recovered(93, 7)), (3, recovered(97, 3))]);
    assert_eq!(chat.next_ask(RECOVERY), Some(92));
    // The router keeps nothing that old: the last one is told so and asks no third time.
    chat.handle_history(EPOCH, std::iter::empty(), RECENT);
    let served: Vec<_> =
        chat.serve(RECOVERY, 99).into_iter().map(|(waiter, admission)| (waiter.member, admission)).collect();
    assert_eq!(served, [(4, Admission::Lost)]);
    assert!(chat.is_unused());
}

#[test]
fn history_with_a_hole_or_of_another_epoch_is_not_used() {
    for (epoch, offsets) in [(EPOCH, vec![97, 99, 100]), (EPOCH, vec![97, 98, 99]), (EPOCH + 1, vec![98, 99, 100])] {
        let mut chat = live_chat(100);
        chat.wait(waiter(1, recover(97)));
        assert_eq!(chat.next_ask(RECOVERY), Some(97));
        chat.handle_history(epoch, offsets.iter().map(|offset| (*offset, &b"1"[..])), RECENT);
        let served = chat.serve(RECOVERY, 99);
        assert_eq!(served[0].1, Admission::Lost, "{offsets:?}");
    }
}

#[test]
fn those_who_wait_are_failed_or_expire_but_never_vanish() {
    let mut chat = live_chat(100);
    chat.wait(waiter(1, recover(95)));
    assert_eq!(chat.next_ask(RECOVERY), Some(95));
    chat.wait(waiter(2, recover(94)));
    let failed: Vec<_> = chat.handle_no_history().iter().map(|waiter| waiter.member).collect();
    assert_eq!(failed, [1]);
    assert!(chat.expire_waiters(Tick(49)).is_empty());
    let expired: Vec<_> = chat.expire_waiters(Tick(50)).iter().map(|waiter| waiter.member).collect();
    assert_eq!(expired, [2]);
    assert!(chat.is_unused());
}

#[test]
fn a_reset_takes_out_members_and_waiters_and_nothing_follows() {
    let mut chat = live_chat(0);
    let mut pool = Pool::default();
    chat.join(1, Encoding::Json);
    chat.join(2, Encoding::Protobuf);
    chat.wait(waiter(3, recover(0)));
    chat.handle_update(1, b"1", RECENT, &mut pool).unwrap();
    assert_eq!(chat.cut(&mut pool), [vec![1], vec![2]]);
    assert_eq!(chat.reset().len(), 1);
    assert_eq!(chat.next_slice(Encoding::Json, 9, BATCH, &mut pool), None);
    assert!(chat.is_drained() && !chat.is_unused());
    chat.cutting = 0;
    chat.handle_left();
    assert!(chat.is_unused());
    assert_eq!(chat.handle_update(2, b"2", RECENT, &mut pool), Ok(false), "a straggler is ignored");
}

#[derive(Debug, Clone)]
enum Step {
    Publish,
    Slice(usize),
    Subscribe { protobuf: bool, recover_from: Option<u64> },
    Leave(usize),
    Answer,
    Serve(usize),
    TrimCache,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Publish),
        5 => (1..5_usize).prop_map(Step::Slice),
        3 => (any::<bool>(), prop::option::of(0..24_u64))
            .prop_map(|(protobuf, recover_from)| Step::Subscribe { protobuf, recover_from }),
        2 => (0..32_usize).prop_map(Step::Leave),
        2 => Just(Step::Answer),
        2 => (1..4_usize).prop_map(Step::Serve),
        1 => Just(Step::TrimCache),
    ];
    prop::collection::vec(step, 1..250)
}

/// The gateway core's part around the chat: who is where, and what each has seen.
#[derive(Default)]
struct Model {
    published: u64,
    next_member: u32,
    /// Encoding and index of present members.
    present: BTreeMap<u32, (Encoding, u32)>,
    seen: BTreeMap<u32, u64>,
    asked: Option<u64>,
    /// The cache lost something since the router's last answer.
    trimmed: bool,
}

impl Model {
    fn admit(&mut self, chat: &mut Chat<u32>, waiter: Waiter<u32>, admission: Admission) -> Result<(), TestCaseError> {
        let top = chat.position().offset;
        prop_assert_eq!(top, self.published);
        match (admission, waiter.wish) {
            (Admission::Fresh, Wish::Now) => {}
            (Admission::Recovered { offset, missed }, Wish::Recover { offset: wished, .. }) => {
                prop_assert_eq!(offset, wished);
                let returned: Vec<_> = chat
                    .newest(missed)
                    .map(|(offset, data)| (offset, String::from_utf8(data.to_vec()).unwrap()))
                    .collect();
                let expected: Vec<_> = (wished + 1..=top).map(|offset| (offset, payload(offset))).collect();
                prop_assert_eq!(returned, expected);
            }
            (Admission::Lost, Wish::Recover { offset, .. }) => {
                // Never while the missed ones are few enough and either kept here or just delivered by the router.
                let kept = top - offset.min(top) <= 8 && !self.trimmed;
                prop_assert!(offset > top || !kept, "{} of {} given up", offset, top);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        let index = chat.join(waiter.member, waiter.encoding);
        self.present.insert(waiter.member, (waiter.encoding, index));
        self.seen.insert(waiter.member, top);
        Ok(())
    }

    fn serve(&mut self, chat: &mut Chat<u32>, max: usize) -> Result<usize, TestCaseError> {
        let served = chat.serve(RECOVERY, max);
        let count = served.len();
        for (waiter, admission) in served {
            self.admit(chat, waiter, admission)?;
        }
        if let Some(since) = chat.next_ask(RECOVERY) {
            prop_assert!(self.asked.replace(since).is_none(), "two history requests at once");
        }
        Ok(count)
    }

    fn answer(&mut self, chat: &mut Chat<u32>) {
        let Some(since) = self.asked.take() else { return };
        self.trimmed = false;
        let texts: Vec<_> = (since + 1..=self.published).map(|offset| (offset, payload(offset))).collect();
        chat.handle_history(EPOCH, texts.iter().map(|(offset, text)| (*offset, text.as_bytes())), RECENT);
    }

    fn slice(&mut self, chat: &mut Chat<u32>, budget: usize, pool: &mut Pool) -> Result<bool, TestCaseError> {
        let next = Encoding::ALL
            .into_iter()
            .find_map(|encoding| Some((chat.next_slice(encoding, budget, BATCH, pool)?, encoding)));
        let Some((slice, encoding)) = next else { return Ok(false) };
        let updates = publications(encoding, &slice.bytes);
        prop_assert_eq!(updates.len(), slice.updates);
        for member in chat.slice_members(&slice, encoding) {
            prop_assert_eq!(self.present.get(member).map(|(encoding, _)| *encoding), Some(encoding));
            let last = self.seen.get_mut(member).unwrap();
            for (offset, text) in &updates {
                prop_assert_eq!(*offset, *last + 1, "member {} after {}", member, last);
                prop_assert_eq!(text, &payload(*offset));
                *last = *offset;
            }
        }
        Ok(true)
    }
}

proptest! {
    #[test]
    fn every_member_sees_exactly_what_follows_its_reply(steps in steps()) {
        let mut chat = live_chat(0);
        let mut pool = Pool::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Publish => {
                    model.published += 1;
                    chat.handle_update(model.published, payload(model.published).as_bytes(), RECENT, &mut pool).unwrap();
                }
                Step::Slice(budget) => {
                    model.slice(&mut chat, budget, &mut pool)?;
                }
                Step::Subscribe { protobuf, recover_from } => {
                    let member = model.next_member;
                    model.next_member += 1;
                    let encoding = if protobuf { Encoding::Protobuf } else { Encoding::Json };
                    // Offsets around the top, the future included.
                    let wish = recover_from.map_or(Wish::Now, |back| recover((model.published + 2).saturating_sub(back)));
                    let waiter = Waiter { encoding, ..waiter(member, wish) };
                    match chat.admit(wish, RECOVERY) {
                        Admission::Wait => chat.wait(waiter),
                        admission => model.admit(&mut chat, waiter, admission)?,
                    }
                    model.serve(&mut chat, 0)?;
                }
                Step::Leave(nth) => {
                    let Some((&member, &(encoding, index))) = model.present.iter().nth(nth) else { continue };
                    model.present.remove(&member);
                    chat.leave(index, encoding, |moved, to| model.present.get_mut(&moved).unwrap().1 = to);
                }
                Step::Answer => model.answer(&mut chat),
                Step::Serve(max) => {
                    model.serve(&mut chat, max)?;
                }
                Step::TrimCache => {
                    chat.halve_recent();
                    model.trimmed = true;
                }
            }
        }
        for _ in 0..1_000 {
            let served = model.serve(&mut chat, 100)?;
            if served == 0 && model.asked.is_none() {
                break;
            }
            model.answer(&mut chat);
        }
        prop_assert!(!chat.has_waiters());
        while model.slice(&mut chat, 7, &mut pool)? {}
        prop_assert!(chat.is_drained());
        prop_assert_eq!(chat.members(), model.present.len());
        for member in model.present.keys() {
            prop_assert_eq!(model.seen[member], model.published, "member {} missed something", member);
        }
    }
}

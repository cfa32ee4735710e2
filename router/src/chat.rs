//! One chat: its epoch, its offsets and its recent messages.
//!
//! Pure: no I/O, no clock, no randomness. A message is *accepted* (it has its offset, nobody sees it), then *committed*
//! (durable as configured: visible to history, resume and fan-out) or *aborted* (it never was).
//!
//! Invariants worth naming:
//! - Offsets start at 1 and grow by exactly 1; `top <= assigned`; only offsets up to `top` are ever shown.
//! - An offset that was committed is never given out again under the same epoch. An aborted one is, because it is
//!   certain that nobody saw it; the caller aborts only what its log denies.
//! - `recent` is contiguous: it holds exactly the offsets `first..=assigned`.
//! - Messages that wait for durability are never dropped to make room.

use std::collections::VecDeque;

use bytes::Bytes;
use corecast_wire::Position;

/// Bytes of bookkeeping that one kept message costs beside its payload: 40 in the ring and about 24 of the allocator.
pub const MESSAGE_OVERHEAD: usize = 64;

/// What a chat keeps for history and resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Most messages kept per chat.
    pub messages: usize,
    /// Most payload bytes kept per chat; the newest message is kept whatever its size.
    pub bytes: usize,
}

impl Default for Kept {
    /// 1,000 messages or 1 MiB, whichever is reached first.
    fn default() -> Self {
        Self { messages: 1_000, bytes: 1 << 20 }
    }
}

/// One message as it is kept and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Wall clock at acceptance, milliseconds since 1970.
    pub time_ms: u64,
    /// The body, opaque to the router.
    pub payload: Bytes,
}

/// A question for a part of a chat's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Exclusive start; an epoch of 0 matches every epoch. `None`: from the oldest (or newest, if reversed) kept message.
    pub since: Option<Position>,
    /// Most messages wanted; 0 asks for the position alone.
    pub limit: usize,
    /// Most bytes wanted; one message is returned even if it is larger, so that a reader always gets ahead.
    pub max_bytes: usize,
    /// Newest first.
    pub reverse: bool,
}

/// Why a history question has no answer. The asker is to blame, not the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The position belongs to another life of the chat.
    #[error("the position belongs to another epoch")]
    WrongEpoch,
    /// Nothing lies before offset 0 (Centrifugo answers the same with "bad request").
    #[error("a reversed history needs a position after offset 0")]
    ReverseFromZero,
}

/// Whether a subscriber can go on from its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Everything after the position up to the top is kept; the number of missed messages.
    Complete {
        /// How many committed messages lie behind the position.
        missed: usize,
    },
    /// Another epoch, a position beyond the top, or messages that are not kept any more.
    Impossible,
}

/// The state of one chat.
#[derive(Debug)]
pub struct Chat {
    epoch: u64,
    /// Last committed offset, 0 while there is none.
    top: u64,
    /// Offset of `recent[0]`; `assigned + 1` while `recent` is empty.
    first: u64,
    recent: VecDeque<Message>,
    /// Payload bytes in `recent`, committed or not.
    bytes: usize,
}

impl Chat {
    /// A chat without messages. `epoch` must be new for this chat and not 0.
    pub fn new(epoch: u64) -> Self {
        Self::restored(epoch, 0)
    }

    /// A chat whose messages up to `top` are committed but not in memory, as a durable log hands it back.
    pub fn restored(epoch: u64, top: u64) -> Self {
        assert_ne!(epoch, 0, "epoch 0 means any epoch in a question");
        Self { epoch, top, first: top + 1, recent: VecDeque::new(), bytes: 0 }
    }

    /// The identity of this sequence of offsets.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last committed offset, 0 while there is none.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Epoch and last committed offset.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.top }
    }

    /// The oldest offset that history can return; `top + 1` if it can return none.
    pub fn oldest(&self) -> u64 {
        self.first.min(self.top + 1)
    }

    /// The last offset given out, committed or not.
    pub fn assigned(&self) -> u64 {
        self.first + self.recent.len() as u64 - 1
    }

    /// Memory held by the kept messages, in bytes, bookkeeping included.
    pub fn memory(&self) -> usize {
        self.bytes + self.recent.len() * MESSAGE_OVERHEAD
    }

    /// Gives the message the next offset. It stays invisible until [`Chat::commit`].
    pub fn accept(&mut self, message: Message) -> u64 {
        self.bytes += message.payload.len();
        self.recent.push_back(message);
        self.assigned()
    }

    /// Makes the oldest accepted message visible and returns its offset, or `None` if nothing waits.
    /// Afterwards the chat holds no more than `kept` allows.
    pub fn commit(&mut self, kept: &Kept) -> Option<u64> {
        if self.top == self.assigned() {
            return None;
        }
        self.top += 1;
        while self.first < self.top && (self.visible() > kept.messages || self.bytes > kept.bytes) {
            self.forget_oldest();
        }
        Some(self.top)
    }

    /// Forgets everything that was accepted and not committed; the same offsets will be given out again.
    /// Only for messages of which the log says that they never were and never will be durable.
    pub fn abort(&mut self) {
        while self.assigned() > self.top {
            let Some(message) = self.recent.pop_back() else { return };
            self.bytes -= message.payload.len();
        }
    }

    /// A committed message that is still kept.
    pub fn message(&self, offset: u64) -> Option<&Message> {
        self.accepted(offset).filter(|_| offset <= self.top)
    }

    /// A message that is still kept, committed or not.
    pub fn accepted(&self, offset: u64) -> Option<&Message> {
        let index = offset.checked_sub(self.first)?;
        self.recent.get(usize::try_from(index).ok()?)
    }

    /// Whether everything after `position` is here. An epoch of 0 matches every epoch.
    pub fn resume(&self, position: Position) -> Resume {
        let same_epoch = position.epoch == 0 || position.epoch == self.epoch;
        if !same_epoch || position.offset > self.top || position.offset + 1 < self.oldest() {
            return Resume::Impossible;
        }
        Resume::Complete { missed: (self.top - position.offset) as usize }
    }

    /// The newest committed messages in ascending order: at most `limit`, at most `max_bytes` of payload.
    pub fn newest(&self, limit: usize, max_bytes: usize) -> impl Iterator<Item = (u64, &Message)> {
        let query = Query { since: None, limit, max_bytes, reverse: true };
        let count = self.range(&query).map_or(0, Iterator::count) as u64;
        self.after(self.top - count)
    }

    /// All kept committed messages with a larger offset than `offset`, ascending.
    pub fn after(&self, offset: u64) -> impl Iterator<Item = (u64, &Message)> {
        let from = offset.saturating_add(1).max(self.first);
        (from..=self.top).map_while(|offset| Some((offset, self.message(offset)?)))
    }

    /// A part of the history, as Centrifugo defines it: `since` is exclusive in both directions; a position older than
    /// what is kept starts at the oldest kept message (the asker sees the jump in the offsets), while a reversed
    /// question from a position that is not kept has an empty answer.
    pub fn range(&self, query: &Query) -> Result<impl Iterator<Item = (u64, &Message)>, QueryError> {
        let (oldest, top) = (self.oldest(), self.top);
        let start = match query.since {
            Some(since) if since.epoch != 0 && since.epoch != self.epoch => return Err(QueryError::WrongEpoch),
            Some(since) if query.reverse => since.offset.checked_sub(1).ok_or(QueryError::ReverseFromZero)?,
            Some(since) => since.offset.saturating_add(1).max(oldest),
            None if query.reverse => top,
            None => oldest,
        };
        let mut budget = query.max_bytes;
        let (mut next, reverse, mut left) = (Some(start), query.reverse, query.limit);
        let mut first = true;
        Ok(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let offset = next?;
            let message = self.message(offset)?;
            if !first && message.payload.len() > budget {
                return None;
            }
            first = false;
            budget = budget.saturating_sub(message.payload.len());
            next = if reverse { offset.checked_sub(1) } else { offset.checked_add(1) };
            Some((offset, message))
        }))
    }

    /// Forgets the older half of the committed messages (at least one, if there is any) and returns how many bytes of
    /// memory that freed. For the owner of a memory budget that spans all chats.
    pub fn shrink(&mut self) -> usize {
        let before = self.memory();
        for _ in 0..self.visible().div_ceil(2) {
            self.forget_oldest();
        }
        if self.recent.capacity() > 4 * self.recent.len().max(4) {
            self.recent.shrink_to_fit();
        }
        before - self.memory()
    }

    /// How many committed messages are kept.
    fn visible(&self) -> usize {
        (self.top + 1 - self.oldest()) as usize
    }

    fn forget_oldest(&mut self) {
        debug_assert!(self.first <= self.top, "a message that waits for durability is never dropped");
        if let Some(message) = self.recent.pop_front() {
            self.bytes -= message.payload.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEPT: Kept = Kept { messages: 10, bytes: 1_000 };

    fn message(index: u64) -> Message {
        Message { time_ms: 1_000 + index, payload: Bytes::from(format!("m{index}")) }
    }

    fn filled(count: u64) -> Chat {
        let mut chat = Chat::new(7);
        for index in 1..=count {
            assert_eq!(chat.accept(message(index)), index);
            assert_eq!(chat.commit(&KEPT), Some(index));
        }
        chat
    }

    fn since(offset: u64) -> Option<Position> {
        Some(Position { epoch: 7, offset })
    }

    fn offsets(chat: &Chat, since: Option<Position>, limit: usize, reverse: bool) -> Vec<u64> {
        let query = Query { since, limit, max_bytes: usize::MAX, reverse };
        chat.range(&query).expect("in range").map(|(offset, _)| offset).collect()
    }

    #[test]
    fn accepted_messages_are_invisible_until_committed() {
        let mut chat = Chat::new(7);
        assert_eq!((chat.top(), chat.oldest()), (0, 1));
        chat.accept(message(1));
        chat.accept(message(2));
        assert_eq!((chat.top(), chat.oldest(), chat.assigned()), (0, 1, 2));
        assert_eq!(offsets(&chat, None, 9, false), []);
        assert_eq!(chat.message(1), None);
        assert_eq!(chat.commit(&KEPT), Some(1));
        assert_eq!(offsets(&chat, None, 9, false), [1]);
        assert_eq!(offsets(&chat, None, 9, true), [1]);
        assert_eq!(chat.commit(&KEPT), Some(2));
        assert_eq!(chat.commit(&KEPT), None);
    }

    #[test]
    fn aborted_offsets_are_given_out_again() {
        let mut chat = filled(3);
        chat.accept(message(4));
        chat.accept(message(5));
        chat.abort();
        assert_eq!((chat.top(), chat.assigned()), (3, 3));
        assert_eq!(chat.accept(message(6)), 4);
        chat.commit(&KEPT);
        assert_eq!(chat.message(4), Some(&message(6)));
    }

    #[test]
    fn count_and_bytes_bound_what_is_kept() {
        let mut chat = filled(25);
        assert_eq!((chat.oldest(), chat.top()), (16, 25));
        let big = |len: usize| Message { time_ms: 0, payload: Bytes::from(vec![0; len]) };
        chat.accept(big(990));
        chat.commit(&KEPT);
        assert_eq!((chat.oldest(), chat.top()), (23, 26), "3 × 3 + 990 bytes fit, one more message does not");
        chat.accept(big(5_000));
        chat.commit(&KEPT);
        assert_eq!((chat.oldest(), chat.top()), (27, 27), "the newest is kept whatever its size");
        assert_eq!(chat.memory(), 5_000 + MESSAGE_OVERHEAD);
    }

    #[test]
    fn waiting_messages_survive_a_full_ring() {
        let mut chat = filled(10);
        for index in 11..=40 {
            chat.accept(message(index));
        }
        assert_eq!(chat.oldest(), 1);
        for index in 11..=40 {
            assert_eq!(chat.commit(&KEPT), Some(index));
        }
        assert_eq!(chat.oldest(), 31);
    }

    #[test]
    fn history_follows_centrifugo() {
        let chat = filled(25); // keeps 16..=25
        assert_eq!(offsets(&chat, None, 3, false), [16, 17, 18]);
        assert_eq!(offsets(&chat, None, 3, true), [25, 24, 23]);
        assert_eq!(offsets(&chat, since(20), 3, false), [21, 22, 23]);
        assert_eq!(offsets(&chat, since(20), 3, true), [19, 18, 17]);
        assert_eq!(offsets(&chat, since(2), 2, false), [16, 17], "older than kept: from the oldest kept");
        assert_eq!(offsets(&chat, since(25), 9, false), []);
        assert_eq!(offsets(&chat, since(99), 9, false), []);
        assert_eq!(offsets(&chat, since(26), 2, true), [25, 24]);
        assert_eq!(offsets(&chat, since(99), 9, true), []);
        assert_eq!(offsets(&chat, since(16), 9, true), []);
        assert_eq!(offsets(&chat, None, 0, false), []);
        assert_eq!(offsets(&chat, Some(Position { epoch: 0, offset: 23 }), 9, false), [24, 25]);
        let ask = |since, reverse| chat.range(&Query { since, limit: 1, max_bytes: 1, reverse }).err();
        assert_eq!(ask(Some(Position { epoch: 8, offset: 20 }), false), Some(QueryError::WrongEpoch));
        assert_eq!(ask(since(0), true), Some(QueryError::ReverseFromZero));
        assert_eq!(ask(since(u64::MAX), false), None);
    }

    #[test]
    fn a_byte_cap_cuts_but_never_to_nothing() {
        let chat = filled(25); // payloads of 3 bytes
        let count = |max_bytes| {
            chat.range(&Query { since: since(15), limit: 100, max_bytes, reverse: false }).expect("same epoch").count()
        };
        assert_eq!([count(0), count(3), count(8), count(9)], [1, 1, 2, 3]);
        let newest: Vec<u64> = chat.newest(5, 6).map(|(offset, _)| offset).collect();
        assert_eq!(newest, [24, 25]);
        assert_eq!(chat.newest(0, 100).count(), 0);
        assert_eq!(chat.newest(usize::MAX, usize::MAX).count(), 10);
    }

    #[test]
    fn resume_is_exact_or_refused() {
        let chat = filled(25);
        let resume = |epoch, offset| chat.resume(Position { epoch, offset });
        assert_eq!(resume(7, 25), Resume::Complete { missed: 0 });
        assert_eq!(resume(7, 15), Resume::Complete { missed: 10 });
        assert_eq!(resume(7, 14), Resume::Impossible);
        assert_eq!(resume(7, 26), Resume::Impossible);
        assert_eq!(resume(8, 20), Resume::Impossible);
        assert_eq!(resume(0, 20), Resume::Complete { missed: 5 });
        assert_eq!(resume(7, u64::MAX), Resume::Impossible);
        assert_eq!(Chat::new(7).resume(Position { epoch: 7, offset: 0 }), Resume::Complete { missed: 0 });
        assert_eq!(Chat::restored(7, 5).resume(Position { epoch: 7, offset: 4 }), Resume::Impossible);
    }

    #[test]
    fn shrinking_halves_what_is_committed_and_nothing_else() {
        let mut chat = filled(9);
        chat.accept(message(10));
        assert_eq!(chat.shrink(), 5 * (2 + MESSAGE_OVERHEAD));
        assert_eq!((chat.oldest(), chat.top(), chat.assigned()), (6, 9, 10));
        while chat.shrink() > 0 {}
        assert_eq!((chat.oldest(), chat.top(), chat.assigned()), (10, 9, 10));
        assert_eq!(chat.commit(&KEPT), Some(10));
        assert_eq!(offsets(&chat, None, 9, false), [10]);
    }

    proptest! {
        /// Against a plain vector of everything ever committed.
        #[test]
        fn ranges_equal_a_plain_model(
            steps in prop::collection::vec((0u8..4, 1usize..200), 1..60),
            ask in (0u64..80, 0usize..20, 0usize..600, any::<bool>(), any::<bool>()),
        ) {
            let mut chat = Chat::new(7);
            let mut committed: Vec<Message> = Vec::new();
            let mut waiting: Vec<Message> = Vec::new();
            for (index, (step, len)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => {
                        let message = Message { time_ms: index as u64, payload: Bytes::from(vec![index as u8; len]) };
                        waiting.push(message.clone());
                        prop_assert_eq!(chat.accept(message), (committed.len() + waiting.len()) as u64);
                    }
                    2 => {
                        let expected = (!waiting.is_empty()).then(|| committed.len() as u64 + 1);
                        prop_assert_eq!(chat.commit(&KEPT), expected);
                        if expected.is_some() {
                            committed.push(waiting.remove(0));
                        }
                    }
                    _ => {
                        chat.abort();
                        waiting.clear();
                    }
                }
            }
            let (offset, limit, max_bytes, reverse, from_start) = ask;
            let since = (!from_start).then_some(Position { epoch: 7, offset: offset + u64::from(reverse) });
            let top = committed.len() as u64;
            prop_assert_eq!(chat.top(), top);
            let mut wanted: Vec<u64> = match since {
                None => (chat.oldest()..=top).collect(),
                Some(since) if !reverse => (chat.oldest()..=top).filter(|offset| *offset > since.offset).collect(),
                Some(since) if (chat.oldest()..=top).contains(&(since.offset - 1)) =>
                    (chat.oldest()..since.offset).collect(),
                Some(_) => Vec::new(),
            };
            if reverse {
                wanted.reverse();
            }
            wanted.truncate(limit);
            let mut sum = 0;
            let fits = wanted.iter().take_while(|offset| {
                let first = sum == 0;
                sum += committed[**offset as usize - 1].payload.len();
                first || sum <= max_bytes
            }).count();
            wanted.truncate(fits);
            let got: Vec<(u64, Message)> = chat
                .range(&Query { since, limit, max_bytes, reverse })
                .expect("same epoch")
                .map(|(offset, message)| (offset, message.clone()))
                .collect();
            let wanted: Vec<(u64, Message)> =
                wanted.into_iter().map(|offset| (offset, committed[offset as usize - 1].clone())).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}

//! What waits in each slot for its log, in the order of submission.

use std::collections::VecDeque;
use std::time::Instant;

use super::link::LinkId;
use crate::keys::KeyId;
use crate::log::Pos;

/// A publish that has its offset, or waits for the one that has it, and no answer yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// Index of the chat.
    pub(super) chat: u32,
    /// Payload bytes.
    pub(super) bytes: u32,
    /// Offset in the chat; 0 in a duplicate.
    pub(super) offset: u64,
    /// Place in the slot's log, once submitted. A duplicate takes the place of what was submitted last before it: when
    /// that is settled, so is its original.
    pub(super) pos: Pos,
    /// Link and request that wait for the answer; `None` once they have it.
    pub(super) asker: Option<(LinkId, u64)>,
    /// Its idempotency key.
    pub(super) key: Option<KeyId>,
    /// A repetition of a publish whose outcome is open.
    pub(super) duplicate: bool,
}

/// Whether a slot's log takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Never opened.
    Closed,
    /// Asked to open; what comes meanwhile waits.
    Opening,
    /// Takes messages.
    Open,
    /// Takes none until then; the next message after that opens it.
    Suspended { until: Instant },
    /// Some outcomes are unknown. It takes no messages until the log has told which are in it.
    Settling {
        /// When to ask again; `None` while the answer is under way.
        retry: Option<Instant>,
    },
    /// Another owner has it, for good.
    Lost,
}

/// One slot.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    /// Last known place: the log's tail, or our last submission.
    pub(super) tail: Pos,
    pub(super) waiting: VecDeque<Pending>,
    /// How many of `waiting` are submitted, from the front.
    pub(super) submitted: usize,
    /// Listed among the slots with something to submit.
    pub(super) listed: bool,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self { state: State::Closed, tail: Pos(0), waiting: VecDeque::new(), submitted: 0, listed: false }
    }

    /// Takes out the oldest submission that is durable when everything up to `upto` is.
    #[inline]
    pub(super) fn pop_durable(&mut self, upto: Pos) -> Option<Pending> {
        if self.submitted == 0 || self.waiting.front()?.pos > upto {
            return None;
        }
        self.submitted -= 1;
        self.waiting.pop_front()
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> VecDeque<Pending> {
        self.submitted = 0;
        std::mem::take(&mut self.waiting)
    }
}

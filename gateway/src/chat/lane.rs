//! The members of one chat with one encoding, and the frames on their way to them.
//!
//! A lane is a contiguous list of member keys plus a queue of updates. Each update remembers how long the list was when
//! it was accepted (`end`): the members before that index get it, those who joined later got a position that already
//! includes it. Updates are sent in batches; a batch is a prefix of the queue, joined into one buffer, and a cursor
//! walks the members in slices.
//!
//! Invariants worth naming:
//! * `ends` ascend along the queue and never exceed the length of the list.
//! * While a batch is under way, members before `cursor` have got all of it that is meant for them and members from
//!   `cursor` on have got nothing of it. So a member's frames leave in order, whatever joins or leaves in between.
//! * Leaving keeps every other member on its side of the cursor and of every `end`: the hole travels upwards through
//!   these boundaries, one moved member each, until it falls off the end of the list. There are no tombstones, and the
//!   price is at most one move per distinct boundary.
//! * A member's index changes only by its own `leave` or through the `moved` callback of another's.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// Members and pending updates. `M` is the caller's key of a member; the lane only copies it.
#[derive(Debug)]
pub(crate) struct Lane<M> {
    members: Vec<M>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    /// Updates of the batch under way; 0 = none.
    batch: usize,
    /// First member that has not got the batch under way.
    cursor: u32,
    /// The frames of the batch under way, joined.
    joined: Bytes,
}

#[derive(Debug)]
struct Queued {
    frame: Bytes,
    /// Length of the member list when the update was accepted, less those of them who left.
    end: u32,
}

/// How much of one lane goes out as one send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Updates.
    pub(crate) frames: usize,
    /// Bytes; one update may be larger.
    pub(crate) bytes: usize,
}

/// The next piece of work: send `bytes`, whole frames in order, to the members in `range`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) bytes: Bytes,
    pub(crate) range: Range<usize>,
    /// How many updates `bytes` holds.
    pub(crate) updates: usize,
}

impl<M> Default for Lane<M> {
    fn default() -> Self {
        Self { members: Vec::new(), queue: VecDeque::new(), queued_bytes: 0, batch: 0, cursor: 0, joined: Bytes::new() }
    }
}

impl<M: Copy> Lane<M> {
    /// How many members the lane has.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// Updates and bytes that wait to be sent, the batch under way included.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.queue.len(), self.queued_bytes)
    }

    /// The members of a slice's range.
    pub(crate) fn members(&self, range: Range<usize>) -> &[M] {
        self.members.get(range).unwrap_or_default()
    }

    /// Adds a member, who gets the updates accepted from now on; returns its index.
    pub(crate) fn join(&mut self, member: M) -> u32 {
        let index = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        assert!(index < u32::MAX, "a core has fewer than 2^32 connections");
        self.members.push(member);
        index
    }

    /// Removes the member at `index`; it gets nothing more. Reports each member that had to move, with its new index.
    pub(crate) fn leave(&mut self, index: u32, mut moved: impl FnMut(M, u32)) {
        let members = &mut self.members;
        let mut hole = index;
        let mut shift = |boundary: &mut u32| {
            let last = *boundary - 1;
            if last != hole {
                let member = members[last as usize];
                members[hole as usize] = member;
                moved(member, hole);
                hole = last;
            }
            *boundary = last;
        };
        let mut cursor_waits = self.batch > 0 && self.cursor > index;
        for queued in &mut self.queue {
            if cursor_waits && self.cursor <= queued.end {
                shift(&mut self.cursor);
                cursor_waits = false;
            }
            if queued.end > index {
                shift(&mut queued.end);
            }
        }
        if cursor_waits {
            shift(&mut self.cursor);
        }
        let mut length = u32::try_from(members.len()).unwrap_or(u32::MAX);
        // Borrowed again because `shift` holds the members: the last boundary is the end of the list itself.
        let last = length - 1;
        if last != hole {
            let member = members[last as usize];
            members[hole as usize] = member;
            moved(member, hole);
        }
        length = last;
        members.truncate(length as usize);
        self.shrink();
    }

    /// Takes all members out at once; whatever was on its way to them is dropped.
    pub(crate) fn clear(&mut self) -> Vec<M> {
        self.queue = VecDeque::new();
        self.queued_bytes = 0;
        self.finish_batch();
        std::mem::take(&mut self.members)
    }

    /// Accepts the frame of the next update for everyone in the list now. False if nobody is.
    pub(crate) fn accept(&mut self, frame: Bytes) -> bool {
        let end = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        if end == 0 {
            return false;
        }
        self.queued_bytes += frame.len();
        self.queue.push_back(Queued { frame, end });
        true
    }

    /// The next slice of at most `budget` members; `None` when nothing waits. The slice counts as sent: the caller
    /// sends it before it touches the lane again.
    pub(crate) fn next_slice(&mut self, budget: usize, limits: BatchLimits) -> Option<Slice> {
        if budget == 0 {
            return None;
        }
        loop {
            if self.batch == 0 {
                self.begin_batch(limits)?;
            }
            let mut skipped = 0;
            let open = self.queue.iter().take(self.batch).enumerate().find(|(_, queued)| {
                let behind = queued.end <= self.cursor;
                skipped += if behind { queued.frame.len() } else { 0 };
                !behind
            });
            let Some((first, queued)) = open else {
                self.end_batch();
                continue;
            };
            let start = self.cursor as usize;
            let end = (queued.end as usize).min(start.saturating_add(budget));
            let slice = Slice { bytes: self.joined.slice(skipped..), range: start..end, updates: self.batch - first };
            self.cursor = u32::try_from(end).unwrap_or(u32::MAX);
            if self.queue.get(self.batch - 1).is_none_or(|last| last.end <= self.cursor) {
                self.end_batch();
            }
            return Some(slice);
        }
    }

    /// Joins as many queued updates as the limits allow into one buffer: a plain send of one buffer costs less for
    /// each member than importing a vector of frames, and the copy is made once for all of them.
    fn begin_batch(&mut self, limits: BatchLimits) -> Option<()> {
        let first = self.queue.front()?;
        let (mut count, mut bytes) = (1, first.frame.len());
        for queued in self.queue.iter().skip(1).take(limits.frames.saturating_sub(1)) {
            if bytes + queued.frame.len() > limits.bytes {
                break;
            }
            bytes += queued.frame.len();
            count += 1;
        }
        self.joined = if count == 1 {
            first.frame.clone()
        } else {
            let mut joined = Vec::with_capacity(bytes);
            for queued in self.queue.iter().take(count) {
                joined.extend_from_slice(&queued.frame);
            }
            Bytes::from(joined)
        };
        self.batch = count;
        self.cursor = 0;
        Some(())
    }

    fn end_batch(&mut self) {
        for queued in self.queue.drain(..self.batch) {
            self.queued_bytes -= queued.frame.len();
        }
        self.finish_batch();
        // A burst must not leave its queue behind in every chat: 100,000 chats are many.
        if self.queue.is_empty() && self.queue.capacity() > IDLE_QUEUE {
            self.queue = VecDeque::new();
        }
    }

    fn finish_batch(&mut self) {
        self.batch = 0;
        self.cursor = 0;
        self.joined = Bytes::new();
    }

    /// Gives memory back after a large chat has emptied, with room so that a few joins do not grow it again.
    fn shrink(&mut self) {
        let (len, capacity) = (self.members.len(), self.members.capacity());
        if capacity > IDLE_MEMBERS && len < capacity / 4 {
            self.members.shrink_to(len * 2);
        }
    }
}

/// Queue capacity that an idle lane may keep, in updates: 4 × 40 bytes.
const IDLE_QUEUE: usize = 4;
/// Member capacity below which a lane never shrinks.
const IDLE_MEMBERS: usize = 16;

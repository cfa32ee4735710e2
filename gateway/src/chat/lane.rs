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
//! * What is on its way lives in an [`Outgoing`] borrowed from the core's pool: an idle lane is a list and nothing else.
//! * A member's index changes only by its own `leave` or through the `moved` callback of another's.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// Members and, while something waits to be sent, what that is. `M` is the caller's key of a member; the lane only
/// copies it.
#[derive(Debug)]
pub(crate) struct Lane<M> {
    /// Of the members of a small chat few are on one core: most lists need no memory of their own.
    members: SmallVec<[M; 2]>,
    outgoing: Option<Box<Outgoing>>,
}

/// The updates on their way to one lane's members.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
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

/// Empty [`Outgoing`]s to use again, so that a message costs no allocation but its frames. The most recently used come
/// first: they are in the cache.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    // Boxed because they move between pool and lanes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Outgoing>>,
    /// Where frames are written; see `block`.
    pub(super) scratch: Vec<u8>,
}

impl Pool {
    fn take(&mut self) -> Box<Outgoing> {
        self.spare.pop().unwrap_or_default()
    }

    fn give(&mut self, mut outgoing: Box<Outgoing>) {
        outgoing.queue.clear();
        outgoing.queue.shrink_to(POOLED_QUEUE);
        outgoing.queued_bytes = 0;
        outgoing.finish_batch();
        if self.spare.len() < POOLED {
            self.spare.push(outgoing);
        }
    }
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
    /// Nothing more of this batch follows: the next slice would go to the same members again.
    pub(crate) ends_batch: bool,
}

impl<M> Default for Lane<M> {
    fn default() -> Self {
        Self { members: SmallVec::new(), outgoing: None }
    }
}

impl<M: Copy> Lane<M> {
    /// How many members the lane has.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.outgoing.is_none()
    }

    /// Updates and bytes that wait to be sent, the batch under way included.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        self.outgoing.as_ref().map_or((0, 0), |outgoing| (outgoing.queue.len(), outgoing.queued_bytes))
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
        let mut length = u32::try_from(members.len()).unwrap_or(u32::MAX);
        assert!(index < length, "a member that leaves is in the list");
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
        if let Some(outgoing) = self.outgoing.as_deref_mut() {
            outgoing.shift_boundaries(index, &mut shift);
        }
        shift(&mut length);
        members.truncate(length as usize);
        self.shrink();
    }

    /// Takes all members out at once; whatever was on its way to them is dropped.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> Vec<M> {
        if let Some(outgoing) = self.outgoing.take() {
            pool.give(outgoing);
        }
        std::mem::take(&mut self.members).into_vec()
    }

    /// Accepts the frame of the next update for everyone in the list now. False if nobody is.
    pub(crate) fn accept(&mut self, frame: Bytes, pool: &mut Pool) -> bool {
        let end = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        if end == 0 {
            return false;
        }
        let outgoing = self.outgoing.get_or_insert_with(|| pool.take());
        outgoing.queued_bytes += frame.len();
        outgoing.queue.push_back(Queued { frame, end });
        true
    }

    /// The next slice of at most `budget` members; `None` when nothing waits. The slice counts as sent: the caller
    /// sends it before it touches the lane again.
    pub(crate) fn next_slice(&mut self, budget: usize, limits: BatchLimits, pool: &mut Pool) -> Option<Slice> {
        if budget == 0 {
            return None;
        }
        let mut outgoing = self.outgoing.take()?;
        let slice = outgoing.next_slice(budget, limits);
        if outgoing.queue.is_empty() {
            pool.give(outgoing);
        } else {
            self.outgoing = Some(outgoing);
        }
        slice
    }

    /// Gives memory back after a large chat has emptied, with room so that a few joins do not grow it again.
    fn shrink(&mut self) {
        let (len, capacity) = (self.members.len(), self.members.capacity());
        if capacity > IDLE_MEMBERS && len < capacity / 4 {
            let mut smaller = SmallVec::with_capacity(len * 2);
            smaller.extend_from_slice(&self.members);
            self.members = smaller;
        }
    }
}

impl Outgoing {
    /// Calls `shift` for each boundary above `index`, in ascending order.
    fn shift_boundaries(&mut self, index: u32, mut shift: impl FnMut(&mut u32)) {
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
    }

    fn next_slice(&mut self, budget: usize, limits: BatchLimits) -> Option<Slice> {
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
            self.cursor = u32::try_from(end).unwrap_or(u32::MAX);
            let slice = Slice {
                bytes: self.joined.slice(skipped..),
                range: start..end,
                updates: self.batch - first,
                ends_batch: self.queue.get(self.batch - 1).is_none_or(|last| last.end <= self.cursor),
            };
            if slice.ends_batch {
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
    }

    fn finish_batch(&mut self) {
        self.batch = 0;
        self.cursor = 0;
        self.joined = Bytes::new();
    }
}

/// Member capacity below which a lane never shrinks.
const IDLE_MEMBERS: usize = 16;
/// Spare [`Outgoing`]s of a core: 4,096 chats of one turn's updates, at most 1.4 MiB with their queues.
const POOLED: usize = 4_096;
/// Queue capacity that a spare may keep, in updates of 40 bytes.
const POOLED_QUEUE: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits { frames: 3, bytes: 1_000 };

    fn frame(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn an_update_reaches_who_was_there_and_not_who_came_later() {
        let (mut lane, mut pool) = (Lane::default(), Pool::default());
        lane.join(1);
        lane.join(2);
        assert!(lane.accept(frame("a"), &mut pool));
        lane.join(3);
        assert!(lane.accept(frame("b"), &mut pool));
        let slice = lane.next_slice(10, LIMITS, &mut pool).unwrap();
        assert_eq!((slice.bytes.as_ref(), lane.members(slice.range), slice.updates), (&b"ab"[..], &[1, 2][..], 2));
        let slice = lane.next_slice(10, LIMITS, &mut pool).unwrap();
        assert_eq!((slice.bytes.as_ref(), lane.members(slice.range), slice.updates), (&b"b"[..], &[3][..], 1));
        assert_eq!(lane.next_slice(10, LIMITS, &mut pool), None);
        assert!(lane.is_drained());
        assert_eq!(lane.backlog(), (0, 0));
    }

    #[test]
    fn a_lane_without_members_takes_no_frames() {
        let (mut lane, mut pool) = (Lane::<u32>::default(), Pool::default());
        assert!(!lane.accept(frame("a"), &mut pool));
        assert_eq!(lane.next_slice(1, LIMITS, &mut pool), None);
    }

    #[test]
    fn a_frame_whose_receivers_all_left_is_dropped() {
        let (mut lane, mut pool) = (Lane::default(), Pool::default());
        lane.join(1);
        assert!(lane.accept(frame("a"), &mut pool));
        lane.leave(0, |_, _| panic!("nobody to move"));
        lane.join(2);
        assert_eq!(lane.next_slice(9, LIMITS, &mut pool), None);
        assert!(lane.is_drained());
    }

    #[test]
    fn batches_respect_count_and_bytes_but_take_one_large_frame() {
        let (mut lane, mut pool) = (Lane::default(), Pool::default());
        lane.join(1);
        let large = frame(&"x".repeat(2_000));
        for text in [large, frame("a"), frame("b"), frame("c"), frame("d")] {
            assert!(lane.accept(text, &mut pool));
        }
        let sizes: Vec<_> = std::iter::from_fn(|| {
            lane.next_slice(1, LIMITS, &mut pool).map(|slice| (slice.updates, slice.bytes.len()))
        })
        .collect();
        assert_eq!(sizes, [(1, 2_000), (3, 3), (1, 1)]);
    }

    #[test]
    fn clearing_returns_everyone_and_drops_what_waited() {
        let (mut lane, mut pool) = (Lane::default(), Pool::default());
        for member in 0..5 {
            lane.join(member);
        }
        assert!(lane.accept(frame("a"), &mut pool));
        assert!(lane.next_slice(2, LIMITS, &mut pool).is_some());
        assert_eq!(lane.clear(&mut pool), [0, 1, 2, 3, 4]);
        assert_eq!((lane.len(), lane.backlog()), (0, (0, 0)));
        lane.join(9);
        assert_eq!(lane.next_slice(2, LIMITS, &mut pool), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join,
        Leave(usize),
        Accept,
        Slice(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Join),
            2 => (0..64_usize).prop_map(Step::Leave),
            3 => Just(Step::Accept),
            4 => (1..6_usize).prop_map(Step::Slice),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// Every member sees exactly the updates after its join, in order, each once, whatever the interleaving; and
        /// `moved` keeps the caller's indices true.
        #[test]
        fn members_see_a_contiguous_run(steps in steps()) {
            let (mut lane, mut pool) = (Lane::default(), Pool::default());
            let mut indices: BTreeMap<u32, u32> = BTreeMap::new();
            // Offset that each member, present or gone, has seen last.
            let mut seen: BTreeMap<u32, u8> = BTreeMap::new();
            let (mut next_member, mut offset) = (0_u32, 0_u8);
            let drain = vec![Step::Slice(7); 2_000];
            for step in steps.into_iter().chain(drain) {
                match step {
                    Step::Join => {
                        indices.insert(next_member, lane.join(next_member));
                        seen.insert(next_member, offset);
                        next_member += 1;
                    }
                    Step::Leave(nth) => {
                        let Some((&member, &index)) = indices.iter().nth(nth) else { continue };
                        indices.remove(&member);
                        lane.leave(index, |moved, to| {
                            indices.insert(moved, to);
                        });
                    }
                    Step::Accept => {
                        offset += 1;
                        prop_assert_eq!(lane.accept(Bytes::copy_from_slice(&[offset]), &mut pool), !indices.is_empty());
                    }
                    Step::Slice(budget) => {
                        let Some(slice) = lane.next_slice(budget, LIMITS, &mut pool) else { continue };
                        prop_assert!(slice.range.len() <= budget && !slice.range.is_empty());
                        prop_assert_eq!(slice.bytes.len(), slice.updates);
                        for member in lane.members(slice.range.clone()) {
                            prop_assert!(indices.contains_key(member), "{member} left and was sent to");
                            let last = seen.get_mut(member).unwrap();
                            for update in &slice.bytes {
                                prop_assert_eq!(*update, *last + 1);
                                *last = *update;
                            }
                        }
                    }
                }
                for (member, index) in &indices {
                    prop_assert_eq!(lane.members(*index as usize..*index as usize + 1), &[*member]);
                }
                prop_assert_eq!(lane.len(), indices.len());
            }
            prop_assert!(lane.is_drained());
            for member in indices.keys() {
                prop_assert_eq!(seen[member], offset, "member {} missed something", member);
            }
        }
    }
}

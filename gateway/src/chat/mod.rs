//! One chat on one core: its position, its members, its last publications, and who waits to join it.
//!
//! Invariants worth naming:
//! * The position moves by exactly one with each update; anything else is refused ([`OutOfOrder`]) and the caller resets
//!   the chat. So what members get after their join position is contiguous by construction.
//! * A member joins a lane in the same step in which its reply's position is read: updates before it are in the reply,
//!   updates after it come as pushes, and nothing is in both or in neither.
//! * The recent publications end at the position, always.
//! * A recovery is answered with everything that was missed or with nothing ("not recoverable"), never with a part.
//! * One history request per chat is under way at most, however many members wait for it.

mod block;
mod lane;
mod recent;
mod recovery;
mod table;

use bytes::Bytes;
use corecast_centrifuge::{Encoding, PublicationEncoder};
use corecast_websocket::{Opcode, frame};
use corecast_wire::Position;

pub(crate) use lane::{BatchLimits, Lane, Pool, Slice};
pub(crate) use recent::RecentLimits;
pub(crate) use recovery::{Admission, EpochWish, RecoveryLimits, Waiter, Wish};
pub(crate) use table::Chats;

use recent::Recent;
use recovery::Waiting;

/// Where a chat stands with its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The link was not asked, or has ended the join. Nobody is a member.
    Apart,
    /// The link was asked to join; subscribers wait.
    Joining,
    /// Joined, and this many updates are on their way to warm the cache; subscribers wait.
    Warming {
        /// Updates until the chat is live.
        left: u32,
    },
    /// Updates arrive in order.
    Live,
    /// The link was asked to leave and has not confirmed; whatever it still sends is ignored.
    Leaving,
}

/// An update that does not continue the position: a bug on the way, never to be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfOrder {
    pub(crate) expected: u64,
    pub(crate) got: u64,
}

/// One chat. `M` is the caller's key of a member.
#[derive(Debug)]
pub(crate) struct Chat<M> {
    encoder: PublicationEncoder,
    position: Position,
    recent: Recent,
    lanes: [Lane<M>; 2],
    waiting: Option<Box<Waiting<M>>>,
    phase: Phase,
    /// Endpoint of the router that owns the chat.
    pub(crate) endpoint: u16,
    /// Whether the chat is in the fan-out queue.
    pub(crate) scheduled: bool,
    /// Whether the driver has noted that the member count changed.
    pub(crate) count_noted: bool,
    /// Member count that the link was told last.
    pub(crate) count_told: u32,
    /// Members that were cut or fell behind and were not told yet; the chat keeps its index as long as there are any.
    pub(crate) cutting: u32,
    /// Counts the times that the chat became empty, so that an old linger deadline is recognised.
    pub(crate) empties: u32,
}

/// There is one per chat and core: with small chats spread over many cores nearly one per member.
const _: () = assert!(size_of::<Chat<u64>>() <= 176);

impl<M: Copy> Chat<M> {
    /// A chat that nobody has joined.
    pub(crate) fn new(name: &str, endpoint: u16) -> Self {
        Self {
            encoder: PublicationEncoder::new(name),
            position: Position { epoch: 0, offset: 0 },
            recent: Recent::default(),
            lanes: [Lane::default(), Lane::default()],
            waiting: None,
            phase: Phase::Apart,
            endpoint,
            scheduled: false,
            count_noted: false,
            count_told: 0,
            cutting: 0,
            empties: 0,
        }
    }

    /// The chat's name.
    pub(crate) fn name(&self) -> &str {
        self.encoder.channel()
    }

    /// Where the chat stands with its link.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Epoch and top offset. Only meaningful while live.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// How many members there are, over both encodings.
    pub(crate) fn members(&self) -> usize {
        self.lanes.iter().map(Lane::len).sum()
    }

    /// Bytes that the recent publications hold.
    pub(crate) fn recent_bytes(&self) -> usize {
        self.recent.bytes()
    }

    /// Drops the older half of the recent publications.
    pub(crate) fn halve_recent(&mut self) {
        self.recent.halve();
    }

    /// Whether no member, no waiting subscriber and nobody who is still to be cut needs the chat.
    pub(crate) fn is_unused(&self) -> bool {
        self.members() == 0 && self.waiting.is_none() && self.cutting == 0
    }

    /// The caller has asked the link to join.
    pub(crate) fn begin_join(&mut self) {
        debug_assert_eq!(self.phase, Phase::Apart);
        self.phase = Phase::Joining;
    }

    /// The caller has asked the link to leave. Only without members.
    pub(crate) fn begin_leave(&mut self) {
        debug_assert_eq!(self.members(), 0);
        self.phase = Phase::Leaving;
        self.recent.clear();
    }

    /// The link has confirmed that it left, or ended the join by itself.
    pub(crate) fn handle_left(&mut self) {
        self.phase = Phase::Apart;
    }

    /// The link has joined: updates follow from `position`, those up to `top` only to warm the cache.
    pub(crate) fn handle_joined(&mut self, position: Position, top: u64) {
        if self.phase == Phase::Leaving {
            return;
        }
        debug_assert_eq!(self.phase, Phase::Joining);
        self.count_told = 0;
        self.position = position;
        self.recent.clear();
        let left = u32::try_from(top.saturating_sub(position.offset)).unwrap_or(u32::MAX);
        self.phase = if left > 0 { Phase::Warming { left } } else { Phase::Live };
    }

    /// The next publication. Encodes one frame per encoding that has members, and queues it for them; true if anything
    /// is to be sent.
    ///
    /// # Errors
    /// [`OutOfOrder`] if `offset` does not continue the position; nothing changed then.
    pub(crate) fn handle_update(
        &mut self,
        offset: u64,
        payload: &[u8],
        limits: RecentLimits,
        pool: &mut Pool,
    ) -> Result<bool, OutOfOrder> {
        match self.phase {
            Phase::Warming { .. } | Phase::Live => {}
            Phase::Apart | Phase::Joining | Phase::Leaving => return Ok(false),
        }
        let expected = self.position.offset + 1;
        if offset != expected {
            return Err(OutOfOrder { expected, got: offset });
        }
        self.position.offset = offset;
        if let Phase::Warming { left } = self.phase {
            self.phase = if left > 1 { Phase::Warming { left: left - 1 } } else { Phase::Live };
        }
        let mut kept = None;
        for (encoding, lane) in Encoding::ALL.into_iter().zip(&mut self.lanes) {
            if lane.len() > 0 {
                let frame = publication_frame(&self.encoder, encoding, offset, payload, &mut pool.scratch);
                if kept.is_none() {
                    let end = frame.len() - tail_bytes(encoding, offset);
                    kept = Some(frame.slice(end - payload.len()..end));
                }
                lane.accept(frame, pool);
            }
        }
        let queued = kept.is_some();
        let kept = kept.unwrap_or_else(|| Bytes::copy_from_slice(payload));
        debug_assert_eq!(kept, payload);
        self.recent.push(kept, limits);
        Ok(queued)
    }

    /// The next slice to send to members with this encoding, at most `budget` of them.
    pub(crate) fn next_slice(
        &mut self,
        encoding: Encoding,
        budget: usize,
        limits: BatchLimits,
        pool: &mut Pool,
    ) -> Option<Slice> {
        self.lanes[encoding.index()].next_slice(budget, limits, pool)
    }

    /// The members that a slice is meant for.
    pub(crate) fn slice_members(&self, slice: &Slice, encoding: Encoding) -> &[M] {
        self.lanes[encoding.index()].members(slice.range.clone())
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.lanes.iter().all(Lane::is_drained)
    }

    /// Updates and bytes that wait to be sent in the fuller lane.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        let [json, protobuf] = [self.lanes[0].backlog(), self.lanes[1].backlog()];
        (json.0.max(protobuf.0), json.1.max(protobuf.1))
    }

    /// Adds a member from the current position on; returns its index in the list of its encoding.
    pub(crate) fn join(&mut self, member: M, encoding: Encoding) -> u32 {
        debug_assert_eq!(self.phase, Phase::Live);
        self.lanes[encoding.index()].join(member)
    }

    /// Removes the member at `index`, reporting the others that had to move.
    pub(crate) fn leave(&mut self, index: u32, encoding: Encoding, moved: impl FnMut(M, u32)) {
        self.lanes[encoding.index()].leave(index, moved);
        if self.members() == 0 {
            self.empties = self.empties.wrapping_add(1);
        }
    }

    /// Takes out all members, who are to be told; whatever was on its way to them is dropped. By encoding.
    pub(crate) fn cut(&mut self, pool: &mut Pool) -> [Vec<M>; 2] {
        let [json, protobuf] = &mut self.lanes;
        let members = [json.clear(pool), protobuf.clear(pool)];
        self.cutting += u32::try_from(members[0].len() + members[1].len()).unwrap_or(u32::MAX);
        self.empties = self.empties.wrapping_add(1);
        members
    }

    /// The position is lost: takes out all waiting subscribers, to be answered with a temporary error, and forgets what
    /// was kept. The members go with [`Self::cut`].
    pub(crate) fn reset(&mut self) -> Vec<Waiter<M>> {
        debug_assert_eq!(self.members(), 0);
        self.recent.clear();
        self.take_waiters()
    }
}

/// A complete WebSocket frame with one publication.
fn publication_frame(
    encoder: &PublicationEncoder,
    encoding: Encoding,
    offset: u64,
    payload: &[u8],
    scratch: &mut Vec<u8>,
) -> Bytes {
    let length = encoder.encoded_len(encoding, offset, payload);
    scratch.clear();
    scratch.reserve_exact(frame::header_bytes(length) + length);
    frame::header_into(scratch, opcode(encoding), length);
    encoder.write(encoding, offset, payload, scratch);
    block::shared(scratch)
}

/// The kind of frame that carries an encoding.
pub(crate) fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json => Opcode::Text,
        Encoding::Protobuf => Opcode::Binary,
    }
}

/// Bytes behind the payload in the push of a publication: the offset and what closes the objects.
fn tail_bytes(encoding: Encoding, offset: u64) -> usize {
    let digits = offset.checked_ilog10().map_or(1, |digits| digits as usize + 1);
    match encoding {
        Encoding::Json => br#","offset":"#.len() + digits + b"}}}".len(),
        Encoding::Protobuf => 1 + (u64::BITS - offset.leading_zeros()).div_ceil(7).max(1) as usize,
    }
}

#[cfg(test)]
mod tests;

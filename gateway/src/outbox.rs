//! What waits to be sent to one connection, and when its reader is too slow.
//!
//! An outbox exists only while something waits. It is *transient* when it merely gathers what one turn produces for a
//! connection (replies, several chats), *stuck* while the socket is full, *writable* when it has room again, and
//! *draining* between handing everything to the kernel and knowing that it was taken.
//!
//! Invariants worth naming:
//! * Order: replies that are still open are sealed before anything is appended behind them; what the kernel gave back
//!   goes to the head; the first frame of a stuck outbox may have been sent in part, so it always stays.
//! * Only the first frame may be partial, and every entry ends at the end of a WebSocket frame: so after any entry a
//!   close frame may follow.
//! * A connection's own limit counts all its bytes; the core's total counts a frame that many outboxes share once, and
//!   only while they are stuck. See [`Held`].
//! * A chat's frame that does not fit is not queued and not forgotten: [`Outbox::fits_update`] obliges the caller to cut
//!   the chat for this connection.

use std::collections::VecDeque;

use bytes::Bytes;
use corecast_websocket::{Opcode, server_frame};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::config::Limits;
use crate::time::Tick;

/// Frames on their way to one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Replies of this turn that are to share one frame; its payload so far.
    open: Vec<u8>,
    state: State,
    window: Window,
    /// Whether the driver has listed it to be flushed at the end of this turn.
    pub(crate) listed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The socket is not known to be full.
    Transient,
    /// The socket is full.
    Stuck,
    /// The socket was full and has room again; nothing was sent yet.
    Writable,
    /// Everything was handed to the kernel; whether it took all is not known yet.
    Draining,
}

/// Progress of a reader whose socket was full.
#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Tick,
    /// Bytes that must be taken until then.
    goal: usize,
    taken: usize,
}

const NO_WINDOW: Window = Window { ends: Tick::NEVER, goal: 0, taken: 0 };

impl Default for Outbox {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            open: Vec::new(),
            state: State::Transient,
            window: NO_WINDOW,
            listed: false,
        }
    }
}

impl Outbox {
    /// Bytes that wait, open replies included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.open.len()
    }

    /// Whether the socket is full.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state == State::Stuck
    }

    /// Whether the first frame may have been sent in part, and the core's total counts what waits.
    fn is_charged(&self) -> bool {
        matches!(self.state, State::Stuck | State::Writable)
    }

    /// The socket has room again.
    pub(crate) fn handle_writable(&mut self) {
        if self.state == State::Stuck {
            self.state = State::Writable;
        }
    }

    /// Whether nothing waits and nothing is in doubt, so that the outbox can be dropped.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Transient && self.bytes() == 0
    }

    /// Whether the frame of a chat's updates, `length` bytes long, may be queued; if not, the chat is to be cut for this
    /// connection (unsubscribe 2500 once drained). A reader that is not stuck is not slow, so it may gather up to the
    /// hard limit within a turn.
    pub(crate) fn fits_update(&self, length: usize, limits: &Limits) -> bool {
        let limit = if self.state == State::Transient { limits.outbox_hard } else { limits.outbox_soft };
        self.bytes() == 0 || self.bytes() + length <= limit
    }

    /// Whether so much waits that the connection is to be closed (3008). Only a stuck reader can be too slow.
    pub(crate) fn is_over(&self, limits: &Limits) -> bool {
        self.is_stuck() && self.bytes() > limits.outbox_hard && self.frames.len() > 1
    }

    /// The payload of the frame that gathers this turn's replies; append encoded replies only.
    pub(crate) fn replies(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// Makes a frame of the replies gathered so far.
    pub(crate) fn seal(&mut self, opcode: Opcode, held: &mut Held) {
        if !self.open.is_empty() {
            let frame = server_frame(opcode, &self.open);
            self.open.clear();
            self.open.shrink_to(OPEN_KEPT);
            self.append(frame, held);
        }
    }

    /// Appends complete frames behind everything that waits. `opcode` is that of the replies.
    pub(crate) fn push(&mut self, frame: Bytes, opcode: Opcode, held: &mut Held) {
        self.seal(opcode, held);
        self.append(frame, held);
    }

    fn append(&mut self, frame: Bytes, held: &mut Held) {
        self.bytes += frame.len();
        if self.is_charged() {
            held.charge(&frame);
        }
        self.frames.push_back(frame);
    }

    /// Everything that waits, sealed, for one send. Followed by [`Self::handle_sent`] if the send was accepted.
    pub(crate) fn frames(&mut self, opcode: Opcode, held: &mut Held) -> &[Bytes] {
        self.seal(opcode, held);
        self.frames.make_contiguous()
    }

    /// All frames were handed to the kernel. True if that settles it; false if the outbox was stuck, or the caller
    /// wants to be sure, and one has to wait for the next turn's events to know ([`Self::confirm_drained`]).
    pub(crate) fn handle_sent(&mut self, be_sure: bool, held: &mut Held) -> bool {
        debug_assert!(self.open.is_empty() && !self.is_stuck());
        if self.is_charged() {
            for frame in &self.frames {
                held.discharge(frame);
            }
        }
        self.frames.clear();
        if self.state == State::Transient && !be_sure {
            self.bytes = 0;
            return true;
        }
        // Counted as taken until the kernel gives something back.
        self.window.taken += self.bytes;
        self.bytes = 0;
        self.state = State::Draining;
        false
    }

    /// The kernel gave `rest` back: it goes to the head, and the outbox is stuck until the socket is writable.
    pub(crate) fn handle_unsent(&mut self, rest: Vec<Bytes>, now: Tick, limits: &Limits, held: &mut Held) {
        let returned: usize = rest.iter().map(Bytes::len).sum();
        self.window.taken = self.window.taken.saturating_sub(returned);
        self.bytes += returned;
        for frame in rest.into_iter().rev() {
            self.frames.push_front(frame);
        }
        if !self.is_charged() {
            for frame in &self.frames {
                held.charge(frame);
            }
        }
        self.state = State::Stuck;
        if self.window.ends == Tick::NEVER {
            self.begin_window(now, limits);
        }
    }

    /// The next turn's events brought nothing back: all was taken, and the reader has caught up.
    pub(crate) fn confirm_drained(&mut self) -> bool {
        if self.state != State::Draining {
            return false;
        }
        self.state = State::Transient;
        self.window = NO_WINDOW;
        true
    }

    /// When to call [`Self::handle_timeout`]; never, unless the socket was full.
    pub(crate) fn deadline(&self) -> Tick {
        self.window.ends
    }

    /// False if the reader has not taken enough in its window: close it (3008).
    pub(crate) fn handle_timeout(&mut self, now: Tick, limits: &Limits) -> bool {
        if now < self.window.ends {
            return true;
        }
        if self.window.taken < self.window.goal {
            return false;
        }
        self.begin_window(now, limits);
        true
    }

    /// Drops everything but what may have been sent in part, for a close frame to follow.
    pub(crate) fn cut(&mut self, held: &mut Held) {
        self.open = Vec::new();
        let charged = self.is_charged();
        for frame in self.frames.drain(usize::from(charged).min(self.frames.len())..) {
            if charged {
                held.discharge(&frame);
            }
        }
        self.bytes = self.frames.iter().map(Bytes::len).sum();
    }

    /// The connection is gone.
    pub(crate) fn discard(&mut self, held: &mut Held) {
        if self.is_charged() {
            for frame in &self.frames {
                held.discharge(frame);
            }
        }
        self.frames.clear();
        self.open.clear();
        self.bytes = 0;
        self.state = State::Transient;
        self.window = NO_WINDOW;
        self.listed = false;
    }

    fn begin_window(&mut self, now: Tick, limits: &Limits) {
        self.window =
            Window { ends: now.after(limits.progress_window), goal: self.bytes().min(limits.progress_bytes), taken: 0 };
    }
}

/// Capacity that the buffer of open replies may keep when it is pooled.
const OPEN_KEPT: usize = 1_024;
/// Spare outboxes of a core.
const POOLED: usize = 1_024;

/// Empty outboxes to use again: a reply costs no allocation but its frame.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    // Boxed because they move between here and the sessions.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Outbox>>,
}

impl Spares {
    /// An empty outbox.
    pub(crate) fn take(&mut self) -> Box<Outbox> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back an outbox in which nothing waits.
    pub(crate) fn give(&mut self, mut outbox: Box<Outbox>) {
        debug_assert!(outbox.is_idle());
        if self.spare.len() < POOLED {
            outbox.frames.shrink_to(8);
            self.spare.push(outbox);
        }
    }
}

/// The bytes that all stuck outboxes of a core hold, each shared frame counted once.
///
/// A frame is recognised by the address of its end, which no other live buffer has and which stays when a part of the
/// frame has been sent. Only stuck readers pay for this bookkeeping.
#[derive(Debug)]
pub(crate) struct Held {
    frames: HashMap<usize, Shared, FixedState>,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Shared {
    outboxes: u32,
    bytes: usize,
}

impl Held {
    /// `limit` in bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { frames: HashMap::with_hasher(FixedState::default()), bytes: 0, limit }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes have to go, so that cutting does not begin again at once; 0 while below the limit.
    pub(crate) fn excess(&self) -> usize {
        if self.bytes > self.limit { self.bytes - self.limit / 8 * 7 } else { 0 }
    }

    fn charge(&mut self, frame: &Bytes) {
        let shared = self.frames.entry(end(frame)).or_insert(Shared { outboxes: 0, bytes: 0 });
        if shared.outboxes == 0 {
            shared.bytes = frame.len();
            self.bytes += frame.len();
        }
        shared.outboxes += 1;
    }

    fn discharge(&mut self, frame: &Bytes) {
        let hashbrown::hash_map::Entry::Occupied(mut entry) = self.frames.entry(end(frame)) else {
            debug_assert!(false, "a frame was discharged that was not charged");
            return;
        };
        entry.get_mut().outboxes -= 1;
        if entry.get().outboxes == 0 {
            self.bytes -= entry.remove().bytes;
        }
    }
}

fn end(frame: &Bytes) -> usize {
    frame.as_ptr().addr() + frame.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            outbox_soft: 100,
            outbox_hard: 200,
            progress_bytes: 50,
            progress_window: Duration::from_secs(10),
            ..Limits::default()
        }
    }

    fn frame(byte: u8, length: usize) -> Bytes {
        Bytes::from(vec![byte; length])
    }

    fn concat(outbox: &mut Outbox, held: &mut Held) -> Vec<u8> {
        outbox.frames(Opcode::Text, held).concat()
    }

    /// The socket has room and takes everything, as far as one knows.
    fn sent(outbox: &mut Outbox, held: &mut Held) -> bool {
        outbox.handle_writable();
        outbox.handle_sent(false, held)
    }

    #[test]
    fn replies_share_a_frame_until_something_else_is_queued_behind_them() {
        let (mut outbox, mut held) = (Outbox::default(), Held::new(1_000));
        outbox.replies().extend_from_slice(b"{1}");
        outbox.replies().extend_from_slice(b"\n{2}");
        outbox.push(Bytes::from_static(b"PUSH"), Opcode::Text, &mut held);
        outbox.replies().extend_from_slice(b"{3}");
        assert_eq!(concat(&mut outbox, &mut held), b"\x81\x07{1}\n{2}PUSH\x81\x03{3}");
        assert!(sent(&mut outbox, &mut held));
        assert!(outbox.is_idle());
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn what_comes_back_goes_to_the_head_and_drains_in_order() {
        let (mut outbox, mut held) = (Outbox::default(), Held::new(1_000));
        let limits = limits();
        outbox.push(frame(2, 10), Opcode::Text, &mut held);
        outbox.handle_unsent(vec![frame(1, 5)], Tick(0), &limits, &mut held);
        outbox.push(frame(3, 1), Opcode::Text, &mut held);
        assert!(outbox.is_stuck());
        assert_eq!(held.bytes(), 16);
        assert_eq!(concat(&mut outbox, &mut held), [vec![1; 5], vec![2; 10], vec![3]].concat());
        assert!(!sent(&mut outbox, &mut held));
        assert_eq!(held.bytes(), 0);
        // Pushed while nobody knows yet whether all was taken.
        outbox.push(frame(4, 1), Opcode::Text, &mut held);
        outbox.handle_unsent(vec![frame(3, 1)], Tick(1), &limits, &mut held);
        assert_eq!(concat(&mut outbox, &mut held), [3, 4]);
        assert!(!sent(&mut outbox, &mut held));
        assert!(outbox.confirm_drained());
        assert!(outbox.is_idle() && !outbox.confirm_drained());
        assert_eq!((held.bytes(), held.frames.len()), (0, 0));
    }

    #[test]
    fn a_stuck_reader_is_behind_at_the_soft_limit_and_slow_at_the_hard_one() {
        let (mut outbox, mut held) = (Outbox::default(), Held::new(10_000));
        let limits = limits();
        assert!(outbox.fits_update(5_000, &limits), "one message always fits");
        outbox.push(frame(1, 150), Opcode::Text, &mut held);
        assert!(outbox.fits_update(50, &limits), "not stuck, so not slow");
        assert!(!outbox.fits_update(51, &limits));
        outbox.handle_unsent(vec![frame(1, 1)], Tick(0), &limits, &mut held);
        assert!(!outbox.fits_update(1, &limits));
        outbox.push(frame(1, 49), Opcode::Text, &mut held);
        assert!(!outbox.is_over(&limits));
        outbox.push(frame(1, 1), Opcode::Text, &mut held);
        assert!(outbox.is_over(&limits));
    }

    #[test]
    fn a_dripping_reader_is_slow_and_a_steady_one_is_not() {
        let (mut outbox, mut held) = (Outbox::default(), Held::new(10_000));
        let limits = limits();
        outbox.handle_unsent(vec![frame(1, 90)], Tick(0), &limits, &mut held);
        assert_eq!(outbox.deadline(), Tick(100));
        assert!(outbox.handle_timeout(Tick(99), &limits));
        // 50 of 90 bytes taken within the window.
        assert!(!sent(&mut outbox, &mut held));
        outbox.handle_unsent(vec![frame(1, 40)], Tick(50), &limits, &mut held);
        assert!(outbox.handle_timeout(Tick(100), &limits));
        assert_eq!(outbox.deadline(), Tick(200));
        // One byte of 40 is not progress.
        assert!(!sent(&mut outbox, &mut held));
        outbox.handle_unsent(vec![frame(1, 39)], Tick(150), &limits, &mut held);
        assert!(!outbox.handle_timeout(Tick(200), &limits));
    }

    #[test]
    fn a_shared_frame_counts_once_in_the_total_and_in_full_for_each_reader() {
        let mut held = Held::new(100);
        let limits = limits();
        let shared = frame(7, 60);
        let mut readers: Vec<Outbox> = (0..3).map(|_| Outbox::default()).collect();
        for (index, reader) in readers.iter_mut().enumerate() {
            // Partly sent in different places: still the same frame.
            reader.handle_unsent(vec![shared.slice(index..)], Tick(0), &limits, &mut held);
        }
        assert_eq!(held.bytes(), 60);
        assert_eq!(held.excess(), 0);
        assert_eq!(readers[2].bytes(), 58);
        readers[0].push(frame(8, 50), Opcode::Text, &mut held);
        assert_eq!(held.bytes(), 110);
        assert_eq!(held.excess(), 110 - 100 / 8 * 7);
        for reader in &mut readers {
            reader.discard(&mut held);
        }
        assert_eq!((held.bytes(), held.frames.len()), (0, 0));
    }

    #[test]
    fn whoever_wants_to_be_sure_waits_for_the_next_turn() {
        let (mut outbox, mut held) = (Outbox::default(), Held::new(1_000));
        outbox.push(frame(1, 5), Opcode::Text, &mut held);
        assert!(!outbox.handle_sent(true, &mut held));
        assert!(!outbox.is_idle());
        assert!(outbox.confirm_drained());
        assert!(outbox.is_idle());
    }

    #[test]
    fn cutting_keeps_only_what_may_be_half_sent() {
        let (mut outbox, mut held) = (Outbox::default(), Held::new(1_000));
        let limits = limits();
        outbox.handle_unsent(vec![frame(1, 5), frame(2, 5)], Tick(0), &limits, &mut held);
        outbox.replies().extend_from_slice(b"{}");
        outbox.cut(&mut held);
        outbox.push(Bytes::from_static(b"CLOSE"), Opcode::Text, &mut held);
        assert_eq!(concat(&mut outbox, &mut held), [&[1; 5][..], b"CLOSE"].concat());
        assert_eq!(held.bytes(), 10);
        let mut outbox = Outbox::default();
        outbox.push(frame(1, 5), Opcode::Text, &mut held);
        outbox.cut(&mut held);
        assert!(outbox.is_idle());
    }
}

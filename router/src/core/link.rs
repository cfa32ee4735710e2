//! One link to a gateway: its phase, its input, its bounded outbound queue, its subscriptions.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use corecast_wire::auth::Nonce;
use corecast_wire::message::{Hello, NodeStats, ToGateway};
use corecast_wire::{EncodeError, FrameDecoder, FrameEncoder, Text};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::limits::{BODY_BYTES_BEFORE_PROOF, FRAMES_PER_SEND};

/// Names a link. Never used again for another one while anything can refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl LinkId {
    /// A dense index for the caller's tables; used again after the link is gone.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// How far a link is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Connected; the hello must come before the deadline.
    Hello { nonce: Nonce, deadline: Instant },
    /// Challenged; the proof must come before the deadline.
    Proof { nonce: Nonce, hello: Box<Hello>, deadline: Instant },
    /// In service.
    Up,
    /// Nothing is read any more; the last frames may still be sent until the deadline.
    Closing { deadline: Instant },
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) decoder: FrameDecoder,
    pub(super) queue: Queue,
    /// Handle → index of the chat.
    pub(super) handles: HashMap<u32, u32, RandomState>,
    /// Handles of chats whose updates are withheld, in the order in which they fell behind.
    pub(super) behind: VecDeque<u32>,
    /// Requests that wait for an answer.
    pub(super) requests: usize,
    pub(super) node: Text,
    pub(super) node_incarnation: u64,
    pub(super) stats: NodeStats,
    pub(super) last_received: Instant,
    pub(super) last_sent: Instant,
    /// The socket takes nothing now.
    pub(super) blocked: bool,
    /// Listed among the links with something to send.
    pub(super) listed: bool,
}

impl Link {
    pub(super) fn new(generation: u32, nonce: Nonce, now: Instant, deadline: Instant) -> Self {
        Self {
            generation,
            phase: Phase::Hello { nonce, deadline },
            decoder: FrameDecoder::with_limit(BODY_BYTES_BEFORE_PROOF),
            queue: Queue::default(),
            handles: HashMap::default(),
            behind: VecDeque::new(),
            requests: 0,
            node: Text::default(),
            node_incarnation: 0,
            stats: NodeStats::default(),
            last_received: now,
            last_sent: now,
            blocked: false,
            listed: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }
}

/// What is to be sent on a link, in order: first what a send left over, then frames, then the open frame.
#[derive(Debug, Default)]
pub(super) struct Queue {
    returned: VecDeque<Bytes>,
    returned_bytes: usize,
    encoder: FrameEncoder,
    broken: bool,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.returned_bytes + self.encoder.queued_bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.encoder.is_empty()
    }

    /// Something could not be encoded: the peer would miss it, so the link must not go on.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn push(&mut self, message: &ToGateway) {
        let pushed = self.encoder.push(message);
        self.note(pushed);
    }

    #[inline]
    pub(super) fn push_update(&mut self, handle: u32, offset: u64, time_ms: u64, payload: &[u8]) {
        let pushed = self.encoder.push_update(handle, offset, time_ms, payload);
        self.note(pushed);
    }

    /// A `HistoryResult` of (offset, time in milliseconds, payload).
    pub(super) fn push_history<'a>(
        &mut self,
        request: u64,
        epoch: u64,
        top: u64,
        publications: impl ExactSizeIterator<Item = (u64, u64, &'a [u8])>,
    ) {
        let pushed = self.encoder.push_history(request, epoch, top, publications);
        self.note(pushed);
    }

    /// Every field is checked where it enters the router, so a message that the wire format cannot carry is a bug of
    /// the router; it costs the link, not the process.
    fn note(&mut self, pushed: Result<(), EncodeError>) {
        debug_assert_eq!(pushed, Ok(()));
        if let Err(error) = pushed {
            tracing::error!(%error, "a message cannot be encoded");
            self.broken = true;
        }
    }

    /// Moves frames for one send into `frames` and returns their bytes.
    pub(super) fn take(&mut self, frames: &mut Vec<Bytes>) -> usize {
        let (start, mut bytes) = (frames.len(), 0);
        while frames.len() - start < FRAMES_PER_SEND {
            let frame = match self.returned.pop_front() {
                Some(frame) => {
                    self.returned_bytes -= frame.len();
                    frame
                }
                None => match self.encoder.take() {
                    Some(frame) => frame,
                    None => break,
                },
            };
            bytes += frame.len();
            frames.push(frame);
        }
        bytes
    }

    /// Puts back what a send left over, before everything else.
    pub(super) fn put_back(&mut self, rest: impl DoubleEndedIterator<Item = Bytes>) {
        for frame in rest.rev() {
            self.returned_bytes += frame.len();
            self.returned.push_front(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_send_left_over_goes_first() {
        let mut queue = Queue::default();
        queue.push(&ToGateway::Ping { nonce: 1 });
        let mut frames = Vec::new();
        let bytes = queue.take(&mut frames);
        assert_eq!((frames.len(), bytes), (1, frames[0].len()));
        assert!(queue.is_empty());
        queue.push(&ToGateway::Ping { nonce: 2 });
        let rest = [frames[0].slice(3..5), frames[0].slice(5..)];
        queue.put_back(rest.clone().into_iter());
        assert_eq!(queue.bytes(), 2 * bytes - 3);
        let mut again = Vec::new();
        assert_eq!(queue.take(&mut again), 2 * bytes - 3);
        assert_eq!(again[..2], rest);
        assert_eq!(again.len(), 3);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn one_send_takes_a_bounded_number_of_frames() {
        let mut queue = Queue { encoder: FrameEncoder::with_target(1), ..Queue::default() };
        for nonce in 0..300 {
            queue.push(&ToGateway::Ping { nonce });
        }
        let mut frames = Vec::new();
        queue.take(&mut frames);
        assert_eq!(frames.len(), FRAMES_PER_SEND);
        frames.clear();
        queue.take(&mut frames);
        assert_eq!(frames.len(), 300 - FRAMES_PER_SEND);
    }
}

//! What sockets have not taken yet, for everybody here who owns a reactor.
//!
//! Invariant: the bytes of a connection leave in the order in which they were given to [`Outboxes::send`].

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use corecast_ring::{ConnId, Reactor, SendOutcome, Staged, Unsent};

/// Frames of one outbox that go out in one vectored send: the kernel's UIO_MAXIOV.
const FLUSH_FRAMES_MAX: usize = 1_024;

/// Outboxes of those connections that need one; empty as a rule.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    boxes: HashMap<ConnId, Outbox>,
    /// Those that may be tried again.
    flush: Vec<ConnId>,
}

#[derive(Debug, Default)]
struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The socket was full; a writable event follows.
    waits: bool,
}

impl Outboxes {
    /// Sends now, or as soon as the socket takes it.
    pub(crate) fn send(&mut self, reactor: &mut Reactor, conn: ConnId, bytes: &Bytes) {
        let staged = reactor.stage(std::slice::from_ref(bytes));
        self.send_staged(reactor, conn, staged, bytes);
    }

    /// The same for a frame that was staged for many connections.
    #[inline]
    pub(crate) fn send_staged(&mut self, reactor: &mut Reactor, conn: ConnId, staged: Staged, bytes: &Bytes) {
        // A connection with an outbox is blocked: the ring says so.
        if reactor.send(conn, staged) == SendOutcome::Busy {
            let outbox = self.boxes.entry(conn).or_default();
            if outbox.frames.is_empty() && !outbox.waits {
                self.flush.push(conn);
            }
            outbox.bytes += bytes.len();
            outbox.frames.push_back(bytes.clone());
        }
    }

    /// The rest of a send comes back: it goes first, once the socket is writable.
    pub(crate) fn unsent(&mut self, conn: ConnId, rest: Unsent) {
        let outbox = self.boxes.entry(conn).or_default();
        outbox.waits = true;
        for frame in rest.frames.into_iter().rev() {
            outbox.bytes += frame.len();
            outbox.frames.push_front(frame);
        }
    }

    pub(crate) fn writable(&mut self, conn: ConnId) {
        self.boxes.entry(conn).or_default().waits = false;
        self.flush.push(conn);
    }

    pub(crate) fn closed(&mut self, conn: ConnId) {
        if !self.boxes.is_empty() {
            self.boxes.remove(&conn);
        }
    }

    /// Tries those whose turn has come. Once per turn, before anything new is sent.
    pub(crate) fn flush(&mut self, reactor: &mut Reactor) {
        for conn in std::mem::take(&mut self.flush) {
            self.flush_one(reactor, conn);
        }
    }

    fn flush_one(&mut self, reactor: &mut Reactor, conn: ConnId) {
        let Some(outbox) = self.boxes.get_mut(&conn).filter(|outbox| !outbox.waits) else { return };
        let count = outbox.frames.len().min(FLUSH_FRAMES_MAX);
        if count > 0 {
            let staged = reactor.stage(&outbox.frames.make_contiguous()[..count]);
            match reactor.send_blocked(conn, staged) {
                SendOutcome::Queued => {
                    outbox.bytes -= outbox.frames.drain(..count).map(|frame| frame.len()).sum::<usize>()
                }
                SendOutcome::Busy => {
                    self.flush.push(conn);
                    return;
                }
                SendOutcome::Gone => {
                    self.boxes.remove(&conn);
                    return;
                }
            }
        }
        if outbox.frames.is_empty() {
            self.boxes.remove(&conn);
            reactor.unblock(conn);
        } else {
            self.flush.push(conn);
        }
    }

    /// Something can be sent without waiting for an event.
    pub(crate) fn wants_turn(&self) -> bool {
        !self.flush.is_empty()
    }

    /// Connections with something unsent, and how many bytes.
    pub(crate) fn backlogs(&self) -> impl Iterator<Item = (ConnId, usize)> {
        self.boxes.iter().map(|(conn, outbox)| (*conn, outbox.bytes))
    }

    pub(crate) fn len(&self) -> usize {
        self.boxes.len()
    }
}

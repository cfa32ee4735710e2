//! Frames to sockets: fan-out, outboxes, and what the kernel gave back.
//!
//! Invariants worth naming:
//! * Per delivery only the member's key and the ring's table entry are touched; a session only if its socket is busy.
//! * Fan-out comes before the outboxes are flushed, so that a reply and a chat's updates to the same connection leave as
//!   one send; whoever has an outbox was blocked in the ring before.
//! * In one turn a chat begins at most one batch per encoding: a second one would find all its members busy.

use std::slice;

use bytes::Bytes;
use corecast_centrifuge::Encoding;
use corecast_centrifuge::codes::CloseCode;
use corecast_ring::{ConnId, Reactor, SendOutcome, Unsent};

use super::state::State;

/// Connections whose last send is not confirmed yet, and lists that are used again.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    draining: Vec<ConnId>,
    busy: Vec<ConnId>,
    list: Vec<ConnId>,
}

impl Delivery {
    /// Whether outboxes wait for the next turn, which must not sleep then.
    pub(super) fn is_pending(&self, state: &State) -> bool {
        !self.draining.is_empty() || !state.to_flush.is_empty()
    }

    /// Sends one turn's slices.
    pub(super) fn fan_out(&mut self, state: &mut State, reactor: &mut Reactor) {
        for conn in state.to_block.drain(..) {
            reactor.block(conn);
        }
        state.fanout.begin_turn();
        while let Some((index, allowance)) = state.fanout.next() {
            let mut sends = 0;
            for encoding in Encoding::ALL {
                sends += self.send_lane(state, reactor, index, encoding, allowance - sends);
            }
            let more = state.chats.get_mut(index).is_some_and(|chat| {
                chat.scheduled = !chat.is_drained();
                chat.scheduled
            });
            state.fanout.visited(index, sends, more);
        }
        // Whoever got an outbox meanwhile was found busy, and is blocked by that.
        state.to_block.clear();
    }

    /// Sends to the members of one chat with one encoding, at most one batch and `allowance` sends.
    fn send_lane(
        &mut self,
        state: &mut State,
        reactor: &mut Reactor,
        index: u32,
        encoding: Encoding,
        allowance: usize,
    ) -> usize {
        let mut sends = 0;
        while sends < allowance
            && let Some(chat) = state.chats.get_mut(index)
            && let Some(slice) = chat.next_slice(encoding, allowance - sends, State::batch_limits(), &mut state.pool)
        {
            let staged = reactor.stage(slice::from_ref(&slice.bytes));
            let members = chat.slice_members(&slice, encoding);
            for &member in members {
                match reactor.send(member, staged) {
                    SendOutcome::Queued => {}
                    SendOutcome::Busy => self.busy.push(member),
                    SendOutcome::Gone => state.counters.fanout_gone += 1,
                }
            }
            sends += members.len();
            state.counters.deliveries += (members.len() * slice.updates) as u64;
            if !self.busy.is_empty() {
                state.counters.fanout_busy += self.busy.len() as u64;
                for member in self.busy.drain(..) {
                    state.queue_update(member, index, &slice.bytes);
                }
            }
            if slice.ends_batch {
                break;
            }
        }
        state.counters.fanout_sends += sends as u64;
        sends
    }

    /// Hands all listed outboxes to the kernel.
    pub(super) fn flush(&mut self, state: &mut State, reactor: &mut Reactor) {
        std::mem::swap(&mut self.list, &mut state.to_flush);
        for index in 0..self.list.len() {
            self.flush_one(state, reactor, self.list[index]);
        }
        self.list.clear();
    }

    fn flush_one(&mut self, state: &mut State, reactor: &mut Reactor, conn: ConnId) {
        let Some(session) = state.sessions.get_mut(conn) else { return };
        let opcode = session.opcode();
        let be_sure = session.is_closing() || session.subs.behind().is_some();
        let Some(outbox) = session.outbox.as_deref_mut() else { return };
        outbox.listed = false;
        if outbox.is_stuck() {
            return;
        }
        let frames = outbox.frames(opcode, &mut state.held);
        if frames.is_empty() {
            if outbox.is_idle() {
                state.release_outbox(conn, reactor);
            }
            return;
        }
        let staged = reactor.stage(frames);
        match reactor.send_blocked(conn, staged) {
            SendOutcome::Queued => {
                if outbox.handle_sent(be_sure, &mut state.held) {
                    state.release_outbox(conn, reactor);
                } else {
                    self.draining.push(conn);
                }
            }
            SendOutcome::Busy => {
                outbox.listed = true;
                state.to_flush.push(conn);
            }
            SendOutcome::Gone => {
                outbox.discard(&mut state.held);
                state.release_outbox(conn, reactor);
            }
        }
    }

    /// The events of a turn have said what was not taken: everything else of the turn before was.
    pub(super) fn confirm(&mut self, state: &mut State, reactor: &mut Reactor) {
        std::mem::swap(&mut self.list, &mut self.draining);
        for index in 0..self.list.len() {
            let conn = self.list[index];
            let Some(session) = state.sessions.get_mut(conn) else { continue };
            if !session.outbox.as_deref_mut().is_some_and(|outbox| outbox.confirm_drained()) {
                continue;
            }
            if session.is_closing() {
                if session.has_peer_ended() {
                    state.remove(conn);
                } else {
                    reactor.shutdown(conn);
                }
                continue;
            }
            state.caught_up(conn);
            let outbox = state.sessions.get_mut(conn).and_then(|session| session.outbox.as_deref_mut());
            if outbox.is_some_and(|outbox| outbox.is_idle() && !outbox.listed) {
                state.release_outbox(conn, reactor);
            } else {
                state.settle(conn);
            }
        }
        self.list.clear();
    }
}

impl State {
    /// Queues a chat's updates for a member whose socket is busy, or cuts the chat for it.
    fn queue_update(&mut self, conn: ConnId, chat: u32, frames: &Bytes) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let opcode = session.opcode();
        let outbox = session.outbox.get_or_insert_with(|| self.spares.take());
        if outbox.fits_update(frames.len(), &self.shared.config.limits) {
            outbox.push(frames.clone(), opcode, &mut self.held);
        } else {
            self.fall_behind(conn, chat);
        }
        self.settle(conn);
    }

    /// The kernel did not take all of a send.
    pub(super) fn unsent(&mut self, conn: ConnId, rest: Unsent) {
        self.counters.unsent += 1;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let outbox = session.outbox.get_or_insert_with(|| self.spares.take());
        outbox.handle_unsent(rest.frames, self.now.tick(), &self.shared.config.limits, &mut self.held);
        self.stuck.push(conn);
        self.arm(conn);
    }

    /// The socket has room again.
    pub(super) fn writable(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let outbox = session.outbox.get_or_insert_with(|| self.spares.take());
        outbox.handle_writable();
        if !std::mem::replace(&mut outbox.listed, true) {
            self.to_flush.push(conn);
        }
    }

    /// The outbox is empty and settled: others may send to the connection directly again.
    fn release_outbox(&mut self, conn: ConnId, reactor: &mut Reactor) {
        if let Some(outbox) = self.sessions.get_mut(conn).and_then(|session| session.outbox.take()) {
            self.spares.give(outbox);
        }
        reactor.unblock(conn);
    }

    /// Cuts the largest outboxes while all together hold too much.
    pub(super) fn shed(&mut self) {
        if self.held.excess() == 0 {
            return;
        }
        let sessions = &self.sessions;
        let size = |conn: &ConnId| {
            sessions.get(*conn).and_then(|session| session.outbox.as_ref()).map_or(0, |outbox| outbox.bytes())
        };
        let mut readers: Vec<(usize, ConnId)> = self.stuck.iter().map(|conn| (size(conn), *conn)).collect();
        readers.sort_unstable_by(|one, other| other.cmp(one));
        readers.dedup();
        let target = self.held.bytes() - self.held.excess();
        for (bytes, conn) in readers {
            if self.held.bytes() <= target || bytes == 0 {
                break;
            }
            self.counters.shed += 1;
            self.end(conn, CloseCode::Slow.into());
        }
    }

    /// Forgets readers that have caught up or are gone.
    pub(super) fn tidy_stuck(&mut self) {
        let sessions = &self.sessions;
        self.stuck.sort_unstable();
        self.stuck.dedup();
        self.stuck.retain(|conn| {
            sessions.get(*conn).and_then(|session| session.outbox.as_ref()).is_some_and(|outbox| outbox.is_stuck())
        });
    }
}

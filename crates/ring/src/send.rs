//! Sending: the recipe, its three traps, and who may send when.
//!
//! Each send is one SEND or SENDMSG with `MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL` whose completion is skipped on
//! success. A send that the socket takes completely posts nothing. One that it takes in part posts the byte count, one
//! that it refuses posts EAGAIN, both before `io_uring_enter` returns; the rest goes back to the owner.
//!
//! Invariants worth naming:
//! - Trap 1: never two sends for one socket in one submission, nor one behind another that is not finished: bytes would
//!   interleave. An entry remembers the submission of its last send; `AWAITING_WRITABLE` bars everything until the
//!   socket took the rest.
//! - Trap 2: the three flags stand or fall together. Without WAITALL a short send counts as success and its rest is
//!   lost; without DONTWAIT it waits in the kernel and nobody learns when it ends; without skipping, every delivery
//!   costs a completion.
//! - Trap 3: frames are free when `io_uring_enter` has consumed the entry *and* the failure completions were read, not
//!   before. `Stage::clear` is called in one place only.
//! - A send's completion is read by the very `flush` or `turn` that submitted it, so it can never meet a later holder of
//!   the slot.

use io_uring::{opcode, squeue, types};

use crate::event::{CloseReason, ConnId, Event, SendOutcome, Staged, Unsent};
use crate::reactor::Reactor;
use crate::table::Flags;
use crate::user_data::{self, Kind, Name};

const MESSAGE_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

impl Reactor {
    /// Sends staged frames to a connection with the current submission, unless something stands before them. `Busy`
    /// leaves the frames with the caller and the connection blocked: the caller's outbox takes them, and everything
    /// that follows, until it is empty and [`unblock`](Self::unblock) is called.
    ///
    /// Submits on its own when the submission queue is full; failures found then are known at once.
    ///
    /// # Panics
    /// If the frames were staged in an earlier turn.
    #[inline]
    pub fn send(&mut self, conn: ConnId, staged: Staged) -> SendOutcome {
        let submission = self.submission;
        let Some(entry) = self.table.get_mut(conn) else {
            return SendOutcome::Gone;
        };
        if entry.flags.any(Flags::UNUSABLE | Flags::NOT_NOW) || entry.submission == submission {
            return self.refuse_send(conn);
        }
        self.queue_send(conn, staged)
    }

    /// Sends for the owner of a blocked connection, from its outbox, in order. `Busy` if the connection already has a
    /// send in this submission (try again next turn) or awaits writability (try again on
    /// [`Writable`](Event::Writable)).
    ///
    /// # Panics
    /// If the frames were staged in an earlier turn.
    pub fn send_blocked(&mut self, conn: ConnId, staged: Staged) -> SendOutcome {
        let submission = self.submission;
        let Some(entry) = self.table.get_mut(conn) else {
            return SendOutcome::Gone;
        };
        if entry.flags.any(Flags::UNUSABLE | Flags::NOT_EVEN_BLOCKED) || entry.submission == submission {
            return self.refuse_send(conn);
        }
        self.queue_send(conn, staged)
    }

    /// Makes [`send`](Self::send) answer `Busy` from now on: the owner has put something into its outbox that must go
    /// first.
    pub fn block(&mut self, conn: ConnId) {
        if let Some(entry) = self.table.get_mut(conn) {
            entry.flags.set(Flags::BLOCKED);
        }
    }

    /// Lets [`send`](Self::send) pass again: the owner's outbox is empty.
    pub fn unblock(&mut self, conn: ConnId) {
        if let Some(entry) = self.table.get_mut(conn) {
            entry.flags.clear(Flags::BLOCKED);
        }
    }

    #[inline]
    fn queue_send(&mut self, conn: ConnId, staged: Staged) -> SendOutcome {
        assert_eq!(staged.turn, self.turn, "the frames were staged in an earlier turn");
        if self.ring.is_full() && !self.make_room() {
            return self.refuse_send(conn);
        }
        if let Some(entry) = self.table.get_mut(conn) {
            entry.submission = self.submission;
        }
        let send = self.stage.get(staged.index);
        let socket = types::Fixed(conn.slot);
        let entry = if send.is_vectored {
            opcode::SendMsg::new(socket, send.address.cast()).flags(MESSAGE_FLAGS as u32).build()
        } else {
            opcode::Send::new(socket, send.address, send.length).flags(MESSAGE_FLAGS).build()
        };
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(user_data::of_send(
            conn.slot,
            conn.generation,
            staged.index,
        ));
        // SAFETY: frames, message headers and part lists stay in `stage` until the kernel has consumed every send
        // (`finish_submission`), and a send with DONTWAIT uses nothing after that.
        let pushed = unsafe { self.ring.push(&entry) };
        debug_assert!(pushed, "there was room");
        self.stats.sends += 1;
        SendOutcome::Queued
    }

    /// Submits to make room. `false` if the kernel refuses: it is out of memory, and the caller keeps its frames.
    #[cold]
    fn make_room(&mut self) -> bool {
        // If all sends of the submission failed, their polls fill the queue again; those do not fail.
        for _ in 0..2 {
            // An error will meet the next turn as well, which reports it.
            if self.flush().is_ok() && !self.ring.is_full() {
                return true;
            }
        }
        false
    }

    #[cold]
    fn refuse_send(&mut self, conn: ConnId) -> SendOutcome {
        match self.table.get_mut(conn) {
            Some(entry) if !entry.flags.any(Flags::UNUSABLE) => {
                entry.flags.set(Flags::BLOCKED);
                self.stats.busy_sends += 1;
                SendOutcome::Busy
            }
            _ => SendOutcome::Gone,
        }
    }

    /// A send failed: what of it is left, and what to wait for.
    pub(crate) fn settle_send(&mut self, name: Name, result: i32) {
        let Some(conn) = self.table.holder(name.index).filter(|conn| conn.generation & 0xff == name.generation) else {
            self.stats.stale_completions += 1;
            return;
        };
        let Some(entry) = self.table.get_mut(conn) else {
            return;
        };
        match -result {
            // EINTR, ENOBUFS, ENOMEM: nothing was sent and the connection is sound; later may be better.
            ..=0 | libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM => {
                entry.flags.set(Flags::BLOCKED);
                if entry.flags.any(Flags::UNUSABLE) {
                    return;
                }
                entry.flags.set(Flags::AWAITING_WRITABLE);
                let poll = opcode::PollAdd::new(types::Fixed(conn.slot), libc::POLLOUT as u32).build();
                self.push(poll.user_data(user_data::of(Kind::Writable, conn.slot, conn.generation)));
                let sent = usize::try_from(result).unwrap_or(0);
                if sent > 0 {
                    self.stats.short_sends += 1;
                } else {
                    self.stats.refused_sends += 1;
                }
                let frames = self.stage.rest(name.staged, sent);
                self.ready.push(Event::Unsent { conn, rest: Unsent { frames } });
            }
            code => {
                self.stats.failed_sends += 1;
                if let Some(reason) = self.end(conn, CloseReason::Error(code)) {
                    self.ready.push(Event::Closed { conn, reason });
                }
            }
        }
    }

    /// The socket has room (or is broken, which the next send will tell).
    pub(crate) fn handle_writable(&mut self, conn: ConnId, events: &mut Vec<Event>) {
        let Some(entry) = self.table.get_mut(conn) else {
            self.stats.stale_completions += 1;
            return;
        };
        entry.flags.clear(Flags::AWAITING_WRITABLE);
        if entry.flags.any(Flags::CLOSING) {
            self.close_if_idle(conn);
        } else if !entry.flags.any(Flags::LOST) {
            self.stats.writable += 1;
            events.push(Event::Writable { conn });
        }
    }
}

//! Receiving: one multishot receive per connection, buffers from the shared ring.
//!
//! Invariants worth naming:
//! - Every open connection has a receive armed, or waits in `starved` for buffers, or has ended.
//! - A receive that found no buffer is armed again only after buffers went back to the kernel, and at most as many per
//!   turn as there are buffers: arming on an empty ring fails at once, even for a silent socket, so anything else spins.
//! - A multishot receive may end at any completion (missing F_MORE): it is armed again then.
//! - Buffers of completions that nobody wants (a connection being closed) go back like all others.

use io_uring::{cqueue, opcode, types};

use crate::buffers::GROUP;
use crate::event::{Chunk, CloseReason, ConnId, Event};
use crate::reactor::Reactor;
use crate::table::Flags;
use crate::user_data::{self, Kind};

impl Reactor {
    /// Arms the multishot receive of a connection.
    pub(crate) fn arm_receive(&mut self, conn: ConnId) {
        let Some(entry) = self.table.get_mut(conn) else {
            return;
        };
        entry.flags.set(Flags::RECEIVING);
        let receive = opcode::RecvMulti::new(types::Fixed(conn.slot), GROUP).build();
        self.push(receive.user_data(user_data::of(Kind::Receive, conn.slot, conn.generation)));
    }

    pub(crate) fn handle_received(&mut self, conn: ConnId, result: i32, flags: u32, events: &mut Vec<Event>) {
        let buffer = cqueue::buffer_select(flags).filter(|&buffer| self.buffers.take(buffer));
        let ended = !cqueue::more(flags);
        let turn = self.turn;
        let Some(entry) = self.table.get_mut(conn) else {
            self.stats.stale_completions += 1;
            return;
        };
        if ended {
            entry.flags.clear(Flags::RECEIVING);
        }
        if entry.flags.any(Flags::CLOSING) {
            self.close_if_idle(conn);
            return;
        }
        if entry.flags.any(Flags::ENDED) {
            // A send has found the connection broken, and the owner knows: no bytes after the end.
            return;
        }
        match (result, buffer) {
            (1.., Some(buffer)) => {
                self.stats.receives += 1;
                self.stats.received_bytes += result as u64;
                events.push(Event::Received { conn, chunk: Chunk { length: result as u32, turn, buffer } });
                if ended {
                    self.stats.rearmed_receives += 1;
                    self.arm_receive(conn);
                }
            }
            // Data without a buffer cannot be: nothing could hold it. The stream is broken.
            (1.., None) => self.report_end(conn, CloseReason::Error(libc::EIO), events),
            (0, _) => self.report_end(conn, CloseReason::Eof, events),
            _ => match -result {
                libc::ENOBUFS => {
                    self.stats.enobufs += 1;
                    self.starve(conn);
                }
                // The kernel is short of memory, or a signal came; the stream is sound.
                libc::EAGAIN | libc::EINTR | libc::ENOMEM => self.starve(conn),
                code => self.report_end(conn, CloseReason::Error(code), events),
            },
        }
    }

    /// Arms receives that waited for buffers, oldest first, at most one per buffer.
    pub(crate) fn feed_starved(&mut self) {
        for _ in 0..self.starved.len().min(self.buffers.given()) {
            let Some(conn) = self.starved.pop_front() else {
                break;
            };
            // A stale name belongs to a connection that was closed while it waited.
            if let Some(entry) = self.table.get_mut(conn) {
                entry.flags.clear(Flags::STARVED);
                if !entry.flags.any(Flags::CLOSING | Flags::ENDED) {
                    self.stats.rearmed_receives += 1;
                    self.arm_receive(conn);
                }
            }
        }
    }

    fn starve(&mut self, conn: ConnId) {
        if let Some(entry) = self.table.get_mut(conn)
            && !entry.flags.any(Flags::STARVED | Flags::RECEIVING)
        {
            entry.flags.set(Flags::STARVED);
            self.starved.push_back(conn);
        }
    }

    fn report_end(&mut self, conn: ConnId, reason: CloseReason, events: &mut Vec<Event>) {
        if let Some(reason) = self.end(conn, reason) {
            events.push(Event::Closed { conn, reason });
        }
    }
}

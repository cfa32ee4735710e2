//! Accepting: multishot accept of ordinary descriptors, which then move into the file table.
//!
//! An ordinary descriptor first, since a direct one cannot be asked for its peer before kernel 6.19. It exists only
//! between the kernel's accept and `adopt`, so RLIMIT_NOFILE bounds the size of a burst, not the number of connections.
//!
//! Invariants worth naming:
//! - No slot, no accept: when the table is full, accepting is suspended by cancelling it, and what the kernel had
//!   accepted by then waits in `surplus` (at most one burst, that is, the listeners' backlogs).
//! - No descriptor, no spin: after EMFILE and its like accepting resumes after `RETRY_DELAY`.
//! - Every descriptor is checked to be a connected socket before it is used (liburing#1062; peers may leave early).
//! - A listener that hands out arrivals takes no slots: its sockets wait in `arrivals` until the caller gives each to a
//!   reactor of its choice. One that was put back suspends accepting until the caller has found it a place.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use io_uring::{cqueue, opcode, squeue, types};

use crate::event::{ConnId, Event, ListenerId};
use crate::net::{Listener, PeerAddr};
use crate::reactor::{RETRY_DELAY, Reactor};
use crate::socket;
use crate::user_data::{self, Kind};

/// Most listeners of one reactor: a core has one per address that it serves.
const LISTENERS_MAX: usize = 256;

/// A listener's place; used again with another generation after it was stopped.
#[derive(Default)]
pub(crate) struct ListenerSlot {
    generation: u32,
    /// `None` = the place is free.
    listener: Option<Listener>,
    /// A multishot accept is in the kernel; its terminal completion is owed.
    armed: bool,
    /// It was cancelled.
    cancelled: bool,
    /// To be dropped as soon as it is not armed.
    stopping: bool,
    /// Its connections become arrivals instead of getting a slot here.
    hands_out: bool,
}

/// An accepted connection that has no slot yet. Any reactor of the process may [`admit`](Reactor::admit) it; dropping
/// it closes the connection.
#[derive(Debug)]
pub struct Arrival(OwnedFd);

/// Why an arrival got no slot.
#[derive(Debug)]
pub enum NotAdmitted {
    /// This reactor has no slot for it now; it is handed back.
    Full(Arrival),
    /// Its peer has left already, or the kernel refused it. It is closed.
    Gone,
}

impl ListenerSlot {
    fn free(&mut self) {
        *self = Self { generation: self.generation.wrapping_add(1), ..Self::default() };
    }
}

impl Reactor {
    /// Accepts connections from a listener until [`stop_listening`](Self::stop_listening). Fails if this reactor has
    /// 256 listeners already.
    pub fn listen(&mut self, listener: Listener) -> io::Result<ListenerId> {
        self.add_listener(listener, false)
    }

    /// Like [`listen`](Self::listen), but connections get no slot and no [`Event::Accepted`]: they wait for
    /// [`next_arrival`](Self::next_arrival), so that the caller can choose the reactor that serves them. Take all of
    /// them after each turn, and [`put_back`](Self::put_back) the one that has no place anywhere.
    pub fn listen_for_arrivals(&mut self, listener: Listener) -> io::Result<ListenerId> {
        self.add_listener(listener, true)
    }

    fn add_listener(&mut self, listener: Listener, hands_out: bool) -> io::Result<ListenerId> {
        let index = match self.listeners.iter().position(|slot| slot.listener.is_none()) {
            Some(index) => index,
            None if self.listeners.len() < LISTENERS_MAX => {
                self.listeners.push(ListenerSlot::default());
                self.listeners.len() - 1
            }
            None => return Err(io::Error::other("a reactor has at most 256 listeners")),
        };
        let slot = &mut self.listeners[index];
        slot.listener = Some(listener);
        slot.hands_out = hands_out;
        // `resume_accepting` arms it at the beginning of the next turn.
        Ok(ListenerId { index: index as u32, generation: slot.generation })
    }

    /// Stops accepting and closes the listener; its connections stay. Connections that the kernel has queued are
    /// refused. A stale name is ignored.
    pub fn stop_listening(&mut self, id: ListenerId) {
        let Some(slot) = self.listener(id) else {
            return;
        };
        slot.stopping = true;
        if slot.armed {
            self.cancel_accept(id);
        } else {
            slot.free();
        }
        self.surplus.retain(|&(listener, _)| listener != id);
        let hands_out = |slot: &ListenerSlot| slot.hands_out && slot.listener.is_some() && !slot.stopping;
        if !self.listeners.iter().any(hands_out) {
            self.arrivals.clear();
        }
    }

    /// The next connection of a listener that hands them out.
    pub fn next_arrival(&mut self) -> Option<Arrival> {
        self.arrivals.pop_front()
    }

    /// Keeps an arrival that has no place now; it is the next one again. No more are accepted until it has found one.
    pub fn put_back(&mut self, arrival: Arrival) {
        self.arrivals.push_front(arrival);
        self.pause_accepting(true);
    }

    /// Gives an arrival, of this reactor's listeners or another's, a slot. Receiving is armed then.
    pub fn admit(&mut self, arrival: Arrival) -> Result<(ConnId, PeerAddr), NotAdmitted> {
        if !self.has_room_to_accept() {
            return Err(NotAdmitted::Full(arrival));
        }
        self.take_in(&arrival.0).ok_or(NotAdmitted::Gone)
    }

    /// How many more connections this reactor would accept now.
    pub fn room(&self) -> u32 {
        self.table.free_slots().saturating_sub(self.connect_reserve)
    }

    /// Gives waiting connections their slots and arms suspended listeners, as far as there are slots.
    pub(crate) fn resume_accepting(&mut self) {
        while self.has_room_to_accept() {
            let Some((id, socket)) = self.surplus.pop_front() else {
                break;
            };
            if let Some(event) = self.adopt(id, &socket) {
                self.ready.push(event);
            }
        }
        if self.accept_retry.is_some_and(|retry| retry > Instant::now()) {
            return;
        }
        // Over, also where nothing can be armed now: a time in the past would keep the loop from sleeping.
        self.accept_retry = None;
        let (has_room, all_placed) = (self.has_room_to_accept(), self.arrivals.is_empty());
        if !has_room && !all_placed {
            return;
        }
        for index in 0..self.listeners.len() {
            let slot = &mut self.listeners[index];
            let may_accept = if slot.hands_out { all_placed } else { has_room };
            if !may_accept {
                continue;
            }
            if let (false, false, Some(listener)) = (slot.armed, slot.stopping, &slot.listener) {
                let accept = opcode::AcceptMulti::new(types::Fd(listener.raw_fd())).flags(libc::SOCK_CLOEXEC).build();
                let name = user_data::of(Kind::Accept, index as u32, slot.generation);
                slot.armed = true;
                self.push(accept.user_data(name));
            }
        }
    }

    pub(crate) fn handle_accepted(&mut self, id: ListenerId, result: i32, flags: u32, events: &mut Vec<Event>) {
        // SAFETY: a non-negative result of an accept is a new descriptor that nobody else knows.
        let socket = (result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(result) });
        let Some(slot) = self.listener(id) else {
            self.stats.stale_completions += 1;
            return;
        };
        let (stopping, hands_out) = (slot.stopping, slot.hands_out);
        if !cqueue::more(flags) {
            slot.armed = false;
            slot.cancelled = false;
            if stopping {
                slot.free();
            }
        }
        match (socket, -result) {
            _ if stopping => {}
            (Some(socket), _) if hands_out => self.arrivals.push_back(Arrival(socket)),
            (Some(socket), _) => {
                if self.surplus.is_empty() && self.has_room_to_accept() {
                    events.extend(self.adopt(id, &socket));
                } else {
                    self.surplus.push_back((id, socket));
                }
                if !self.has_room_to_accept() {
                    self.pause_accepting(false);
                }
            }
            // One connection that its peer gave up while it waited; or suspended by us.
            (None, libc::ECONNABORTED | libc::ECANCELED) => {}
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, or something that trying again at once will not change either.
            (None, _) => {
                self.stats.accept_pauses += 1;
                self.accept_retry = Some(Instant::now() + RETRY_DELAY);
            }
        }
    }

    /// The cancellation of an accept found nothing; see `close.rs`.
    pub(crate) fn handle_cancel_accept_failed(&mut self, id: ListenerId) {
        if let Some(slot) = self.listener(id)
            && slot.armed
            && slot.cancelled
        {
            slot.cancelled = false;
            self.stats.repeated_cancels += 1;
            self.cancel_accept(id);
        }
    }

    fn adopt(&mut self, id: ListenerId, socket: &OwnedFd) -> Option<Event> {
        let (conn, peer) = self.take_in(socket)?;
        Some(Event::Accepted { listener: id, conn, peer })
    }

    /// Puts an accepted socket into the file table and arms its receive; its ordinary descriptor is to be closed then.
    fn take_in(&mut self, socket: &OwnedFd) -> Option<(ConnId, PeerAddr)> {
        let peer = socket::peer_address(socket.as_fd());
        let conn = peer.and_then(|peer| Ok((self.register(socket)?, peer)));
        let Ok((conn, peer)) = conn else {
            self.stats.failed_accepts += 1;
            return None;
        };
        self.stats.accepts += 1;
        self.arm_receive(conn);
        Some((conn, peer))
    }

    /// Finds a slot for a socket and puts it there.
    pub(crate) fn register(&mut self, socket: &OwnedFd) -> io::Result<ConnId> {
        let conn = self.table.allocate().ok_or_else(|| io::Error::from_raw_os_error(libc::ENFILE))?;
        let registered = self.ring.submitter().register_files_update(conn.slot, &[socket.as_raw_fd()]);
        match registered {
            Ok(1) => {
                self.stats.open = u64::from(self.table.used());
                Ok(conn)
            }
            other => {
                self.table.release(conn.slot);
                Err(other.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENFILE)))
            }
        }
    }

    fn has_room_to_accept(&self) -> bool {
        self.room() > 0
    }

    /// Suspends the listeners of one kind.
    fn pause_accepting(&mut self, hands_out: bool) {
        for index in 0..self.listeners.len() {
            let slot = &self.listeners[index];
            if slot.armed && !slot.cancelled && slot.hands_out == hands_out {
                self.stats.accept_pauses += 1;
                self.cancel_accept(ListenerId { index: index as u32, generation: slot.generation });
            }
        }
    }

    /// Cancels an armed accept, once.
    fn cancel_accept(&mut self, id: ListenerId) {
        let Some(slot) = self.listener(id).filter(|slot| slot.armed && !slot.cancelled) else {
            return;
        };
        slot.cancelled = true;
        let target = user_data::of(Kind::Accept, id.index, id.generation);
        let cancel = opcode::AsyncCancel::new(target).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.push(cancel.user_data(user_data::of(Kind::CancelAccept, id.index, id.generation)));
    }

    fn listener(&mut self, id: ListenerId) -> Option<&mut ListenerSlot> {
        let slot = self.listeners.get_mut(id.index as usize)?;
        (slot.generation == id.generation && slot.listener.is_some()).then_some(slot)
    }
}

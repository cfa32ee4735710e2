//! Everything of a core but its ring, its links and its mail: sessions, chats, what waits for whom.
//!
//! Methods here never touch the ring. What they want of it is left in lists that the driver works off: connections to
//! block, to flush, to close.
//!
//! Invariants worth naming:
//! * A session with an outbox is blocked in the ring and listed to be flushed, or stuck until the socket has room, or
//!   draining: nothing that was queued is forgotten, and nothing overtakes it.
//! * A member in a chat's list has a live entry in its session and the other way round.
//! * Whatever ends a connection goes through [`State::end`] or [`State::remove`]; only `remove` forgets the session.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use corecast_ring::ConnId;
use corecast_wire::ChatName;
use slab::Slab;

use super::Shared;
use super::admin::Pending;
use super::identity::ClientIds;
use super::mail::LinkRequest;
use super::sessions::Sessions;
use crate::calendar::Calendar;
use crate::chat::{BatchLimits, Chats, Phase, Pool, RecentLimits, RecoveryLimits};
use crate::config::{self, GatewayConfig, Limits};
use crate::fanout::Fanout;
use crate::link::{CoreId, LocalChat};
use crate::outbox::{Held, Spares};
use crate::pace::{Gcra, Pacer, Rate};
use crate::session::{End, Names, Pings, Place, Rates, Session, Sub};
use crate::stats::{Counters, Gauges};
use crate::time::{Now, Tick};

/// See the module.
pub(crate) struct State {
    pub(super) shared: Arc<Shared>,
    pub(super) core: CoreId,
    pub(super) ids: ClientIds,
    pub(super) now: Now,
    pub(super) random: u64,
    pub(super) rates: Rates,
    pub(super) pings: Pings,
    pub(super) handshakes: (Gcra, Rate),

    pub(super) sessions: Sessions,
    /// Addresses of connections, and whether the connection is counted for it (a proxy's is not).
    pub(super) addresses: Slab<(IpAddr, bool)>,
    pub(super) calendar: Calendar,
    pub(super) spares: Spares,
    pub(super) held: Held,
    pub(super) unauthenticated: usize,

    pub(super) chats: Chats<ConnId>,
    pub(super) pool: Pool,
    pub(super) fanout: Fanout,
    /// Chats with subscribers that may be answered now.
    pub(super) to_serve: VecDeque<u32>,
    /// Chats whose waiting subscribers give up at that time, ascending.
    pub(super) waits: VecDeque<(Tick, u32)>,
    /// Chats to leave at that time if they have been empty since, ascending.
    pub(super) lingers: VecDeque<(Tick, u32, u32)>,
    /// Chats whose member count changed in this turn.
    pub(super) counts: Vec<u32>,
    /// Members of reset chats who are to be told.
    pub(super) cuts: VecDeque<CutBatch>,
    pub(super) cut_pacer: Pacer,

    /// What links are to be asked, by endpoint, in order.
    pub(super) requests: VecDeque<(u16, LinkRequest)>,
    /// Requests of the server API that wait for a link.
    pub(super) pending: Slab<Pending>,

    /// For the driver: connections whose outbox has just come into being.
    pub(super) to_block: Vec<ConnId>,
    /// For the driver: connections whose outbox is to be sent.
    pub(super) to_flush: Vec<ConnId>,
    /// For the driver: connections to close; their sessions are gone.
    pub(super) to_close: Vec<ConnId>,
    /// Connections whose socket is or was full.
    pub(super) stuck: Vec<ConnId>,

    pub(super) counters: Counters,
    pub(super) gauges: Gauges,
    pub(super) closes: BTreeMap<u16, u64>,
    /// When the drain began, and the slot up to which connections were told.
    pub(super) draining: Option<Drain>,
}

/// A drain under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) since: Now,
    pub(super) next_slot: usize,
    pub(super) slots: usize,
}

/// Members of one chat that are to be told unsubscribe 2500.
#[derive(Debug)]
pub(super) struct CutBatch {
    pub(super) chat: u32,
    /// The notice, shared by all of them.
    pub(super) frame: Bytes,
    pub(super) members: Vec<ConnId>,
}

/// No address is counted for this connection.
pub(super) const NO_ADDRESS: u32 = u32::MAX;

impl State {
    pub(super) fn new(shared: Arc<Shared>, core: CoreId, seed: u64, now: Now) -> Self {
        let limits = &shared.config.limits;
        Self {
            core,
            ids: ClientIds::new(shared.incarnation, core),
            now,
            random: seed | 1,
            rates: Rates::new(limits),
            pings: Pings::new(),
            handshakes: (Gcra::default(), Rate::new(limits.handshakes_per_second, 1)),
            sessions: Sessions::default(),
            addresses: Slab::new(),
            calendar: Calendar::new(),
            spares: Spares::default(),
            held: Held::new(limits.outbox_total),
            unauthenticated: 0,
            chats: Chats::new(seed),
            pool: Pool::default(),
            fanout: Fanout::new(limits.slice_sends, limits.turn_sends),
            to_serve: VecDeque::new(),
            waits: VecDeque::new(),
            lingers: VecDeque::new(),
            counts: Vec::new(),
            cuts: VecDeque::new(),
            cut_pacer: Pacer::new(limits.cut_per_ms, now),
            requests: VecDeque::new(),
            pending: Slab::new(),
            to_block: Vec::new(),
            to_flush: Vec::new(),
            to_close: Vec::new(),
            stuck: Vec::new(),
            counters: Counters::default(),
            gauges: Gauges::default(),
            closes: BTreeMap::new(),
            draining: None,
            shared,
        }
    }

    pub(super) fn config(&self) -> &GatewayConfig {
        &self.shared.config
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.shared.config.limits
    }

    pub(super) fn recent_limits(&self) -> RecentLimits {
        RecentLimits { messages: self.limits().recent_messages, bytes: self.limits().recent_bytes }
    }

    pub(super) fn recovery_limits(&self) -> RecoveryLimits {
        RecoveryLimits { messages: self.limits().recovery_messages, bytes: self.limits().recovery_bytes }
    }

    pub(super) const fn batch_limits() -> BatchLimits {
        BatchLimits { frames: config::COALESCE_FRAMES, bytes: config::COALESCE_BYTES }
    }

    /// The next number of a xorshift64 sequence: for spreading pings, nothing that must not be guessed.
    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Asks the link that owns `chat`.
    pub(super) fn ask(&mut self, endpoint: u16, request: LinkRequest) {
        self.requests.push_back((endpoint, request));
    }

    /// The endpoint that owns the chat called `name`.
    pub(super) fn endpoint_of(&self, name: &str) -> u16 {
        match self.chats.find(name).and_then(|chat| self.chats.get(chat)) {
            Some(chat) => chat.endpoint,
            None => u16::try_from(self.shared.placement.endpoint_of(name)).unwrap_or(0),
        }
    }

    /// Makes sure that the session's outbox, if it has one with something in it, is flushed at the end of the turn; and
    /// that nothing overtakes it until then. Gives an empty one back.
    pub(super) fn settle(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(outbox) = session.outbox.as_deref_mut() else { return };
        if outbox.is_idle() && !outbox.listed {
            if let Some(outbox) = session.outbox.take() {
                self.spares.give(outbox);
            }
            return;
        }
        if outbox.is_stuck() {
            // What waits behind a full socket can only be what could not be left out.
            if outbox.is_over(&self.shared.config.limits) && !session.is_closing() {
                self.end(conn, corecast_centrifuge::codes::CloseCode::Slow.into());
            }
            return;
        }
        if !std::mem::replace(&mut outbox.listed, true) {
            self.to_block.push(conn);
            self.to_flush.push(conn);
        }
    }

    /// Appends a complete frame to a connection's outbox and lists it. False if the connection is gone or closing.
    pub(super) fn push_frame(&mut self, conn: ConnId, frame: Bytes) -> bool {
        let Some(session) = self.sessions.get_mut(conn).filter(|session| !session.is_closing()) else { return false };
        let opcode = session.opcode();
        let outbox = session.outbox.get_or_insert_with(|| self.spares.take());
        outbox.push(frame, opcode, &mut self.held);
        self.settle(conn);
        true
    }

    /// Sets the calendar for the session's next deadline.
    pub(super) fn arm(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let deadline = session.deadline();
        if deadline < session.armed && deadline != Tick::NEVER {
            session.armed = self.calendar.add(deadline, conn.slot());
        }
    }

    /// Begins to end a connection: it leaves its chats, gets the close frame that the reason asks for, and is closed
    /// when the peer has closed or after a while.
    pub(super) fn end(&mut self, conn: ConnId, end: End) {
        if end == End::Drop {
            self.remove(conn);
            return;
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.is_closing() {
            return;
        }
        if session.is_live() {
            self.gauges.clients -= 1;
        }
        self.leave_all(conn);
        self.release_input(conn);
        *self.closes.entry(end.code()).or_default() += 1;
        if end == End::Close(corecast_centrifuge::codes::CloseCode::Slow) {
            self.counters.slow += 1;
        }
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let opcode = session.opcode();
        let outbox = session.outbox.get_or_insert_with(|| self.spares.take());
        if outbox.is_stuck() {
            outbox.cut(&mut self.held);
        }
        if let Some(frame) = end.frame() {
            outbox.push(frame, opcode, &mut self.held);
        }
        session.begin_closing(&self.shared.config.timing, self.now);
        self.settle(conn);
        self.arm(conn);
    }

    /// Forgets a connection and closes it.
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.leave_all(conn);
        self.release_input(conn);
        let Some(mut session) = self.sessions.remove(conn) else { return };
        if session.is_live() {
            self.gauges.clients -= 1;
        }
        if let Some(mut outbox) = session.outbox.take() {
            outbox.discard(&mut self.held);
            self.spares.give(outbox);
        }
        self.release_address(session.address);
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.counters.closed += 1;
        self.to_close.push(conn);
    }

    pub(super) fn release_address(&mut self, handle: u32) {
        if handle != NO_ADDRESS
            && let Some((address, true)) = self.addresses.try_remove(handle as usize)
        {
            self.shared.addresses.leave(address, self.now);
        }
    }

    /// The connection's input no longer counts as unauthenticated.
    pub(super) fn release_input(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(conn) {
            self.unauthenticated -= std::mem::take(&mut session.held_input) as usize;
        }
    }

    fn leave_all(&mut self, conn: ConnId) {
        while let Some((sub, encoding)) =
            self.sessions.get_mut(conn).and_then(|session| Some((session.subs.pop()?, session.encoding())))
        {
            self.leave_chat(sub, encoding);
        }
    }

    /// A session has given up its entry of a chat: takes it out of the chat's list, if it is in there.
    pub(super) fn leave_chat(&mut self, sub: Sub, encoding: corecast_centrifuge::Encoding) {
        if sub.place() != Place::Joining {
            self.gauges.subscriptions -= 1;
        }
        match sub.place() {
            Place::Behind => self.forget_cut(sub.chat),
            // Those who were cut are crossed off when their turn comes.
            Place::Live | Place::Joining | Place::Cut => self.leave_list(sub, encoding),
        }
    }

    /// One less of a chat's former members is to be told.
    pub(super) fn forget_cut(&mut self, index: u32) {
        if let Some(chat) = self.chats.get_mut(index) {
            chat.cutting -= 1;
            self.tidy_chat(index);
        }
    }

    /// Takes a member out of its chat's list, if it is in there.
    pub(super) fn leave_list(&mut self, sub: Sub, encoding: corecast_centrifuge::Encoding) {
        let Some(index) = sub.index() else { return };
        let Some(chat) = self.chats.get_mut(sub.chat) else { return };
        let sessions = &mut self.sessions;
        chat.leave(index, encoding, |moved, to| {
            if let Some(session) = sessions.get_mut(moved) {
                session.subs.moved(sub.chat, to);
            }
        });
        self.note_count(sub.chat);
        self.tidy_chat(sub.chat);
    }

    /// Notes that a chat's member count has changed.
    pub(super) fn note_count(&mut self, index: u32) {
        if let Some(chat) = self.chats.get_mut(index)
            && !std::mem::replace(&mut chat.count_noted, true)
        {
            self.counts.push(index);
        }
    }

    /// Lets a chat that nobody needs any more linger, or forgets it if there is nothing to linger for.
    pub(super) fn tidy_chat(&mut self, index: u32) {
        let Some(chat) = self.chats.get_mut(index).filter(|chat| chat.is_unused()) else { return };
        match chat.phase() {
            Phase::Apart => self.chats.remove(index),
            Phase::Live => {
                let at = self.now.tick().after(self.shared.config.timing.linger);
                self.lingers.push_back((at, index, chat.empties));
            }
            // Comes back here when the link has answered.
            Phase::Joining | Phase::Warming { .. } | Phase::Leaving => {}
        }
    }

    /// Asks the link to join a chat, unless that is under way.
    pub(super) fn ensure_joined(&mut self, index: u32) {
        let Some(chat) = self.chats.get_mut(index).filter(|chat| chat.phase() == Phase::Apart) else { return };
        // Cannot fail: the session has checked the name against a limit below the protocol's.
        let Ok(name) = ChatName::new(chat.name()) else { return };
        chat.begin_join();
        let endpoint = chat.endpoint;
        let want = self.limits().warm_messages;
        self.ask(endpoint, LinkRequest::Join { chat: name, local: LocalChat(index), want });
    }

    /// A new connection's session.
    pub(super) fn new_session(&self, address: u32) -> Session {
        Session::new(address, self.limits(), &self.shared.config.timing, self.now)
    }

    /// Commands and updates handled so far: what the batching window is chosen by.
    pub(super) fn work_done(&self) -> usize {
        usize::try_from(self.counters.commands + self.counters.updates).unwrap_or(usize::MAX)
    }

    /// Figures that are computed rather than counted.
    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.sessions.len() as u64,
            chats: self.chats.len() as u64,
            fanout_queue: self.fanout.len() as u64,
            outbox_bytes: self.held.bytes() as u64,
            outboxes_stuck: self.stuck.len() as u64,
            recent_bytes: self.chats.recent_bytes() as u64,
            unauthenticated_bytes: self.unauthenticated as u64,
            cuts_pending: self.cuts.iter().map(|batch| batch.members.len() as u64).sum(),
            ..self.gauges
        }
    }
}

impl Names for Chats<ConnId> {
    fn find(&self, name: &str) -> Option<u32> {
        Self::find(self, name)
    }
}

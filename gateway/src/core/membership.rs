//! What links say about chats: joined, updates, reset, left; and what follows for members and those who wait.

use corecast_centrifuge::codes::{CloseCode, UnsubscribeCode};
use corecast_centrifuge::{Encoding, encode_unsubscribe_push};
use corecast_ring::ConnId;
use corecast_websocket::server_frame;

use super::mail::LinkRequest;
use super::origin::{Failure, Origin};
use super::state::{CutBatch, State};
use crate::chat::{Chat, OutOfOrder, Phase, opcode};
use crate::config::{BACKLOG_BYTES, BACKLOG_UPDATES};
use crate::link::{FromLink, HistoryPage, LocalChat};
use crate::session::Place;
use crate::time::Tick;

/// Subscribers that one turn answers: 512 replies of a few hundred bytes take about a millisecond.
const SERVED_PER_TURN: usize = 512;

impl State {
    /// An event of a link, in order.
    pub(super) fn handle_link_event(&mut self, event: FromLink<Origin>) {
        match event {
            FromLink::Update { local, offset, payload, .. } => self.update(local.0, offset, &payload),
            FromLink::Published { origin, result } => match origin {
                Origin::Client { conn, command } => {
                    self.published(conn, command, result.map(|_| ()).map_err(Failure::from));
                }
                Origin::Control(token) => self.control_published(token, result.map_err(Failure::from)),
                Origin::Recovery(_) | Origin::Nobody => {}
            },
            FromLink::Joined { local, position, top, .. } => {
                self.chats.change(local.0, |chat| chat.handle_joined(position, top));
                self.became_live(local.0);
            }
            FromLink::Reset { local, reason } => {
                tracing::debug!(core = self.core, chat = local.0, ?reason, "chat reset");
                self.counters.resets += 1;
                self.reset(local.0);
                self.left(local.0);
            }
            FromLink::Left { local } => self.left(local.0),
            FromLink::History { origin, result } => {
                let result = result.map_err(Failure::from);
                match origin {
                    Origin::Client { conn, command } => self.history_arrived(conn, command, result),
                    Origin::Recovery(index) => self.recovery_arrived(index, result),
                    Origin::Control(token) => self.control_history(token, result),
                    Origin::Nobody => {}
                }
            }
            FromLink::PresenceStats { origin, result } => {
                let result = result.map_err(Failure::from);
                match origin {
                    Origin::Client { conn, command } => self.stats_arrived(conn, command, result),
                    Origin::Control(token) => self.control_stats(token, result),
                    Origin::Recovery(_) | Origin::Nobody => {}
                }
            }
            FromLink::Nodes { origin, result } => {
                if let Origin::Control(token) = origin {
                    self.control_nodes(token, result.map_err(Failure::from));
                }
            }
            FromLink::Signaled { .. } => {}
            FromLink::Signal(signal) => self.signal(&signal),
        }
    }

    /// The hot path of a message: check the offset, encode, queue.
    fn update(&mut self, index: u32, offset: u64, payload: &[u8]) {
        self.counters.updates += 1;
        self.counters.update_bytes += payload.len() as u64;
        let limits = self.recent_limits();
        let pool = &mut self.pool;
        let changed = self.chats.change(index, |chat| {
            let was_live = chat.phase() == Phase::Live;
            let queued = chat.handle_update(offset, payload, limits, pool)?;
            let schedule = queued && !std::mem::replace(&mut chat.scheduled, true);
            Ok::<_, OutOfOrder>((schedule, !was_live && chat.phase() == Phase::Live, chat.backlog()))
        });
        match changed {
            Some(Ok((schedule, went_live, backlog))) => {
                if schedule {
                    self.fanout.push(index);
                }
                if went_live {
                    self.became_live(index);
                }
                if backlog.0 > BACKLOG_UPDATES || backlog.1 > BACKLOG_BYTES {
                    self.counters.overloads += 1;
                    self.cut(index);
                }
            }
            Some(Err(wrong)) => {
                // The link promises contiguity; members must not pay for a bug with a wrong position.
                let OutOfOrder { expected, got } = wrong;
                tracing::error!(core = self.core, chat = index, expected, got, "update out of order");
                self.reset(index);
                self.leave_link(index);
            }
            None => {}
        }
    }

    /// A chat has become live, perhaps: those who wait are answered in this turn or the next ones.
    fn became_live(&mut self, index: u32) {
        let Some(chat) = self.chats.get(index) else { return };
        if chat.phase() != Phase::Live {
            return;
        }
        if chat.has_waiters() {
            self.to_serve.push_back(index);
        } else {
            self.tidy_chat(index);
        }
        self.note_count(index);
    }

    /// Answers subscribers that waited. What one turn does is bounded; the rest follows in the next one.
    pub(super) fn serve(&mut self) {
        let limits = self.recovery_limits();
        let mut left = SERVED_PER_TURN;
        for _ in 0..self.to_serve.len() {
            let Some(index) = self.to_serve.pop_front() else { break };
            let Some(chat) = self.chats.get_mut(index) else { continue };
            let served = chat.serve(limits, left);
            left -= served.len();
            for (waiter, admission) in served {
                self.admit(index, waiter, admission);
            }
            if left == 0 {
                self.to_serve.push_back(index);
                break;
            }
            self.ask_history(index);
        }
    }

    /// History for waiting subscribers has arrived, or cannot be had.
    pub(super) fn recovery_arrived(&mut self, index: u32, result: Result<HistoryPage, Failure>) {
        let limits = self.recent_limits();
        match result {
            Ok(page) => {
                let publications = page.publications.iter().map(|found| (found.offset, found.payload.as_ref()));
                self.chats.change(index, |chat| chat.handle_history(page.top.epoch, publications, limits));
            }
            // The router does not keep that any more: the same as an empty history.
            Err(Failure::UnrecoverablePosition) => {
                self.chats.change(index, |chat| chat.handle_history(0, std::iter::empty(), limits));
            }
            Err(_) => {
                let failed = self.chats.get_mut(index).map(|chat| chat.handle_no_history()).unwrap_or_default();
                for waiter in &failed {
                    self.fail_waiter(index, waiter);
                }
            }
        }
        self.to_serve.push_back(index);
        self.tidy_chat(index);
    }

    /// Fails subscribers that have waited too long.
    pub(super) fn expire_waits(&mut self) {
        let now = self.now.tick();
        while let Some(&(at, index)) = self.waits.front()
            && at <= now
        {
            self.waits.pop_front();
            let expired = self.chats.get_mut(index).map(|chat| chat.expire_waiters(now)).unwrap_or_default();
            if !expired.is_empty() {
                for waiter in &expired {
                    self.fail_waiter(index, waiter);
                }
                self.tidy_chat(index);
            }
        }
    }

    /// The position of a chat is lost: members are told 2500, those who wait fail for now.
    pub(super) fn reset(&mut self, index: u32) {
        self.cut(index);
        let waiters = self.chats.change(index, Chat::reset).unwrap_or_default();
        for waiter in &waiters {
            self.fail_waiter(index, waiter);
        }
    }

    /// Takes all members out of a chat at once; they are told 2500 one after the other.
    fn cut(&mut self, index: u32) {
        let Some(chat) = self.chats.get_mut(index) else { return };
        let name = chat.name().to_owned();
        for (encoding, members) in Encoding::ALL.into_iter().zip(chat.cut(&mut self.pool)) {
            for member in &members {
                if let Some(session) = self.sessions.get_mut(*member) {
                    session.subs.set_leaving(index, Place::Cut);
                }
            }
            if !members.is_empty() {
                let frame = unsubscribe_frame(encoding, &name, UnsubscribeCode::InsufficientState);
                self.cuts.push_back(CutBatch { chat: index, frame, members });
            }
        }
        self.note_count(index);
    }

    /// Tells members of reset chats, as many as the pace allows.
    pub(super) fn tell_cut(&mut self) {
        if self.cuts.is_empty() {
            return;
        }
        let mut left = self.cut_pacer.grant(self.now);
        while left > 0
            && let Some(batch) = self.cuts.front_mut()
        {
            let (chat, frame) = (batch.chat, batch.frame.clone());
            let Some(member) = batch.members.pop() else {
                self.cuts.pop_front();
                self.tidy_chat(chat);
                continue;
            };
            left -= 1;
            if let Some(entry) = self.chats.get_mut(chat) {
                entry.cutting -= 1;
            }
            self.tell_unsubscribed(member, chat, Place::Cut, frame);
        }
    }

    /// Ends a subscription that is in `place`, and nothing of the chat follows.
    fn tell_unsubscribed(&mut self, conn: ConnId, chat: u32, place: Place, frame: bytes::Bytes) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.subs.get(chat).is_none_or(|sub| sub.place() != place) {
            return;
        }
        session.subs.remove(chat);
        self.gauges.subscriptions -= 1;
        match place {
            Place::Behind => {
                self.counters.cut_behind += 1;
                self.forget_cut(chat);
            }
            _ => self.counters.cut_reset += 1,
        }
        self.push_frame(conn, frame);
    }

    /// A member does not keep up with a chat: it gets no more of it, and is told once it has caught up.
    pub(super) fn fall_behind(&mut self, conn: ConnId, chat: u32) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let encoding = session.encoding();
        let Some(sub) = session.subs.get(chat).copied().filter(|sub| sub.place() == Place::Live) else { return };
        session.subs.set_leaving(chat, Place::Behind);
        self.counters.fell_behind += 1;
        if let Some(chat) = self.chats.get_mut(chat) {
            chat.cutting += 1;
        }
        self.leave_list(sub, encoding);
    }

    /// A connection has taken everything that waited for it: chats that it fell behind in can be resumed.
    pub(super) fn caught_up(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.is_closing() || session.subs.behind().is_none() {
            return;
        }
        if !session.count_behind(&self.shared.config.limits, self.now) {
            // It recovers only to fall behind again.
            self.end(conn, CloseCode::Slow.into());
            return;
        }
        while let Some(session) = self.sessions.get_mut(conn)
            && let Some(chat) = session.subs.behind()
        {
            let encoding = session.encoding();
            let Some(name) = self.chats.get(chat).map(|chat| chat.name().to_owned()) else { break };
            let frame = unsubscribe_frame(encoding, &name, UnsubscribeCode::InsufficientState);
            self.tell_unsubscribed(conn, chat, Place::Behind, frame);
        }
    }

    /// A subscription's token has run out.
    pub(super) fn expire_subscription(&mut self, conn: ConnId, chat: u32) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let encoding = session.encoding();
        let Some(sub) = session.subs.remove(chat) else { return };
        let name = self.chats.get(chat).map(|chat| chat.name().to_owned());
        self.leave_chat(sub, encoding);
        if let Some(ticket) = sub.ticket() {
            self.reply_error(conn, ticket, corecast_centrifuge::codes::ErrorCode::TokenExpired.into());
        } else if let Some(name) = name {
            self.push_frame(conn, unsubscribe_frame(encoding, &name, UnsubscribeCode::Expired));
        }
    }

    /// The link will not mention this chat any more.
    fn left(&mut self, index: u32) {
        let Some(chat) = self.chats.get_mut(index) else { return };
        chat.handle_left();
        if chat.has_waiters() {
            // Somebody came back while the link was leaving.
            self.ensure_joined(index);
        } else {
            self.tidy_chat(index);
        }
    }

    fn leave_link(&mut self, index: u32) {
        let Some(chat) = self.chats.get_mut(index) else { return };
        let endpoint = chat.endpoint;
        self.chats.change(index, |chat| chat.begin_leave());
        self.ask(endpoint, LinkRequest::Leave { local: LocalChat(index) });
    }

    /// Leaves the chats that have been empty for long enough.
    pub(super) fn end_lingers(&mut self) {
        let now = self.now.tick();
        while let Some(&(at, index, empties)) = self.lingers.front()
            && at <= now
        {
            self.lingers.pop_front();
            let over =
                |chat: &&mut Chat<ConnId>| chat.is_unused() && chat.empties == empties && chat.phase() == Phase::Live;
            if self.chats.get_mut(index).filter(over).is_some() {
                self.leave_link(index);
            }
        }
    }

    /// Tells links about changed member counts.
    pub(super) fn tell_counts(&mut self) {
        for index in std::mem::take(&mut self.counts) {
            self.tell_count(index);
        }
    }

    /// Tells the link about one chat's member count, if it has changed.
    pub(super) fn tell_count(&mut self, index: u32) {
        let Some(chat) = self.chats.get_mut(index) else { return };
        chat.count_noted = false;
        let count = u32::try_from(chat.members()).unwrap_or(u32::MAX);
        if chat.phase() == Phase::Live && chat.count_told != count {
            chat.count_told = count;
            let endpoint = chat.endpoint;
            self.ask(endpoint, LinkRequest::Members { local: LocalChat(index), count });
        }
    }

    /// The earliest of the times at which lingers or waits end.
    pub(super) fn next_expiry(&self) -> Tick {
        let linger = self.lingers.front().map_or(Tick::NEVER, |(at, ..)| *at);
        let wait = self.waits.front().map_or(Tick::NEVER, |(at, _)| *at);
        linger.min(wait)
    }
}

/// A frame that ends a subscription.
pub(super) fn unsubscribe_frame(encoding: Encoding, chat: &str, code: UnsubscribeCode) -> bytes::Bytes {
    let mut payload = Vec::new();
    encode_unsubscribe_push(encoding, chat, code, &mut payload);
    server_frame(opcode(encoding), &payload)
}

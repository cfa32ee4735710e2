//! What commands mean for chats and routers, and the answers that come later.

use bytes::Bytes;
use corecast_centrifuge::codes::ErrorCode;
use corecast_centrifuge::{
    HistoryResult, PresenceStatsResult, ProtocolError, Publication, PublishResult, ReplyBody, UnsubscribeResult,
    encode_error,
};
use corecast_ring::ConnId;
use corecast_wire::epoch::EpochText;
use corecast_wire::{ChatName, Position};

use super::mail::{Asked, LinkRequest};
use super::origin::{Failure, Origin};
use super::state::State;
use crate::chat::{Admission, Phase, Waiter, Wish};
use crate::link::{self, HistoryPage, HistoryQuery, Publish};
use crate::session::{Admitted, Effect, HistoryWish, ServerJoin, SubscribeWish, subscribe_result};
use crate::time::Tick;

/// Payload bytes of one history answer.
const HISTORY_BYTES: u32 = 512 * 1024;

impl State {
    /// Does what a permitted command asks for.
    pub(super) fn execute(&mut self, conn: ConnId, effect: Effect) {
        match effect {
            Effect::Subscribe(wish) => self.subscribe(conn, wish),
            Effect::Unsubscribe { id, chat } => self.unsubscribe(conn, id, &chat),
            Effect::Publish { id, chat, data } => self.publish(conn, id, &chat, data),
            Effect::History(wish) => self.history(conn, wish),
            Effect::PresenceStats { id, chat } => {
                let Ok(name) = ChatName::new(&chat) else { return };
                // Whoever has just joined wants to be counted.
                if let Some(index) = self.chats.find(&chat) {
                    self.tell_count(index);
                }
                let origin = Origin::Client { conn, command: id };
                self.ask(self.endpoint_of(&chat), LinkRequest::PresenceStats { chat: name, origin });
            }
            Effect::ServerJoins(joins) => self.server_joins(conn, joins),
        }
    }

    fn subscribe(&mut self, conn: ConnId, wish: SubscribeWish) {
        let SubscribeWish { id, chat, wish, error_if_lost, expires, data } = wish;
        if let Err(code) = self.begin(conn, &chat, id, false, expires) {
            self.counters.subscribes_failed += 1;
            self.reply_error(conn, id, code.into());
            return;
        }
        self.enter(conn, &chat, Request { ticket: id, wish, error_if_lost, data });
    }

    /// All server-side subscriptions of a `connect`; the reply follows the last one.
    fn server_joins(&mut self, conn: ConnId, joins: Vec<ServerJoin>) {
        // Listed before any is answered: the first failure fails all.
        for join in &joins {
            if self.begin(conn, &join.chat, join.id, true, Tick::NEVER).is_err() {
                // The same chat twice in the token.
                self.fail_server_joins(conn);
                return;
            }
        }
        for join in joins {
            let ServerJoin { id, chat, wish, data } = join;
            self.enter(conn, &chat, Request { ticket: id, wish, error_if_lost: false, data });
        }
    }

    /// Lists the chat in the session.
    fn begin(&mut self, conn: ConnId, chat: &str, ticket: u32, server: bool, expires: Tick) -> Result<(), ErrorCode> {
        let placement = &self.shared.placement;
        let index = self.chats.find_or_insert(chat, || u16::try_from(placement.endpoint_of(chat)).unwrap_or(0));
        let limit = self.limits().chats_per_connection;
        let Some(session) = self.sessions.get_mut(conn) else { return Err(ErrorCode::Internal) };
        let begun = session.subs.begin(index, ticket, server, limit);
        match begun {
            Ok(()) => {
                if let Some(sub) = session.subs.get_mut(index) {
                    sub.expires = expires;
                }
            }
            Err(_) => self.tidy_new_chat(index),
        }
        begun
    }

    /// Forgets a chat again that was made for nothing.
    fn tidy_new_chat(&mut self, index: u32) {
        if self.chats.get(index).is_some_and(|chat| chat.phase() == Phase::Apart) {
            self.tidy_chat(index);
        }
    }

    /// Takes a subscriber in now, or lets it wait for the chat or for history.
    fn enter(&mut self, conn: ConnId, chat: &str, request: Request) {
        let Some(index) = self.chats.find(chat) else { return };
        let Some(session) = self.sessions.get(conn) else { return };
        let limits = self.recovery_limits();
        let deadline = self.now.tick().after(self.shared.config.timing.answer);
        let waiter = Waiter {
            member: conn,
            ticket: request.ticket,
            encoding: session.encoding(),
            wish: request.wish,
            error_if_lost: request.error_if_lost,
            data: request.data,
            deadline,
        };
        let Some(entry) = self.chats.get_mut(index) else { return };
        match entry.admit(waiter.wish, limits) {
            Admission::Wait => {
                entry.wait(waiter);
                self.waits.push_back((deadline, index));
                self.ensure_joined(index);
                self.ask_history(index);
            }
            admission => self.admit(index, waiter, admission),
        }
    }

    /// Asks the router for what waiting subscribers missed, unless that is under way.
    pub(super) fn ask_history(&mut self, index: u32) {
        let limits = self.recovery_limits();
        let Some(chat) = self.chats.get_mut(index) else { return };
        let Some(since) = chat.next_ask(limits) else { return };
        let Ok(name) = ChatName::new(chat.name()) else { return };
        let (endpoint, epoch) = (chat.endpoint, chat.position().epoch);
        self.counters.recovery_histories += 1;
        let query = HistoryQuery {
            chat: name,
            since: Some(Position { epoch, offset: since }),
            limit: u32::try_from(limits.messages).unwrap_or(u32::MAX),
            max_bytes: u32::try_from(limits.bytes).unwrap_or(u32::MAX),
            reverse: false,
        };
        self.ask(endpoint, LinkRequest::History { query, origin: Origin::Recovery(index) });
    }

    /// Takes a subscriber into a live chat and answers it, unless it is gone or has changed its mind.
    pub(super) fn admit(&mut self, index: u32, waiter: Waiter<ConnId>, admission: Admission) {
        let Waiter { member: conn, ticket, encoding, wish, error_if_lost, data, .. } = waiter;
        let Some(session) = self.sessions.get_mut(conn) else { return self.tidy_chat(index) };
        let Some(sub) = session.subs.get(index).filter(|sub| sub.awaits(ticket)) else {
            return self.tidy_chat(index);
        };
        let (server_side, expires) = (sub.server_side, sub.expires);
        if admission == Admission::Lost && error_if_lost {
            session.subs.remove(index);
            self.counters.subscribes_failed += 1;
            self.reply_error(conn, ticket, ErrorCode::UnrecoverablePosition.into());
            return self.tidy_chat(index);
        }
        let Some(chat) = self.chats.get_mut(index) else { return };
        let publications = match admission {
            Admission::Recovered { missed, .. } => chat
                .newest(missed)
                .map(|(offset, data)| Publication { data: data.clone(), offset, ..Publication::default() })
                .collect(),
            Admission::Fresh | Admission::Lost | Admission::Wait => Vec::new(),
        };
        let admitted = Admitted { position: chat.position(), admission, wish, publications, data, expires };
        let member_index = chat.join(conn, encoding);
        session.subs.set_live(index, member_index);
        let result = subscribe_result(admitted, encoding, &self.shared.config.timing, self.now);
        self.counters.subscribes += 1;
        self.gauges.subscriptions += 1;
        match (admission, wish) {
            (Admission::Recovered { .. }, _) => self.counters.recovered += 1,
            (_, Wish::Recover { .. }) => self.counters.not_recovered += 1,
            (_, Wish::Now) => {}
        }
        self.note_count(index);
        if server_side {
            self.server_joined(conn, index, result);
        } else if let Some(session) = self.sessions.get_mut(conn) {
            session.reply_with(ticket, &ReplyBody::Subscribe(result));
        }
        self.settle(conn);
        self.arm(conn);
    }

    fn server_joined(&mut self, conn: ConnId, index: u32, result: corecast_centrifuge::SubscribeResult) {
        let random = self.random();
        let Some(name) = self.chats.get(index).map(|chat| chat.name().to_owned()) else { return };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let backlog = session.handle_server_joined(name, result, &self.shared.config.timing, random, self.now);
        let Some(backlog) = backlog else { return };
        session.decoder.set_max_message(self.shared.config.limits.message);
        self.connected(conn);
        for command in backlog {
            if let Err(end) = self.command(conn, command) {
                self.end(conn, end);
                return;
            }
        }
    }

    /// A subscriber's chat, or its history, cannot be had now.
    pub(super) fn fail_waiter(&mut self, index: u32, waiter: &Waiter<ConnId>) {
        let (conn, ticket) = (waiter.member, waiter.ticket);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(sub) = session.subs.get(index).filter(|sub| sub.awaits(ticket)) else { return };
        self.counters.subscribes_failed += 1;
        if sub.server_side {
            self.fail_server_joins(conn);
        } else {
            session.subs.remove(index);
            self.reply_error(conn, ticket, ErrorCode::Internal.into());
        }
    }

    fn fail_server_joins(&mut self, conn: ConnId) {
        self.counters.connects_refused += 1;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.handle_server_join_failed(&self.shared.config.timing, self.now);
        while let Some((sub, encoding)) =
            self.sessions.get_mut(conn).and_then(|session| Some((session.subs.pop()?, session.encoding())))
        {
            self.leave_chat(sub, encoding);
        }
        self.settle(conn);
        self.arm(conn);
    }

    /// Always succeeds: an error would make the client reconnect.
    fn unsubscribe(&mut self, conn: ConnId, id: u32, chat: &str) {
        let index = self.chats.find(chat);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let encoding = session.encoding();
        if let Some(sub) = index.and_then(|index| session.subs.remove(index)) {
            self.counters.unsubscribes += 1;
            if let Some(ticket) = sub.ticket() {
                // Its subscribe must not stay without a reply.
                self.reply_error(conn, ticket, ErrorCode::Internal.into());
            }
            self.leave_chat(sub, encoding);
        }
        if let Some(session) = self.sessions.get_mut(conn) {
            session.reply_with(id, &ReplyBody::Unsubscribe(UnsubscribeResult {}));
        }
    }

    fn publish(&mut self, conn: ConnId, id: u32, chat: &str, data: Bytes) {
        let Ok(name) = ChatName::new(chat) else { return };
        self.counters.publishes += 1;
        let publish = Publish { chat: name, key: None, payload: data };
        let origin = Origin::Client { conn, command: id };
        self.ask(self.endpoint_of(chat), LinkRequest::Publish { publish, origin });
    }

    fn history(&mut self, conn: ConnId, wish: HistoryWish) {
        let HistoryWish { id, chat, limit, since, reverse } = wish;
        let Ok(name) = ChatName::new(&chat) else { return };
        let known = self.chats.find(&chat).and_then(|index| self.chats.get(index));
        let known = known.filter(|chat| chat.phase() == Phase::Live).map(|chat| chat.position().epoch);
        let since = match since {
            None => None,
            Some((epoch, offset)) => match epoch.or(known) {
                Some(epoch) => Some(Position { epoch, offset }),
                // A position without an epoch in a chat that is not live here: nothing to compare it with.
                None => return self.reply_error(conn, id, ErrorCode::UnrecoverablePosition.into()),
            },
        };
        let query = HistoryQuery { chat: name, since, limit, max_bytes: HISTORY_BYTES, reverse };
        let origin = Origin::Client { conn, command: id };
        self.ask(self.endpoint_of(&chat), LinkRequest::History { query, origin });
    }

    /// Writes an error reply.
    pub(super) fn reply_error(&mut self, conn: ConnId, id: u32, error: ProtocolError) {
        let Some(session) = self.sessions.get_mut(conn).filter(|session| !session.is_closing()) else { return };
        let encoding = session.encoding();
        let outbox = session.outbox.get_or_insert_with(|| self.spares.take());
        encode_error(encoding, id, &error, outbox.replies());
        self.settle(conn);
    }

    /// Writes the reply to a command that a router has answered.
    fn reply(&mut self, conn: ConnId, id: u32, body: &ReplyBody) {
        let Some(session) = self.sessions.get_mut(conn).filter(|session| session.is_live()) else { return };
        if session.outbox.is_none() {
            session.outbox = Some(self.spares.take());
        }
        session.reply_with(id, body);
        self.settle(conn);
    }

    /// A publication of a client was acknowledged or not.
    pub(super) fn published(&mut self, conn: ConnId, id: u32, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.reply(conn, id, &ReplyBody::Publish(PublishResult {})),
            Err(failure) => {
                self.counters.publishes_failed += 1;
                self.reply_error(conn, id, failure.into());
            }
        }
    }

    /// History that a client asked for.
    pub(super) fn history_arrived(&mut self, conn: ConnId, id: u32, result: Result<HistoryPage, Failure>) {
        match result {
            Ok(page) => {
                let publications = page
                    .publications
                    .into_iter()
                    .map(|publication| Publication {
                        data: publication.payload,
                        offset: publication.offset,
                        ..Publication::default()
                    })
                    .collect();
                let epoch = EpochText::new(page.top.epoch).as_str().to_owned();
                let result = HistoryResult { publications, epoch, offset: page.top.offset };
                self.reply(conn, id, &ReplyBody::History(result));
            }
            Err(failure) => self.reply_error(conn, id, failure.into()),
        }
    }

    /// Counts that a client asked for.
    pub(super) fn stats_arrived(&mut self, conn: ConnId, id: u32, result: Result<link::PresenceStats, Failure>) {
        match result {
            Ok(stats) => {
                let result = PresenceStatsResult { num_clients: stats.clients, num_users: stats.users };
                self.reply(conn, id, &ReplyBody::PresenceStats(result));
            }
            Err(failure) => self.reply_error(conn, id, failure.into()),
        }
    }

    /// A link did not take a request.
    pub(super) fn declined(&mut self, asked: Asked, origin: Origin, failure: Failure) {
        match (origin, asked) {
            (Origin::Client { conn, command }, Asked::Publish) => self.published(conn, command, Err(failure)),
            (Origin::Client { conn, command }, Asked::History) => self.history_arrived(conn, command, Err(failure)),
            (Origin::Client { conn, command }, Asked::PresenceStats) => {
                self.stats_arrived(conn, command, Err(failure));
            }
            (Origin::Recovery(index), _) => self.recovery_arrived(index, Err(failure)),
            (Origin::Control(token), _) => self.control_failed(token, failure),
            (Origin::Nobody, _) => {}
        }
    }
}

/// A subscribe request on its way into a chat.
struct Request {
    ticket: u32,
    wish: Wish,
    error_if_lost: bool,
    data: Bytes,
}

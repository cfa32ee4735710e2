//! What the server API asks of this core, and signals from other gateways.

use corecast_centrifuge::codes::CloseAdvice;
use corecast_ring::ConnId;
use corecast_wire::epoch::{self, EpochText};
use corecast_wire::message::{self, Signal};
use corecast_wire::{ChatName, Position, Text};

use super::mail::LinkRequest;
use super::origin::{Failure, Origin};
use super::state::{Drain, State};
use crate::chat::Phase;
use crate::control::{
    ControlError, DisconnectRequest, History, HistoryRequest, NodeInfo, PresenceStats, Publication, PublishRequest,
    Published, Reply,
};
use crate::link::{self, Acked, HistoryPage, HistoryQuery, Publish};
use crate::session::End;

/// A callback of the server API that waits for a link.
pub(crate) enum Pending {
    Publish(Reply<Published>),
    History(Reply<History>),
    PresenceStats(Reply<PresenceStats>),
    Nodes(Reply<Vec<NodeInfo>>),
}

/// Requests of the server API that may wait for links at once, per core.
const PENDING_MAX: usize = 16_384;
/// Payload bytes of one history answer.
const HISTORY_BYTES: u32 = 768 * 1024;

impl State {
    pub(super) fn control_publish(&mut self, request: PublishRequest, reply: Reply<Published>) {
        let Ok(chat) = ChatName::new(&request.chat) else {
            return reply(Err(ControlError::BadRequest("bad channel name")));
        };
        let endpoint = self.endpoint_of(&request.chat);
        let key = request.idempotency_key.map(|key| key.into_bytes().into());
        let publish = Publish { chat, key, payload: request.data };
        if let Some(origin) = self.wait_for(Pending::Publish(reply)) {
            self.ask(endpoint, LinkRequest::Publish { publish, origin });
        }
    }

    pub(super) fn control_history_request(&mut self, request: HistoryRequest, reply: Reply<History>) {
        let Ok(chat) = ChatName::new(&request.chat) else {
            return reply(Err(ControlError::BadRequest("bad channel name")));
        };
        let since = match self.resolve_since(&request) {
            Ok(since) => since,
            Err(error) => return reply(Err(error)),
        };
        let most = u32::try_from(corecast_wire::limits::MAX_HISTORY_PUBLICATIONS).unwrap_or(u32::MAX);
        let (limit, reverse) = (request.limit.min(most), request.reverse);
        let query = HistoryQuery { chat, since, limit, max_bytes: HISTORY_BYTES, reverse };
        let endpoint = self.endpoint_of(&request.chat);
        if let Some(origin) = self.wait_for(Pending::History(reply)) {
            self.ask(endpoint, LinkRequest::History { query, origin });
        }
    }

    fn resolve_since(&self, request: &HistoryRequest) -> Result<Option<Position>, ControlError> {
        let Some(since) = &request.since else { return Ok(None) };
        if since.epoch.is_empty() {
            if since.offset == 0 && !request.reverse {
                return Ok(None);
            }
            let chat = self.chats.find(&request.chat).and_then(|index| self.chats.get(index));
            let live = chat.filter(|chat| chat.phase() == Phase::Live).ok_or(ControlError::UnrecoverablePosition)?;
            return Ok(Some(Position { epoch: live.position().epoch, offset: since.offset }));
        }
        let epoch = epoch::parse(&since.epoch).ok_or(ControlError::UnrecoverablePosition)?;
        Ok(Some(Position { epoch, offset: since.offset }))
    }

    pub(super) fn control_presence_stats(&mut self, chat: &str, reply: Reply<PresenceStats>) {
        let Ok(name) = ChatName::new(chat) else {
            return reply(Err(ControlError::BadRequest("bad channel name")));
        };
        let endpoint = self.endpoint_of(chat);
        if let Some(index) = self.chats.find(chat) {
            self.tell_count(index);
        }
        if let Some(origin) = self.wait_for(Pending::PresenceStats(reply)) {
            self.ask(endpoint, LinkRequest::PresenceStats { chat: name, origin });
        }
    }

    /// Keeps a callback until its answer comes; refuses it if too many wait.
    pub(super) fn wait_for(&mut self, pending: Pending) -> Option<Origin> {
        if self.pending.len() >= PENDING_MAX {
            pending.fail(ControlError::Busy);
            return None;
        }
        u32::try_from(self.pending.insert(pending)).ok().map(Origin::Control)
    }

    /// The answer to a request cannot be had.
    pub(super) fn control_failed(&mut self, token: u32, failure: Failure) {
        if let Some(pending) = self.pending.try_remove(token as usize) {
            pending.fail(failure.into());
        }
    }

    pub(super) fn control_published(&mut self, token: u32, result: Result<Acked, Failure>) {
        let result = match result {
            Ok(acked) => Ok(Published {
                epoch: EpochText::new(acked.position.epoch).as_str().to_owned(),
                offset: acked.position.offset,
                duplicate: acked.duplicate,
            }),
            Err(failure) => Err(failure.into()),
        };
        if let Some(Pending::Publish(reply)) = self.pending.try_remove(token as usize) {
            reply(result);
        }
    }

    pub(super) fn control_history(&mut self, token: u32, result: Result<HistoryPage, Failure>) {
        let result = match result {
            Ok(page) => Ok(History {
                epoch: EpochText::new(page.top.epoch).as_str().to_owned(),
                offset: page.top.offset,
                publications: page
                    .publications
                    .into_iter()
                    .map(|found| Publication { offset: found.offset, time_ms: found.time_ms, data: found.payload })
                    .collect(),
            }),
            Err(failure) => Err(failure.into()),
        };
        if let Some(Pending::History(reply)) = self.pending.try_remove(token as usize) {
            reply(result);
        }
    }

    pub(super) fn control_stats(&mut self, token: u32, result: Result<link::PresenceStats, Failure>) {
        let result = match result {
            Ok(stats) => Ok(PresenceStats { clients: stats.clients, users: stats.users }),
            Err(failure) => Err(failure.into()),
        };
        if let Some(Pending::PresenceStats(reply)) = self.pending.try_remove(token as usize) {
            reply(result);
        }
    }

    pub(super) fn control_nodes(&mut self, token: u32, result: Result<Vec<message::NodeInfo>, Failure>) {
        let result = match result {
            Ok(nodes) => Ok(nodes.into_iter().map(node_info).collect()),
            Err(failure) => Err(failure.into()),
        };
        if let Some(Pending::Nodes(reply)) = self.pending.try_remove(token as usize) {
            reply(result);
        }
    }

    /// A signal that every core of every gateway gets.
    pub(super) fn signal(&mut self, signal: &Signal) {
        let Signal::Disconnect(disconnect) = signal;
        let except: Vec<&str> = disconnect.except.iter().map(Text::as_str).collect();
        self.disconnect(
            disconnect.user.as_str(),
            disconnect.client.as_str(),
            disconnect.code,
            disconnect.reason.as_str(),
            &except,
        );
    }

    /// Closes the connections that a request of the server API names.
    pub(super) fn control_disconnect(&mut self, request: &DisconnectRequest) {
        let except: Vec<&str> = request.whitelist.iter().map(String::as_str).collect();
        let client = request.client.as_deref().unwrap_or_default();
        self.disconnect(&request.user, client, request.code, &request.reason, &except);
    }

    /// Closes connections of `user` (any, if empty) with the id `client` (any, if empty), but those in `except`.
    fn disconnect(&mut self, user: &str, client: &str, code: u16, reason: &str, except: &[&str]) {
        let Ok(advice) = CloseAdvice::new(u32::from(code), reason) else { return };
        if user.is_empty() && client.is_empty() {
            return;
        }
        let ids = self.ids;
        let spared = |conn: ConnId| !except.is_empty() && except.contains(&ids.text(conn).as_str());
        let named: Vec<ConnId> = if client.is_empty() {
            self.sessions.iter().filter(|(_, session)| session.user() == user).map(|(conn, _)| conn).collect()
        } else {
            let found = ids.slot(client).and_then(|slot| self.sessions.in_slot(slot));
            found
                .filter(|(conn, session)| ids.text(*conn) == client && (user.is_empty() || session.user() == user))
                .map(|(conn, _)| conn)
                .into_iter()
                .collect()
        };
        for conn in named.into_iter().filter(|conn| !spared(*conn)) {
            self.end(conn, End::Advice(advice.clone()));
        }
    }

    /// Begins the drain.
    pub(super) fn begin_drain(&mut self) {
        if self.draining.is_none() {
            tracing::info!(core = self.core, connections = self.sessions.len(), "draining");
            self.draining = Some(Drain { since: self.now, next_slot: 0, slots: self.sessions.slots() });
        }
    }
}

impl Pending {
    fn fail(self, error: ControlError) {
        match self {
            Self::Publish(reply) => reply(Err(error)),
            Self::History(reply) => reply(Err(error)),
            Self::PresenceStats(reply) => reply(Err(error)),
            Self::Nodes(reply) => reply(Err(error)),
        }
    }
}

fn node_info(node: message::NodeInfo) -> NodeInfo {
    let stats = node.stats;
    NodeInfo {
        uid: EpochText::new(node.node_incarnation).as_str().to_owned(),
        name: node.node.as_str().to_owned(),
        version: stats.version.as_str().to_owned(),
        clients: stats.clients,
        users: stats.users,
        subscriptions: stats.subscriptions,
        chats: stats.chats,
        uptime_s: stats.uptime_s,
    }
}

//! What a linked gateway may ask for beside publishing: subscriptions, history, counts, signals.

use corecast_wire::message::{
    History, NodeInfo, NodeStats, RefusalReason, Signal, Subscribe, SubscribeOutcome, Subscribed, ToGateway,
    UnsubscribedReason,
};
use corecast_wire::{ChatName, MessageError, Text};

use super::chats::Subscriber;
use super::limits::RETRY_AFTER;
use super::slots::State;
use super::{Now, RouterCore, millis};
use crate::chat::{Query, QueryError, Resume};
use crate::log::Log;

/// What a history asker is told: the only place that decides it.
impl From<QueryError> for RefusalReason {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::WrongEpoch => Self::UnrecoverablePosition,
            QueryError::ReverseFromZero => Self::BadRequest,
        }
    }
}

impl<L: Log> RouterCore<L> {
    pub(super) fn subscribe(&mut self, link: u32, subscribe: &Subscribe, now: Now) -> Result<(), MessageError> {
        let handle = subscribe.handle;
        let state = &self.links[link as usize];
        if state.handles.contains_key(&handle) {
            return Err(MessageError::OutOfRange { field: "handle" });
        }
        let room = state.handles.len() < self.config.limits.subscriptions_per_link;
        let chat = if room { self.chats.find_or_begin(&subscribe.chat, now.instant).ok() } else { None };
        let Some(chat) = chat else {
            let (reason, retry_after_ms) = (UnsubscribedReason::TooManyChats, millis(RETRY_AFTER));
            self.send(link, &ToGateway::Unsubscribed { handle, reason, retry_after_ms });
            return Ok(());
        };
        if self.is_lost(chat) {
            self.chats.watch(chat, now.instant, self.config.limits.idle_retention);
            let reason = UnsubscribedReason::WrongSlot;
            self.send(link, &ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 });
            return Ok(());
        }
        self.links[link as usize].handles.insert(handle, chat);
        self.begin_updates(link, chat, subscribe);
        Ok(())
    }

    /// Answers a subscription, sends what it missed or what warms the gateway's cache, and enters it for what comes.
    fn begin_updates(&mut self, link: u32, chat: u32, subscribe: &Subscribe) {
        let limits = &self.config.limits;
        let handle = subscribe.handle;
        let entry = self.chats.get_mut(chat);
        let state = &mut self.links[link as usize];
        let (top, oldest) = (entry.chat.top(), entry.chat.oldest());
        let resumed = subscribe.resume.filter(|position| entry.chat.resume(*position) != Resume::Impossible);
        let (outcome, start) = match (subscribe.resume, resumed) {
            (_, Some(position)) => (SubscribeOutcome::Resumed, position.offset),
            (resume, None) => {
                // Warming is a courtesy: a link with a long queue does without.
                let roomy = state.queue.bytes() <= limits.link_soft_bytes / 2;
                let want = if roomy { usize::from(subscribe.want) } else { 0 };
                let count = entry.chat.newest(want, limits.warm_bytes).count() as u64;
                let outcome = if resume.is_some() { SubscribeOutcome::Reset } else { SubscribeOutcome::Fresh };
                (outcome, top - count)
            }
        };
        match outcome {
            SubscribeOutcome::Resumed => self.stats.resumed += 1,
            SubscribeOutcome::Reset => self.stats.reset += 1,
            SubscribeOutcome::Fresh => {}
        }
        let epoch = entry.chat.epoch();
        state.queue.push(&ToGateway::Subscribed(Subscribed { handle, epoch, offset: top, start, oldest, outcome }));
        let mut behind = false;
        for (offset, message) in entry.chat.after(start) {
            if state.queue.bytes() > limits.link_soft_bytes {
                behind = true;
                state.behind.push_back(handle);
                self.stats.lagged += 1;
                self.stats.withheld += top - offset + 1;
                break;
            }
            state.queue.push_update(handle, offset, message.time_ms, &message.payload);
            self.stats.updates += 1;
        }
        entry.subscribers.push(Subscriber { link, handle, members: 0, behind });
        self.list(link);
    }

    pub(super) fn unsubscribe(&mut self, link: u32, handle: u32, now: Now) {
        let Some(chat) = self.links[link as usize].handles.remove(&handle) else {
            // The slot may have been lost while this was under way: then the handle has had its last mention.
            return;
        };
        let entry = self.chats.get_mut(chat);
        entry.subscribers.retain(|subscriber| (subscriber.link, subscriber.handle) != (link, handle));
        self.chats.watch(chat, now.instant, self.config.limits.idle_retention);
        let reason = UnsubscribedReason::Requested;
        self.send(link, &ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 });
    }

    pub(super) fn members(&mut self, link: u32, handle: u32, count: u32) {
        let Some(&chat) = self.links[link as usize].handles.get(&handle) else { return };
        if let Some(subscriber) = self.chats.get_mut(chat).subscriber(link, handle) {
            subscriber.members = count;
        }
    }

    pub(super) fn history(&mut self, link: u32, history: &History, now: Now) {
        match self.try_history(link, history, now) {
            Ok(()) => self.stats.histories += 1,
            Err((reason, retry_after_ms)) => self.refuse(link, history.request, reason, retry_after_ms),
        }
    }

    fn try_history(&mut self, link: u32, history: &History, now: Now) -> Result<(), (RefusalReason, u32)> {
        let limits = &self.config.limits;
        if self.links[link as usize].queue.bytes() > limits.link_soft_bytes {
            return Err((RefusalReason::Overloaded, millis(RETRY_AFTER)));
        }
        if self.chats.find(&history.chat).is_none() && history.since.is_some_and(|since| since.epoch != 0) {
            return Err((RefusalReason::UnrecoverablePosition, 0));
        }
        // The position in the answer must hold for what follows, so the question begins the chat.
        let chat = self.chats.find_or_begin(&history.chat, now.instant);
        let chat = chat.map_err(|_| (RefusalReason::TooManyChats, millis(RETRY_AFTER)))?;
        self.chats.watch(chat, now.instant, limits.idle_retention);
        if self.is_lost(chat) {
            return Err((RefusalReason::WrongSlot, 0));
        }
        let query = Query {
            since: history.since,
            limit: usize::try_from(history.limit).unwrap_or(usize::MAX).min(limits.history_messages),
            max_bytes: usize::try_from(history.max_bytes).unwrap_or(usize::MAX).min(limits.history_bytes),
            reverse: history.reverse,
        };
        let chat = &self.chats.get(chat).chat;
        let found = chat.range(&query).map_err(|error| (error.into(), 0))?;
        let found: Vec<(u64, u64, &[u8])> =
            found.map(|(offset, message)| (offset, message.time_ms, &message.payload[..])).collect();
        let queue = &mut self.links[link as usize].queue;
        queue.push_history(history.request, chat.epoch(), chat.top(), found.into_iter());
        self.list(link);
        Ok(())
    }

    pub(super) fn presence_stats(&mut self, link: u32, request: u64, chat: &ChatName) {
        let clients = self.chats.find(chat).map_or(0, |chat| self.chats.get(chat).members());
        self.send(link, &ToGateway::PresenceResult { request, clients, users: clients });
    }

    pub(super) fn signal(&mut self, link: u32, request: u64, signal: Signal) {
        let notice = ToGateway::Signal(signal);
        let mut gateways = 0;
        for index in self.indices() {
            if self.links[index as usize].is_up() {
                self.send(index, &notice);
                gateways += 1;
            }
        }
        self.send(link, &ToGateway::SignalResult { request, gateways });
    }

    pub(super) fn node_stats(&mut self, link: u32, stats: &NodeStats) {
        // The version is copied: a slice would keep the whole received frame in memory.
        let version = Text::truncated(stats.version.as_str());
        self.links[link as usize].stats = NodeStats { version, ..stats.clone() };
    }

    pub(super) fn nodes(&mut self, link: u32, request: u64) {
        let up = self.links.iter().filter(|(_, link)| link.is_up());
        let nodes = up.map(|(_, link)| NodeInfo {
            node: link.node.clone(),
            node_incarnation: link.node_incarnation,
            stats: link.stats.clone(),
        });
        let nodes = nodes.collect();
        self.send(link, &ToGateway::NodesResult { request, nodes });
    }

    fn is_lost(&self, chat: u32) -> bool {
        self.slots[usize::from(self.chats.get(chat).slot)].state == State::Lost
    }
}

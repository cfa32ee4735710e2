//! What cores ask of a link.

use std::time::Instant;

use corecast_wire::limits::{MAX_KEY_BYTES, MAX_OFFSET, MAX_SIGNAL_EXCEPTIONS};
use corecast_wire::message::{History, NodeStats, Publish as WirePublish, Signal, SubscribeOutcome};
use corecast_wire::{ChatName, EncodeError, Position, ToRouter};

use super::chats::Target;
use super::config::REPAIRS_UNANSWERED_MAX;
use super::lifecycle::{Established, Phase};
use super::requests::Asked;
use super::{ChatPhase, CoreId, FromLink, HistoryQuery, Link, LocalChat, Publish, RequestRefused, ResetReason};

impl<O: Copy> Link<O> {
    /// `core` wants the updates of `chat`, and calls it `local`, an index that it uses for nothing else until `Left` or
    /// `Reset`. Leads to [`FromLink::Joined`], or to [`FromLink::Reset`] (at once, if the link has been down for over 2 s).
    ///
    /// If this join is the one that subscribes the chat, `resume` is where the updates shall begin, and if the router
    /// cannot do that, they begin with up to `want` of the newest messages. If the chat is subscribed already, they
    /// begin where it stands.
    pub fn join(
        &mut self,
        chat: &ChatName,
        core: CoreId,
        local: LocalChat,
        resume: Option<Position>,
        want: u16,
        now: Instant,
    ) {
        debug_assert!(self.chats.bound(core, local).is_none(), "a core uses an index twice");
        if self.chats.bound(core, local).is_some() {
            return;
        }
        if self.is_past_grace(now) {
            self.stats.resets += 1;
            self.events.push_back((core, FromLink::Reset { local, reason: ResetReason::LinkDown }));
            return;
        }
        let handle = match self.chats.find(chat) {
            Some(handle) if self.chats.detail(handle).is_some_and(|detail| detail.is_overdue) => {
                self.stats.resets += 1;
                self.events.push_back((core, FromLink::Reset { local, reason: ResetReason::Unanswered }));
                return;
            }
            Some(handle) => handle,
            None if self.chats.len() >= self.config.limits.chats_max => {
                self.stats.resets += 1;
                self.events.push_back((core, FromLink::Reset { local, reason: ResetReason::TooManyChats }));
                return;
            }
            None => {
                // A client may have made the position up, and no chat has epoch 0.
                let resume = resume.filter(|position| position.offset <= MAX_OFFSET && position.epoch != 0);
                let handle = self.chats.allocate(chat, resume, want);
                self.enqueue_subscribe(handle);
                handle
            }
        };
        let joined = matches!(self.chats.phase(handle), ChatPhase::Live | ChatPhase::Repairing);
        self.chats.bind(handle, Target { core, joined, local, members: 0 });
        if let Some((lane, detail)) = self.chats.both(handle) {
            detail.linger_until = None;
            detail.want = detail.want.max(want);
            if joined {
                let position = Position { epoch: detail.epoch.unwrap_or_default(), offset: lane.last };
                let (top, oldest) = (detail.top.max(lane.last), detail.oldest);
                let outcome = SubscribeOutcome::Fresh;
                self.events.push_back((core, FromLink::Joined { local, position, top, oldest, outcome }));
            }
        }
    }

    /// `core` wants no more updates of `local`. Answered by [`FromLink::Left`], unless a `Reset` has ended the join before.
    pub fn leave(&mut self, core: CoreId, local: LocalChat, now: Instant) {
        let Some((handle, last)) = self.chats.unbind(core, local) else { return };
        self.events.push_back((core, FromLink::Left { local }));
        if last {
            self.begin_linger(handle, self.config.limits.linger, now);
        } else {
            self.note_members(handle, now);
        }
    }

    /// `core` has `count` members in `local`. Sent on within 200 ms, as a sum over the cores.
    pub fn members(&mut self, core: CoreId, local: LocalChat, count: u32, now: Instant) {
        let Some(handle) = self.chats.bound(core, local) else { return };
        if let Some(lane) = self.chats.lane(handle) {
            for target in &mut lane.targets {
                if (target.core, target.local) == (core, local) {
                    target.members = count;
                }
            }
        }
        self.note_members(handle, now);
    }

    /// Publishes a message. Answered by [`FromLink::Published`].
    ///
    /// # Errors
    /// [`RequestRefused`]: nothing was sent and no answer will come.
    pub fn publish(&mut self, publish: Publish, core: CoreId, origin: O, now: Instant) -> Result<(), RequestRefused> {
        let Publish { chat, key, payload } = publish;
        let link = self.established()?;
        if payload.len() > link.terms.payload_bytes_max as usize {
            return Err(RequestRefused::TooLarge);
        }
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
            return Err(RequestRefused::Invalid);
        }
        self.ask(Asked::Publish(core, origin), payload.len(), now, |request| {
            ToRouter::Publish(WirePublish { request, chat, key, payload })
        })
    }

    /// Asks for a range of a chat's history. Answered by [`FromLink::History`].
    ///
    /// # Errors
    /// [`RequestRefused`]: nothing was sent and no answer will come.
    pub fn history(
        &mut self,
        query: HistoryQuery,
        core: CoreId,
        origin: O,
        now: Instant,
    ) -> Result<(), RequestRefused> {
        let HistoryQuery { chat, since, limit, max_bytes, reverse } = query;
        if since.is_some_and(|since| since.offset > MAX_OFFSET) {
            return Err(RequestRefused::Invalid);
        }
        self.ask(Asked::History(core, origin), 0, now, |request| {
            ToRouter::History(History { request, chat, since, limit, max_bytes, reverse })
        })
    }

    /// Asks for the counts of a chat, with those of this gateway as [`members`](Self::members) gave them last. Answered by [`FromLink::PresenceStats`].
    ///
    /// # Errors
    /// [`RequestRefused`]: nothing was sent and no answer will come.
    pub fn presence_stats(
        &mut self,
        chat: ChatName,
        core: CoreId,
        origin: O,
        now: Instant,
    ) -> Result<(), RequestRefused> {
        // Who asks right after a join wants to be counted.
        if let Some(handle) = self.chats.find(&chat)
            && self.established().is_ok()
        {
            self.send_members_of(handle);
        }
        self.ask(Asked::PresenceStats(core, origin), 0, now, |request| ToRouter::PresenceStats { request, chat })
    }

    /// Asks what the router knows of all gateways. Answered by [`FromLink::Nodes`].
    ///
    /// # Errors
    /// [`RequestRefused`]: nothing was sent and no answer will come.
    pub fn nodes(&mut self, core: CoreId, origin: O, now: Instant) -> Result<(), RequestRefused> {
        self.ask(Asked::Nodes(core, origin), 0, now, |request| ToRouter::Nodes { request })
    }

    /// Sends a signal to all gateways; it comes back as [`FromLink::Signal`] to the cores of this one too. Answered by
    /// [`FromLink::Signaled`].
    ///
    /// # Errors
    /// [`RequestRefused`]: nothing was sent and no answer will come.
    pub fn signal(&mut self, signal: Signal, core: CoreId, origin: O, now: Instant) -> Result<(), RequestRefused> {
        let Signal::Disconnect(disconnect) = &signal;
        if disconnect.except.len() > MAX_SIGNAL_EXCEPTIONS {
            return Err(RequestRefused::Invalid);
        }
        self.ask(Asked::Signal(core, origin), 0, now, |request| ToRouter::Signal { request, signal })
    }

    /// Tells the router the figures of this gateway, if the link is up.
    pub fn report(&mut self, stats: NodeStats) {
        if matches!(self.phase, Phase::Up(_)) && self.encoder.queued_bytes() < self.config.limits.outbound_bytes_max {
            self.push(&ToRouter::NodeStats(stats));
        }
    }

    fn established(&self) -> Result<&Established, RequestRefused> {
        match &self.phase {
            Phase::Up(link) if !link.draining => Ok(link),
            _ => Err(RequestRefused::LinkDown),
        }
    }

    /// Sends a request, if there is room for it.
    fn ask(
        &mut self,
        asked: Asked<O>,
        payload_bytes: usize,
        now: Instant,
        message: impl FnOnce(u64) -> ToRouter,
    ) -> Result<(), RequestRefused> {
        let limits = self.config.limits;
        // The router counts our repairs too.
        let granted = (self.established()?.terms.requests_max as usize).saturating_sub(REPAIRS_UNANSWERED_MAX).max(1);
        let requests_max = limits.requests_max.min(granted);
        if self.requests.len() >= requests_max
            || self.encoder.queued_bytes().saturating_add(payload_bytes) > limits.outbound_bytes_max
        {
            return Err(RequestRefused::QueueFull);
        }
        let request = self.requests.insert(asked, now + limits.request_timeout);
        match self.encoder.push(&message(request)) {
            Ok(()) => {
                self.stats.requests += 1;
                self.requests.set_end(request, self.stream_end());
                Ok(())
            }
            Err(error) => {
                self.requests.take(request);
                self.requests.tidy();
                Err(match error {
                    EncodeError::TooLarge { .. } => RequestRefused::TooLarge,
                    EncodeError::ChatName { .. } | EncodeError::Text { .. } | EncodeError::OutOfRange { .. } => {
                        RequestRefused::Invalid
                    }
                })
            }
        }
    }
}

//! The state of one router core: chats, links, what waits for the log. Pure: time, randomness and the wall clock are
//! arguments, bytes come and go through calls; the log behind the [`Log`] seam is the only thing it calls out to.
//!
//! Calls per turn of the driver, in this order: `handle_*` for everything that happened, then [`RouterCore::flush`],
//! then [`RouterCore::poll_transmit`] with [`RouterCore::take_frames`], and [`RouterCore::poll_gone`] until empty.
//!
//! Invariants worth naming:
//! - On one link everything is in order: an answer comes behind all updates that were queued before it.
//! - A subscription sees every offset behind its start once and in order, or a `Lagged` in place of what was withheld.
//! - Nothing is shown, acknowledged or fanned out before the log said durable.
//! - An acknowledged (chat, epoch, offset) never names another message.
//! - What a gateway may cause is bounded by [`Limits`]; at a limit there is a typed refusal, or the link is cut.

mod chats;
mod handshake;
mod limits;
mod link;
mod publish;
mod requests;
mod slots;
mod stats;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_wire::auth::Nonce;
use corecast_wire::frame::Messages;
use corecast_wire::message::{GoAway, GoAwayReason, RefusalReason, ToGateway, ToRouter};
use corecast_wire::{MessageError, WireError};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use slab::Slab;

pub use self::limits::{CoreConfig, Limits, LimitsError};
pub use self::link::LinkId;
pub use self::stats::CoreStats;

use self::chats::Chats;
use self::handshake::Topology;
use self::limits::{CHATS_PER_TURN, CLOSE_LINGER, KEYS_PER_TURN, SHRINKS_PER_TURN};
use self::link::{Link, Phase};
use self::slots::Slot;
use crate::keys::Keys;
use crate::log::Log;

/// The present, from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock: all deadlines.
    pub instant: Instant,
    /// Wall clock in milliseconds since 1970: only what messages carry.
    pub unix_ms: u64,
}

/// The state of one router core. See the module for the order of calls.
#[derive(Debug)]
pub struct RouterCore<L> {
    config: CoreConfig,
    log: L,
    /// Keyed with the secret; cloned for each use.
    mac: Hmac<Sha256>,
    chats: Chats,
    keys: Keys,
    links: Slab<Link>,
    slots: Vec<Slot>,
    /// Slots with something to submit to the log, and the vector's twin for the next round.
    to_submit: Vec<u16>,
    spare: Vec<u16>,
    /// Links with something to send, each once (`Link::listed`).
    to_send: Vec<u32>,
    gone: Vec<LinkId>,
    topology: Option<Topology>,
    generations: u32,
    up: usize,
    pending: usize,
    pending_bytes: usize,
    kept_bytes: usize,
    /// The earliest time at which links or slots need a look.
    next_check: Option<Instant>,
    /// Set while draining: when the links are closed.
    drain_until: Option<Instant>,
    stats: CoreStats,
}

impl<L: Log> RouterCore<L> {
    /// A core without links and chats.
    pub fn new(config: CoreConfig, log: L) -> Result<Self, LimitsError> {
        config.validate()?;
        let mac = Hmac::new_from_slice(&config.secret);
        let mac = mac.map_err(|_| LimitsError { field: "secret", must: "a key for HMAC" })?;
        Ok(Self {
            mac,
            chats: Chats::new(config.incarnation, config.slots, config.limits.chats),
            keys: Keys::new(config.limits.keys),
            links: Slab::new(),
            slots: (0..config.slots).map(|_| Slot::new()).collect(),
            to_submit: Vec::new(),
            spare: Vec::new(),
            to_send: Vec::new(),
            gone: Vec::new(),
            topology: None,
            generations: 0,
            up: 0,
            pending: 0,
            pending_bytes: 0,
            kept_bytes: 0,
            next_check: None,
            drain_until: None,
            stats: CoreStats::default(),
            config,
            log,
        })
    }

    /// A gateway has connected. `nonce` must be unpredictable and new. `None`: no room, close the connection.
    pub fn handle_accepted(&mut self, nonce: Nonce, now: Now) -> Option<LinkId> {
        let limits = &self.config.limits;
        if self.links.len() - self.up >= limits.links_before_proof {
            self.stats.links_refused += 1;
            return None;
        }
        self.generations = self.generations.wrapping_add(1);
        let deadline = now.instant + limits.handshake;
        let index = self.links.insert(Link::new(self.generations, nonce, now.instant, deadline)) as u32;
        self.check_by(deadline);
        Some(LinkId { index, generation: self.generations })
    }

    /// Bytes have come in on a link.
    pub fn handle_received(&mut self, link: LinkId, chunk: &[u8], now: Now) {
        let Some(index) = self.index(link) else { return };
        self.stats.received_bytes += chunk.len() as u64;
        let state = &mut self.links[index as usize];
        state.last_received = now.instant;
        if matches!(state.phase, Phase::Closing { .. }) {
            return;
        }
        state.decoder.feed(chunk);
        while let Some(state) = self.links.get_mut(index as usize) {
            if matches!(state.phase, Phase::Closing { .. }) {
                return;
            }
            match state.decoder.next_body() {
                Ok(Some(body)) => self.handle_body(index, body, now),
                Ok(None) => return,
                Err(error) => self.cut_for(index, &WireError::Frame(error), now),
            }
        }
    }

    fn handle_body(&mut self, index: u32, body: Bytes, now: Now) {
        for message in Messages::<ToRouter>::new(body) {
            let handled = match message {
                Ok(message) if self.links[index as usize].is_up() => self.handle_message(index, message, now),
                Ok(message) => self.handle_handshake(index, message, now),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                self.cut_for(index, &WireError::Message(error), now);
            }
            if matches!(self.links[index as usize].phase, Phase::Closing { .. }) {
                return;
            }
        }
    }

    fn handle_message(&mut self, link: u32, message: ToRouter, now: Now) -> Result<(), MessageError> {
        match message {
            ToRouter::Publish(publish) => self.publish(link, &publish, now),
            ToRouter::Subscribe(subscribe) => return self.subscribe(link, &subscribe, now),
            ToRouter::Unsubscribe { handle } => self.unsubscribe(link, handle, now),
            ToRouter::Members { handle, count } => self.members(link, handle, count),
            ToRouter::History(history) => self.history(link, &history, now),
            ToRouter::PresenceStats { request, chat } => self.presence_stats(link, request, &chat),
            ToRouter::Signal { request, signal } => self.signal(link, request, signal),
            ToRouter::NodeStats(stats) => self.node_stats(link, &stats),
            ToRouter::Nodes { request } => self.nodes(link, request),
            ToRouter::Ping { nonce } => self.send(link, &ToGateway::Pong { nonce }),
            ToRouter::Pong { .. } | ToRouter::GoAway(_) => {}
            ToRouter::Hello(_) => return Err(MessageError::Unexpected { message: "Hello" }),
            ToRouter::Proof { .. } => return Err(MessageError::Unexpected { message: "Proof" }),
        }
        Ok(())
    }

    /// What a send left over; it goes out before everything else. The link is blocked until it is writable.
    pub fn handle_unsent(&mut self, link: LinkId, rest: Vec<Bytes>) {
        let Some(index) = self.index(link) else { return };
        let link = &mut self.links[index as usize];
        link.queue.put_back(rest.into_iter());
        link.blocked = true;
    }

    /// The socket of a link takes bytes again.
    pub fn handle_writable(&mut self, link: LinkId) {
        let Some(index) = self.index(link) else { return };
        self.links[index as usize].blocked = false;
        self.list(index);
    }

    /// The connection is gone; the link ends without a word.
    pub fn handle_closed(&mut self, link: LinkId, now: Now) {
        if let Some(index) = self.index(link) {
            self.detach(index, now);
            self.links.remove(index as usize);
        }
    }

    /// When [`RouterCore::handle_timeout`] wants to be called, if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let idle = self.chats.next_idle();
        [self.next_check, idle, self.drain_until].into_iter().flatten().min()
    }

    /// Time has passed. Call it after everything that was received has been handled, so that a link is not taken for
    /// dead because this process was stopped.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.next_check.is_some_and(|check| check <= now.instant) {
            self.next_check = None;
            self.check_links(now);
            self.retry_settling(now);
            self.expire_keys(KEYS_PER_TURN, now);
            if self.keys.next_end().is_some_and(|end| end <= now.instant) {
                self.check_by(now.instant);
            }
        }
        if self.drain_until.is_some_and(|until| until <= now.instant) {
            self.drain_until = Some(now.instant + CLOSE_LINGER);
            for index in self.indices() {
                self.drop_link(index, now);
            }
        }
        if self.chats.next_idle().is_some_and(|idle| idle <= now.instant) {
            self.expire_keys(KEYS_PER_TURN, now);
            for _ in 0..CHATS_PER_TURN {
                let forgotten = self.chats.forget_idle(now.instant, self.config.limits.idle_retention);
                let Some(bytes) = forgotten else { break };
                self.kept_bytes -= bytes;
                self.stats.chats_forgotten += 1;
            }
        }
    }

    /// Ends a turn: hands what was published to the log, carries out what the log says, announces what was withheld.
    /// Also to be called when the log has something new.
    pub fn flush(&mut self, now: Now) {
        self.pump(now);
        for position in 0..self.to_send.len() {
            let index = self.to_send[position];
            let Some(link) = self.links.get(index as usize) else { continue };
            if link.queue.bytes() > self.config.limits.link_hard_bytes || link.queue.is_broken() {
                tracing::warn!(node = %link.node, queued = link.queue.bytes(), "a gateway asks and does not read");
                self.stats.links_cut += 1;
                self.drop_link(index, now);
            } else if !link.behind.is_empty() && !link.blocked {
                self.announce(index);
            }
        }
        let excess = self.kept_bytes.saturating_sub(self.config.limits.kept_bytes_total);
        if excess > 0 {
            let (freed, shrunk) = self.chats.shrink(excess, SHRINKS_PER_TURN);
            self.kept_bytes -= freed;
            self.stats.shrunk += shrunk;
        }
    }

    /// The next link that has something to send and whose socket takes it.
    pub fn poll_transmit(&mut self) -> Option<LinkId> {
        while let Some(index) = self.to_send.pop() {
            let Some(link) = self.links.get_mut(index as usize) else { continue };
            link.listed = false;
            if !link.blocked && !link.queue.is_empty() {
                return Some(LinkId { index, generation: link.generation });
            }
        }
        None
    }

    /// Moves the frames for one send of this link into `frames`; all of them, within what one send can carry.
    pub fn take_frames(&mut self, link: LinkId, frames: &mut Vec<Bytes>, now: Now) {
        let Some(index) = self.index(link) else { return };
        let before = frames.len();
        let link = &mut self.links[index as usize];
        let bytes = link.queue.take(frames);
        link.last_sent = now.instant;
        self.stats.sent_bytes += bytes as u64;
        self.stats.sent_frames += (frames.len() - before) as u64;
        if !link.queue.is_empty() || !link.behind.is_empty() {
            self.check_by(now.instant);
        }
    }

    /// A link that has ended: its connection must be closed now.
    pub fn poll_gone(&mut self) -> Option<LinkId> {
        self.gone.pop()
    }

    /// Tells all gateways that this core stops, refuses new ones, and ends all links after `grace`.
    pub fn drain(&mut self, grace: Duration, now: Now) {
        if self.drain_until.is_some() {
            return;
        }
        self.drain_until = Some(now.instant + grace);
        let notice = ToGateway::GoAway(GoAway { reason: GoAwayReason::Shutdown, drain_ms: millis(grace) });
        for index in self.indices() {
            if self.links[index as usize].is_up() {
                self.send(index, &notice);
            } else {
                self.drop_link(index, now);
            }
        }
    }

    /// Whether draining is over: no link is left.
    pub fn is_drained(&self) -> bool {
        self.drain_until.is_some() && self.links.is_empty()
    }

    /// Counters and present sizes.
    pub fn stats(&self) -> CoreStats {
        CoreStats {
            links: self.up as u64,
            chats: self.chats.len() as u64,
            subscriptions: self.links.iter().map(|(_, link)| link.handles.len() as u64).sum(),
            pending: self.pending as u64,
            keys: self.keys.len() as u64,
            kept_bytes: self.kept_bytes as u64,
            queued_bytes: self.links.iter().map(|(_, link)| link.queue.bytes() as u64).sum(),
            ..self.stats
        }
    }

    /// The log, for engines and tests that need to reach it.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    fn index(&self, link: LinkId) -> Option<u32> {
        let found = self.links.get(link.index as usize)?;
        (found.generation == link.generation).then_some(link.index)
    }

    fn indices(&self) -> Vec<u32> {
        self.links.iter().map(|(index, _)| index as u32).collect()
    }

    fn link_id(&self, index: u32) -> LinkId {
        LinkId { index, generation: self.links[index as usize].generation }
    }

    /// Queues a message for a link.
    fn send(&mut self, index: u32, message: &ToGateway) {
        self.links[index as usize].queue.push(message);
        self.list(index);
    }

    fn list(&mut self, index: u32) {
        if !std::mem::replace(&mut self.links[index as usize].listed, true) {
            self.to_send.push(index);
        }
    }

    fn refuse(&mut self, index: u32, request: u64, reason: RefusalReason, retry_after_ms: u32) {
        self.stats.refused += 1;
        self.send(index, &ToGateway::Refusal { request, reason, retry_after_ms });
    }

    /// The link that waits for an answer to an earlier request, if it is still there; counts the request as answered.
    fn answering(&mut self, link: LinkId) -> Option<u32> {
        let index = self.index(link)?;
        let link = &mut self.links[index as usize];
        link.requests -= 1;
        link.is_up().then_some(index)
    }

    /// Announces chats whose updates were withheld, as long as the queue is nearly empty.
    fn announce(&mut self, index: u32) {
        while self.links[index as usize].queue.bytes() <= self.config.limits.link_drained_bytes {
            let link = &mut self.links[index as usize];
            let Some(handle) = link.behind.pop_front() else { return };
            let Some(&chat) = link.handles.get(&handle) else { continue };
            let entry = self.chats.get_mut(chat);
            let Some(subscriber) = entry.subscriber(index, handle).filter(|subscriber| subscriber.behind) else {
                continue;
            };
            subscriber.behind = false;
            let (epoch, offset) = (entry.chat.epoch(), entry.chat.top());
            self.send(index, &ToGateway::Lagged { handle, epoch, offset });
        }
    }

    fn check_by(&mut self, deadline: Instant) {
        self.next_check = Some(self.next_check.map_or(deadline, |check| check.min(deadline)));
    }

    /// Deadlines and heartbeats of all links.
    fn check_links(&mut self, now: Now) {
        let Limits { heartbeat, silence, .. } = self.config.limits;
        for index in self.indices() {
            let link = &self.links[index as usize];
            let (deadline, due) = match link.phase {
                Phase::Hello { deadline, .. } | Phase::Proof { deadline, .. } | Phase::Closing { deadline } => {
                    (deadline, None)
                }
                Phase::Up => (link.last_received + silence, Some(link.last_sent + heartbeat)),
            };
            if deadline <= now.instant {
                if link.is_up() {
                    tracing::warn!(node = %link.node, "a gateway is silent");
                    self.stats.links_cut += 1;
                }
                self.drop_link(index, now);
                continue;
            }
            let (busy, empty) = (!link.queue.is_empty() || !link.behind.is_empty(), link.queue.is_empty());
            self.check_by(deadline);
            let Some(due) = due else { continue };
            if busy {
                self.list(index);
            }
            self.check_by(if due > now.instant { due } else { now.instant + heartbeat });
            if due <= now.instant && empty {
                self.send(index, &ToGateway::Ping { nonce: self.stats.sent_frames });
            }
        }
    }

    /// Ends a link because of what came in on it; the peer is told why.
    fn cut_for(&mut self, index: u32, error: &WireError, now: Now) {
        tracing::warn!(node = %self.links[index as usize].node, %error, "a link is cut");
        self.stats.links_cut += 1;
        self.end(index, ToGateway::GoAway(GoAway { reason: error.into(), drain_ms: 0 }), now);
    }

    /// Ends a link with a last message, which the peer has a moment to read.
    fn end(&mut self, index: u32, last: ToGateway, now: Now) {
        self.detach(index, now);
        let deadline = now.instant + CLOSE_LINGER;
        self.links[index as usize].phase = Phase::Closing { deadline };
        self.send(index, &last);
        self.check_by(deadline);
    }

    /// Ends a link at once.
    fn drop_link(&mut self, index: u32, now: Now) {
        self.detach(index, now);
        let link = self.link_id(index);
        self.links.remove(index as usize);
        self.gone.push(link);
    }

    /// Takes a link out of everything that refers to it by index.
    fn detach(&mut self, index: u32, now: Now) {
        let link = &mut self.links[index as usize];
        match link.phase {
            Phase::Hello { .. } | Phase::Proof { .. } => {}
            Phase::Up => self.up -= 1,
            Phase::Closing { .. } => return,
        }
        link.behind.clear();
        for (handle, chat) in std::mem::take(&mut link.handles) {
            let entry = self.chats.get_mut(chat);
            entry.subscribers.retain(|subscriber| (subscriber.link, subscriber.handle) != (index, handle));
            self.chats.watch(chat, now.instant, self.config.limits.idle_retention);
        }
        if self.up == 0 {
            self.topology = None;
        }
    }
}

/// A duration as the wire carries it, rounded up so that a retry does not come too early.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

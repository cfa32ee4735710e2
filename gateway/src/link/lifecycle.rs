//! The life of the connection: connect, handshake, heartbeat, loss, reconnect; and what an outage does to the chats.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use corecast_wire::auth::Nonce;
use corecast_wire::limits::{MAX_BODY_BYTES, MAX_HANDSHAKE_BODY_BYTES};
use corecast_wire::message::{GoAway, GoAwayReason, Hello, Welcome};
use corecast_wire::version::{Features, SUPPORTED};
use corecast_wire::{FrameDecoder, MessageError, ToGateway, ToRouter};

use super::config::{
    CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, PONG_BEATS_MAX, RESET_AFTER_LOSS, RESET_AFTER_SILENCE, RESET_SLICE_MIN,
    RESET_SLICES, RESET_TICK, SILENT_BEATS_MAX, STABLE_AFTER,
};
use super::random::{is_proved, proof};
use super::{ChatPhase, Link, LinkBlame, LinkError, LinkNotice, ResetReason};

/// Features that this gateway offers.
const OFFERED: Features = Features::NONE;

/// Where the connection stands.
pub(super) enum Phase {
    /// Not connected; connects again at `until`.
    Waiting { until: Instant },
    /// The driver is connecting.
    Connecting { deadline: Instant },
    /// Connected; the ends are proving themselves. `proved`: the router has.
    Handshake { deadline: Instant, nonce: Nonce, proved: bool },
    /// Welcomed.
    Up(Box<Established>),
    /// Over.
    Stopped,
}

impl Phase {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Waiting { until } => Some(*until),
            Self::Connecting { deadline } | Self::Handshake { deadline, .. } => Some(*deadline),
            Self::Up(link) => Some(link.next_timeout()),
            Self::Stopped => None,
        }
    }
}

/// A link that is up.
pub(super) struct Established {
    pub(super) terms: Welcome,
    /// The router is about to end the link: no new requests.
    pub(super) draining: bool,
    pub(super) last_heard: Instant,
    since: Instant,
    next_ping: Instant,
    next_nonce: u64,
    /// Pings without a pong; at most [`PONG_BEATS_MAX`] + 1, as the oldest then ends the link.
    pings: VecDeque<(u64, Instant)>,
}

impl Established {
    fn new(terms: Welcome, now: Instant) -> Self {
        let mut link = Self {
            terms,
            draining: false,
            last_heard: now,
            since: now,
            next_ping: now,
            next_nonce: 1,
            pings: VecDeque::new(),
        };
        link.next_ping = now + link.beat();
        link
    }

    fn beat(&self) -> Duration {
        Duration::from_millis(u64::from(self.terms.heartbeat_ms))
    }

    fn silent_at(&self) -> Instant {
        self.last_heard + self.beat() * SILENT_BEATS_MAX
    }

    fn unanswered_at(&self) -> Option<Instant> {
        self.pings.front().map(|&(_, sent)| sent + self.beat() * PONG_BEATS_MAX)
    }

    fn next_timeout(&self) -> Instant {
        let first = self.next_ping.min(self.silent_at());
        self.unanswered_at().map_or(first, |at| at.min(first))
    }

    /// The round trip, if this pong answers a ping.
    pub(super) fn on_pong(&mut self, nonce: u64, now: Instant) -> Option<Duration> {
        let index = self.pings.iter().position(|&(sent, _)| sent == nonce)?;
        let (_, sent) = self.pings.drain(..=index).next_back()?;
        Some(now.saturating_duration_since(sent))
    }
}

/// A time without a link.
pub(super) struct Outage {
    /// From here on chats are reset, and joins at once.
    reset_at: Instant,
    /// When the next slice of chats is reset; `None` once all are.
    next_slice: Option<Instant>,
    /// Handles below this one are done.
    next_handle: u32,
    announced: bool,
}

impl Outage {
    /// An outage that began at `now`; the last byte was heard at `last_heard`.
    pub(super) fn new(now: Instant, last_heard: Instant) -> Self {
        let reset_at = (now + RESET_AFTER_LOSS).min((last_heard + RESET_AFTER_SILENCE).max(now));
        Self { reset_at, next_slice: Some(reset_at), next_handle: 0, announced: false }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next_slice
    }
}

impl<O: Copy> Link<O> {
    /// The connection stands. Only after a `Connect`.
    pub fn handle_connected(&mut self, now: Instant) {
        let Phase::Connecting { .. } = self.phase else { return };
        let nonce = self.random.nonce();
        self.phase = Phase::Handshake { deadline: now + HANDSHAKE_TIMEOUT, nonce, proved: false };
        self.push(&ToRouter::Hello(Hello {
            versions: SUPPORTED,
            features: OFFERED,
            node: self.config.node.clone(),
            node_incarnation: self.config.node_incarnation,
            slots: self.config.slots,
            topology: self.config.topology,
            endpoint_index: self.config.endpoint_index,
            nonce,
        }));
    }

    /// The connection has ended, or could not be made. Ignored if the link has given it up itself.
    pub fn handle_disconnected(&mut self, now: Instant) {
        match self.phase {
            Phase::Connecting { .. } | Phase::Handshake { .. } | Phase::Up(_) => {
                self.give_up(LinkError::Disconnected, String::new(), now);
            }
            Phase::Waiting { .. } | Phase::Stopped => {}
        }
    }

    /// Ends the link for good, with a last word to the router: what waits for an answer fails, joins are reset.
    pub fn stop(&mut self, now: Instant) {
        if let Phase::Up(_) = self.phase {
            self.write_subscribes(now);
            self.push(&ToRouter::GoAway(GoAway { reason: GoAwayReason::Shutdown, drain_ms: 0 }));
            while let Some(frame) = self.encoder.take() {
                self.handed_out += frame.len() as u64;
                self.farewell.push_back(frame);
            }
        }
        self.connect = false;
        self.disconnect = !matches!(self.phase, Phase::Waiting { .. } | Phase::Stopped);
        self.forget_connection();
        self.phase = Phase::Stopped;
        self.outage = None;
        for handle in 0..self.chats.handles() {
            self.reset_targets(handle, ResetReason::LinkDown, now);
        }
        self.lingers.clear();
        self.members_due = None;
    }

    pub(super) fn begin_connect(&mut self, now: Instant) {
        self.phase = Phase::Connecting { deadline: now + CONNECT_TIMEOUT };
        self.connect = true;
    }

    pub(super) fn on_handshake(&mut self, message: ToGateway, now: Instant) -> Result<(), LinkError> {
        let Phase::Handshake { nonce, proved, .. } = &mut self.phase else {
            return Err(MessageError::Unexpected { message: "message" }.into());
        };
        match message {
            ToGateway::Challenge { nonce: router, mac } if !*proved => {
                if !is_proved(&self.config.secret, nonce, &router, &mac) {
                    return Err(LinkError::RouterUnproved);
                }
                *proved = true;
                let mac = proof(&self.config.secret, nonce, &router);
                self.push(&ToRouter::Proof { mac });
                Ok(())
            }
            ToGateway::Welcome(terms) if *proved => {
                if !SUPPORTED.contains(terms.version) || !OFFERED.contains(terms.features) {
                    return Err(MessageError::OutOfRange { field: "version" }.into());
                }
                self.come_up(terms, now);
                Ok(())
            }
            ToGateway::Refused(refused) => {
                self.refusal = Some(refused.message);
                Err(LinkError::Refused(refused.reason))
            }
            ToGateway::GoAway(_) => Err(LinkError::Disconnected),
            _ => Err(MessageError::Unexpected { message: "message before Welcome" }.into()),
        }
    }

    fn come_up(&mut self, terms: Welcome, now: Instant) {
        self.decoder.set_limit(MAX_BODY_BYTES);
        self.phase = Phase::Up(Box::new(Established::new(terms, now)));
        self.outage = None;
        self.stats.ups += 1;
        let (version, router_incarnation) = (terms.version, terms.router_incarnation);
        self.notice(LinkNotice::Up { version, router_incarnation });
        for handle in 0..self.chats.handles() {
            if self.chats.phase(handle) == ChatPhase::Waiting {
                self.enqueue_subscribe(handle);
            }
        }
    }

    /// Does what the phase wants at `now`.
    pub(super) fn advance_phase(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now => self.begin_connect(now),
            Phase::Connecting { deadline } if *deadline <= now => self.abort(LinkError::ConnectTimeout, now),
            Phase::Handshake { deadline, .. } if *deadline <= now => self.abort(LinkError::HandshakeTimeout, now),
            Phase::Up(link) => {
                if link.silent_at() <= now {
                    self.abort(LinkError::Silent, now);
                } else if link.unanswered_at().is_some_and(|at| at <= now) {
                    self.abort(LinkError::NoPong, now);
                } else if link.next_ping <= now {
                    let nonce = link.next_nonce;
                    link.next_nonce += 1;
                    link.next_ping = now + link.beat();
                    link.pings.push_back((nonce, now));
                    self.push(&ToRouter::Ping { nonce });
                }
            }
            Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Handshake { .. } | Phase::Stopped => {}
        }
    }

    /// Closes the connection because of `error`, which the router is told if it can be told anything.
    pub(super) fn abort(&mut self, error: LinkError, now: Instant) {
        let connected = !matches!(self.phase, Phase::Connecting { .. });
        let message = self.refusal.take().map_or_else(String::new, |text| text.as_str().to_owned());
        self.give_up(error, message, now);
        self.disconnect = true;
        if connected && let Some(reason) = error.farewell() {
            self.push(&ToRouter::GoAway(GoAway { reason, drain_ms: 0 }));
            self.farewell.extend(self.encoder.take());
        }
    }

    fn give_up(&mut self, error: LinkError, message: String, now: Instant) {
        let was_up = match &self.phase {
            Phase::Up(link) => Some((link.since, link.last_heard)),
            _ => None,
        };
        self.failures = match was_up {
            Some((since, _)) if now.saturating_duration_since(since) >= STABLE_AFTER => 1,
            _ => self.failures.saturating_add(1),
        };
        self.stats.failures += 1;
        if let Some((_, last_heard)) = was_up {
            self.outage = Some(Outage::new(now, last_heard));
        }
        self.forget_connection();
        let retry_in = self.random.backoff(self.failures, error.blame() == LinkBlame::Configuration);
        self.phase = Phase::Waiting { until: now + retry_in };
        self.connect = false;
        self.notice(LinkNotice::Down { error, message, retry_in });
    }

    /// Everything that belonged to the connection ends with it.
    fn forget_connection(&mut self) {
        self.lose_requests();
        self.decoder = FrameDecoder::with_limit(MAX_HANDSHAKE_BODY_BYTES);
        self.encoder.clear();
        self.handed_out = 0;
        self.repairs.clear();
        self.to_subscribe.clear();
        self.subscribes_unanswered = 0;
        self.subscribe_deadlines.clear();
        for handle in 0..self.chats.handles() {
            let Some((lane, detail)) = self.chats.both(handle) else { continue };
            detail.queued = false;
            detail.unanswered = None;
            detail.members_sent = 0;
            detail.repair = None;
            match lane.phase {
                ChatPhase::Free => {}
                ChatPhase::Waiting
                | ChatPhase::Subscribing
                | ChatPhase::Live
                | ChatPhase::Repairing
                | ChatPhase::Unsubscribing => {
                    lane.phase = ChatPhase::Waiting;
                    if lane.targets.is_empty() {
                        self.chats.free(handle);
                    }
                }
            }
        }
    }

    /// Whether the link has been down for so long that its chats are reset.
    pub(super) fn is_past_grace(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Stopped) || self.outage.as_ref().is_some_and(|outage| outage.reset_at <= now)
    }

    /// Resets the next slice of chats, if the outage has come to that.
    pub(super) fn reset_after_outage(&mut self, now: Instant) {
        let Some(outage) = &mut self.outage else { return };
        if outage.next_slice.is_none_or(|at| at > now) {
            return;
        }
        let handles = self.chats.handles();
        let slice = (handles as usize / RESET_SLICES + 1).max(RESET_SLICE_MIN);
        let first = outage.next_handle;
        let end = first.saturating_add(u32::try_from(slice).unwrap_or(u32::MAX)).min(handles);
        outage.next_handle = end;
        outage.next_slice = (end < handles).then_some(now + RESET_TICK);
        if !std::mem::replace(&mut outage.announced, true) {
            let chats = self.chats.len();
            if chats > 0 {
                self.notice(LinkNotice::Resetting { chats });
            }
        }
        for handle in first..end {
            self.reset_targets(handle, ResetReason::LinkDown, now);
        }
    }
}

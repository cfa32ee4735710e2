//! The link to one router endpoint, owned by one core of the gateway and used by all of them.
//!
//! A pure state machine: no I/O, no clock, no randomness but from the seed. Its driver connects, moves bytes and hands
//! events to the cores. Invariants that a change here would break:
//! * **Contiguity.** [`FromLink::Joined`] to a core is followed by updates with the offsets `position.offset + 1`, `+ 2`,
//!   … and ends with exactly one [`FromLink::Reset`] or [`FromLink::Left`]. Whatever the router or the network does, a core
//!   never sees a gap, a repetition or a step back. Gaps are repaired from the router's history, behind the cores' backs.
//! * **One answer.** A request that was taken is answered exactly once. A publish that may have happened is
//!   [`PublishError::Unknown`], never an error that invites a repetition.
//! * **Nobody takes silence for health.** 2 s after an established link broke, or 4 s after the last byte heard, all joins
//!   are reset, spread over 0.8 s.
//! * **Bounded.** Requests, queued bytes, what repairs keep, notices. What the router makes us queue is bounded by giving
//!   the link up.
//! * **The update path** (chunk → [`FromLink::Update`]) neither hashes nor allocates per update: one copy of the chunk, an
//!   index by handle, one reference to the payload per interested core.
//!
//! | Module | What it is |
//! |---|---|
//! | `commands` | what cores ask: join, leave, publish, history, … |
//! | `inbound` | updates, answers and what else the router says |
//! | `lifecycle` | connect, handshake, heartbeat, loss, reconnect, reset |
//! | `subscriptions` | which chats the router sends, and how many members they have |
//! | `repair` | gaps |
//! | `chats`, `requests` | the tables |

mod chats;
mod commands;
pub mod config;
mod inbound;
mod lifecycle;
mod random;
mod repair;
mod requests;
mod subscriptions;
mod types;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use corecast_wire::limits::MAX_HANDSHAKE_BODY_BYTES;
use corecast_wire::{FrameDecoder, FrameEncoder, Text, ToRouter};

use chats::{Chats, Phase as ChatPhase};
use lifecycle::{Outage, Phase};
use random::Random;
use repair::Repairs;
use requests::Requests;

pub use config::{LinkConfig, LinkLimits};
pub use types::{
    Acked, CoreId, FromLink, HistoryPage, HistoryQuery, LinkAction, LinkBlame, LinkError, LinkNotice, LinkState,
    LinkStats, LocalChat, PresenceStats, Publish, PublishError, RequestError, RequestRefused, ResetReason,
};

/// One link. `O` is what cores use to recognise the answers to their requests.
///
/// Four kinds of methods: commands of the cores ([`join`](Self::join), [`publish`](Self::publish), …), inputs of the driver
/// (`handle_*`), outputs (`poll_*`) and getters. After any command or input, and once after [`new`](Self::new), the driver
/// drains the outputs: [`poll_event`](Self::poll_event) and [`poll_notice`](Self::poll_notice) until `None`,
/// [`poll_transmit`](Self::poll_transmit) until `None` or until the socket is full, then
/// [`poll_action`](Self::poll_action) until `None`; and it calls [`handle_timeout`](Self::handle_timeout) at
/// [`next_timeout`](Self::next_timeout). What the socket does not take stays in the link, where it is counted.
pub struct Link<O> {
    config: LinkConfig,
    random: Random,
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    outage: Option<Outage>,

    decoder: FrameDecoder,
    encoder: FrameEncoder,
    /// Bytes of the current connection that were handed out.
    handed_out: u64,
    /// What the router said when it refused the link.
    refusal: Option<Text>,
    /// Last frames of a connection that is given up.
    farewell: VecDeque<Bytes>,

    chats: Chats,
    /// Chats whose `Subscribe` waits to be written.
    to_subscribe: VecDeque<u32>,
    subscribes_unanswered: usize,
    /// In the order of the deadlines. Answered ones may stand between others.
    subscribe_deadlines: VecDeque<(Instant, u32)>,
    lingers: BinaryHeap<Reverse<(Instant, u32)>>,
    dirty_members: Vec<u32>,
    members_due: Option<Instant>,

    requests: Requests<O>,
    repairs: Repairs,

    events: VecDeque<(CoreId, FromLink<O>)>,
    notices: VecDeque<LinkNotice>,
    connect: bool,
    disconnect: bool,
    stats: LinkStats,
}

impl<O: Copy> Link<O> {
    /// A link that wants to connect at once. `seed` comes from the operating system's randomness: the nonces of the
    /// handshakes are derived from it.
    #[must_use]
    pub fn new(config: LinkConfig, now: Instant, seed: [u8; 32]) -> Self {
        let mut link = Self {
            config,
            random: Random::new(seed),
            phase: Phase::Stopped,
            failures: 0,
            outage: Some(Outage::new(now, now)),
            decoder: FrameDecoder::with_limit(MAX_HANDSHAKE_BODY_BYTES),
            encoder: FrameEncoder::new(),
            handed_out: 0,
            refusal: None,
            farewell: VecDeque::new(),
            chats: Chats::default(),
            to_subscribe: VecDeque::new(),
            subscribes_unanswered: 0,
            subscribe_deadlines: VecDeque::new(),
            lingers: BinaryHeap::new(),
            dirty_members: Vec::new(),
            members_due: None,
            requests: Requests::new(),
            repairs: Repairs::default(),
            events: VecDeque::new(),
            notices: VecDeque::new(),
            connect: false,
            disconnect: false,
            stats: LinkStats::default(),
        };
        link.begin_connect(now);
        link
    }

    /// The next event and the core it is for. In order.
    pub fn poll_event(&mut self) -> Option<(CoreId, FromLink<O>)> {
        self.events.pop_front()
    }

    /// The next frame for the router.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(frame) = self.farewell.pop_front() {
            return Some(frame);
        }
        self.write_subscribes(now);
        let frame = self.encoder.take()?;
        self.handed_out += frame.len() as u64;
        self.stats.sent_bytes += frame.len() as u64;
        Some(frame)
    }

    /// What to do with the connection. A `Disconnect` comes before the `Connect` that follows it.
    pub fn poll_action(&mut self) -> Option<LinkAction> {
        if std::mem::take(&mut self.disconnect) {
            self.farewell.clear();
            return Some(LinkAction::Disconnect);
        }
        std::mem::take(&mut self.connect).then_some(LinkAction::Connect)
    }

    /// The next notice for the log.
    pub fn poll_notice(&mut self) -> Option<LinkNotice> {
        self.notices.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        [
            self.phase.next_timeout(),
            self.requests.next_deadline(),
            self.subscribe_deadlines.front().map(|&(at, _)| at),
            self.lingers.peek().map(|Reverse((at, _))| *at),
            self.members_due,
            self.outage.as_ref().and_then(Outage::next_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance_phase(now);
        while let Some(open) = self.requests.expired(now) {
            self.stats.timeouts += 1;
            self.expire(open, now);
        }
        self.reset_overdue(now);
        self.end_lingers(now);
        self.send_members(now);
        self.reset_after_outage(now);
        self.ask_repairs(now);
    }

    /// Where the link stands.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match self.phase {
            Phase::Waiting { .. } => LinkState::Waiting,
            Phase::Connecting { .. } | Phase::Handshake { .. } => LinkState::Connecting,
            Phase::Up(_) => LinkState::Up,
            Phase::Stopped => LinkState::Stopped,
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// Requests of cores and repairs that wait for an answer.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        self.requests.len()
    }

    /// Chats that are wanted.
    #[must_use]
    pub fn chats(&self) -> usize {
        self.chats.len()
    }

    /// Bytes that wait for the router.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.encoder.queued_bytes()
    }

    /// Bytes of the outbound stream so far, queued ones included.
    fn stream_end(&self) -> u64 {
        self.handed_out + self.encoder.queued_bytes() as u64
    }

    /// Queues a message that is valid by construction.
    fn push(&mut self, message: &ToRouter) {
        let outcome = self.encoder.push(message);
        debug_assert_eq!(outcome, Ok(()), "{message:?}");
    }

    fn notice(&mut self, notice: LinkNotice) {
        if self.notices.len() == config::NOTICES_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }
}

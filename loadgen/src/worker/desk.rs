//! What a worker knows and decides, without doing any I/O: connections, what they receive, and what follows from it.
//!
//! Input arrives through `handle_*` and the commands of [`super::publish`] and [`super::behave`]; what is to be done comes
//! out as [`Intent`]s, in order, for the driver to carry out. `now_ns` is set once per turn: everything that was reaped
//! together was there at that instant at the latest.
//!
//! Invariants: every member is either known to the pace (waiting, in flight) or up; `ledger.members` counts the joined
//! tracks of a chat; after [`Intent::Close`] nothing is sent to that connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use corecast_websocket::handshake::{ClientHandshake, ClientProgress, HandshakeFailure};

use super::counts::{Counts, note};
use super::member::{Members, Phase};
use super::pace::Pace;
use super::publish::Pending;
use super::shared::{Share, Shared, Times};
use crate::body;
use crate::check::{Checker, Order, Track};
use crate::latency::{Metric, Recorder};
use crate::rng::Rng;
use crate::target::{Frames, Incoming, Join, Place, Recovery, Subscribed, Unreadable};

/// What the driver shall do.
#[derive(Debug)]
pub(crate) enum Intent {
    Connect(u32),
    Send(u32, Bytes),
    Close(u32),
}

/// Which part of the work a worker has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Duties {
    /// Its share of the members; `None` for a worker that only publishes.
    pub members: Option<Share>,
    /// Dedicated publishing connections.
    pub publishers: u32,
    /// Its share of the publishing, if it publishes.
    pub publishing: Option<Share>,
    /// Its share of the connect rate and of the connects in flight.
    pub connecting: Share,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Desk {
    pub shared: Arc<Shared>,
    pub duties: Duties,
    pub now_ns: u64,
    pub times: Option<Times>,
    pub members: Members,
    pub pace: Pace,
    pub checker: Checker,
    pub recorder: Recorder,
    pub counts: Counts,
    pub pending: Pending,
    pub intents: Vec<Intent>,
    /// Bytes that a connection's socket has not taken yet; kept by the driver, empty as a rule.
    pub backlog: HashMap<u32, usize>,
    pub rng: Rng,
    /// Scratch for outgoing messages.
    pub frames: Frames,
    offsets: bool,
    ends: bool,
}

impl Desk {
    pub(crate) fn new(shared: Arc<Shared>, duties: Duties, now_ns: u64) -> Self {
        let members = Members::new(&shared.plan, duties.members, duties.publishers);
        let scenario = &shared.scenario;
        let of = duties.connecting.of;
        let rate = scenario.connect_rate / f64::from(of);
        let pace = Pace::new(members.all.len() as u32, rate, scenario.connecting_max.div_ceil(of), now_ns);
        let rng = Rng::new(shared.seed).fork(u64::from(duties.connecting.index) + 1);
        Self {
            recorder: Recorder::new(shared.plan.groups.len()),
            frames: Frames::new(shared.adapter.is_binary(), (rng.clone().next_u64() as u32 | 1).to_le_bytes()),
            offsets: shared.adapter.protocol.has_offsets(),
            shared,
            duties,
            now_ns,
            times: None,
            members,
            pace,
            checker: Checker::default(),
            counts: Counts::default(),
            pending: Pending::default(),
            intents: Vec::new(),
            backlog: HashMap::new(),
            rng,
            ends: false,
        }
    }

    /// Whether `intended_ns` lies in the measured time.
    #[inline]
    pub(crate) fn measures(&self, intended_ns: u64) -> bool {
        self.times.is_some_and(|times| times.measures(intended_ns))
    }

    /// Index of a member among all of the run.
    pub(crate) fn global(&self, local: u32) -> u32 {
        self.duties.members.map_or(local, |share| share.item(local))
    }

    /// Connects that are due, and those that took too long.
    pub(crate) fn connect_due(&mut self) {
        while let Some((local, attempt)) = self.pace.poll_deadline(self.now_ns) {
            let member = &self.members.all[local as usize];
            if member.attempt == attempt
                && matches!(member.phase, Phase::Connecting | Phase::Upgrading | Phase::Joining)
            {
                self.intents.push(Intent::Close(local));
                self.failed(local, "no answer within 10 s".to_owned());
            }
        }
        while let Some(local) = self.pace.poll(self.now_ns) {
            let member = &mut self.members.all[local as usize];
            member.phase = Phase::Connecting;
            member.attempt = member.attempt.wrapping_add(1);
            member.since_ns = self.now_ns;
            self.pace.begun(local, member.attempt, self.now_ns);
            self.counts.connects += 1;
            self.intents.push(Intent::Connect(local));
        }
    }

    /// The TCP connection stands: ask for the upgrade.
    pub(crate) fn handle_connected(&mut self, local: u32) {
        let shared = self.shared.clone();
        let target = &shared.targets[self.global(local) as usize % shared.targets.len()];
        let first_chat = self.members.track_range(local).next().map(|track| self.members.tracks[track].chat);
        let path = shared.adapter.path(&target.path, first_chat);
        let nonce = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        let subprotocols = shared.adapter.subprotocols();
        match ClientHandshake::new(&target.host, &path, subprotocols, &[], nonce.to_le_bytes()) {
            Ok(handshake) => {
                self.intents.push(Intent::Send(local, Bytes::copy_from_slice(handshake.request())));
                let member = &mut self.members.all[local as usize];
                member.phase = Phase::Upgrading;
                member.extra().handshake = Some(handshake);
            }
            Err(error) => {
                self.intents.push(Intent::Close(local));
                self.failed(local, error.to_string());
            }
        }
    }

    /// The TCP connection did not come about. It is closed already.
    pub(crate) fn handle_connect_failed(&mut self, local: u32, error: &std::io::Error) {
        self.failed(local, plain(error));
    }

    /// No slot is free: those of closed connections are still being given back. Not a failure.
    pub(crate) fn handle_no_slot(&mut self, local: u32, pause_ns: u64) {
        self.counts.connects -= 1;
        self.pace.settled();
        self.members.all[local as usize].phase = Phase::Waiting;
        self.pace.retry_at(local, self.now_ns + pause_ns);
    }

    /// The connection ended from the target's side, with a close code or an error.
    pub(crate) fn handle_closed(&mut self, local: u32, how: String) {
        self.intents.push(Intent::Close(local));
        match self.members.all[local as usize].phase {
            Phase::Live | Phase::Switching => {
                note(&mut self.counts.disconnects, how);
                self.lost(local);
                let pause = Pace::backoff_ns(0, self.rng.unit());
                self.pace.retry_at(local, self.now_ns + pause);
            }
            Phase::Connecting | Phase::Upgrading | Phase::Joining => self.failed(local, how),
            Phase::Waiting | Phase::Gone => {}
        }
    }

    /// Bytes of the answer to an upgrade. Returns how many belonged to it, once it is complete.
    pub(crate) fn handle_answer(&mut self, local: u32, bytes: &[u8]) -> Option<usize> {
        let member = &mut self.members.all[local as usize];
        let progress = member.extra().handshake.as_mut()?.feed(bytes);
        match progress {
            Ok(ClientProgress::Incomplete) => None,
            Ok(ClientProgress::Complete { consumed, .. }) => {
                member.extra().handshake = None;
                let since_ns = std::mem::replace(&mut member.since_ns, self.now_ns);
                self.recorder.record(Metric::Connect, 0, self.now_ns - since_ns);
                self.counts.upgrades += 1;
                self.greet(local);
                Some(consumed)
            }
            Err(error) => {
                let text = match &error {
                    HandshakeFailure::Refused { status, reason } => format!("upgrade refused: {status} {reason}"),
                    other => format!("upgrade failed: {other}"),
                };
                self.intents.push(Intent::Close(local));
                self.failed(local, text);
                None
            }
        }
    }

    fn greet(&mut self, local: u32) {
        let shared = self.shared.clone();
        let range = self.members.track_range(local);
        let tracks = &self.members.tracks[range];
        let resumable = |track: &Track| self.offsets && track.next > 0 && track.epoch != 0;
        let epochs: Vec<String> = tracks.iter().map(|track| shared.epochs.text(track.epoch)).collect();
        let joins: Vec<Join<'_>> = tracks
            .iter()
            .zip(&epochs)
            .map(|(track, epoch)| Join {
                chat: track.chat,
                resume: resumable(track).then_some((epoch.as_str(), track.position())),
            })
            .collect();
        shared.adapter.greet(&joins, &mut self.frames);
        let waits = !shared.adapter.joins_by_upgrade(joins.len());
        let member = &mut self.members.all[local as usize];
        member.awaiting = member.tracks;
        member.phase = Phase::Joining;
        if !self.frames.is_empty() {
            self.intents.push(Intent::Send(local, self.frames.take()));
        }
        if !waits {
            self.all_subscribed(local);
        }
    }

    /// One thing that the target said to that connection.
    pub(crate) fn incoming(&mut self, local: u32, incoming: Incoming<'_>) {
        match incoming {
            Incoming::Publication { chat, position, body } => self.delivered(local, chat, position, body),
            Incoming::Published { id, refused } => self.published(id, refused),
            Incoming::Ping => {
                self.counts.pings += 1;
                self.shared.adapter.pong(&mut self.frames);
                self.intents.push(Intent::Send(local, self.frames.take()));
            }
            Incoming::Subscribed(subscribed) => self.subscribed(local, &subscribed),
            Incoming::AllSubscribed => self.all_subscribed(local),
            Incoming::Connected => {
                if self.members.all[local as usize].tracks == 0 {
                    self.live(local);
                }
            }
            Incoming::Unsubscribed { chat, code } => self.unsubscribed(local, chat, code),
            Incoming::Refused { what, code, message, temporary } => {
                let temporary = if temporary { ", temporary" } else { "" };
                let text = format!("{what} refused: {message} (code {code}{temporary})");
                self.give_back(local, text);
            }
            Incoming::Other => {}
        }
    }

    fn delivered(&mut self, local: u32, named: Option<u32>, position: Option<u64>, bytes: &[u8]) {
        let stamp = match body::verify(bytes) {
            Ok(stamp) => Some(stamp),
            Err(body::Damage::NotOurs) => None,
            Err(body::Damage::Hash) => {
                self.checker.truth.corrupt += 1;
                None
            }
        };
        let ours = stamp.filter(|stamp| stamp.run == self.shared.run);
        if ours.is_none() {
            self.checker.truth.foreign += 1;
        }
        let Some(chat) = named.or_else(|| ours.map(|stamp| stamp.chat)) else { return };
        let Some(index) = self.members.track_of(local, chat) else {
            self.not_in(ours.is_some());
            return;
        };
        if ours.is_some_and(|stamp| stamp.chat != chat) {
            self.checker.truth.misrouted += 1;
        }
        let Some(position) = position.or_else(|| ours.map(|stamp| u64::from(stamp.sequence))) else { return };
        let track = &mut self.members.tracks[index];
        if !track.joined {
            // Before the confirmation the published clients drop publications without a trace.
            self.checker.truth.unexpected += 1;
            return;
        }
        let order = self.checker.arrived(index as u32, track, position);
        let ledger = &self.shared.ledgers[chat as usize];
        ledger.saw(position);
        if let Some(stamp) = ours.filter(|_| order != Order::Duplicate) {
            self.time(&stamp, ledger.members.load(Ordering::Relaxed));
        }
    }

    /// A publication for a chat that the member is not in: right after a switch the target could not know yet.
    #[cold]
    fn not_in(&mut self, ours: bool) {
        if self.shared.scenario.switch.is_some() {
            self.counts.stale += 1;
        } else if ours {
            self.checker.truth.unexpected += 1;
        }
    }

    #[inline]
    fn time(&mut self, stamp: &body::Stamp, expected: u32) {
        let group = self.shared.plan.group_of_chat(stamp.chat);
        let latency = self.now_ns.saturating_sub(stamp.intended_ns);
        if !self.measures(stamp.intended_ns) {
            self.recorder.record(Metric::Warmup, 0, latency);
            return;
        }
        self.recorder.record(Metric::Deliver, group, latency);
        if let Some(complete) = self.shared.spreads.arrived(stamp.id, expected, self.now_ns) {
            let since = |at_ns: u64| at_ns.saturating_sub(stamp.intended_ns);
            self.recorder.record(Metric::First, group, since(complete.first_ns));
            self.recorder.record(Metric::Median, group, since(complete.median_ns));
            self.recorder.record(Metric::Last, group, since(complete.last_ns));
            self.recorder.record(Metric::Spread, group, complete.last_ns - complete.first_ns);
        }
    }

    fn published(&mut self, id: u32, refused: Option<u32>) {
        let Some(publish) = self.pending.settle(id) else { return };
        let ledger = &self.shared.ledgers[publish.chat as usize];
        if let Some(code) = refused {
            ledger.refused.fetch_add(1, Ordering::Relaxed);
            self.counts.refused += 1;
            note(&mut self.counts.failures, format!("publish refused: code {code}"));
            return;
        }
        ledger.acked.fetch_add(1, Ordering::Relaxed);
        self.counts.acked += 1;
        if self.measures(publish.intended_ns) {
            self.recorder.record(Metric::Publish, 0, self.now_ns.saturating_sub(publish.intended_ns));
        }
    }

    fn subscribed(&mut self, local: u32, subscribed: &Subscribed<'_>) {
        let index = match subscribed.place {
            Place::Index(place) => {
                let range = self.members.track_range(local);
                Some(range.start + usize::from(place)).filter(|index| range.contains(index))
            }
            Place::Chat(chat) => self.members.track_of(local, chat),
        };
        let Some(index) = index else {
            self.checker.truth.unexpected += 1;
            return;
        };
        self.joined(index, subscribed);
        for (position, bytes) in subscribed.missed {
            self.checker.truth.recovered += 1;
            self.recovered(local, index, *position, bytes);
        }
        let member = &mut self.members.all[local as usize];
        member.awaiting = member.awaiting.saturating_sub(1);
        if member.awaiting == 0 {
            self.live(local);
        }
    }

    /// The track `index` is confirmed at the position that the target states.
    fn joined(&mut self, index: usize, subscribed: &Subscribed<'_>) {
        let shared = self.shared.clone();
        let before_start = self.times.is_none_or(|times| self.now_ns < times.start_ns);
        let track = &mut self.members.tracks[index];
        let ledger = &shared.ledgers[track.chat as usize];
        let (epoch, top) = match subscribed.position {
            Some((epoch, top)) => {
                let epoch = shared.epochs.number(epoch);
                ledger.told(epoch, top, before_start);
                (epoch, Some(top))
            }
            // Positions are our own sequence numbers: nothing has been published yet, or the first one is unknown.
            None => (0, before_start.then_some(0)),
        };
        if !track.joined && !shared.aside {
            ledger.members.fetch_add(1, Ordering::Relaxed);
        }
        match subscribed.recovery {
            Recovery::Recovered => track.resumed(),
            Recovery::Lost => self.checker.told_lost(index as u32, track, epoch, top),
            Recovery::Fresh => self.checker.joined(index as u32, track, epoch, top),
        }
    }

    /// A publication inside a recovery reply: checked like any other, but its age is the member's absence, no latency.
    fn recovered(&mut self, local: u32, index: usize, position: u64, bytes: &[u8]) {
        let chat = self.members.tracks[index].chat;
        match body::verify(bytes) {
            Ok(stamp) if stamp.run != self.shared.run => self.checker.truth.foreign += 1,
            Ok(stamp) if stamp.chat != chat => self.checker.truth.misrouted += 1,
            Ok(_) => {}
            Err(body::Damage::NotOurs) => self.checker.truth.foreign += 1,
            Err(body::Damage::Hash) => self.checker.truth.corrupt += 1,
        }
        debug_assert!(self.members.track_range(local).contains(&index));
        self.checker.arrived(index as u32, &mut self.members.tracks[index], position);
        self.shared.ledgers[chat as usize].saw(position);
    }

    fn all_subscribed(&mut self, local: u32) {
        let fresh = Subscribed { place: Place::Index(0), position: None, recovery: Recovery::Fresh, missed: &[] };
        for index in self.members.track_range(local) {
            if !self.members.tracks[index].joined {
                self.joined(index, &fresh);
            }
        }
        if matches!(self.members.all[local as usize].phase, Phase::Joining | Phase::Switching) {
            self.members.all[local as usize].awaiting = 0;
            self.live(local);
        }
    }

    /// The connection is where it wants to be.
    fn live(&mut self, local: u32) {
        let is_publisher = self.members.is_publisher(local);
        let member = &mut self.members.all[local as usize];
        let took = self.now_ns.saturating_sub(member.since_ns);
        let was = std::mem::replace(&mut member.phase, Phase::Live);
        match was {
            Phase::Joining => {
                member.failures = 0;
                let lost_ns = member.extra.as_mut().and_then(|extra| extra.lost_ns.take());
                member.tidy();
                self.pace.settled();
                if let Some(lost_ns) = lost_ns {
                    self.counts.back += 1;
                    self.recorder.record(Metric::Recover, 0, self.now_ns.saturating_sub(lost_ns));
                }
                if is_publisher {
                    self.counts.publishers += 1;
                } else {
                    self.counts.live += 1;
                    self.recorder.record(Metric::Subscribe, 0, took);
                }
            }
            Phase::Switching => {
                self.counts.switches += 1;
                if self.times.is_some() {
                    self.recorder.record(Metric::Switch, 0, took);
                }
            }
            _ => {}
        }
    }

    /// The target ended a subscription and said so: ask again, from where the member stands.
    fn unsubscribed(&mut self, local: u32, chat: Option<u32>, code: u32) {
        let Some(index) = chat.and_then(|chat| self.members.track_of(local, chat)) else { return };
        self.checker.truth.told_cut += 1;
        let shared = self.shared.clone();
        let track = &mut self.members.tracks[index];
        if !std::mem::replace(&mut track.joined, false) {
            return;
        }
        shared.left(track.chat);
        if code < 2_500 {
            note(&mut self.counts.failures, format!("unsubscribed for good: code {code}"));
            return;
        }
        let epoch = shared.epochs.text(track.epoch);
        let resume = (track.next > 0 && track.epoch != 0).then_some((epoch.as_str(), track.position()));
        let join = Join { chat: track.chat, resume };
        let place = (index - self.members.track_range(local).start) as u16;
        shared.adapter.subscribe(place, join, &mut self.frames);
        self.members.all[local as usize].awaiting += 1;
        self.intents.push(Intent::Send(local, self.frames.take()));
    }

    /// The target refused something that the connection cannot do without.
    fn give_back(&mut self, local: u32, text: String) {
        self.intents.push(Intent::Close(local));
        if self.members.all[local as usize].is_up() {
            note(&mut self.counts.failures, text);
            self.lost(local);
            let pause = Pace::backoff_ns(1, self.rng.unit());
            self.pace.retry_at(local, self.now_ns + pause);
        } else {
            self.failed(local, text);
        }
    }

    /// A connect that came to nothing; it will be tried again.
    fn failed(&mut self, local: u32, why: String) {
        note(&mut self.counts.failures, why);
        self.pace.settled();
        self.forget(local);
        let member = &mut self.members.all[local as usize];
        member.failures = member.failures.saturating_add(1);
        let pause = Pace::backoff_ns(member.failures, self.rng.unit());
        self.pace.retry_at(local, self.now_ns + pause);
    }

    /// A live connection is no more. The caller says when it comes back.
    pub(crate) fn lost(&mut self, local: u32) {
        if self.members.is_publisher(local) {
            self.counts.publishers -= 1;
            self.counts.unknown += self.pending.abandon(local);
        } else {
            self.counts.live -= 1;
        }
        self.forget(local);
        self.members.all[local as usize].extra().lost_ns = Some(self.now_ns);
    }

    /// Nothing of the connection's state outlives it, but where its tracks stand.
    fn forget(&mut self, local: u32) {
        for index in self.members.track_range(local) {
            let track = &mut self.members.tracks[index];
            if std::mem::replace(&mut track.joined, false) {
                self.shared.left(track.chat);
            }
        }
        let ends = self.ends;
        let member = &mut self.members.all[local as usize];
        member.phase = if ends { Phase::Gone } else { Phase::Waiting };
        member.awaiting = 0;
        if let Some(extra) = &mut member.extra {
            (extra.handshake, extra.decoder, extra.carry) = (None, None, None);
        }
        member.tidy();
    }

    /// What could not be read ends the connection: nothing that follows in the stream can be trusted.
    pub(crate) fn handle_unreadable(&mut self, local: u32, error: Unreadable) {
        self.checker.truth.unexpected += 1;
        note(&mut self.counts.unreadable, error.0);
        self.handle_closed(local, "unreadable data".to_owned());
    }

    /// Deliveries that are known to exist and have not come yet.
    pub(crate) fn outstanding(&self) -> u64 {
        let behind = |track: &Track| {
            let ledger = &self.shared.ledgers[track.chat as usize];
            let counts = track.joined && track.next > 0 && ledger.epoch.load(Ordering::Relaxed) == track.epoch;
            if counts { ledger.expected_top().saturating_sub(track.position()) } else { 0 }
        };
        let deliveries: u64 = self.members.tracks.iter().map(behind).sum();
        let coming_back = self.members.all.iter().filter(|member| member.phase != Phase::Live).count() as u64;
        deliveries + self.pending.len() as u64 + coming_back
    }

    /// The end of the run: what has not come is missing.
    pub(crate) fn finish(&mut self) {
        self.ends = true;
        if self.shared.aside {
            return;
        }
        for track in &self.members.tracks {
            self.checker.finish(track, &self.shared.ledgers[track.chat as usize]);
        }
    }

    /// All counters, the checker's included.
    pub(crate) fn counts(&self) -> Counts {
        Counts { truth: self.checker.truth.clone(), ..self.counts.clone() }
    }
}

/// An operating system error without its number, so that equal ones are counted together.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

//! The driver of one core: its thread, its ring, the turn of its loop. The only module that names the ring.
//!
//! A turn, in this order: submit and wait · events (input → commands, sockets) · new connections · outboxes confirmed ·
//! mail from other cores · requests of the admin thread · timers · links ⇄ chats until quiet · links transmit · mail
//! flushed · fan-out slices · outboxes flushed. The next turn's system call submits what this one queued.
//!
//! Invariants worth naming:
//! * One clock reading per turn; everything in a turn happens at that time.
//! * The loop sleeps only if nothing is left that it could do: no chat ready to send, no outbox listed, no mail.
//! * What a turn does is bounded: completions, mail, admin requests, slices, admissions, cuts.
//! * A panic on a core ends the process: half a gateway would look alive.

mod admin;
mod arrivals;
mod delivery;
mod effects;
mod identity;
mod inbound;
mod links;
mod loads;
mod mail;
mod membership;
mod origin;
mod sessions;
mod state;
mod timers;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corecast_ring::mailbox::Mailboxes;
use corecast_ring::{ConnId, Event, Listener, ListenerId, Reactor, Wait};
use corecast_wire::Text;
use corecast_wire::message::NodeStats;
use crossbeam::channel::Receiver;

use crate::address::Addresses;
use crate::auth::Authenticator;
use crate::config::GatewayConfig;
use crate::control::ControlRequest;
use crate::link::CoreId;
use crate::placement::Placement;
use crate::stats::{CoreSnapshot, Slots};
use crate::time::Epoch;

use admin::Pending;
use delivery::Delivery;
use links::{Links, REPORT_INTERVAL};
use mail::Post;
use state::State;
use window::Window;

pub(crate) use loads::Loads;
pub(crate) use mail::Mail;

/// Mail that one turn handles; the rest waits in the mailbox.
const MAIL_PER_TURN: usize = 4_096;
/// Requests of the admin thread that one turn handles.
const ADMIN_PER_TURN: usize = 256;
/// How often figures are copied out.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);
/// Longest sleep: figures are copied out and the wall clock is looked at once a second even when nothing happens.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Interval of paced work (cuts, drain) while there is some.
const PACE_INTERVAL: Duration = Duration::from_millis(1);

/// What all cores of a gateway share.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) auth: Authenticator,
    pub(crate) placement: Placement,
    pub(crate) addresses: Addresses,
    /// Differs at each start.
    pub(crate) incarnation: u64,
    pub(crate) start: Instant,
    /// Open client connections.
    pub(crate) connections: AtomicU32,
    /// Where they are.
    pub(crate) loads: Loads,
    /// CPUs that all cores run on.
    pub(crate) cpus: usize,
    /// Router links that are up.
    pub(crate) links_up: AtomicUsize,
    /// Cores that have begun to drain.
    pub(crate) draining: AtomicUsize,
    pub(crate) snapshots: Slots,
    /// Resident memory of the process, as the first core last saw it.
    pub(crate) rss_bytes: AtomicU64,
}

/// What a core's thread starts with.
pub(crate) struct Seat {
    pub(crate) core: CoreId,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reactor: Reactor,
    pub(crate) listener: Listener,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) requests: Receiver<ControlRequest>,
    /// From the operating system's randomness.
    pub(crate) seed: [u8; 32],
}

/// One core.
pub(crate) struct Core {
    state: State,
    reactor: Reactor,
    listener: Option<ListenerId>,
    links: Links,
    links_up: usize,
    post: Post,
    delivery: Delivery,
    requests: Receiver<ControlRequest>,
    window: Window,
    epoch: Epoch,
    now: Instant,
    next_snapshot: Instant,
    next_report: Instant,
    cpu: CpuClock,
    stopping: bool,
    slots: Vec<u32>,
}

impl Core {
    /// Takes a seat: listens and begins to connect its links.
    ///
    /// # Errors
    /// If the ring cannot listen.
    pub(crate) fn new(seat: Seat) -> std::io::Result<Self> {
        let Seat { core, shared, mut reactor, listener, mailboxes, requests, seed } = seat;
        let now = Instant::now();
        let epoch = Epoch::new(shared.start, unix_ms().saturating_sub(millis_since(shared.start, now)));
        mailboxes.attach(&reactor);
        let listener = reactor.listen_for_arrivals(listener)?;
        let mut seeds = Seeds::new(seed);
        let links = Links::new(&shared, core, now, || seeds.next());
        // Links take slots too.
        shared.loads.open(core, reactor.room().saturating_sub(links.count()));
        let window = Window::new(shared.config.ring.min_wait, usize::from(shared.config.cores).div_ceil(shared.cpus));
        let number = seeds.number();
        Ok(Self {
            state: State::new(shared, core, number, epoch.now(now)),
            reactor,
            listener: Some(listener),
            links,
            links_up: 0,
            post: Post::new(mailboxes),
            delivery: Delivery::default(),
            requests,
            window,
            epoch,
            now,
            next_snapshot: now,
            next_report: now,
            cpu: CpuClock::default(),
            stopping: false,
            slots: Vec::new(),
        })
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// If the ring is of no more use.
    pub(crate) fn run(mut self) -> std::io::Result<()> {
        let mut events = Vec::new();
        while !self.stopping {
            if !self.state.fanout.is_idle() {
                // A large fan-out keeps the loop from sleeping; whoever shares the CPU (more cores than CPUs, a router)
                // would wait for the scheduler's tick at every hop of a message. Costs nothing where nobody does.
                std::thread::yield_now();
            }
            let wait = self.wait();
            let post = &self.post;
            self.reactor.turn(wait, &mut events, || post.is_empty())?;
            self.now = Instant::now();
            self.state.now = self.epoch.now(self.now);
            self.state.counters.turns += 1;
            let before = self.state.work_done();
            let mut work = events.len();
            for event in events.drain(..) {
                self.handle(event);
            }
            work += self.place_arrivals();
            self.turn();
            self.window.note(work + self.state.work_done().wrapping_sub(before), self.now);
        }
        self.links.stop(self.now);
        self.links.pump(&mut self.state, &mut self.post, self.now);
        self.links.transmit(&mut self.reactor, self.now);
        self.post.mailboxes().flush(&mut self.reactor);
        self.reactor.turn(Wait::Poll, &mut events, || false)
    }

    /// Everything of a turn behind its events.
    fn turn(&mut self) {
        self.delivery.confirm(&mut self.state, &mut self.reactor);
        self.receive_mail();
        self.admin();
        self.links.handle_timeouts(self.now);
        self.timers();
        self.links.pump(&mut self.state, &mut self.post, self.now);
        self.state.serve();
        self.state.tell_counts();
        self.links.pump(&mut self.state, &mut self.post, self.now);
        self.note_links();
        let limit = self.state.limits().recent_total;
        self.state.chats.trim_recent(limit);
        // Before the sends to members: the kernel works in this order, and routers and other cores can go on meanwhile.
        self.links.transmit(&mut self.reactor, self.now);
        self.post.retry();
        self.post.mailboxes().flush(&mut self.reactor);
        self.delivery.fan_out(&mut self.state, &mut self.reactor);
        self.state.shed();
        self.delivery.flush(&mut self.state, &mut self.reactor);
        for conn in self.state.to_close.drain(..) {
            self.reactor.close(conn);
        }
        self.state.shared.loads.hold(self.state.core, self.state.sessions.len());
        if self.now >= self.next_snapshot {
            self.next_snapshot = self.now + SNAPSHOT_INTERVAL;
            self.snapshot();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Received { conn, chunk } => {
                let bytes = self.reactor.received(&chunk);
                if self.state.sessions.get(conn).is_some() {
                    self.state.received(conn, bytes);
                } else {
                    self.links.received(conn, bytes, self.now);
                }
            }
            Event::Accepted { conn, peer, .. } => {
                if !self.state.accepted(conn, peer) {
                    self.reactor.close(conn);
                }
            }
            Event::Unsent { conn, rest } => {
                if self.is_session(conn) {
                    self.state.unsent(conn, rest);
                } else {
                    self.links.unsent(conn, rest);
                }
            }
            Event::Writable { conn } => {
                if self.is_session(conn) {
                    self.state.writable(conn);
                } else {
                    self.links.writable(conn);
                }
            }
            Event::Closed { conn, reason } => {
                if self.is_session(conn) {
                    self.state.closed(conn, reason);
                } else {
                    self.links.disconnected(conn, Some(&mut self.reactor), self.now);
                }
            }
            Event::Connected { conn } => self.links.connected(conn, &mut self.reactor, self.now),
            Event::ConnectFailed { conn, error } => {
                tracing::debug!(%error, "connect to router failed");
                self.links.disconnected(conn, None, self.now);
            }
            Event::Woken => {}
        }
    }

    fn is_session(&self, conn: ConnId) -> bool {
        self.state.sessions.get(conn).is_some()
    }

    fn receive_mail(&mut self) {
        for _ in 0..MAIL_PER_TURN {
            let Some((from, mail)) = self.post.mailboxes().receive() else { break };
            match mail {
                Mail::FromLink(event) => self.state.handle_link_event(event),
                Mail::ToLink(endpoint, request) => {
                    let from = CoreId::try_from(from).unwrap_or(0);
                    self.links.ask_for(from, endpoint, request, &mut self.post, self.now);
                }
                Mail::Arrived(arrival) => self.arrived(arrival),
                Mail::Declined(asked, origin, refused) => self.state.declined(asked, origin, refused.into()),
            }
        }
    }

    fn admin(&mut self) {
        for _ in 0..ADMIN_PER_TURN {
            let Ok(request) = self.requests.try_recv() else { break };
            match request {
                ControlRequest::Publish { request, reply } => self.state.control_publish(request, reply),
                ControlRequest::History { request, reply } => self.state.control_history_request(request, reply),
                ControlRequest::PresenceStats { chat, reply } => self.state.control_presence_stats(&chat, reply),
                ControlRequest::Disconnect(request) => {
                    self.state.control_disconnect(&request);
                    if self.state.core == 0
                        && let Err(error) = self.links.relay(&request, self.now)
                    {
                        tracing::warn!(%error, "disconnect could not be relayed to other gateways");
                    }
                }
                ControlRequest::Nodes { reply } => {
                    self.report();
                    self.links.nodes(&mut self.state, Pending::Nodes(reply), self.now);
                }
                ControlRequest::Drain => self.begin_drain(),
                ControlRequest::Stop => self.stopping = true,
            }
        }
    }

    fn begin_drain(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.reactor.stop_listening(listener);
            self.state.begin_drain();
            self.state.shared.draining.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn timers(&mut self) {
        self.state.visit_sessions(&mut self.slots);
        self.state.end_lingers();
        self.state.expire_waits();
        self.state.tell_cut();
        self.state.drain();
        if self.now >= self.next_report {
            self.report();
        }
    }

    /// Adds the change since the last look to the number of links that are up.
    fn note_links(&mut self) {
        let up = self.links.up();
        if up != self.links_up {
            let shared = &self.state.shared.links_up;
            shared.fetch_add(up.wrapping_sub(self.links_up), Ordering::Relaxed);
            self.links_up = up;
        }
    }

    /// How long the next turn may wait.
    fn wait(&self) -> Wait {
        let has_work = !self.state.fanout.is_idle()
            || self.delivery.is_pending(&self.state)
            || !self.state.to_serve.is_empty()
            || !self.state.requests.is_empty()
            || !self.requests.is_empty()
            || !self.post.is_empty()
            || self.post.has_waiting()
            || self.links.is_pending();
        if has_work {
            return Wait::Poll;
        }
        let expiry = self.state.next_expiry();
        let session = self.state.calendar.next().map(|tick| self.epoch.instant(tick.min(expiry)));
        let session = session.or_else(|| (expiry != crate::time::Tick::NEVER).then(|| self.epoch.instant(expiry)));
        let pace = self.state.is_pacing().then(|| self.now + PACE_INTERVAL);
        let deadline = [session, pace, self.links.next_timeout(), Some(self.next_report)]
            .into_iter()
            .flatten()
            .fold(self.now + SLEEP_MAX, Instant::min);
        Wait::Until { deadline: Some(deadline), window: self.window.current() }
    }

    fn snapshot(&mut self) {
        // Follows slow corrections of the wall clock; only token expiry looks at it.
        let shared = &self.state.shared;
        self.epoch = Epoch::new(shared.start, unix_ms().saturating_sub(millis_since(shared.start, self.now)));
        self.state.tidy_stuck();
        self.state.counters.mailbox_full = self.post.waited;
        let snapshot = CoreSnapshot {
            counters: self.state.counters,
            gauges: self.state.gauges(),
            ring: *self.reactor.stats(),
            closes: self.state.closes.clone(),
            links: self.links.snapshot(),
            cpu_ns: self.cpu.read(self.now),
            uptime_ns: self.state.now.nanos,
            window_us: u64::try_from(self.window.current().as_micros()).unwrap_or(u64::MAX),
        };
        if let Ok(mut slot) = self.state.shared.snapshots[usize::from(self.state.core)].try_lock() {
            *slot = snapshot;
        }
    }

    /// Tells the routers about the whole node. Every core does so for its own links.
    fn report(&mut self) {
        let shared = &self.state.shared;
        let interval = REPORT_INTERVAL;
        self.next_report = self.now + interval;
        if self.state.core == 0 {
            shared.rss_bytes.store(resident_bytes(), Ordering::Relaxed);
        }
        let (mut clients, mut chats, mut subscriptions, mut cpu_ns, mut uptime_ns) = (0, 0, 0, 0, 1);
        for slot in shared.snapshots.iter() {
            let Ok(slot) = slot.try_lock() else { continue };
            clients += slot.gauges.clients;
            chats += slot.gauges.chats;
            subscriptions += slot.gauges.subscriptions;
            cpu_ns += slot.cpu_ns;
            uptime_ns = uptime_ns.max(slot.uptime_ns);
        }
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        self.links.report(&NodeStats {
            version: Text::new(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
            clients: narrow(clients),
            users: narrow(clients),
            chats: narrow(chats),
            subscriptions: narrow(subscriptions),
            uptime_s: narrow(uptime_ns / 1_000_000_000),
            cpu_permille: narrow(cpu_ns.saturating_mul(1_000) / uptime_ns),
            rss_bytes: shared.rss_bytes.load(Ordering::Relaxed),
        });
    }
}

/// CPU time of this thread, read once a second.
#[derive(Debug, Default)]
struct CpuClock {
    next: Option<Instant>,
    nanos: u64,
}

impl CpuClock {
    fn read(&mut self, now: Instant) -> u64 {
        if self.next.is_none_or(|next| now >= next) {
            self.next = Some(now + Duration::from_secs(1));
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
            self.nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        }
        self.nanos
    }
}

/// Resident memory of this process in bytes; 0 where the kernel does not say.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0);
    kib * 1_024
}

/// Seeds derived from one: the first 24 bytes stay, the last 8 count.
struct Seeds {
    base: [u8; 32],
    count: u64,
}

impl Seeds {
    fn new(base: [u8; 32]) -> Self {
        Self { base, count: 0 }
    }

    fn next(&mut self) -> [u8; 32] {
        self.count += 1;
        let mut seed = self.base;
        for (byte, count) in seed.iter_mut().skip(24).zip(self.count.to_le_bytes()) {
            *byte ^= count;
        }
        seed
    }

    fn number(&self) -> u64 {
        self.base.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn millis_since(start: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX)
}

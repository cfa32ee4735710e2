//! One worker thread: turns the ring and carries out what the desk wants.
//!
//! Invariants: bytes of one connection leave in the order of their intents (whatever the socket does not take goes to its
//! outbox, and everything later behind it); events of a connection that was closed meanwhile are ignored.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use corecast_ring::{CloseReason, ConnId, Event, Reactor, ReactorConfig, Target, UnixAddr, Wait, affinity};

use super::behave::Behaviour;
use super::counts::Counts;
use super::desk::{Desk, Duties, Intent};
use super::publish::Publishing;
use super::session::Session;
use super::shared::Shared;
use crate::latency::{Metric, Recorded};
use crate::outboxes::Outboxes;
use crate::target::address::Peer;

/// The conductor's words are seen at the latest after this.
const TURN_NS_MAX: u64 = 50_000_000;
/// A slot that a closed connection still holds is free again after a moment.
const SLOT_PAUSE_NS: u64 = 5_000_000;
/// While draining, how often a worker adds up what is still expected: 20,000 tracks take some 100 µs.
const DRAIN_LOOK_NS: u64 = 50_000_000;

/// How one worker is set up.
#[derive(Debug, Clone)]
pub(crate) struct WorkerConfig {
    pub index: u32,
    pub name: String,
    pub duties: Duties,
    pub cpu: Option<usize>,
    pub ring: ReactorConfig,
    /// Wake-ups are gathered for this long; adds up to as much to a latency.
    pub window: Duration,
}

/// What workers tell the conductor.
#[derive(Debug)]
pub(crate) enum Report {
    /// The ring exists; `task` is the thread's id as /proc knows it.
    Started { worker: u32, task: u64 },
    /// Once a second of the run's clock.
    Second(Box<Second>),
    /// The last word, with what is missing.
    Finished(Box<Second>),
    /// The worker cannot go on.
    Failed { worker: u32, error: String },
}

/// What happened since the last report (`recorded`), and since the start (`counts`).
#[derive(Debug)]
pub(crate) struct Second {
    pub worker: u32,
    /// Seconds of the run's clock at its end.
    pub second: u64,
    pub recorded: Recorded,
    pub counts: Counts,
}

/// Starts the thread. Whatever ends it is reported.
pub(crate) fn spawn(shared: Arc<Shared>, config: WorkerConfig, reports: Sender<Report>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(config.name.clone()).spawn(move || {
        let mut word = LastWord { worker: config.index, reports, error: Some("it panicked".to_owned()) };
        word.error = run(shared, &config, &word.reports).err();
    })
}

/// Says what ended the thread, even if that was a panic.
struct LastWord {
    worker: u32,
    reports: Sender<Report>,
    error: Option<String>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            // The conductor may be gone already, then nobody is interested.
            let _ = self.reports.send(Report::Failed { worker: self.worker, error });
        }
    }
}

fn run(shared: Arc<Shared>, config: &WorkerConfig, reports: &Sender<Report>) -> Result<(), String> {
    if let Some(cpu) = config.cpu {
        affinity::pin(cpu).map_err(|error| format!("pinning to CPU {cpu}: {error}"))?;
    }
    // Timers of this thread fire within a microsecond instead of 50: the schedule is kept more closely. Where that is not
    // allowed the lateness shows it.
    let _ = std::fs::write("/proc/thread-self/timerslack_ns", "1000");
    let reactor = Reactor::new(&config.ring).map_err(|error| error.to_string())?;
    let task = std::fs::read_link("/proc/thread-self").ok();
    let task = task.and_then(|path| path.file_name()?.to_str()?.parse().ok()).unwrap_or(0);
    if reports.send(Report::Started { worker: config.index, task }).is_err() {
        return Ok(());
    }
    Driver::new(shared, config, reactor).run(reports).map_err(|error| format!("io_uring_enter: {error}"))
}

struct Driver {
    reactor: Reactor,
    session: Session,
    publishing: Option<Publishing>,
    behaviour: Behaviour,
    worker: u32,
    window: Duration,
    /// Connection of each member.
    conns: Vec<Option<ConnId>>,
    /// Member of each slot.
    by_slot: Vec<u32>,
    outboxes: Outboxes,
    next_second: u64,
    next_look_ns: u64,
}

impl Driver {
    fn new(shared: Arc<Shared>, config: &WorkerConfig, reactor: Reactor) -> Self {
        let now_ns = shared.clock.now_ns();
        let desk = Desk::new(shared, config.duties, now_ns);
        let publishing = config.duties.publishing.map(|share| Publishing::new(&desk, share));
        Self {
            conns: vec![None; desk.members.all.len()],
            by_slot: vec![u32::MAX; config.ring.connections as usize],
            session: Session::new(desk),
            publishing,
            behaviour: Behaviour::default(),
            worker: config.index,
            window: config.window,
            outboxes: Outboxes::default(),
            next_second: now_ns / 1_000_000_000 + 1,
            next_look_ns: 0,
            reactor,
        }
    }

    fn run(mut self, reports: &Sender<Report>) -> io::Result<()> {
        let mut events = Vec::new();
        loop {
            let wait = self.wait();
            self.reactor.turn(wait, &mut events, || true)?;
            let shared = self.session.desk.shared.clone();
            let now_ns = shared.clock.now_ns();
            self.session.desk.now_ns = now_ns;
            self.session.desk.times = shared.control.times();
            self.outboxes.flush(&mut self.reactor);
            self.see_backlogs();
            let busy = !events.is_empty();
            for event in events.drain(..) {
                self.dispatch(event);
            }
            let after_ns = shared.clock.now_ns();
            if busy && self.session.desk.times.is_some() {
                self.session.desk.recorder.record(Metric::Turn, 0, after_ns - now_ns);
            }
            if let Some(publishing) = &mut self.publishing {
                publishing.publish_due(&mut self.session.desk, after_ns);
            }
            self.behaviour.act(&mut self.session.desk);
            self.session.desk.connect_due();
            self.carry_out();
            self.look_at_drain(now_ns);
            if now_ns / 1_000_000_000 >= self.next_second {
                self.next_second = now_ns / 1_000_000_000 + 1;
                if reports.send(Report::Second(self.second(self.next_second - 1))).is_err() {
                    return Ok(());
                }
            }
            if shared.control.stop.load(Ordering::Acquire) {
                self.session.desk.finish();
                let _ = reports.send(Report::Finished(self.second(self.next_second)));
                return Ok(());
            }
        }
    }

    /// Everything since the last report; a last one stands for the second that has just begun.
    fn second(&mut self, second: u64) -> Box<Second> {
        let desk = &mut self.session.desk;
        let (recorded, counts) = (desk.recorder.take(), desk.counts());
        Box::new(Second { worker: self.worker, second, recorded, counts })
    }

    /// Until when nothing has to be done unless something arrives.
    fn wait(&self) -> Wait {
        if self.outboxes.wants_turn() {
            return Wait::Poll;
        }
        let desk = &self.session.desk;
        let now_ns = desk.shared.clock.now_ns();
        let publish = self.publishing.as_ref().and_then(|publishing| publishing.next_at(desk));
        let until_ns = [publish, self.behaviour.next_at(desk), desk.pace.next_at()]
            .into_iter()
            .flatten()
            .chain([now_ns + TURN_NS_MAX, self.next_second * 1_000_000_000])
            .min()
            .unwrap_or(now_ns);
        if until_ns <= now_ns {
            return Wait::Poll;
        }
        Wait::Until { deadline: Some(desk.shared.clock.instant(until_ns)), window: self.window }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Received { conn, chunk } => {
                if let Some(local) = self.holder(conn) {
                    self.session.handle_received(local, self.reactor.received(&chunk));
                }
            }
            Event::Connected { conn } => {
                if let Some(local) = self.holder(conn) {
                    self.session.desk.handle_connected(local);
                }
            }
            Event::ConnectFailed { conn, error } => {
                if let Some(local) = self.holder(conn) {
                    self.conns[local as usize] = None;
                    self.session.desk.handle_connect_failed(local, &error);
                }
            }
            Event::Closed { conn, reason } => {
                if let Some(local) = self.holder(conn) {
                    let how = match reason {
                        CloseReason::Eof => "end of stream".to_owned(),
                        CloseReason::Error(_) => reason.to_error().to_string(),
                    };
                    self.session.desk.handle_closed(local, how.to_lowercase());
                }
            }
            Event::Unsent { conn, rest } => {
                if self.holder(conn).is_some() {
                    self.outboxes.unsent(conn, rest);
                }
            }
            Event::Writable { conn } => {
                if self.holder(conn).is_some() {
                    self.outboxes.writable(conn);
                }
            }
            Event::Woken | Event::Accepted { .. } => {}
        }
    }

    /// The member of a connection, unless it has gone on to another one.
    fn holder(&self, conn: ConnId) -> Option<u32> {
        let local = *self.by_slot.get(conn.slot() as usize)?;
        (self.conns.get(local as usize)? == &Some(conn)).then_some(local)
    }

    fn carry_out(&mut self) {
        let mut intents = std::mem::take(&mut self.session.desk.intents);
        for intent in intents.drain(..) {
            match intent {
                Intent::Send(local, bytes) => {
                    if let Some(conn) = self.conns[local as usize].filter(|_| !bytes.is_empty()) {
                        self.outboxes.send(&mut self.reactor, conn, &bytes);
                    }
                }
                Intent::Connect(local) => self.connect(local),
                Intent::Close(local) => {
                    if let Some(conn) = self.conns[local as usize].take() {
                        self.reactor.close(conn);
                        self.outboxes.closed(conn);
                    }
                }
            }
        }
        // Keeps its capacity, unless something was queued meanwhile.
        if self.session.desk.intents.is_empty() {
            self.session.desk.intents = intents;
        }
    }

    fn connect(&mut self, local: u32) {
        let desk = &self.session.desk;
        let target = target_of(&desk.shared, desk.global(local));
        match self.reactor.connect(&target) {
            Ok(conn) => {
                self.conns[local as usize] = Some(conn);
                self.by_slot[conn.slot() as usize] = local;
            }
            Err(error) if error.raw_os_error() == Some(libc::ENFILE) => {
                self.session.desk.handle_no_slot(local, SLOT_PAUSE_NS);
            }
            Err(error) => self.session.desk.handle_connect_failed(local, &error),
        }
    }

    /// The desk has to know which publishing connections are behind.
    fn see_backlogs(&mut self) {
        let backlog = &mut self.session.desk.backlog;
        if self.outboxes.len() == 0 && backlog.is_empty() {
            return;
        }
        backlog.clear();
        for (conn, bytes) in self.outboxes.backlogs() {
            backlog.insert(self.by_slot[conn.slot() as usize], bytes);
        }
    }

    /// After the last publish the conductor wants to know whether anything is still expected.
    fn look_at_drain(&mut self, now_ns: u64) {
        let desk = &self.session.desk;
        let drains = desk.times.is_some_and(|times| now_ns >= times.measure_to_ns);
        if drains && now_ns >= self.next_look_ns {
            self.next_look_ns = now_ns + DRAIN_LOOK_NS;
            let outstanding = desk.outstanding() + self.outboxes.len() as u64;
            desk.shared.control.outstanding[self.worker as usize].store(outstanding, Ordering::Release);
        }
    }
}

/// Where connection `number` of the run goes, and from which address: they take turns.
pub(crate) fn target_of(shared: &Shared, number: u32) -> Target {
    let address = &shared.targets[number as usize % shared.targets.len()];
    match &address.peer {
        Peer::Tcp(addr) => {
            let fits = |source: &&IpAddr| source.is_ipv4() == addr.is_ipv4();
            let sources: Vec<&IpAddr> = shared.sources.iter().filter(fits).collect();
            let turn = number as usize / shared.targets.len();
            let source = (!sources.is_empty()).then(|| SocketAddr::new(*sources[turn % sources.len()], 0));
            Target::Tcp { addr: *addr, source }
        }
        Peer::Unix(name) => {
            let name: UnixAddr = name.parse().unwrap_or_else(|never| match never {});
            Target::Unix(name)
        }
    }
}

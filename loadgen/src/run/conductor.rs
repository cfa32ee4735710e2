//! Leads a run through its phases.
//!
//! Invariants: the schedule starts on a full second of the run's clock, so that rows and measured time coincide; whatever
//! happens after the first connect leads to a summary, if only a partial one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::crew::{Crew, LocalCrew, publishes_apart, worker_count};
use super::preflight::{self, Layout};
use super::verdict::{self, Facts};
use super::watch::Watch;
use super::{Finished, Observer, RunError, RunOptions, View, calibrate, probe};
use crate::agent::remote::RemoteCrew;
use crate::check::Ledger;
use crate::clock::{Clock, unix_ns};
use crate::collect::{Collector, known_tags};
use crate::hlog::IntervalLog;
use crate::latency::Percentiles;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::spread::Spreads;
use crate::summary::{
    Calibration, Evidence, Generator, Latency, Measured, Members, Outcome, Row, SCHEMA, SlowReaders, Summary, Timing,
    Verdict,
};
use crate::system::environment::Environment;
use crate::system::kernel::KernelSample;
use crate::system::process;
use crate::target::address::Peer;
use crate::target::{Adapter, Address, Names};
use crate::threshold::Threshold;
use crate::worker::counts::Counts;
use crate::worker::driver::Report;
use crate::worker::shared::{Control, Epochs, Share, Shared, Times};
use crate::worker::slow;

const SECOND_NS: u64 = 1_000_000_000;
const PUMP: Duration = Duration::from_millis(20);
/// Threads set up their rings within this.
const START_PATIENCE_NS: u64 = 20 * SECOND_NS;
/// Without any new member for so long, connecting has failed.
const CONNECT_PATIENCE_NS: u64 = 15 * SECOND_NS;
/// Between the order to start and the first message: every worker has seen it by then.
const START_NOTICE_NS: u64 = SECOND_NS / 4;
/// All members gone for so long: the target is dead.
const DEAD_PATIENCE_NS: u64 = 3 * SECOND_NS;
/// Workers answer an order to stop within this, whatever they have queued.
const STOP_PATIENCE_NS: u64 = 20 * SECOND_NS;

/// Runs a scenario. `Err` = nothing was measured.
pub fn run(options: &RunOptions, observer: &mut dyn Observer) -> Result<Finished, RunError> {
    options.scenario.check(&options.scenario.name)?;
    let thresholds = thresholds(options)?;
    let targets = addresses(options)?;
    let publishers = u64::from(options.scenario.publish.connections);
    // With agents, each of them looks at its own host.
    let here = if options.agents.is_empty() { options.scenario.connections() + publishers } else { 1 };
    let (layout, findings) = preflight::check(options, &targets, here);
    for finding in &findings {
        observer.say(&format!("{}\n  → {}", finding.problem, finding.remedy));
    }
    if findings.iter().any(|finding| finding.fatal) {
        return Err(RunError::Setup("this host cannot carry the run; see above what to change".to_owned()));
    }
    let run = (Rng::new(unix_ns()).next_u64() as u32) | 1;
    let adapter = adapter(options, run);
    for target in &targets {
        probe::probe(&adapter, target).map_err(Box::new)?;
    }
    let calibration = if options.calibrate { calibrate::calibrate(options, observer) } else { None };
    let mut watch = Watch::new(pids(options, &targets));
    watch.before = Some(watch.look(0));
    let workers = if options.agents.is_empty() { worker_count(options, &layout) } else { 0 };
    let shared = shared(options, targets, adapter, &layout, Clock::start(), Share::WHOLE, run, workers);
    let mut agents = Vec::new();
    let crew: Box<dyn Crew> = if options.agents.is_empty() {
        Box::new(LocalCrew::start(shared.clone(), options, &layout)?)
    } else {
        let crew = RemoteCrew::start(&shared, options, &options.agent_secret)?;
        agents.clone_from(&crew.infos);
        Box::new(crew)
    };
    let mut conductor = Conductor::new(options, shared, crew, watch, observer)?;
    let ended_early = conductor.lead()?;
    let mut finished = conductor.finish(ended_early, &thresholds, calibration)?;
    finished.summary.agents = agents;
    Ok(finished)
}

/// What the workers of one process share.
#[allow(clippy::too_many_arguments, reason = "the parts of one struct, from two callers that have them apart")]
pub(crate) fn shared(
    options: &RunOptions,
    targets: Vec<Address>,
    adapter: Adapter,
    layout: &Layout,
    clock: Clock,
    share: Share,
    run: u32,
    workers: usize,
) -> Arc<Shared> {
    let scenario = &options.scenario;
    let plan = Plan::new(scenario);
    Arc::new(Shared {
        clock,
        run,
        seed: options.seed,
        ledgers: (0..plan.chats).map(|_| Ledger::default()).collect(),
        spreads: Spreads::new(scenario.rate()),
        epochs: Epochs::default(),
        control: Arc::new(Control::new(scenario.warmup.nanos(), scenario.duration.nanos(), workers)),
        aside: false,
        share,
        sources: layout.sources.clone(),
        scenario: scenario.clone(),
        plan,
        adapter,
        targets,
    })
}

/// Positions beyond what was published, in the chats that this process publishes into.
pub(crate) fn extra(shared: &Shared) -> u64 {
    let own = shared.ledgers.iter().enumerate().filter(|(chat, _)| shared.share.owns(*chat as u32));
    own.map(|(_, ledger)| ledger.extra()).sum()
}

fn thresholds(options: &RunOptions) -> Result<Vec<Threshold>, RunError> {
    let groups: Vec<String> = options.scenario.chats.iter().map(|group| group.name.clone()).collect();
    let tags = known_tags(&groups);
    let mut thresholds = Vec::new();
    for text in &options.scenario.thresholds {
        let threshold = Threshold::parse(text).map_err(RunError::Usage)?;
        if threshold.reads_histogram() && !tags.iter().any(|tag| tag == threshold.metric()) {
            let (metric, known) = (threshold.metric(), tags.join(", "));
            return Err(RunError::Usage(format!("threshold {text:?}: there is no {metric}; there are {known}")));
        }
        thresholds.push(threshold);
    }
    Ok(thresholds)
}

pub(crate) fn addresses(options: &RunOptions) -> Result<Vec<Address>, RunError> {
    if options.targets.is_empty() {
        return Err(RunError::Usage("no target: give one with --target ws://HOST:PORT/PATH".to_owned()));
    }
    let mut addresses = Vec::new();
    for text in &options.targets {
        let mut address = Address::parse(text).map_err(|error| RunError::Usage(error.to_string()))?;
        if address.path.is_empty() {
            address.path = options.protocol.default_path().to_owned();
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn adapter(options: &RunOptions, run: u32) -> Adapter {
    let digit = |number: u32| char::from_digit(number % 36, 36).unwrap_or('0');
    let own = || format!("c{}{}", digit(run >> 8), digit(run >> 16));
    Adapter {
        protocol: options.protocol,
        names: Names::new(&options.prefix.clone().unwrap_or_else(own)),
        token: options.token.clone(),
    }
}

/// The target's processes: as given, or whoever listens there on this host (but for ourselves).
fn pids(options: &RunOptions, targets: &[Address]) -> Vec<u32> {
    if !options.pids.is_empty() {
        return options.pids.clone();
    }
    let mut pids = Vec::new();
    for target in targets.iter().filter(|target| target.is_local()) {
        if let Peer::Tcp(address) = target.peer {
            pids.extend(process::listeners(address.ip(), address.port()));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != std::process::id());
    pids
}

struct Conductor<'a> {
    options: &'a RunOptions,
    observer: &'a mut dyn Observer,
    shared: Arc<Shared>,
    crew: Box<dyn Crew>,
    collector: Collector,
    watch: Watch,
    /// When all members were there.
    connected_ns: u64,
    members: Members,
    finished: usize,
    worker_error: Option<String>,
    drained_ns: u64,
    dead_since_ns: Option<u64>,
    slow: Option<JoinHandle<Counts>>,
    worker_count: usize,
}

impl<'a> Conductor<'a> {
    fn new(
        options: &'a RunOptions,
        shared: Arc<Shared>,
        crew: Box<dyn Crew>,
        watch: Watch,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, RunError> {
        let log = match &options.out {
            None => None,
            Some(folder) => {
                let path = folder.join("latency.hlog");
                let started = shared.clock.origin_unix_ns() as f64 / 1e9;
                let log = std::fs::create_dir_all(folder).and_then(|()| IntervalLog::create(&path, started));
                Some(log.map_err(|error| RunError::Output { path, error })?)
            }
        };
        let groups = shared.plan.groups.iter().map(|group| group.name.clone()).collect();
        let members = Members { wanted: u64::from(shared.plan.members), ..Members::default() };
        let worker_count = crew.workers();
        let collector = Collector::new(groups, worker_count, log);
        Ok(Self {
            options,
            observer,
            shared,
            crew,
            collector,
            watch,
            connected_ns: 0,
            members,
            finished: 0,
            worker_error: None,
            drained_ns: 0,
            dead_since_ns: None,
            slow: None,
            worker_count,
        })
    }

    /// All phases. `Some` = it ended early, and why.
    fn lead(&mut self) -> Result<Option<String>, RunError> {
        self.wait_for_workers()?;
        if let Some(why) = self.connect() {
            return Ok(Some(why));
        }
        self.start_slow_readers()?;
        self.settle();
        let now_ns = self.now_ns();
        let start_ns = (now_ns + START_NOTICE_NS).div_ceil(SECOND_NS) * SECOND_NS;
        self.shared.control.begin(start_ns);
        self.crew.begin(start_ns);
        let scenario = &self.options.scenario;
        let (warmup, duration) = (scenario.warmup, scenario.duration);
        self.observer.say(&format!("publishing: {warmup} warm-up, then {duration} measured"));
        let ended_early = self.publish();
        if let (Some(_), Some(times)) = (&ended_early, self.shared.control.times()) {
            let now_ns = self.now_ns().max(times.start_ns);
            self.shared.control.cut_short(now_ns);
            self.crew.cut_short(now_ns);
        }
        self.drain(ended_early.is_some());
        Ok(ended_early)
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    fn wait_for_workers(&mut self) -> Result<(), RunError> {
        let mut started = 0;
        while started < self.crew.workers() {
            match self.crew.hear(PUMP) {
                Some(Report::Started { worker, task }) => {
                    self.watch.add_worker(worker, task);
                    started += 1;
                }
                Some(Report::Failed { worker, error }) => {
                    return Err(RunError::Setup(format!("worker {worker}: {error}")));
                }
                Some(other) => self.take(other),
                None if self.now_ns() > START_PATIENCE_NS => {
                    return Err(RunError::Setup("the worker threads did not start within 20 s".to_owned()));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn connect(&mut self) -> Option<String> {
        let wanted = self.members.wanted;
        self.observer.say(&format!("connecting {wanted} members in {} chats", self.shared.plan.chats));
        let publishers = self.publishers();
        let (mut best, mut best_ns) = (0, self.now_ns());
        loop {
            self.pump();
            let counts = self.collector.counts();
            let ready = counts.live + counts.publishers;
            self.observer.connecting(counts.live, wanted);
            if counts.live >= wanted && counts.publishers >= publishers {
                break;
            }
            if ready > best {
                (best, best_ns) = (ready, self.now_ns());
            }
            let (live, failures) = (counts.live, &counts.failures);
            let listed: Vec<String> = failures.iter().map(|(why, count)| format!("{count} × {why}")).collect();
            let because = if listed.is_empty() { "no answers".to_owned() } else { listed.join(", ") };
            if self.watch.died {
                return Some(format!("the target's process ended while {live} of {wanted} members were connected"));
            }
            if self.now_ns() - best_ns > CONNECT_PATIENCE_NS {
                return Some(format!("only {live} of {wanted} members could connect: {because}"));
            }
            if let Some(why) = self.interrupted() {
                return Some(why);
            }
        }
        self.connected_ns = self.now_ns();
        self.members.at_start = self.collector.counts().live;
        None
    }

    /// They join before the first message, like everybody else.
    fn start_slow_readers(&mut self) -> Result<(), RunError> {
        let Some(slow) = self.options.scenario.slow else { return Ok(()) };
        let main = &self.shared;
        let aside = Shared {
            plan: main.plan.aside(slow.members),
            scenario: Scenario { churn: None, storm: None, switch: None, ..main.scenario.clone() },
            adapter: main.adapter.clone(),
            targets: main.targets.clone(),
            sources: Vec::new(),
            control: main.control.clone(),
            ledgers: main.ledgers.clone(),
            spreads: Spreads::new(1.0),
            epochs: Epochs::default(),
            aside: true,
            share: Share::WHOLE,
            ..**main
        };
        let thread = slow::spawn(Arc::new(aside), slow.bytes_per_second);
        self.slow = Some(thread.map_err(|error| RunError::Setup(format!("starting a thread: {error}")))?);
        Ok(())
    }

    /// Dedicated publishing connections, of all agents.
    fn publishers(&self) -> u64 {
        let each = u64::from(self.options.scenario.publish.connections);
        let agents = self.options.agents.len().max(1) as u64;
        if publishes_apart(self.options) { each * agents } else { 0 }
    }

    /// Nothing moves for a moment: what is in use now is the price of standing connections.
    fn settle(&mut self) {
        let until_ns = self.now_ns() + self.options.settle.as_nanos() as u64;
        while self.now_ns() < until_ns {
            self.pump();
        }
        self.watch.idle = Some(self.watch.look(self.now_ns()));
        self.watch.kernel_idle = Some(KernelSample::take());
    }

    fn publish(&mut self) -> Option<String> {
        loop {
            self.pump();
            let now_ns = self.now_ns();
            let times = self.shared.control.times()?;
            if now_ns >= times.measure_to_ns {
                let gone = self.collector.counts().live == 0 && self.members.wanted > 0;
                return gone.then(|| "no member was connected any more".to_owned());
            }
            if let Some(why) = self.interrupted().or_else(|| self.dead(now_ns)) {
                return Some(why);
            }
        }
    }

    fn interrupted(&self) -> Option<String> {
        if let Some(error) = &self.worker_error {
            return Some(format!("a generator thread failed: {error}"));
        }
        self.options.interrupt.load(Ordering::Relaxed).then(|| "interrupted by the user".to_owned())
    }

    /// The target's process is gone, or all members are and none comes back.
    fn dead(&mut self, now_ns: u64) -> Option<String> {
        if self.watch.died {
            return Some("the target's process ended".to_owned());
        }
        if self.collector.counts().live > 0 {
            self.dead_since_ns = None;
            return None;
        }
        let since_ns = *self.dead_since_ns.get_or_insert(now_ns);
        let dead = now_ns - since_ns > DEAD_PATIENCE_NS;
        dead.then(|| "all members lost their connections, and none came back within 3 s".to_owned())
    }

    fn drain(&mut self, ended_early: bool) {
        let patience_ns = if ended_early { SECOND_NS } else { self.options.scenario.drain.nanos() };
        let end_ns = self.now_ns() + patience_ns;
        // Two looks at nothing expected: the first may have been taken before the last publish.
        let mut quiet = 0;
        while self.now_ns() < end_ns && quiet < 10 {
            self.pump();
            quiet = if self.crew.outstanding() == 0 { quiet + 1 } else { 0 };
        }
        self.drained_ns = self.now_ns();
    }

    /// Hears reports for a moment and closes the seconds that are complete.
    fn pump(&mut self) {
        if let Some(report) = self.crew.hear(PUMP) {
            self.take(report);
            while let Some(report) = self.crew.hear(Duration::ZERO) {
                self.take(report);
            }
        }
        // A worker that is stuck must not hide what the others saw.
        while let Some(second) = self.collector.complete(false).or_else(|| {
            let first = self.collector.complete(true)?;
            (self.now_ns() > (first + 3) * SECOND_NS).then_some(first)
        }) {
            self.close(second);
        }
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Started { .. } => {}
            Report::Second(second) => self.collector.absorb(*second),
            Report::Finished(second) => {
                self.collector.absorb(*second);
                self.finished += 1;
            }
            Report::Failed { worker, error } => {
                self.worker_error = Some(format!("worker {worker}: {error}"));
                self.finished += 1;
            }
        }
    }

    fn close(&mut self, second: u64) {
        let mut row = self.collector.close(second);
        let look = self.watch.complete(&mut row, self.now_ns());
        let times = self.shared.control.times();
        row.phase = phase(&row, times).to_owned();
        if let Some(times) = times {
            let at_ns = second * SECOND_NS;
            if at_ns >= times.measure_from_ns && self.watch.from.is_none() {
                self.watch.from = Some(look.clone());
                self.watch.kernel_from = Some(KernelSample::take());
            }
            if at_ns <= times.measure_to_ns && at_ns > times.measure_from_ns {
                self.watch.to = Some(look);
                if at_ns == times.measure_to_ns {
                    self.watch.kernel_to = Some(KernelSample::take());
                }
            }
        }
        self.members.per_second_max = self.members.per_second_max.max(row.upgrades);
        let left_ns = times.map_or(0, |times| times.measure_to_ns.saturating_sub(self.now_ns()));
        let truth = self.collector.counts().truth;
        let view = View {
            wanted: self.members.wanted,
            left: left_ns as f64 / 1e9,
            violations: truth.violations().iter().map(|(_, count)| count).sum(),
            watches: !self.watch.pids().is_empty(),
        };
        self.observer.row(&row, &view);
        self.collector.rows.push(row);
    }

    /// Stops the workers, adds everything up and judges.
    fn finish(
        mut self,
        ended_early: Option<String>,
        thresholds: &[Threshold],
        calibration: Option<Calibration>,
    ) -> Result<Finished, RunError> {
        self.members.at_end = self.collector.counts().live;
        self.crew.stop();
        let deadline_ns = self.now_ns() + STOP_PATIENCE_NS;
        while self.finished < self.worker_count && self.now_ns() < deadline_ns {
            self.pump();
        }
        while let Some(second) = self.collector.complete(true) {
            self.close(second);
        }
        let leftovers = self.crew.join();
        let mut summary = self.summarise(calibration);
        summary.fanouts_incomplete = leftovers.fanouts_incomplete;
        if summary.counts.truth.foreign == 0 && self.shared.control.times().is_some() {
            summary.counts.truth.extra += leftovers.extra;
        }
        if let (Some(slow), Some(thread)) = (self.options.scenario.slow, self.slow.take()) {
            let counts = thread.join().unwrap_or_default();
            let (members, bytes_per_second) = (slow.members, slow.bytes_per_second);
            summary.slow = Some(SlowReaders { members, bytes_per_second, counts });
        }
        let histograms = self.collector.totals();
        summary.latencies = histograms.iter().map(|(tag, histogram)| (tag.clone(), Latency::of(histogram))).collect();
        let evidence = Evidence { summary: &summary, histograms: &histograms };
        let judged: Vec<_> = thresholds.iter().map(|threshold| threshold.judge(&evidence)).collect();
        let late = summary.latencies.get("late").map_or_else(Percentiles::default, |late| late.percentiles.clone());
        let facts = Facts {
            scenario: &self.options.scenario,
            counts: &summary.counts,
            slow: summary.slow.as_ref().map(|slow| &slow.counts),
            members: &summary.members,
            late: &late,
            thresholds: &judged,
            ended_early: ended_early.as_deref(),
            busiest: summary.generator.busiest,
            expects_messages: self.options.scenario.rate() > 0.0,
            stolen: summary.stolen(),
        };
        let (verdict, mut remarks) = verdict::judge(&facts);
        if let Some(error) = &self.collector.log_error {
            remarks.push(format!("the histogram log is incomplete: {error}"));
        }
        summary.verdict = verdict;
        summary.remarks = remarks;
        summary.thresholds = judged;
        Ok(Finished { summary, histograms })
    }

    fn summarise(&self, calibration: Option<Calibration>) -> Summary {
        let options = self.options;
        let counts = self.collector.counts();
        let measured = self.measured();
        let own = self.watch.generator(publishes_apart(self.options));
        let members = self.members.at_start;
        let local = self.shared.targets.iter().any(Address::is_local);
        // What agents use is their hosts' to know.
        let known = self.options.agents.is_empty();
        let per = |cpu: f64, count: u64| (known && count > 0).then(|| cpu * 1e6 / count as f64);
        Summary {
            schema: SCHEMA,
            label: options.label.clone(),
            verdict: Verdict { outcome: Outcome::Passed, reasons: Vec::new() },
            remarks: Vec::new(),
            started_unix: self.shared.clock.origin_unix_ns() as f64 / 1e9,
            scenario: options.scenario.clone(),
            protocol: options.protocol,
            targets: options.targets.clone(),
            seed: options.seed,
            timing: self.timing(),
            members: self.members.clone(),
            latencies: Default::default(),
            slow: None,
            fanouts_incomplete: 0,
            agents: Vec::new(),
            generator: Generator {
                workers: self.worker_count as u32,
                window_us: options.window.as_secs_f64() * 1e6,
                cpu: own.receiving + own.publishing.unwrap_or(0.0),
                cpu_per_delivery_us: per(own.receiving, measured.deliveries),
                cpu_per_publish_us: own.publishing.and_then(|cpu| per(cpu, measured.messages)),
                cpu_per_connect_us: self.watch.own_cpu_of_connects().and_then(|cpu| per(cpu, members)),
                busiest: own.busiest,
                memory_per_member: self.watch.own_memory_per_member(members).filter(|_| known),
                cpus: options.cpus.clone(),
                calibration,
            },
            server: self.watch.server(members, measured.deliveries, measured.messages),
            kernel: self.watch.kernel(members, local),
            seconds: self.collector.rows.clone(),
            thresholds: Vec::new(),
            environment: Environment::look(self.watch.pids()),
            counts,
            measured,
        }
    }

    fn measured(&self) -> Measured {
        let rows: Vec<&Row> = self.collector.rows.iter().filter(|row| row.phase == "measure").collect();
        let seconds = rows.len() as f64;
        let sum = |part: fn(&Row) -> u64| rows.iter().map(|row| part(row)).sum::<u64>();
        let (messages, deliveries) = (sum(|row| row.published), sum(|row| row.received));
        Measured {
            seconds,
            messages,
            deliveries,
            bytes: sum(|row| row.bytes),
            messages_per_second: messages as f64 / seconds.max(1.0),
            deliveries_per_second: deliveries as f64 / seconds.max(1.0),
        }
    }

    fn timing(&self) -> Timing {
        let Some(times) = self.shared.control.times() else {
            return Timing { connecting: self.now_ns() as f64 / 1e9, ..Timing::default() };
        };
        let span = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        Timing {
            connecting: self.connected_ns as f64 / 1e9,
            warmup: span(times.start_ns, times.measure_from_ns),
            measured: span(times.measure_from_ns, times.measure_to_ns),
            drain: span(times.measure_to_ns, self.drained_ns),
        }
    }
}

/// A second belongs to the phase in which it lies as a whole.
fn phase(row: &Row, times: Option<Times>) -> &'static str {
    let end_ns = (row.at * 1e9) as u64;
    match times {
        Some(times) if end_ns > times.measure_to_ns => "drain",
        Some(times) if end_ns > times.measure_from_ns => "measure",
        Some(times) if end_ns > times.start_ns => "warmup",
        _ => "connect",
    }
}

//! The result of a run as one JSON object: everything that the report, `diff` and other programs need.
//!
//! The schema's version is [`SCHEMA`]; fields may be added within a version, never renamed or given another meaning. Times
//! are nanoseconds where a name does not say otherwise.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::agent::remote::AgentInfo;
use crate::latency::Percentiles;
use crate::scenario::Scenario;
use crate::system::environment::Environment;
use crate::target::Protocol;
use crate::threshold::{Figures, Judged, Statistic};
use crate::worker::counts::Counts;

/// Version of the summary's layout.
pub const SCHEMA: u32 = 1;

/// See the module's documentation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`] of the tool that wrote it.
    pub schema: u32,
    /// Given by the user to tell runs apart.
    pub label: String,
    /// What came out.
    pub verdict: Verdict,
    /// What else should be read before the figures are believed.
    pub remarks: Vec<String>,
    /// Unix time of the start, seconds.
    pub started_unix: f64,
    /// As it was run, flags applied.
    pub scenario: Scenario,
    /// What the target speaks.
    pub protocol: Protocol,
    /// Where it was.
    pub targets: Vec<String>,
    /// Seed of the schedule.
    pub seed: u64,
    /// How long the parts took.
    pub timing: Timing,
    /// Members that were wanted, and that were there when publishing began.
    pub members: Members,
    /// Counters of the whole run, warm-up and drain included.
    pub counts: Counts,
    /// The measured time alone.
    pub measured: Measured,
    /// Percentiles and curves by tag.
    pub latencies: BTreeMap<String, Latency>,
    /// Fan-outs of which some member had not got the message when the record was closed.
    pub fanouts_incomplete: u64,
    /// Agents that did the work, if it was not this process.
    #[serde(default)]
    pub agents: Vec<AgentInfo>,
    /// What the slow readers saw, if there were any.
    pub slow: Option<SlowReaders>,
    /// The generator about itself.
    pub generator: Generator,
    /// The target's processes, if they are on this host and known.
    pub server: Option<Server>,
    /// The kernel of this host.
    pub kernel: Kernel,
    /// One row per second, from the first connect to the end.
    pub seconds: Vec<Row>,
    /// Conditions and what became of them.
    pub thresholds: Vec<Judged>,
    /// Circumstances.
    pub environment: Environment,
}

/// What came out, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In one word.
    pub outcome: Outcome,
    /// In sentences, worst first.
    pub reasons: Vec<String>,
}

/// The outcome in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing to complain about.
    Passed,
    /// A threshold is broken.
    ThresholdsBroken,
    /// The generator was late: its figures say nothing about the target.
    Invalid,
    /// Messages were lost, duplicated, reordered or damaged, or members were disconnected.
    Failed,
    /// The run ended early; the figures cover what there was.
    Partial,
}

impl Outcome {
    /// Exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed | Self::Partial => 1,
            Self::Invalid => 98,
            Self::ThresholdsBroken => 99,
        }
    }

    /// For headlines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::ThresholdsBroken => "thresholds broken",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Partial => "partial",
        }
    }
}

/// Members that read too slowly, judged apart: being cut or closed is their fate, holes are not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowReaders {
    /// How many.
    pub members: u32,
    /// What each of them read per second.
    pub bytes_per_second: u32,
    /// Their counters.
    pub counts: Counts,
}

/// Seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// First connect → all members there.
    pub connecting: f64,
    /// Published but not measured.
    pub warmup: f64,
    /// Measured.
    pub measured: f64,
    /// Last publish → last delivery, or patience over.
    pub drain: f64,
}

/// Members.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// By the plan.
    pub wanted: u64,
    /// When publishing began.
    pub at_start: u64,
    /// When it ended.
    pub at_end: u64,
    /// Most new members in one second.
    pub per_second_max: u64,
}

/// Sums over the measured seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Length of the seconds that are summed up here.
    pub seconds: f64,
    /// Published.
    pub messages: u64,
    /// Received by members.
    pub deliveries: u64,
    /// Received, bytes.
    pub bytes: u64,
    /// Messages per second.
    pub messages_per_second: f64,
    /// Deliveries per second.
    pub deliveries_per_second: f64,
}

/// One tag's histogram in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The usual ones, ns.
    #[serde(flatten)]
    pub percentiles: Percentiles,
    /// Points (percentile 0..=100, ns) for drawing, denser towards the tail.
    pub curve: Vec<(f64, u64)>,
}

/// The generator about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generator {
    /// Threads that hold connections, and those that only publish.
    pub workers: u32,
    /// Wake-ups are gathered for this long, µs: may add as much to each latency.
    pub window_us: f64,
    /// CPU seconds in the measured time.
    pub cpu: f64,
    /// µs of CPU per received message in the measured time, of the threads that hold members.
    pub cpu_per_delivery_us: Option<f64>,
    /// µs of CPU per published message in the measured time, of the thread that only publishes; absent if members publish.
    pub cpu_per_publish_us: Option<f64>,
    /// µs of CPU per member until all were connected.
    pub cpu_per_connect_us: Option<f64>,
    /// Of the busiest thread in the measured time, 0..=1: near 1 the generator is the bottleneck.
    pub busiest: f64,
    /// Resident memory per member when all were connected, bytes.
    pub memory_per_member: Option<f64>,
    /// CPUs that the workers were pinned to.
    pub cpus: Vec<usize>,
    /// What the same generator reaches against a server that does nothing else.
    pub calibration: Option<Calibration>,
}

/// A short run against the null server on the same CPUs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What was run.
    pub description: String,
    /// Deliveries per second.
    pub deliveries_per_second: f64,
    /// Generator, µs of CPU per delivery.
    pub generator_cpu_us: f64,
    /// Null server, µs of CPU per delivery.
    pub server_cpu_us: f64,
    /// Deliveries per second that one fully used core of the generator could take.
    pub ceiling_per_core: f64,
    /// Latency that remains when the server does nothing: the floor of this set-up.
    pub deliver: Percentiles,
    /// The generator's lateness in it.
    pub late: Percentiles,
}

/// The target's processes together, in the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Their ids.
    pub pids: Vec<u32>,
    /// CPU seconds, user.
    pub user: f64,
    /// CPU seconds, kernel.
    pub system: f64,
    /// CPUs used on average.
    pub cpus_used: f64,
    /// µs of CPU per delivery.
    pub cpu_per_delivery_us: Option<f64>,
    /// µs of CPU per published message.
    pub cpu_per_message_us: Option<f64>,
    /// µs of CPU per member until all were connected and subscribed.
    pub cpu_per_connect_us: Option<f64>,
    /// Resident memory before the first connect, bytes.
    pub rss_before: u64,
    /// When all were connected and nothing was said.
    pub rss_idle: u64,
    /// Largest seen.
    pub rss_max: u64,
    /// (idle − before) ÷ members, bytes.
    pub rss_per_member: Option<f64>,
    /// Context switches per second, voluntary.
    pub switches_voluntary: f64,
    /// Context switches per second, involuntary.
    pub switches_involuntary: f64,
    /// Threads that used CPU, busiest first.
    pub threads: Vec<ThreadUse>,
    /// A process of the target was gone before the end.
    pub died: bool,
}

/// A thread's share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPUs used on average, user.
    pub user: f64,
    /// CPUs used on average, kernel.
    pub system: f64,
    /// Where it last ran.
    pub cpu: u32,
}

/// The kernel of this host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kernel {
    /// Slab memory per connection, bytes: from before the first connect to when all were connected.
    pub slab_per_connection: Option<f64>,
    /// By cache, largest first, bytes per connection.
    pub caches: Vec<(String, f64)>,
    /// Both ends of the connections are on this host: halve what is symmetric.
    pub both_ends: bool,
    /// Growth of trouble counters during the run.
    pub counters: BTreeMap<String, u64>,
    /// Busy share of each CPU in the measured time: user, kernel, softirq, stolen.
    pub cpus: Vec<[f64; 4]>,
}

/// One second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Seconds since the first connect, at its end.
    pub at: f64,
    /// `connect`, `warmup`, `measure` or `drain`.
    pub phase: String,
    /// Members in their chats.
    pub live: u64,
    /// Upgrades in this second.
    pub upgrades: u64,
    /// Messages published.
    pub published: u64,
    /// Deliveries.
    pub received: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Delivery latency: median, 99th percentile, maximum; ns; 0 without deliveries.
    pub p50: u64,
    /// See `p50`.
    pub p99: u64,
    /// See `p50`.
    pub max: u64,
    /// 99th percentile by group, ns.
    pub groups: Vec<u64>,
    /// Own lateness: 99th percentile, ns.
    pub late_p99: u64,
    /// Own lateness: maximum, ns.
    pub late_max: u64,
    /// Last member, 99th percentile over the messages that completed, ns.
    pub last_p99: u64,
    /// CPUs used by the target, user.
    pub server_user: f64,
    /// CPUs used by the target, kernel.
    pub server_system: f64,
    /// Its resident memory, bytes.
    pub server_rss: u64,
    /// CPUs used by the generator.
    pub generator_cpu: f64,
    /// Connections lost in this second, asked for or not.
    pub lost: u64,
    /// Share of this host's CPU time that the hypervisor gave to others.
    pub stolen: f64,
}

/// CPU time that the hypervisor gave to others while the run measured, as shares of this host's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stolen {
    /// Over all of the measured time.
    pub mean: f64,
    /// In its worst second.
    pub worst: f64,
}

impl Latency {
    /// Numbers and curve of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut curve: Vec<(f64, u64)> = Vec::new();
        if !histogram.is_empty() {
            for value in histogram.iter_quantiles(16) {
                let point = (value.quantile_iterated_to() * 100.0, value.value_iterated_to());
                if curve.last().is_none_or(|last| last != &point) {
                    curve.push(point);
                }
            }
        }
        Self { percentiles: Percentiles::of(histogram), curve }
    }
}

/// Plain figures that thresholds and `diff` may name.
impl Summary {
    /// What the hypervisor took in the measured time; `None` if nothing was measured.
    pub fn stolen(&self) -> Option<Stolen> {
        let measured: Vec<f64> =
            self.seconds.iter().filter(|row| row.phase == "measure").map(|row| row.stolen).collect();
        let worst = measured.iter().copied().reduce(f64::max)?;
        Some(Stolen { mean: measured.iter().sum::<f64>() / measured.len() as f64, worst })
    }

    /// Name and value of every plain figure of this run.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        let mut put = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                figures.insert(name.to_owned(), value);
            }
        };
        for (kind, count) in self.counts.truth.violations() {
            put(kind, Some(count as f64));
        }
        put("deliveries_per_second", Some(self.measured.deliveries_per_second));
        put("messages_per_second", Some(self.measured.messages_per_second));
        put("disconnects", Some(self.counts.disconnected() as f64));
        put("failures", Some(self.counts.failed() as f64));
        put("refused", Some(self.counts.refused as f64));
        put("skipped", Some(self.counts.skipped as f64));
        put("members", Some(self.members.at_start as f64));
        put("connects_per_second", Some(self.members.per_second_max as f64));
        put("connecting_seconds", Some(self.timing.connecting));
        put("told_lost", Some(self.counts.truth.told_lost as f64));
        put("told_cut", Some(self.counts.truth.told_cut as f64));
        put("generator.cpu_per_delivery_us", self.generator.cpu_per_delivery_us);
        put("generator.cpu_per_publish_us", self.generator.cpu_per_publish_us);
        put("generator.cpu_per_connect_us", self.generator.cpu_per_connect_us);
        put("generator.memory_per_member", self.generator.memory_per_member);
        put("kernel.slab_per_connection", self.kernel.slab_per_connection);
        put("host.stolen_mean", self.stolen().map(|stolen| stolen.mean));
        put("host.stolen_worst", self.stolen().map(|stolen| stolen.worst));
        if let Some(server) = &self.server {
            put("server.cpu_per_delivery_us", server.cpu_per_delivery_us);
            put("server.cpu_per_message_us", server.cpu_per_message_us);
            put("server.cpu_per_connect_us", server.cpu_per_connect_us);
            put("server.cpus_used", Some(server.cpus_used));
            put("server.rss_per_member", server.rss_per_member);
            put("server.rss_max", Some(server.rss_max as f64));
        }
        figures
    }
}

/// Histograms and figures of a finished run, for thresholds.
pub(crate) struct Evidence<'a> {
    pub summary: &'a Summary,
    pub histograms: &'a BTreeMap<String, Histogram<u64>>,
}

impl Figures for Evidence<'_> {
    fn histogram(&self, tag: &str, statistic: Statistic) -> Option<f64> {
        crate::latency::statistic(self.histograms.get(tag)?, statistic)
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.summary.figures().get(name).copied()
    }
}

//! One run from the first look at the host to the summary.
//!
//! | Module | Role |
//! |---|---|
//! | `preflight` | can this host carry it; rings and source addresses |
//! | `probe` | one slow connection that says clearly what is wrong |
//! | `crew` | the worker threads |
//! | `conductor` | connect → settle → warm up → measure → drain → stop |
//! | `watch` | CPU and memory of target, generator and kernel |
//! | `calibrate` | the same against the null server |
//! | `verdict` | what to think of it |

pub(crate) mod calibrate;
pub(crate) mod conductor;
pub(crate) mod crew;
pub mod preflight;
pub mod probe;
pub(crate) mod verdict;
pub(crate) mod watch;

pub use conductor::run;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::scenario::{Scenario, ScenarioError};
use crate::summary::{Row, Summary};
use crate::target::Protocol;

/// Everything a run depends on.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// With all flags applied.
    pub scenario: Scenario,
    /// Addresses of the target; members take turns over them.
    pub targets: Vec<String>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Prefix of chat names; `None` = `c` and two characters of the run's number, so that runs do not mix.
    pub prefix: Option<String>,
    /// JWT for the connect command.
    pub token: Option<String>,
    /// Of the schedule and everything drawn at random.
    pub seed: u64,
    /// Free text in the summary.
    pub label: String,
    /// Processes of the target; empty = found by the port, if the target is on this host.
    pub pids: Vec<u32>,
    /// CPUs for the workers, in turn; empty = not pinned.
    pub cpus: Vec<usize>,
    /// At least so many rings.
    pub rings: Option<u32>,
    /// Local addresses to connect from.
    pub sources: Vec<IpAddr>,
    /// See [`crate::summary::Generator::window_us`].
    pub window: Duration,
    /// Folder for the results.
    pub out: Option<PathBuf>,
    /// All stand still for so long before the first message, so that idle memory can be read. Default: 1 s.
    pub settle: Duration,
    /// Measure the generator against the null server first.
    pub calibrate: bool,
    /// Addresses of agents that do the work; empty = this process does it.
    pub agents: Vec<String>,
    /// What the agents want to hear; empty = nothing.
    pub agent_secret: String,
    /// Set by Ctrl-C: end early, keep what there is.
    pub interrupt: Arc<AtomicBool>,
}

impl RunOptions {
    /// Defaults for everything but the scenario; the caller gives targets.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            targets: Vec::new(),
            protocol: Protocol::CentrifugeJson,
            prefix: None,
            token: None,
            seed: 1,
            label: String::new(),
            pids: Vec::new(),
            cpus: Vec::new(),
            rings: None,
            sources: Vec::new(),
            window: Duration::ZERO,
            out: None,
            settle: Duration::from_secs(1),
            calibrate: false,
            agents: Vec::new(),
            agent_secret: String::new(),
            interrupt: Arc::default(),
        }
    }
}

/// Why there is no summary. Sorted by who is to blame.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The target.
    #[error(transparent)]
    Target(#[from] Box<probe::ProbeError>),
    /// This host, or this process on it.
    #[error("{0}")]
    Setup(String),
    /// Results cannot be written.
    #[error("{path}: {error}")]
    Output {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

impl RunError {
    /// Exit code of the process: 2 usage, 69 unavailable, 78 bad scenario, 1 everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Scenario(_) => 78,
            Self::Target(_) => 69,
            Self::Setup(_) | Self::Output { .. } => 1,
        }
    }
}

/// Sees a run as it goes.
pub trait Observer {
    /// A step has begun, or something is worth knowing.
    fn say(&mut self, text: &str);
    /// A second has passed.
    fn row(&mut self, row: &Row, view: &View);
    /// Between rows, several times a second, while members connect.
    fn connecting(&mut self, live: u64, wanted: u64);
}

/// What stands beside a row in the live view.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct View {
    /// Members by the plan.
    pub wanted: u64,
    /// Seconds of publishing that are left.
    pub left: f64,
    /// Violations so far.
    pub violations: u64,
    /// The target's processes are watched.
    pub watches: bool,
}

/// A run that has a result.
#[derive(Debug)]
pub struct Finished {
    /// To be stored.
    pub summary: Summary,
    /// By tag, for the distribution files and for merging.
    pub histograms: BTreeMap<String, Histogram<u64>>,
}

/// Observes nothing.
#[derive(Debug)]
pub struct Silent;

impl Observer for Silent {
    fn say(&mut self, _: &str) {}
    fn row(&mut self, _: &Row, _: &View) {}
    fn connecting(&mut self, _: u64, _: u64) {}
}

//! The workers as the conductor sees them: one place to send orders to and to hear reports from.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use corecast_ring::ReactorConfig;

use super::preflight::Layout;
use super::{RunError, RunOptions};
use crate::scenario::Publisher;
use crate::worker::desk::Duties;
use crate::worker::driver::{self, Report, WorkerConfig};
use crate::worker::shared::Shared;

/// Receive buffers of a ring: what one turn can take in. Their sum is the generator's largest fixed cost: 512 × 1 KiB for
/// each ring.
const RECEIVE_BUFFERS: u16 = 512;
/// Completions of a ring, 16 bytes each: all receive buffers, a burst of connects, and what ends at once; overflows are
/// counted.
const COMPLETION_ENTRIES: u32 = 8_192;
const RECEIVE_BUFFER_BYTES_MIN: usize = 1_024;
const RECEIVE_BUFFER_BYTES_MAX: usize = 32 * 1_024;
/// Envelope around a body in any of the protocols.
const ENVELOPE_BYTES: usize = 256;

/// Whoever holds the connections: threads of this process, or agents.
pub(crate) trait Crew {
    fn workers(&self) -> usize;

    /// The next report, if one comes in time.
    fn hear(&self, patience: Duration) -> Option<Report>;

    /// First intended publish.
    fn begin(&mut self, start_ns: u64);

    /// Publish no more from that instant on.
    fn cut_short(&mut self, now_ns: u64);

    /// What the workers still expect; large until all of them have looked.
    fn outstanding(&self) -> u64;

    /// Close everything and report for the last time.
    fn stop(&mut self);

    /// After the last reports.
    fn join(&mut self) -> Leftovers;
}

/// What only shows at the very end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leftovers {
    pub fanouts_incomplete: u64,
    /// Positions beyond what was published.
    pub extra: u64,
}

/// Threads of this process.
#[derive(Debug)]
pub(crate) struct LocalCrew {
    reports: Receiver<Report>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl LocalCrew {
    /// Starts all workers of this process; each reports [`Report::Started`].
    pub(crate) fn start(shared: Arc<Shared>, options: &RunOptions, layout: &Layout) -> Result<Self, RunError> {
        let (sender, reports) = mpsc::channel();
        let mut threads = Vec::new();
        for config in worker_configs(&shared, options, layout) {
            let thread = driver::spawn(shared.clone(), config, Sender::clone(&sender));
            threads.push(thread.map_err(|error| RunError::Setup(format!("starting a thread: {error}")))?);
        }
        Ok(Self { reports, shared, threads })
    }

    pub(crate) fn workers(&self) -> usize {
        self.threads.len()
    }

    pub(crate) fn hear(&self, patience: Duration) -> Option<Report> {
        match self.reports.recv_timeout(patience) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(patience);
                None
            }
        }
    }

    pub(crate) fn outstanding(&self) -> u64 {
        let words = self.shared.control.outstanding.iter();
        words.map(|word| word.load(Ordering::Acquire)).fold(0, u64::saturating_add)
    }

    pub(crate) fn stop(&self) {
        self.shared.control.stop.store(true, Ordering::Release);
    }

    fn wait(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic has been printed by the thread and reported by its last word.
            let _ = thread.join();
        }
    }
}

impl Crew for LocalCrew {
    fn workers(&self) -> usize {
        Self::workers(self)
    }

    fn hear(&self, patience: Duration) -> Option<Report> {
        Self::hear(self, patience)
    }

    fn begin(&mut self, start_ns: u64) {
        self.shared.control.begin(start_ns);
    }

    fn cut_short(&mut self, now_ns: u64) {
        self.shared.control.cut_short(now_ns);
    }

    fn outstanding(&self) -> u64 {
        Self::outstanding(self)
    }

    fn stop(&mut self) {
        Self::stop(self);
    }

    fn join(&mut self) -> Leftovers {
        self.wait();
        Leftovers { fanouts_incomplete: self.shared.spreads.incomplete(), extra: super::conductor::extra(&self.shared) }
    }
}

impl Drop for LocalCrew {
    fn drop(&mut self) {
        self.stop();
        self.wait();
    }
}

/// Number of workers that [`LocalCrew::start`] will start.
pub(crate) fn worker_count(options: &RunOptions, layout: &Layout) -> usize {
    layout.rings as usize + usize::from(publishes_apart(options))
}

/// A thread of its own publishes, so that no burst of deliveries makes it late.
pub(crate) fn publishes_apart(options: &RunOptions) -> bool {
    let scenario = &options.scenario;
    scenario.rate() > 0.0 && options.protocol.publishes_by(scenario.publish.by) == Publisher::Dedicated
}

fn worker_configs(shared: &Shared, options: &RunOptions, layout: &Layout) -> Vec<WorkerConfig> {
    let share = shared.share;
    let size = shared.plan.groups.iter().map(|group| group.size).max().unwrap_or(0);
    let buffer = (size + ENVELOPE_BYTES).next_power_of_two().clamp(RECEIVE_BUFFER_BYTES_MIN, RECEIVE_BUFFER_BYTES_MAX);
    let ring = |slots: u32, buffers: u16, cq: u32| ReactorConfig {
        connections: slots,
        receive_buffers: buffers,
        receive_buffer_bytes: buffer as u32,
        cq_entries: cq,
        ..ReactorConfig::default()
    };
    let apart = publishes_apart(options);
    let by_members = !apart && options.scenario.rate() > 0.0;
    let cpu = |index: u32| (!options.cpus.is_empty()).then(|| options.cpus[index as usize % options.cpus.len()]);
    let mut configs: Vec<WorkerConfig> = (0..layout.rings)
        .map(|index| WorkerConfig {
            index,
            name: format!("load-rx-{index}"),
            duties: Duties {
                members: Some(share.part(index, layout.rings)),
                publishers: 0,
                publishing: by_members.then(|| share.part(index, layout.rings)),
                connecting: share.part(index, layout.rings),
            },
            cpu: cpu(index),
            ring: ring(layout.slots, RECEIVE_BUFFERS, COMPLETION_ENTRIES),
            window: options.window,
        })
        .collect();
    if apart {
        let publishers = u32::from(options.scenario.publish.connections);
        configs.push(WorkerConfig {
            index: layout.rings,
            name: "load-publish".to_owned(),
            duties: Duties { members: None, publishers, publishing: Some(share), connecting: share },
            cpu: cpu(layout.rings),
            ring: ring(publishers + 16, 256, 4_096),
            window: Duration::ZERO,
        });
    }
    configs
}

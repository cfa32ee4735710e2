//! Looks at the target's processes, at our own threads and at the kernel, and works out what the measured time cost.

use std::collections::BTreeMap;

use crate::summary::{Kernel, Row, Server, ThreadUse};
use crate::system::kernel::{CpuTimes, KernelSample};
use crate::system::process::{ProcessSample, thread_cpu};

/// Threads below this share of a CPU are left out.
const THREAD_SHARE_MIN: f64 = 0.002;
const THREADS_SHOWN_MAX: usize = 64;
const CACHES_SHOWN_MAX: usize = 14;

/// Everything seen at one instant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    pub at_ns: u64,
    pub servers: Vec<ProcessSample>,
    pub own: ProcessSample,
    /// CPU seconds of each worker thread.
    pub workers: Vec<f64>,
    /// All CPUs of the host together.
    pub host: CpuTimes,
}

/// CPU of the generator, seconds; `busiest`: share of its busiest thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct OwnCpu {
    pub receiving: f64,
    pub publishing: Option<f64>,
    pub busiest: f64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pids: Vec<u32>,
    tasks: Vec<u64>,
    last: Option<Look>,
    pub before: Option<Look>,
    pub idle: Option<Look>,
    pub from: Option<Look>,
    pub to: Option<Look>,
    pub kernel_before: KernelSample,
    pub kernel_idle: Option<KernelSample>,
    pub kernel_from: Option<KernelSample>,
    pub kernel_to: Option<KernelSample>,
    rss_max: u64,
    pub died: bool,
}

impl Watch {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self { pids, kernel_before: KernelSample::take(), ..Self::default() }
    }

    /// Threads start in any order; the last worker may be the one that only publishes.
    pub(crate) fn add_worker(&mut self, worker: u32, task: u64) {
        let index = worker as usize;
        if self.tasks.len() <= index {
            self.tasks.resize(index + 1, 0);
        }
        self.tasks[index] = task;
    }

    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Looks now. A process that is gone is noted once and for all.
    pub(crate) fn look(&mut self, at_ns: u64) -> Look {
        let mut servers = Vec::new();
        for pid in &self.pids {
            match ProcessSample::take(*pid) {
                Ok(sample) => servers.push(sample),
                Err(_) => self.died = true,
            }
        }
        let own = ProcessSample::take(std::process::id()).unwrap_or_default();
        let workers = self.tasks.iter().map(|task| thread_cpu(*task).unwrap_or(0.0)).collect();
        let look = Look { at_ns, servers, own, workers, host: CpuTimes::of_host() };
        self.rss_max = self.rss_max.max(rss(&look));
        look
    }

    /// Looks, and completes a row with what happened since the last call.
    pub(crate) fn complete(&mut self, row: &mut Row, at_ns: u64) -> Look {
        let look = self.look(at_ns);
        row.server_rss = rss(&look);
        if let Some(last) = &self.last {
            let seconds = (look.at_ns.saturating_sub(last.at_ns) as f64 / 1e9).max(1e-3);
            let sum = |look: &Look, part: fn(&ProcessSample) -> f64| look.servers.iter().map(part).sum::<f64>();
            let used = |part| ((sum(&look, part) - sum(last, part)) / seconds).max(0.0);
            (row.server_user, row.server_system) = (used(|sample| sample.user), used(|sample| sample.system));
            row.generator_cpu = ((look.own.cpu() - last.own.cpu()) / seconds).max(0.0);
            let [.., stolen] = shares(&last.host, &look.host);
            row.stolen = stolen.max(0.0);
        }
        self.last = Some(look.clone());
        look
    }

    /// What the target used in the measured time, if it could be watched.
    pub(crate) fn server(&self, members: u64, deliveries: u64, messages: u64) -> Option<Server> {
        let (from, to) = (self.from.as_ref()?, self.to.as_ref()?);
        if self.pids.is_empty() {
            return None;
        }
        let seconds = seconds(from, to);
        let part = |read: fn(&ProcessSample) -> f64| -> f64 {
            to.servers.iter().map(|sample| read(sample) - twin(from, sample.pid).map_or(0.0, read)).sum()
        };
        let (user, system) = (part(|sample| sample.user), part(|sample| sample.system));
        let per = |count: u64| (count > 0).then(|| (user + system) * 1e6 / count as f64);
        let rss_before = self.before.as_ref().map_or(0, rss);
        let rss_idle = self.idle.as_ref().map_or(0, rss);
        let growth = rss_idle.saturating_sub(rss_before) as f64;
        let connecting = self.before.as_ref().zip(self.idle.as_ref()).map(|(before, idle)| cpu(idle) - cpu(before));
        Some(Server {
            pids: self.pids.clone(),
            user,
            system,
            cpus_used: (user + system) / seconds,
            cpu_per_delivery_us: per(deliveries),
            cpu_per_message_us: per(messages),
            cpu_per_connect_us: connecting.filter(|_| members > 0).map(|cpu| cpu * 1e6 / members as f64),
            rss_before,
            rss_idle,
            rss_max: self.rss_max,
            rss_per_member: (members > 0 && rss_idle > 0).then(|| growth / members as f64),
            switches_voluntary: part(|sample| sample.switches_voluntary as f64) / seconds,
            switches_involuntary: part(|sample| sample.switches_involuntary as f64) / seconds,
            threads: threads(from, to),
            died: self.died,
        })
    }

    /// What the kernel had to spend on the connections, and how busy its CPUs were.
    pub(crate) fn kernel(&self, connections: u64, both_ends: bool) -> Kernel {
        let mut kernel = Kernel { both_ends, ..Kernel::default() };
        if let Some(idle) = self.kernel_idle.as_ref().filter(|_| connections > 0) {
            let growth = idle.slab_growth(&self.kernel_before);
            let per = |bytes: i64| bytes as f64 / connections as f64;
            if !growth.is_empty() {
                kernel.slab_per_connection = Some(growth.iter().map(|(_, bytes)| per(*bytes)).sum());
            }
            let shown = growth.into_iter().filter(|(_, bytes)| per(*bytes) >= 1.0).take(CACHES_SHOWN_MAX);
            kernel.caches = shown.map(|(cache, bytes)| (cache, per(bytes))).collect();
        }
        let last = self.kernel_to.as_ref().or(self.kernel_from.as_ref()).or(self.kernel_idle.as_ref());
        if let Some(last) = last {
            let grown = |(name, value): (&String, &u64)| {
                let before = self.kernel_before.counters.get(name).copied().unwrap_or(0);
                (name.clone(), value.saturating_sub(before))
            };
            kernel.counters = last.counters.iter().map(grown).collect::<BTreeMap<_, _>>();
        }
        if let (Some(from), Some(to)) = (&self.kernel_from, &self.kernel_to) {
            kernel.cpus = from.cpus.iter().zip(&to.cpus).map(|(from, to)| shares(from, to)).collect();
        }
        kernel
    }

    /// What the generator used in the measured time; `apart`: its last thread only publishes.
    pub(crate) fn generator(&self, apart: bool) -> OwnCpu {
        let (Some(from), Some(to)) = (&self.from, &self.to) else { return OwnCpu::default() };
        let used: Vec<f64> = to.workers.iter().zip(&from.workers).map(|(to, from)| to - from).collect();
        let publishing = used.last().copied().filter(|_| apart);
        OwnCpu {
            receiving: used.iter().sum::<f64>() - publishing.unwrap_or(0.0),
            publishing,
            busiest: used.iter().copied().fold(0.0, f64::max) / seconds(from, to),
        }
    }

    /// CPU seconds of this process from before the connects to when all stood still.
    pub(crate) fn own_cpu_of_connects(&self) -> Option<f64> {
        Some(self.idle.as_ref()?.own.cpu() - self.before.as_ref()?.own.cpu())
    }

    /// Resident memory per member of this process, from before the connects to when all stood still.
    pub(crate) fn own_memory_per_member(&self, members: u64) -> Option<f64> {
        let (before, idle) = (self.before.as_ref()?, self.idle.as_ref()?);
        (members > 0).then(|| idle.own.rss.saturating_sub(before.own.rss) as f64 / members as f64)
    }
}

fn seconds(from: &Look, to: &Look) -> f64 {
    (to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9).max(1e-3)
}

fn rss(look: &Look) -> u64 {
    look.servers.iter().map(|sample| sample.rss).sum()
}

fn cpu(look: &Look) -> f64 {
    look.servers.iter().map(ProcessSample::cpu).sum()
}

fn twin(look: &Look, pid: u32) -> Option<&ProcessSample> {
    look.servers.iter().find(|sample| sample.pid == pid)
}

fn threads(from: &Look, to: &Look) -> Vec<ThreadUse> {
    let seconds = seconds(from, to);
    let mut used = Vec::new();
    for process in &to.servers {
        let before = twin(from, process.pid);
        for thread in &process.threads {
            let twin = before.and_then(|process| process.threads.iter().find(|other| other.tid == thread.tid));
            let (user, system) = twin.map_or((0.0, 0.0), |twin| (twin.user, twin.system));
            used.push(ThreadUse {
                pid: process.pid,
                name: thread.name.clone(),
                user: (thread.user - user) / seconds,
                system: (thread.system - system) / seconds,
                cpu: thread.cpu,
            });
        }
    }
    used.retain(|thread| thread.user + thread.system >= THREAD_SHARE_MIN);
    used.sort_by(|a, b| (b.user + b.system).total_cmp(&(a.user + a.system)));
    used.truncate(THREADS_SHOWN_MAX);
    used
}

/// User, kernel, softirq and stolen shares of a CPU's time.
fn shares(from: &CpuTimes, to: &CpuTimes) -> [f64; 4] {
    let parts = [to.user - from.user, to.system - from.system, to.softirq - from.softirq, to.steal - from.steal];
    let total = parts.iter().sum::<f64>() + to.idle - from.idle;
    parts.map(|part| if total > 0.0 { part / total } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::process::ThreadSample;

    fn look(at_ns: u64, cpu: f64, rss: u64) -> Look {
        let thread = ThreadSample { tid: 7, name: "core".to_owned(), user: cpu, system: cpu, cpu: 0 };
        let sample = ProcessSample { pid: 1, user: cpu, system: cpu, rss, threads: vec![thread], ..Default::default() };
        Look {
            at_ns,
            servers: vec![sample],
            own: ProcessSample { rss, ..Default::default() },
            workers: vec![cpu],
            ..Look::default()
        }
    }

    #[test]
    fn a_second_in_which_the_hypervisor_served_others_says_so() {
        let last = Look { host: CpuTimes { user: 1.0, idle: 5.0, ..CpuTimes::default() }, ..Look::default() };
        let mut watch = Watch { last: Some(last), ..Watch::default() };
        let mut row = Row::default();
        watch.complete(&mut row, 1_000_000_000);
        let of_host = CpuTimes::of_host();
        assert!((0.0..=1.0).contains(&row.stolen) && of_host.idle > 0.0);
        let before = CpuTimes { steal: of_host.steal, ..CpuTimes::default() };
        let later = CpuTimes { user: 0.5, idle: 1.0, steal: of_host.steal + 0.5, ..CpuTimes::default() };
        assert_eq!(shares(&before, &later)[3], 0.25);
    }

    #[test]
    fn cpu_and_memory_are_differences_per_delivery_and_member() {
        let mut watch = Watch { pids: vec![1], ..Watch::default() };
        watch.before = Some(look(0, 0.0, 1_000));
        watch.idle = Some(look(0, 0.01, 51_000));
        watch.from = Some(look(0, 1.0, 51_000));
        watch.to = Some(look(10_000_000_000, 3.0, 51_000));
        let server = watch.server(100, 1_000_000, 200_000).unwrap();
        assert_eq!(server.cpu_per_delivery_us, Some(4.0));
        assert_eq!(server.cpu_per_message_us, Some(20.0));
        assert_eq!(server.rss_per_member, Some(500.0));
        assert_eq!(server.cpu_per_connect_us, Some(200.0));
        assert_eq!((server.threads[0].user, server.cpus_used), (0.2, 0.4));
        assert_eq!(watch.own_memory_per_member(100), Some(500.0));
        assert_eq!(watch.generator(false), OwnCpu { receiving: 2.0, publishing: None, busiest: 0.2 });
        assert_eq!(watch.generator(true), OwnCpu { receiving: 0.0, publishing: Some(2.0), busiest: 0.2 });
    }

    #[test]
    fn a_process_that_is_gone_is_noticed() {
        let mut watch = Watch::new(vec![u32::MAX]);
        watch.look(0);
        assert!(watch.died);
    }
}

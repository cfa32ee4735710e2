//! What the kernel spends: slab memory by cache, socket memory, TCP trouble, time of each CPU.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

/// Pages of /proc/net/sockstat.
const PAGE_BYTES: u64 = 4_096;
/// Time units of /proc/stat.
const TICKS_PER_SECOND: f64 = 100.0;
/// Counters of the network stack that explain a bad run.
const COUNTERS: [&str; 9] = [
    "RetransSegs",
    "ListenOverflows",
    "ListenDrops",
    "TCPTimeouts",
    "TCPBacklogDrop",
    "TCPRcvQDrop",
    "TCPAbortOnMemory",
    "PruneCalled",
    "AttemptFails",
];

/// One look at the kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelSample {
    /// Bytes of live objects by slab cache; empty if /proc/slabinfo is not readable (it needs root).
    pub slab: BTreeMap<String, u64>,
    /// All slab memory, bytes.
    pub slab_total: u64,
    /// Memory of TCP buffers, bytes.
    pub tcp_memory: u64,
    /// TCP sockets in use, both ends of local connections.
    pub tcp_sockets: u64,
    /// See `COUNTERS`.
    pub counters: BTreeMap<String, u64>,
    /// Seconds by CPU.
    pub cpus: Vec<CpuTimes>,
    /// Memory that programs could still get, bytes.
    pub available: u64,
}

/// How a CPU has spent its time, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuTimes {
    /// Programs.
    pub user: f64,
    /// Kernel on behalf of programs.
    pub system: f64,
    /// Software interrupts outside of any program.
    pub softirq: f64,
    /// Nothing to do.
    pub idle: f64,
    /// Taken by the hypervisor.
    pub steal: f64,
}

impl CpuTimes {
    /// All CPUs of this host together, since it started.
    pub fn of_host() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        text.lines().next().and_then(|line| line.strip_prefix("cpu ")).map(Self::parse).unwrap_or_default()
    }

    /// The numbers of a line of /proc/stat.
    fn parse(numbers: &str) -> Self {
        let ticks: Vec<f64> =
            numbers.split_whitespace().map(|word| word.parse::<f64>().unwrap_or(0.0) / TICKS_PER_SECOND).collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0.0);
        Self { user: at(0) + at(1), system: at(2) + at(5), softirq: at(6), idle: at(3) + at(4), steal: at(7) }
    }
}

impl KernelSample {
    /// Looks now.
    pub fn take() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let sockstat = read("/proc/net/sockstat");
        let memory = read("/proc/meminfo");
        let mut counters = parse_counters(&read("/proc/net/snmp"));
        counters.extend(parse_counters(&read("/proc/net/netstat")));
        Self {
            slab: parse_slab(&read("/proc/slabinfo")),
            slab_total: kilobytes(&memory, "Slab:"),
            available: kilobytes(&memory, "MemAvailable:"),
            tcp_memory: word_after(&sockstat, "TCP:", "mem") * PAGE_BYTES,
            tcp_sockets: word_after(&sockstat, "TCP:", "inuse") + tcp6_in_use(&read("/proc/net/sockstat6")),
            counters,
            cpus: parse_cpus(&read("/proc/stat")),
        }
    }

    /// Growth of the caches since `before`, largest first.
    pub fn slab_growth(&self, before: &Self) -> Vec<(String, i64)> {
        let mut growth: Vec<(String, i64)> = self
            .slab
            .iter()
            .map(|(cache, bytes)| (cache.clone(), *bytes as i64 - before.slab.get(cache).map_or(0, |old| *old as i64)))
            .filter(|(_, bytes)| *bytes != 0)
            .collect();
        growth.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        growth
    }
}

fn tcp6_in_use(sockstat6: &str) -> u64 {
    word_after(sockstat6, "TCP6:", "inuse")
}

fn parse_slab(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let active: u64 = words.next()?.parse().ok()?;
        let size: u64 = words.nth(1)?.parse().ok()?;
        Some((name, active * size))
    };
    text.lines().filter_map(line).collect()
}

/// Pairs of lines: names, then values.
fn parse_counters(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        for (name, value) in pair[0].split_whitespace().zip(pair[1].split_whitespace()).skip(1) {
            if COUNTERS.contains(&name)
                && let Ok(value) = value.parse()
            {
                counters.insert(name.to_owned(), value);
            }
        }
    }
    counters
}

fn parse_cpus(text: &str) -> Vec<CpuTimes> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        name.strip_prefix("cpu")?.parse::<u32>().ok()?;
        Some(CpuTimes::parse(rest))
    };
    text.lines().filter_map(line).collect()
}

fn word_after(text: &str, line_start: &str, key: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(line_start)).unwrap_or_default();
    let mut words = line.split_whitespace();
    words.find(|word| *word == key);
    words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn kilobytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let slab = parse_slab("slabinfo - version: 2.1\n# name  <active>\nTCP   10  13   2368   13   8 : tunables\n");
        assert_eq!(slab["TCP"], 23_680);
        let counters = parse_counters("Tcp: RtoMin RetransSegs\nTcp: 200 7\nTcpExt: X ListenDrops\nTcpExt: 1 3\n");
        assert_eq!((counters["RetransSegs"], counters["ListenDrops"]), (7, 3));
        let cpus = parse_cpus("cpu  1 1 1 1\ncpu0 100 0 200 300 0 0 50 25 0 0\nintr 5\n");
        assert_eq!(cpus, [CpuTimes { user: 1.0, system: 2.0, softirq: 0.5, idle: 3.0, steal: 0.25 }]);
        let sockstat = "sockets: used 17\nTCP: inuse 4 orphan 0 tw 0 alloc 1 mem 9\n";
        assert_eq!((word_after(sockstat, "TCP:", "inuse"), word_after(sockstat, "TCP:", "mem")), (4, 9));
    }

    #[test]
    fn this_host_has_cpus_and_memory() {
        let sample = KernelSample::take();
        assert!(!sample.cpus.is_empty() && sample.available > 0);
        let mut more = sample.clone();
        more.slab.insert("TCP".to_owned(), sample.slab.get("TCP").copied().unwrap_or(0) + 2_368);
        assert_eq!(more.slab_growth(&sample), [("TCP".to_owned(), 2_368)]);
    }
}

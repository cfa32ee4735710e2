//! The circumstances of a run that somebody needs to repeat or to doubt it: host, kernel, mitigations, versions, commands.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::process;

/// Kernel settings that change results.
const SETTINGS: [&str; 12] = [
    "net/core/somaxconn",
    "net/core/netdev_max_backlog",
    "net/core/busy_poll",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_congestion_control",
    "kernel/io_uring_disabled",
    "kernel/sched_autogroup_enabled",
    "vm/overcommit_memory",
];

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// This tool.
    pub tool: String,
    /// Kernel release and build.
    pub kernel: String,
    /// Distribution.
    pub system: String,
    /// Processor model.
    pub cpu_model: String,
    /// Processors that are online.
    pub cpus_online: String,
    /// Processors that this process may use.
    pub cpus_allowed: String,
    /// Hypervisor, if any.
    pub hypervisor: String,
    /// Physical memory, bytes.
    pub memory: u64,
    /// Soft and hard RLIMIT_NOFILE.
    pub descriptors: String,
    /// Vulnerability → mitigation, those that are not "Not affected".
    pub mitigations: BTreeMap<String, String>,
    /// Kernel settings.
    pub settings: BTreeMap<String, String>,
    /// Load averages before the run: what else was going on.
    pub load_before: String,
    /// The command line of this run.
    pub command: String,
    /// The target's processes: command line, CPUs, program version if it tells.
    pub targets: Vec<TargetProcess>,
    /// Revision of the working tree that the tool was run in, if it is one.
    pub revision: String,
}

/// A process of the target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetProcess {
    /// Process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// CPUs that it may use.
    pub cpus: String,
}

impl Environment {
    /// Looks around.
    pub fn look(pids: &[u32]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        Self {
            tool: format!("corecast load {}", env!("CARGO_PKG_VERSION")),
            kernel: format!("{} {}", read("/proc/sys/kernel/osrelease"), read("/proc/sys/kernel/version")),
            system: value(&read("/etc/os-release"), "PRETTY_NAME=").trim_matches('"').to_owned(),
            cpu_model: value(&cpuinfo, "model name").trim_start_matches([' ', '\t', ':']).to_owned(),
            cpus_online: read("/sys/devices/system/cpu/online"),
            cpus_allowed: process::cpus_allowed(std::process::id()).unwrap_or_default(),
            hypervisor: read("/sys/class/dmi/id/sys_vendor"),
            memory: value(&read("/proc/meminfo"), "MemTotal:").trim().trim_end_matches(" kB").parse().unwrap_or(0)
                * 1_024,
            descriptors: value(&read("/proc/self/limits"), "Max open files")
                .split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" / "),
            mitigations: mitigations(),
            settings: settings(),
            load_before: read("/proc/loadavg"),
            command: std::env::args().map(|word| quoted(&word)).collect::<Vec<_>>().join(" "),
            targets: pids.iter().map(|pid| target(*pid)).collect(),
            revision: revision(),
        }
    }
}

fn target(pid: u32) -> TargetProcess {
    let command = process::command(pid).unwrap_or_default();
    TargetProcess { pid, command, cpus: process::cpus_allowed(pid).unwrap_or_default() }
}

fn mitigations() -> BTreeMap<String, String> {
    let files = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    let entry = |file: fs::DirEntry| {
        let state = fs::read_to_string(file.path()).ok()?.trim().to_owned();
        (state != "Not affected").then(|| (file.file_name().to_string_lossy().into_owned(), state))
    };
    files.filter_map(entry).collect()
}

fn settings() -> BTreeMap<String, String> {
    let read = |name: &&str| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        let value = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Some((name.replace('/', "."), value))
    };
    SETTINGS.iter().filter_map(read).collect()
}

fn revision() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default()
}

/// As a shell would need it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_essentials_are_found() {
        let environment = Environment::look(&[std::process::id()]);
        assert!(!environment.kernel.is_empty() && environment.memory > 0, "{environment:?}");
        assert_eq!(environment.targets.len(), 1);
        assert!(environment.descriptors.contains('/'), "{}", environment.descriptors);
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a-b"), "a-b");
        assert_eq!(quoted("deliver.p99<50ms"), "'deliver.p99<50ms'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}

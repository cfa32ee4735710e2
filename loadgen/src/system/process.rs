//! CPU, memory and context switches of processes and their threads.
//!
//! The kernel scales user and system time to the exact run time, so the 10 ms ticks of /proc/PID/stat are resolution, not
//! error: over 10 s they are 0.1 %.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// `USER_HZ`: fixed in the Linux ABI of every architecture Corecast runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Page size where /proc counts pages; Corecast's targets (x86-64, arm64 servers) use 4 KiB.
const PAGE_BYTES: u64 = 4_096;

/// One look at a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Process id.
    pub pid: u32,
    /// Seconds in user mode since it started.
    pub user: f64,
    /// Seconds in the kernel, softirq work in its context included.
    pub system: f64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// Context switches because it waited, over the threads that live.
    pub switches_voluntary: u64,
    /// Context switches because its time was up, over the threads that live.
    pub switches_involuntary: u64,
    /// Its threads.
    pub threads: Vec<ThreadSample>,
}

/// One look at a thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadSample {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Seconds in user mode.
    pub user: f64,
    /// Seconds in the kernel.
    pub system: f64,
    /// Where it last ran.
    pub cpu: u32,
}

impl ProcessSample {
    /// Looks now. `NotFound` = the process is gone.
    pub fn take(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let stat = Stat::parse(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        if stat.state == 'Z' || stat.state == 'X' {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut sample =
            Self { pid, user: stat.user, system: stat.system, rss: stat.rss_pages * PAGE_BYTES, ..Self::default() };
        for entry in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread may end while we look.
            let path = entry.path();
            let Some(thread) = fs::read_to_string(path.join("stat")).ok().and_then(|text| Stat::parse(&text)) else {
                continue;
            };
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            sample.switches_voluntary += field(&status, "voluntary_ctxt_switches:");
            sample.switches_involuntary += field(&status, "nonvoluntary_ctxt_switches:");
            let tid = entry.file_name().to_string_lossy().parse().unwrap_or(0);
            let (name, user, system, cpu) = (thread.name, thread.user, thread.system, thread.cpu);
            sample.threads.push(ThreadSample { tid, name, user, system, cpu });
        }
        sample.threads.sort_by_key(|thread| thread.tid);
        Ok(sample)
    }

    /// User and system seconds.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// CPU seconds of one thread of this process, with nanosecond resolution.
pub fn thread_cpu(task: u64) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/self/task/{task}/schedstat")).ok()?;
    text.split_whitespace().next()?.parse::<u64>().ok().map(|nanos| nanos as f64 / 1e9)
}

/// How the process was started: its command line and the path of its program.
pub fn command(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// CPUs that the process may use, as the kernel lists them.
pub fn cpus_allowed(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}

/// Processes that listen on a TCP port of this host, or on any of its addresses.
pub fn listeners(address: IpAddr, port: u16) -> Vec<u32> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| listening_inode(line, address, port)));
    }
    if inodes.is_empty() {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|pid| holds_socket(*pid, &inodes)).collect()
}

fn holds_socket(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| {
        let text = link.to_string_lossy();
        let inode = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
    })
}

/// The socket's inode, if the line of /proc/net/tcp is a listener there.
fn listening_inode(line: &str, address: IpAddr, port: u16) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.get(3) != Some(&"0A") {
        return None;
    }
    let (host, listens_on) = words.get(1)?.split_once(':')?;
    if u16::from_str_radix(listens_on, 16).ok()? != port {
        return None;
    }
    let host = parse_host(host)?;
    let same = host == address || host.is_unspecified();
    same.then(|| words.get(9)?.parse().ok()).flatten()
}

/// Addresses stand there in host byte order, word by word.
fn parse_host(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::swap_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from_bits(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bits = words.iter().fold(0_u128, |bits, word| bits << 32 | u128::from(*word));
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}

/// What we read of a line of /proc/PID/stat (proc_pid_stat(5)).
struct Stat {
    name: String,
    state: char,
    user: f64,
    system: f64,
    rss_pages: u64,
    cpu: u32,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may contain blanks and parentheses: it ends at the last one.
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |field: usize| words.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            name,
            state: words.first()?.chars().next()?,
            user: number(14)? as f64 / TICKS_PER_SECOND,
            system: number(15)? as f64 / TICKS_PER_SECOND,
            rss_pages: number(24)?,
            cpu: number(39)? as u32,
        })
    }
}

fn field(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let text =
            "12 (a) (b c) S 1 1 1 0 -1 4 9 0 0 0 150 25 0 0 20 0 3 0 5 99 1000 18 1 1 1 0 0 0 0 0 0 0 0 0 17 1 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.user, stat.system), ("a) (b c", 'S', 1.5, 0.25));
        assert_eq!((stat.rss_pages, stat.cpu), (1_000, 1));
    }

    #[test]
    fn we_see_ourselves_at_work() {
        let before = ProcessSample::take(std::process::id()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut number = 1_u64;
        loop {
            (0..1_000_000).for_each(|_| number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            let after = ProcessSample::take(std::process::id()).unwrap();
            if after.cpu() > before.cpu() {
                assert!(after.rss > 0 && !after.threads.is_empty());
                break;
            }
            assert!(std::time::Instant::now() < deadline, "no CPU time was counted ({number})");
        }
        assert!(ProcessSample::take(u32::MAX).is_err());
    }

    #[test]
    fn the_process_behind_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listeners(address.ip(), address.port()).contains(&std::process::id()));
        drop(listener);
    }

    #[test]
    fn addresses_of_the_kernels_tables() {
        assert_eq!(parse_host("0100007F"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(parse_host("00000000000000000000000001000000"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(parse_host("xyz"), None);
    }
}

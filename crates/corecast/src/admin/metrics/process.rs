//! Metrics of the process as the kernel sees it.

use std::fmt;
use std::fs;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::FromSnapshot;

/// Clock ticks per second in `/proc/self/stat`: fixed for user space on every Linux platform that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;
const KIB: u64 = 1024;

/// Adds memory, CPU time and descriptors of this process to a registry.
pub(crate) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(FromSnapshot(|mut encoder: DescriptorEncoder<'_>| collect(&mut encoder))));
}

fn collect(encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status_number(&status, "VmRSS:").unwrap_or(0) * KIB;
    let threads = status_number(&status, "Threads:").unwrap_or(0);
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count() as u64);
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory.", resident),
        ("process_threads", "Threads.", threads),
        ("process_open_fds", "Open descriptors; connections are in the rings and do not count.", descriptors),
    ] {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
    }
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let help = "CPU time of all threads, user and system.";
    let mut metric = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, f64, u64>(&cpu_seconds(&stat).unwrap_or(0.0), None)
}

fn status_number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime`, the 14th and 15th field of proc(5) stat. The second one may contain spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let status = "Name:\tx\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!((status_number(status, "VmRSS:"), status_number(status, "Threads:")), (Some(12), Some(3)));
        assert_eq!(status_number(status, "VmSwap:"), None);
        let stat = "1 (a b) c) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let mut registry = Registry::default();
        register(&mut registry);
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry).unwrap();
        let value = |name: &str| {
            let line = out.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6, "{out}");
        assert!(value("process_threads") >= 1.0 && value("process_cpu_seconds_total") >= 0.0, "{out}");
    }
}

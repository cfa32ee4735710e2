//! Before the first connect: can this host carry the run, and if not, what has to change.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use corecast_ring::{Reactor, ReactorConfig, limits};

use super::RunOptions;
use crate::system::kernel::KernelSample;
use crate::target::Address;
use crate::target::address::Peer;

/// Kernel memory of one established loopback connection, both ends: 2 × 3.9 kB and what is armed on them (864 B for a
/// multishot receive on ours, about as much on the server's).
const KERNEL_BYTES_PER_LOCAL_CONNECTION: u64 = 9_500;
/// The same for our end alone.
const KERNEL_BYTES_PER_REMOTE_CONNECTION: u64 = 4_800;
/// User memory: ours at most 300 B, a modest target's 2 KiB if it runs here.
const USER_BYTES_PER_CONNECTION: u64 = 2_400;
/// Members per ring, as a share of its slots: slots of connections that are closing are not free yet.
const SLOTS_USED_MAX: f64 = 0.94;
/// Connections from one source address, as a share of the port range: the kernel first tries the ports of one parity only,
/// and walks all of them beyond that (measured: 14,000 connects at 55,000 a second, 16,000 at 10,000).
const PORTS_USED_MAX: f64 = 0.45;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The run cannot work.
    pub fatal: bool,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// How the connections are spread over rings and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Threads that hold members.
    pub rings: u32,
    /// Slots of each.
    pub slots: u32,
    /// Addresses to connect from; empty = the kernel chooses.
    pub sources: Vec<IpAddr>,
}

/// Facts about the host, apart from what is computed from them.
#[derive(Debug, Clone, Copy)]
struct Host {
    descriptors: u64,
    ports: u64,
    available: u64,
    syn_backlog: u64,
}

/// Plans rings and addresses for `connections` and says what is in the way.
pub(crate) fn check(options: &RunOptions, targets: &[Address], connections: u64) -> (Layout, Vec<Finding>) {
    let descriptors = limits::raise_descriptors().map_or(1_024, |limit| limit.soft);
    let number = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>()
    };
    let range = number("/proc/sys/net/ipv4/ip_local_port_range");
    let host = Host {
        descriptors,
        ports: range.get(1).zip(range.first()).map_or(28_232, |(last, first)| last.saturating_sub(*first) + 1),
        available: KernelSample::take().available,
        syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog").first().copied().unwrap_or(0),
    };
    let (layout, mut findings) = plan(options, targets, connections, &host);
    if let Err(error) = Reactor::new(&ReactorConfig { connections: 16, receive_buffers: 8, ..ReactorConfig::default() })
    {
        findings.push(Finding {
            fatal: true,
            problem: error.to_string(),
            remedy: "the generator needs io_uring: see the message".to_owned(),
        });
    }
    (layout, findings)
}

fn plan(options: &RunOptions, targets: &[Address], connections: u64, host: &Host) -> (Layout, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut say = |fatal: bool, problem: String, remedy: String| findings.push(Finding { fatal, problem, remedy });
    let slots_max = host.descriptors.min(u64::from(corecast_ring::CONNECTIONS_MAX));
    let per_ring = ((slots_max as f64 * SLOTS_USED_MAX) as u64).saturating_sub(16).max(1);
    let needed = connections.div_ceil(per_ring).max(1);
    let rings = u64::from(options.rings.unwrap_or(0)).max(needed);
    if rings > 256 {
        say(
            true,
            format!("{connections} connections need {rings} rings of {slots_max} descriptors each"),
            "raise RLIMIT_NOFILE (ulimit -n; LimitNOFILE= in a unit): it bounds each ring".to_owned(),
        );
    } else if needed > 8 {
        say(
            false,
            format!("RLIMIT_NOFILE of {} makes it {needed} rings with a thread each", host.descriptors),
            "raise it (ulimit -n 1048576) for fewer threads".to_owned(),
        );
    }
    let members_per_ring = connections.div_ceil(rings);
    let slots = ((members_per_ring as f64 / SLOTS_USED_MAX) as u64 + 64).min(slots_max);
    let sources = sources(options, targets, connections, host);
    let capacity = capacity(&sources, targets, host.ports);
    if capacity.is_some_and(|capacity| connections > capacity) {
        let capacity = capacity.unwrap_or(0);
        say(
            true,
            format!("{connections} connections, but only about {capacity} local ports towards the target"),
            "give more source addresses (--source 10.0.0.2,10.0.0.3), more targets, or widen \
             net.ipv4.ip_local_port_range to 1024 65535"
                .to_owned(),
        );
    }
    let local = targets.iter().any(Address::is_local);
    let kernel = if local { KERNEL_BYTES_PER_LOCAL_CONNECTION } else { KERNEL_BYTES_PER_REMOTE_CONNECTION };
    let wanted = connections * (kernel + USER_BYTES_PER_CONNECTION);
    if host.available > 0 && wanted > host.available {
        say(
            true,
            format!("about {} MiB of memory are needed, {} MiB are free", wanted >> 20, host.available >> 20),
            "fewer connections (--connections), several hosts (corecast load agent), or more memory".to_owned(),
        );
    }
    let per_second = options.scenario.connect_rate;
    if local && host.syn_backlog > 0 && per_second > host.syn_backlog as f64 * 8.0 {
        say(
            false,
            format!("{per_second} connects a second with net.ipv4.tcp_max_syn_backlog = {}", host.syn_backlog),
            "dropped SYNs are repeated after a second: raise it and net.core.somaxconn".to_owned(),
        );
    }
    (Layout { rings: rings as u32, slots: slots as u32, sources }, findings)
}

/// As asked for; otherwise as many loopback addresses as the ports of one do not suffice for.
fn sources(options: &RunOptions, targets: &[Address], connections: u64, host: &Host) -> Vec<IpAddr> {
    if !options.sources.is_empty() {
        return options.sources.clone();
    }
    let loopback_v4 = targets.iter().all(|target| match target.peer {
        Peer::Tcp(address) => address.ip().is_loopback() && address.is_ipv4(),
        Peer::Unix(_) => false,
    });
    let per_address = ((host.ports as f64 * PORTS_USED_MAX) as u64).max(1);
    let needed = connections.div_ceil(targets.len().max(1) as u64).div_ceil(per_address);
    if !loopback_v4 || needed <= 1 {
        return Vec::new();
    }
    // The whole of 127/8 is local. 127.0.0.1 itself is left to everybody else.
    let address = |index: u64| {
        let number = index as u32 + 2;
        IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() - 1 + number))
    };
    (0..needed).map(address).collect()
}

/// Connections for which there are ports; `None` = no bound known (Unix sockets).
fn capacity(sources: &[IpAddr], targets: &[Address], ports: u64) -> Option<u64> {
    if targets.iter().all(|target| target.port().is_none()) {
        return None;
    }
    let tcp = targets.iter().filter(|target| target.port().is_some()).count() as u64;
    Some(sources.len().max(1) as u64 * tcp * ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::library;

    const HOST: Host = Host { descriptors: 20_000, ports: 28_232, available: 20 << 30, syn_backlog: 2_048 };

    fn options() -> RunOptions {
        RunOptions::new(library::find("article-node").unwrap().load())
    }

    fn loopback() -> Vec<Address> {
        vec![Address::parse("127.0.0.1:8000").unwrap()]
    }

    #[test]
    fn a_hundred_thousand_fit_with_several_rings_and_addresses() {
        let (layout, findings) = plan(&options(), &loopback(), 100_000, &HOST);
        assert_eq!((layout.rings, findings), (6, Vec::new()));
        assert!(layout.slots <= 20_000 && u64::from(layout.slots) * 6 > 100_000);
        assert_eq!(layout.sources.len(), 8);
        assert_eq!(layout.sources[0], "127.0.0.2".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn few_connections_need_nothing_special() {
        let (layout, findings) = plan(&options(), &loopback(), 12_000, &HOST);
        assert_eq!((layout.rings, layout.sources, findings), (1, Vec::new(), Vec::new()));
    }

    #[test]
    fn too_little_memory_and_too_few_ports_are_said_with_a_remedy() {
        let small = Host { available: 100 << 20, ..HOST };
        let (_, findings) = plan(&options(), &loopback(), 100_000, &small);
        assert!(findings.iter().any(|finding| finding.fatal && finding.problem.contains("MiB")), "{findings:?}");
        let remote = vec![Address::parse("192.0.2.1:80").unwrap()];
        let (_, findings) = plan(&options(), &remote, 100_000, &HOST);
        assert!(findings.iter().any(|finding| finding.fatal && finding.remedy.contains("--source")), "{findings:?}");
    }

    #[test]
    fn a_low_descriptor_limit_costs_rings_and_is_said() {
        let low = Host { descriptors: 1_024, ..HOST };
        let (layout, findings) = plan(&options(), &loopback(), 100_000, &low);
        assert!(layout.rings > 100 && findings[0].remedy.contains("ulimit"), "{findings:?}");
    }
}

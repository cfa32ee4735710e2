//! Which core's listener gets a new connection: the kernel's hash, or the core on the CPU that took the packet.
//!
//! Invariants worth naming:
//! * By CPU only where each core has a CPU of its own; never guessed. What cannot be read, or may change with each packet
//!   (RPS, interrupts of several CPUs), counts as a mismatch.
//! * Wrong steering costs balance, which `core/loads.rs` bounds; it never costs a connection.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use corecast_ring::affinity;

use crate::config::{GatewayConfig, Steering};

/// The CPU of each core if connections are to be steered by CPU, in the order of the cores.
pub(crate) fn by_cpu(config: &GatewayConfig) -> Option<Vec<usize>> {
    let cpus = config.own_cpus().filter(|cpus| cpus.len() > 1)?;
    let steer = match config.steering {
        Steering::Hash => false,
        Steering::Cpu => true,
        Steering::Auto => !config.listen.ip().is_loopback() && takes_packets(Path::new("/"), cpus),
    };
    steer.then(|| cpus.to_vec())
}

/// Whether the network interfaces below `root` interrupt exactly these CPUs for what they receive.
fn takes_packets(root: &Path, cpus: &[usize]) -> bool {
    receiving(root).is_some_and(|receiving| receiving == cpus.iter().copied().collect())
}

/// The CPUs that take the packets of all interfaces with hardware behind them; `None` if that is not fixed or not known.
fn receiving(root: &Path) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for interface in entries(&root.join("sys/class/net"))? {
        let device = interface.join("device");
        if !device.exists() || read(&interface.join("operstate")).as_deref() == Some("down") {
            continue;
        }
        if entries(&interface.join("queues"))?.iter().any(|queue| spreads(queue)) {
            return None;
        }
        // Those of a virtio device belong to the PCI device that it is a part of.
        let interrupts = entries(&device.join("msi_irqs")).or_else(|| entries(&device.join("../msi_irqs")))?;
        for interrupt in interrupts {
            let folder = root.join("proc/irq").join(interrupt.file_name()?);
            if entries(&folder)?.iter().any(|action| is_receive(action)) {
                let list = affinity::parse_list(&read(&folder.join("effective_affinity_list"))?).ok()?;
                let [cpu] = list[..] else { return None };
                cpus.insert(cpu);
            }
        }
    }
    Some(cpus)
}

/// Whether receive packet steering passes packets of this queue on to other CPUs.
fn spreads(queue: &Path) -> bool {
    read(&queue.join("rps_cpus")).is_some_and(|mask| mask.contains(|digit| digit != '0' && digit != ','))
}

/// Whether the folder that the kernel names after an interrupt's handler is that of a receive queue: `eth0-TxRx-0`,
/// `ens5-Tx-Rx-0`, `virtio0-input.0`, `eth0-rx-0`, `eth0-fp-0`, `mlx5_comp0@pci:…`, `mana_q0@pci:…`.
fn is_receive(action: &Path) -> bool {
    let name = action.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ["rx", "input", "-fp-", "mlx5_comp", "mlx4-", "mana_q"].iter().any(|part| name.contains(part)) && action.is_dir()
}

fn entries(folder: &Path) -> Option<Vec<PathBuf>> {
    Some(fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host's `/sys` and `/proc`, as far as they are read here.
    struct Host(PathBuf);

    impl Host {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("corecast-steering-{}-{name}", std::process::id()));
            fs::create_dir_all(root.join("sys/class/net/lo")).unwrap();
            Self(root)
        }

        /// An interface with one interrupt for each of `handlers`, on the CPUs given.
        fn interface(&self, name: &str, first: usize, handlers: &[(&str, &str)]) {
            let net = self.0.join("sys/class/net").join(name);
            fs::create_dir_all(net.join("queues/rx-0")).unwrap();
            fs::create_dir_all(net.join("queues/tx-0")).unwrap();
            fs::write(net.join("queues/rx-0/rps_cpus"), "00000000,00000000\n").unwrap();
            fs::write(net.join("operstate"), "up\n").unwrap();
            for (number, (handler, cpus)) in (first..).zip(handlers) {
                let irq = self.0.join(format!("proc/irq/{number}"));
                fs::create_dir_all(net.join("device/msi_irqs")).unwrap();
                fs::write(net.join(format!("device/msi_irqs/{number}")), "msix\n").unwrap();
                fs::create_dir_all(irq.join(handler)).unwrap();
                fs::write(irq.join("effective_affinity_list"), format!("{cpus}\n")).unwrap();
            }
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn cores_on_the_cpus_of_all_receive_queues_match() {
        let host = Host::new("match");
        host.interface("eth0", 30, &[("eth0", "7"), ("eth0-TxRx-0", "0"), ("eth0-TxRx-1", "1")]);
        assert!(takes_packets(&host.0, &[1, 0]));
        assert!(!takes_packets(&host.0, &[0, 2]), "CPU 1 has no core");
        assert!(!takes_packets(&host.0, &[0, 1, 2]), "core 2 would get nothing");
        host.interface("eth1", 40, &[("virtio1-input.0", "2"), ("virtio1-output.0", "3")]);
        assert!(takes_packets(&host.0, &[0, 1, 2]));
    }

    #[test]
    fn one_queue_for_all_packets_is_no_match() {
        let host = Host::new("one");
        host.interface("eth0", 30, &[("virtio0-config", "0"), ("virtio0-input.0", "1"), ("virtio0-output.0", "0")]);
        assert!(!takes_packets(&host.0, &[0, 1]));
    }

    #[test]
    fn what_is_not_fixed_or_not_known_is_no_match() {
        let host = Host::new("rps");
        host.interface("eth0", 30, &[("eth0-rx-0", "0"), ("eth0-rx-1", "1")]);
        assert!(takes_packets(&host.0, &[0, 1]));
        fs::write(host.0.join("sys/class/net/eth0/queues/rx-0/rps_cpus"), "00000000,00000003\n").unwrap();
        assert!(!takes_packets(&host.0, &[0, 1]), "RPS");
        let host = Host::new("several");
        host.interface("eth0", 30, &[("eth0-rx-0", "0-1"), ("eth0-rx-1", "1")]);
        assert!(!takes_packets(&host.0, &[0, 1]), "an interrupt of several CPUs");
        let host = Host::new("hidden");
        host.interface("eth0", 30, &[("eth0-rx-0", "0")]);
        fs::remove_dir_all(host.0.join("proc")).unwrap();
        assert!(!takes_packets(&host.0, &[0]), "a container without /proc/irq");
        assert!(!takes_packets(Path::new("/nonexistent"), &[0]));
    }

    #[test]
    fn an_interface_that_is_down_or_virtual_does_not_count() {
        let host = Host::new("down");
        host.interface("eth0", 30, &[("eth0-rx-0", "0"), ("eth0-rx-1", "1")]);
        host.interface("eth1", 40, &[("eth1-rx-0", "5")]);
        fs::write(host.0.join("sys/class/net/eth1/operstate"), "down\n").unwrap();
        assert!(takes_packets(&host.0, &[0, 1]));
    }
}

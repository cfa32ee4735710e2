//! Configuration, ring creation, and what a refused start says.
//!
//! Features are probed by trial, never by the kernel's version string: distributions backport and containers lie. The
//! version appears only in messages.

use std::fs;
use std::io;

use io_uring::IoUring;

use crate::limits;

/// Most slots that one ring's file table can have (`IORING_MAX_FIXED_FILES`, io_uring/rsrc.c).
pub const CONNECTIONS_MAX: u32 = 1 << 20;
/// Most receive buffers of one ring (`io_uring_register_buf_ring`(3)).
pub const RECEIVE_BUFFERS_MAX: u16 = 1 << 15;
/// The kernel's largest queues (`IORING_MAX_ENTRIES`, `IORING_MAX_CQ_ENTRIES`, io_uring/io_uring.h); larger wishes are
/// clamped.
const SQ_ENTRIES_MAX: u32 = 1 << 15;
const CQ_ENTRIES_MAX: u32 = 1 << 16;
/// Smaller buffers would cost more per byte in bookkeeping than they save.
const RECEIVE_BUFFER_BYTES_MIN: u32 = 64;

/// Sizes of one reactor; see each field for what grows with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactorConfig {
    /// Slots for connections, accepted and outgoing together. Default 16,384; at most [`CONNECTIONS_MAX`] and the soft
    /// RLIMIT_NOFILE. Costs 16 bytes here and 8 in the kernel per slot, used or not. When all are used, accepting is
    /// suspended until one frees.
    pub connections: u32,
    /// Of these, kept free for [`connect`](crate::Reactor::connect), so that a crowd of clients cannot keep a gateway
    /// from reaching its routers. Default 0; must be below `connections`.
    pub connect_reserve: u32,
    /// Submission queue entries, 64 bytes each, all of which pass through the CPU's cache in turn. Default 512, rounded
    /// up to a power of two by the kernel. A full queue is submitted at once, so this is the largest number of sends
    /// per system call.
    pub sq_entries: u32,
    /// Completion queue entries, 16 bytes each. Default 32,768. Should exceed `receive_buffers` + accept backlog +
    /// `sq_entries` (every send of a submission may fail); beyond it completions take a slow path in the kernel and
    /// are counted as overflows.
    pub cq_entries: u32,
    /// Receive buffers, shared by all connections; a power of two up to [`RECEIVE_BUFFERS_MAX`]. Default 1,024. A
    /// turn can report at most as many [`Received`](crate::Event::Received) events; what comes in beyond waits in the
    /// sockets.
    pub receive_buffers: u16,
    /// Size of a receive buffer in bytes; a longer burst of bytes arrives in several events. Default 4,096.
    pub receive_buffer_bytes: u32,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connect_reserve: 0,
            sq_entries: 512,
            cq_entries: 32_768,
            receive_buffers: 1_024,
            receive_buffer_bytes: 4_096,
        }
    }
}

impl ReactorConfig {
    fn check(&self) -> Result<(), SetupError> {
        let rule = if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            "connections must be 1 to 1,048,576"
        } else if self.connect_reserve >= self.connections {
            "connect_reserve must be below connections"
        } else if !(1..=SQ_ENTRIES_MAX).contains(&self.sq_entries) {
            "sq_entries must be 1 to 32,768"
        } else if !(self.sq_entries..=CQ_ENTRIES_MAX).contains(&self.cq_entries) {
            "cq_entries must be sq_entries to 65,536"
        } else if !self.receive_buffers.is_power_of_two() || self.receive_buffers > RECEIVE_BUFFERS_MAX {
            "receive_buffers must be a power of two up to 32,768"
        } else if !(RECEIVE_BUFFER_BYTES_MIN..=1 << 24).contains(&self.receive_buffer_bytes) {
            "receive_buffer_bytes must be 64 to 16 MiB"
        } else {
            return Ok(());
        };
        Err(SetupError::Config(rule))
    }
}

/// Optional kernel features found by trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// The submission queue has no index array (6.6): one indirection less.
    pub no_sqarray: bool,
    /// Waiting for a batch for a while and then for anything is one call (6.12); otherwise two.
    pub min_wait: bool,
    /// Idle waiting is not accounted as I/O wait (6.15).
    pub no_iowait: bool,
    /// The ring's descriptor is registered (5.18): no descriptor lookup per call. Fails beyond 16 rings per thread.
    pub registered_ring: bool,
}

/// Why a reactor cannot be made, and what the operator can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The configuration breaks a rule; whoever wrote it is to blame.
    #[error("ring configuration: {0}")]
    Config(&'static str),
    /// The kernel cannot do what the reactor is built on.
    #[error("the kernel ({release}) lacks {missing}: Corecast needs Linux 6.1 or newer, with CONFIG_IO_URING")]
    KernelTooOld {
        /// As `uname -r` says.
        release: String,
        /// What was tried and refused.
        missing: &'static str,
    },
    /// The sysctl forbids it.
    #[error(
        "io_uring is switched off by the sysctl kernel.io_uring_disabled = {value}: set it to 0 \
         (`sysctl -w kernel.io_uring_disabled=0`, and in /etc/sysctl.d to keep it), or, where it is 1, add the service's \
         group to kernel.io_uring_group"
    )]
    SwitchedOff {
        /// 1 = only for a group, 2 = for all.
        value: u32,
    },
    /// A seccomp filter or a security module forbids it.
    #[error(
        "io_uring is forbidden ({error}) although the sysctl allows it: a seccomp filter, as in the default profiles of \
         Docker and containerd, or a security module. Allow io_uring_setup, io_uring_enter and io_uring_register (docker \
         run --security-opt seccomp=<profile>; Kubernetes: a localhost seccompProfile; systemd: SystemCallFilter=@aio)"
    )]
    Forbidden {
        /// What the kernel said: EPERM, EACCES or ENOSYS.
        error: io::Error,
    },
    /// The file table is larger than the descriptor limit.
    #[error(
        "{wanted} connections per ring exceed RLIMIT_NOFILE, which is {limit}: raise it (LimitNOFILE= in the unit, \
         `ulimit -n`), or run more cores with fewer connections each; the limit holds per ring"
    )]
    DescriptorLimit {
        /// Slots asked for.
        wanted: u32,
        /// The soft limit.
        limit: u64,
    },
    /// No descriptor was left for the ring itself.
    #[error("no file descriptor left for a ring ({error}): raise RLIMIT_NOFILE (now {limit}) or fs.file-max")]
    DescriptorsExhausted {
        /// EMFILE or ENFILE.
        error: io::Error,
        /// The soft limit.
        limit: u64,
    },
    /// Memory that the kernel pins for the ring is not granted.
    #[error(
        "not enough memory for a ring; if the host has memory left, RLIMIT_MEMLOCK ({limit} bytes) is too low: raise it \
         (LimitMEMLOCK= in the unit), or lower receive_buffers, sq_entries and cq_entries"
    )]
    LockedMemory {
        /// The soft limit, bytes.
        limit: u64,
    },
    /// Anything else.
    #[error("{call}: {error}")]
    Other {
        /// What was called.
        call: &'static str,
        /// What it said.
        error: io::Error,
    },
}

/// What the host says about itself; gathered only after a refusal, to tell apart the reasons behind one error number.
#[derive(Clone, Debug)]
struct Host {
    release: String,
    /// kernel.io_uring_disabled; `None` before 6.6, or where /proc is not mounted.
    disabled: Option<u32>,
    seccomp: bool,
    descriptors: u64,
    locked_memory: u64,
}

impl Host {
    fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/thread-self/status");
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disabled: read("/proc/sys/kernel/io_uring_disabled").trim().parse().ok(),
            seccomp: seccomp.is_some_and(|mode| mode.trim() != "0"),
            descriptors: limits::descriptors().unwrap_or(0),
            locked_memory: limits::locked_memory().unwrap_or(0),
        }
    }
}

/// What the refusal of `call` means on this host.
fn explain(call: &'static str, error: io::Error, host: Host) -> SetupError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match host.disabled {
            Some(value @ 1..) => SetupError::SwitchedOff { value },
            _ => SetupError::Forbidden { error },
        },
        Some(libc::ENOSYS) if host.seccomp => SetupError::Forbidden { error },
        Some(libc::ENOSYS) => SetupError::KernelTooOld { release: host.release, missing: "io_uring" },
        Some(libc::EMFILE | libc::ENFILE) => SetupError::DescriptorsExhausted { error, limit: host.descriptors },
        Some(libc::ENOMEM) => SetupError::LockedMemory { limit: host.locked_memory },
        _ => SetupError::Other { call, error },
    }
}

pub(crate) fn refused(call: &'static str, error: io::Error) -> SetupError {
    explain(call, error, Host::look())
}

/// Creates the ring, still disabled, with the best set of flags that this kernel takes.
pub(crate) fn create(config: &ReactorConfig) -> Result<(IoUring, Features), SetupError> {
    config.check()?;
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for no_sqarray in [true, false] {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            // Says when completions wait to be processed, so that a poll without work needs no system call, and one
            // with more work than a call handles (20 items since 6.13) goes on.
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(config.cq_entries)
            .setup_clamp()
            .setup_r_disabled();
        if no_sqarray {
            builder.setup_no_sqarray();
        }
        match builder.build(config.sq_entries) {
            Ok(ring) => {
                let parameters = ring.params();
                let features = Features {
                    no_sqarray,
                    min_wait: parameters.is_feature_min_timeout(),
                    no_iowait: parameters.is_feature_no_iowait(),
                    registered_ring: false,
                };
                return Ok((ring, features));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            Err(error) => return Err(refused("io_uring_setup", error)),
        }
    }
    let missing = "SINGLE_ISSUER and DEFER_TASKRUN rings";
    debug_assert_eq!(last.raw_os_error(), Some(libc::EINVAL));
    Err(SetupError::KernelTooOld { release: Host::look().release, missing })
}

/// The file table was refused.
pub(crate) fn table_refused(wanted: u32, error: io::Error) -> SetupError {
    let host = Host::look();
    if error.raw_os_error() == Some(libc::EMFILE) {
        SetupError::DescriptorLimit { wanted, limit: host.descriptors }
    } else {
        explain("registering the file table", error, host)
    }
}

/// A step that every kernel from 6.1 on can do was refused.
pub(crate) fn step_refused(call: &'static str, missing: &'static str, error: io::Error) -> SetupError {
    let host = Host::look();
    if error.raw_os_error() == Some(libc::EINVAL) {
        SetupError::KernelTooOld { release: host.release, missing }
    } else {
        explain(call, error, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            release: "6.1.0".to_owned(),
            disabled: Some(0),
            seccomp: false,
            descriptors: 1_024,
            locked_memory: 65_536,
        }
    }

    fn message(errno: i32, host: Host) -> String {
        explain("io_uring_setup", io::Error::from_raw_os_error(errno), host).to_string()
    }

    #[test]
    fn every_refusal_names_its_reason_and_the_fix() {
        let switched_off = Host { disabled: Some(2), ..host() };
        assert!(message(libc::EPERM, switched_off).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(message(libc::EPERM, host()).contains("seccomp"));
        assert!(message(libc::EPERM, Host { disabled: None, ..host() }).contains("seccomp"));
        assert!(message(libc::ENOSYS, Host { seccomp: true, ..host() }).contains("seccomp"));
        assert!(message(libc::ENOSYS, host()).contains("6.1 or newer"));
        assert!(message(libc::EMFILE, host()).contains("RLIMIT_NOFILE (now 1024)"));
        assert!(message(libc::ENOMEM, host()).contains("RLIMIT_MEMLOCK (65536 bytes)"));
        assert!(message(libc::EIO, host()).starts_with("io_uring_setup: "));
    }

    #[test]
    fn a_table_beyond_the_descriptor_limit_says_so() {
        let error = table_refused(1 << 20, io::Error::from_raw_os_error(libc::EMFILE));
        assert!(error.to_string().starts_with("1048576 connections per ring exceed RLIMIT_NOFILE"));
    }

    #[test]
    fn configurations_out_of_range_are_refused() {
        let ok = ReactorConfig::default();
        assert!(ok.check().is_ok());
        for broken in [
            ReactorConfig { connections: 0, ..ok.clone() },
            ReactorConfig { connections: CONNECTIONS_MAX + 1, ..ok.clone() },
            ReactorConfig { connect_reserve: ok.connections, ..ok.clone() },
            ReactorConfig { sq_entries: 0, ..ok.clone() },
            ReactorConfig { cq_entries: 1, ..ok.clone() },
            ReactorConfig { receive_buffers: 1_000, ..ok.clone() },
            ReactorConfig { receive_buffers: 0, ..ok.clone() },
            ReactorConfig { receive_buffer_bytes: 1, ..ok },
        ] {
            assert!(matches!(broken.check(), Err(SetupError::Config(_))), "{broken:?}");
        }
    }
}

//! What an operator decides about a router process, and why it may not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use corecast_ring::{ReactorConfig, SetupError, UnixAddr, WINDOW_MAX};
use corecast_wire::placement::DEFAULT_SLOTS;

use crate::core::{Limits, LimitsError};

/// Shortest secret that TCP endpoints accept: 128 bits, if it is random.
pub const SECRET_BYTES_MIN: usize = 16;

/// Most router cores of one process.
pub const CORES_MAX: u16 = 1_024;

/// Where the cores listen; each has an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Core `i` listens on this port + `i`; with port 0 each on any free port.
    Tcp(SocketAddr),
    /// Core `i` listens on this path or abstract name followed by `.i`. For gateways on this host.
    Unix(UnixAddr),
}

/// Configuration of a router process.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Where the cores listen.
    pub listen: Listen,
    /// Router cores: threads that share nothing, each an endpoint of its own in the gateways' lists. Default 1; at
    /// most [`CORES_MAX`].
    pub cores: u16,
    /// CPUs to pin the cores to, in turn. Default: none, the kernel places them.
    pub cpus: Vec<usize>,
    /// Shared with the gateways. At least [`SECRET_BYTES_MIN`] bytes for TCP; may be empty for Unix sockets, and then
    /// whoever reaches the socket is a gateway.
    pub secret: Vec<u8>,
    /// Slots of the placement. Default 1,024; all gateways and routers must agree.
    pub slots: u16,
    /// Bounds of each core.
    pub limits: Limits,
    /// Batching window: under load a core gathers for this long before it works, so that several messages share a
    /// wake-up; after an idle time it works at once. Default ZERO, off: gateways send batches already, and a busy router
    /// finds several at once without waiting. At most 10 ms; adds up to its length of latency.
    pub min_wait: Duration,
    /// Receive buffers of each core, a power of two. Default 256 of 8 KiB: 2 MiB, all of
    /// which pass through the cache in turn.
    pub receive_buffers: u16,
    /// Bytes of a receive buffer. Default 8 KiB: a frame of a busy gateway is up to 64 KiB and comes in parts.
    pub receive_buffer_bytes: u32,
}

impl RouterConfig {
    /// Defaults for a place to listen and a secret.
    pub fn new(listen: Listen, secret: Vec<u8>) -> Self {
        Self {
            listen,
            cores: 1,
            cpus: Vec::new(),
            secret,
            slots: DEFAULT_SLOTS,
            limits: Limits::default(),
            min_wait: Duration::ZERO,
            receive_buffers: 256,
            receive_buffer_bytes: 8 << 10,
        }
    }

    /// Checks everything that can be checked before anything is started.
    pub fn validate(&self) -> Result<(), StartError> {
        if !(1..=CORES_MAX).contains(&self.cores) {
            return Err(StartError::Cores { cores: self.cores });
        }
        if let Listen::Tcp(address) = self.listen {
            if self.secret.len() < SECRET_BYTES_MIN {
                return Err(StartError::Secret { bytes: self.secret.len() });
            }
            if address.port() != 0 && address.port().checked_add(self.cores - 1).is_none() {
                return Err(StartError::Ports { base: address.port(), cores: self.cores });
            }
        }
        if self.min_wait > WINDOW_MAX {
            return Err(StartError::MinWait);
        }
        self.core_config(0).validate()?;
        Ok(())
    }

    /// The address of core `index`.
    pub(crate) fn listen_of(&self, index: u16) -> Listen {
        match &self.listen {
            Listen::Tcp(base) if base.port() == 0 => Listen::Tcp(*base),
            Listen::Tcp(base) => Listen::Tcp(SocketAddr::new(base.ip(), base.port() + index)),
            Listen::Unix(UnixAddr::Abstract(name)) => {
                Listen::Unix(UnixAddr::Abstract([name, format!(".{index}").as_bytes()].concat()))
            }
            Listen::Unix(UnixAddr::Path(path)) => {
                let mut path = path.clone().into_os_string();
                path.push(format!(".{index}"));
                Listen::Unix(UnixAddr::Path(PathBuf::from(path)))
            }
        }
    }

    pub(crate) fn core_config(&self, incarnation: u64) -> crate::core::CoreConfig {
        crate::core::CoreConfig {
            secret: self.secret.clone(),
            slots: self.slots,
            limits: self.limits.clone(),
            ..crate::core::CoreConfig::new(incarnation)
        }
    }

    pub(crate) fn reactor_config(&self) -> ReactorConfig {
        // Room for links that are closing, so that those within the limits find a slot.
        const CLOSING: usize = 64;
        let Limits { links, links_before_proof, .. } = self.limits;
        ReactorConfig {
            connections: u32::try_from(links + links_before_proof + CLOSING).unwrap_or(u32::MAX),
            cq_entries: 8_192,
            receive_buffers: self.receive_buffers,
            receive_buffer_bytes: self.receive_buffer_bytes,
            ..ReactorConfig::default()
        }
    }
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator: the number of cores.
    #[error("{cores} router cores; allowed are 1 to 1,024")]
    Cores {
        /// As configured.
        cores: u16,
    },
    /// The operator: the secret.
    #[error("a secret of {bytes} bytes; a router on TCP needs at least 16")]
    Secret {
        /// Its length.
        bytes: usize,
    },
    /// The operator: the ports.
    #[error("{cores} cores from port {base} on: there is no port above 65,535")]
    Ports {
        /// First port.
        base: u16,
        /// Number of cores.
        cores: u16,
    },
    /// The operator: the batching window.
    #[error("min_wait must be at most 10 ms")]
    MinWait,
    /// The operator: a limit.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The operator or the host: an address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The operator or the host: a core cannot be pinned.
    #[error("cannot pin router core {core} to CPU {cpu}: {error}")]
    Pin {
        /// The core.
        core: u16,
        /// The CPU.
        cpu: usize,
        /// What the kernel said.
        error: io::Error,
    },
    /// The host: no io_uring as it is needed; says which and what to do.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The host: no thread, no randomness, no listener in the ring.
    #[error("cannot start a router core: {0}")]
    System(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(port: u16, cores: u16) -> RouterConfig {
        let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        RouterConfig { cores, ..RouterConfig::new(listen, vec![7; 16]) }
    }

    #[test]
    fn tcp_needs_a_secret_and_room_for_its_ports() {
        assert!(tcp(65_534, 2).validate().is_ok());
        assert!(matches!(tcp(65_534, 3).validate(), Err(StartError::Ports { .. })));
        assert!(matches!(tcp(0, 0).validate(), Err(StartError::Cores { .. })));
        let open = RouterConfig { secret: vec![7; 15], ..tcp(0, 1) };
        assert!(matches!(open.validate(), Err(StartError::Secret { bytes: 15 })));
        let unix = Listen::Unix(UnixAddr::Abstract(b"corecast".to_vec()));
        assert!(RouterConfig::new(unix, Vec::new()).validate().is_ok());
    }

    #[test]
    fn each_core_has_an_address_of_its_own() {
        assert_eq!(tcp(7_000, 3).listen_of(2), Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 7_002))));
        assert_eq!(tcp(0, 3).listen_of(2), tcp(0, 3).listen);
        let unix = |text: &str| {
            let listen = Listen::Unix(text.parse().expect("infallible"));
            match RouterConfig::new(listen, Vec::new()).listen_of(1) {
                Listen::Unix(address) => address.to_string(),
                Listen::Tcp(_) => String::new(),
            }
        };
        assert_eq!((unix("@router"), unix("/run/router")), ("@router.1".into(), "/run/router.1".into()));
    }

    #[test]
    fn contradictions_do_not_start() {
        let slow = RouterConfig { min_wait: Duration::from_millis(11), ..tcp(0, 1) };
        assert!(matches!(slow.validate(), Err(StartError::MinWait)));
        let slots = RouterConfig { slots: 0, ..tcp(0, 1) };
        assert!(matches!(slots.validate(), Err(StartError::Limits(LimitsError { field: "slots", .. }))));
    }
}

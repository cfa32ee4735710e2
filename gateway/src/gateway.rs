//! Starting and stopping a gateway: its threads and what they share.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use corecast_ring::mailbox::{Mailboxes, mesh};
use corecast_ring::{ListenAddr, Listener, Reactor, ReactorConfig, SetupError, TcpOptions, Waker, affinity, limits};

use crate::address::Addresses;
use crate::auth::{AuthConfigError, Authenticator};
use crate::config::{BadConfig, GatewayConfig};
use crate::control::{self, ControlHandle, ControlRequest, CorePort, LinkHealth};
use crate::core::{Core, Loads, Mail, Seat, Shared};
use crate::placement::Placement;
use crate::stats::{self, StatsHandle};
use crate::steering;

/// Requests of the admin thread that may wait for one core.
const CONTROL_QUEUE: usize = 16_384;
/// Ring slots kept for router links.
const CONNECT_RESERVE_MIN: u32 = 4;
/// Descriptors of the process that are not client sockets: rings, listeners, logs, the admin port.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Why a gateway cannot start, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A token key cannot be used.
    #[error(transparent)]
    Auth(#[from] AuthConfigError),
    /// A relation between configured values is broken.
    #[error("configuration: {0}")]
    Config(#[from] BadConfig),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// A core's thread cannot be pinned.
    #[error("cannot pin core {core} to CPU {cpu}: {error}")]
    Pin {
        /// Number of the core.
        core: u16,
        /// Number of the CPU.
        cpu: usize,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel or the sandbox does not let us use io_uring as we need it.
    #[error(transparent)]
    Ring(#[from] SetupError),
    /// Something that normally does not fail.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// A running gateway. Dropping it without [`Self::stop`] and [`Self::join`] leaves its threads running.
pub struct Gateway {
    shared: Arc<Shared>,
    control: ControlHandle,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("address", &self.address)
            .field("cores", &self.threads.len())
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts all cores and returns once every one of them listens. Links to the routers are being made by then;
    /// [`Self::link_health`] tells.
    ///
    /// # Errors
    /// [`StartError`]; nothing keeps running then.
    pub fn start(config: GatewayConfig) -> Result<Self, StartError> {
        config.check()?;
        let auth = Authenticator::new(&config.auth)?;
        let system = |what| move |error| StartError::System { what, error };
        limits::raise_descriptors().map_err(system("cannot raise the limit of descriptors"))?;
        let mut seed = [0; 40];
        random(&mut seed).map_err(system("cannot read randomness"))?;
        let (cores, cpus) = (config.cores, cpus(&config));
        let shared = Arc::new(Shared {
            auth,
            placement: Placement::new(&config),
            addresses: Addresses::new(&config.limits),
            incarnation: seed.iter().skip(32).fold(0, |number, byte| number << 8 | u64::from(*byte)),
            start: Instant::now(),
            connections: AtomicU32::new(0),
            loads: Loads::new(cores, config.imbalance),
            cpus,
            links_up: AtomicUsize::new(0),
            draining: AtomicUsize::new(0),
            snapshots: stats::slots(usize::from(cores)),
            rss_bytes: AtomicU64::new(0),
            config,
        });
        let mut listeners = listen(&shared.config)?;
        let address = match listeners.first().map(Listener::local_addr) {
            Some(ListenAddr::Tcp(address)) => *address,
            _ => shared.config.listen,
        };
        let mut meshes: Vec<Mailboxes<Mail>> = mesh(usize::from(cores), shared.config.ring.mailbox);
        let (mut threads, mut ports) = (Vec::new(), Vec::new());
        let mut failure = None;
        // From the last to the first, so that each takes its own from the ends.
        for core in (0..cores).rev() {
            let (Some(listener), Some(mailboxes)) = (listeners.pop(), meshes.pop()) else { break };
            let mut own = [0; 32];
            own.copy_from_slice(&seed[..32]);
            own[0] ^= core.to_le_bytes()[0];
            own[1] ^= core.to_le_bytes()[1];
            match spawn(core, Arc::clone(&shared), listener, mailboxes, own) {
                Ok((thread, port)) => {
                    threads.push(thread);
                    ports.push(port);
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        ports.reverse();
        let control = ControlHandle::new(Arc::new(control::Shared {
            ports,
            placement: shared.placement.clone(),
            chat_name: shared.config.limits.chat_name,
            message: shared.config.limits.message,
        }));
        let gateway = Self { shared, control, address, threads };
        match failure {
            None => Ok(gateway),
            Some(error) => {
                gateway.stop();
                gateway.join();
                Err(error)
            }
        }
    }

    /// Asks things of the gateway from any thread.
    #[must_use]
    pub fn control(&self) -> ControlHandle {
        self.control.clone()
    }

    /// Where clients connect, with the port that the kernel chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Figures of all cores.
    #[must_use]
    pub fn stats(&self) -> StatsHandle {
        StatsHandle::new(Arc::clone(&self.shared.snapshots))
    }

    /// How many router links are up.
    #[must_use]
    pub fn link_health(&self) -> LinkHealth {
        let endpoints = self.shared.config.routers.len();
        LinkHealth { endpoints, up: self.shared.links_up.load(Ordering::Relaxed) }
    }

    /// Whether a drain has begun and no client is connected any more.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed) == self.threads.len()
            && self.shared.connections.load(Ordering::Relaxed) == 0
    }

    /// Whether a core has ended: after [`Self::stop`], or because its ring failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends all cores at once. For a graceful end, [`ControlHandle::drain`] first and wait for [`Self::drained`].
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Waits until all cores have ended.
    pub fn join(self) {
        for thread in self.threads {
            // A core that panics has ended the process already.
            let _ = thread.join();
        }
    }
}

/// How many CPUs the cores share.
fn cpus(config: &GatewayConfig) -> usize {
    if config.cpus.is_empty() {
        // Honours affinity masks, cpusets and quotas of control groups.
        thread::available_parallelism().map_or(1, NonZero::get)
    } else {
        config.cpus.iter().collect::<BTreeSet<_>>().len()
    }
}

/// One listener per core on one port, in the order of the cores.
fn listen(config: &GatewayConfig) -> Result<Vec<Listener>, StartError> {
    let options = TcpOptions {
        backlog: config.ring.backlog,
        reuse_port: true,
        send_buffer: config.ring.send_buffer,
        ..TcpOptions::default()
    };
    let mut address = config.listen;
    let mut listeners = Vec::new();
    for _ in 0..config.cores {
        let listener = Listener::tcp(address, &options).map_err(|error| StartError::Listen { address, error })?;
        if let ListenAddr::Tcp(bound) = listener.local_addr() {
            address = *bound;
        }
        listeners.push(listener);
    }
    if let (Some(cpus), Some(listener)) = (steering::by_cpu(config), listeners.first()) {
        let system = |error| StartError::System { what: "cannot steer connections by CPU", error };
        listener.steer_by_cpu(&cpus).map_err(system)?;
        tracing::info!(?cpus, "connections go to the core of the CPU that takes their packets");
    }
    Ok(listeners)
}

/// Starts the thread of one core and waits until it listens.
fn spawn(
    core: u16,
    shared: Arc<Shared>,
    listener: Listener,
    mailboxes: Mailboxes<Mail>,
    seed: [u8; 32],
) -> Result<(JoinHandle<()>, CorePort), StartError> {
    let (queue, requests) = crossbeam::channel::bounded::<ControlRequest>(CONTROL_QUEUE);
    let (ready, started) = mpsc::sync_channel::<Result<Waker, StartError>>(1);
    let address = shared.config.listen;
    let body = move || {
        let _abort = AbortOnPanic;
        let reactor = match set_up(core, &shared.config) {
            Ok(reactor) => reactor,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let waker = reactor.waker();
        match Core::new(Seat { core, shared, reactor, listener, mailboxes, requests, seed }) {
            Ok(driver) => {
                let _ = ready.send(Ok(waker));
                if let Err(error) = driver.run() {
                    tracing::error!(core, %error, "the ring failed");
                    std::process::abort();
                }
            }
            Err(error) => drop(ready.send(Err(StartError::Listen { address, error }))),
        }
    };
    let named = thread::Builder::new().name(format!("gateway-{core}"));
    let thread = named.spawn(body).map_err(|error| StartError::System { what: "cannot start a thread", error })?;
    match started.recv() {
        Ok(Ok(waker)) => Ok((thread, CorePort { queue, wake: Box::new(move || waker.wake()) })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::System {
            what: "a core's thread ended at its start",
            error: io::ErrorKind::UnexpectedEof.into(),
        }),
    }
}

/// Pins the calling thread and makes its ring.
fn set_up(core: u16, config: &GatewayConfig) -> Result<Reactor, StartError> {
    if !config.cpus.is_empty() {
        let cpu = config.cpus[usize::from(core) % config.cpus.len()];
        affinity::pin(cpu).map_err(|error| StartError::Pin { core, cpu, error })?;
    }
    affinity::share_cpu();
    let connections = match config.ring.connections {
        0 => {
            let most = limits::descriptors().unwrap_or(1_024).saturating_sub(DESCRIPTORS_RESERVED).max(64);
            u32::try_from(most).unwrap_or(u32::MAX).min(corecast_ring::CONNECTIONS_MAX)
        }
        connections => connections,
    };
    let links = u32::try_from(config.routers.len().div_ceil(usize::from(config.cores))).unwrap_or(0);
    let ring = ReactorConfig {
        connections,
        // A link that reconnects needs a second slot until the first one is closed.
        connect_reserve: (2 * links).max(CONNECT_RESERVE_MIN),
        sq_entries: config.ring.submission_entries,
        cq_entries: config.ring.completion_entries,
        receive_buffers: config.ring.receive_buffers,
        receive_buffer_bytes: config.ring.receive_buffer_bytes,
    };
    Ok(Reactor::new(&ring)?)
}

/// A panic on one core must not leave half a gateway behind, in debug builds neither.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}

//! A router process: one thread per core, started together, watched and stopped through one handle.

mod nonces;
mod thread;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corecast_ring::{ListenAddr, Listener, RingStats, TcpOptions, Waker, limits, net::DEFAULT_BACKLOG};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

use self::thread::{CoreThread, Order};
use crate::config::{Listen, RouterConfig, StartError};
use crate::core::CoreStats;

/// Starts routers.
#[derive(Debug)]
pub struct Router;

impl Router {
    /// Starts all cores; returns when all of them listen, or none.
    pub fn start(config: RouterConfig) -> Result<RouterHandle, StartError> {
        config.validate()?;
        // A ring's file table is checked against the soft limit.
        limits::raise_descriptors().map_err(StartError::System)?;
        let mut handle = RouterHandle { endpoints: Vec::new(), cores: Vec::new() };
        // All addresses first: a taken one is found before anything runs.
        let listeners: Vec<Listener> = (0..config.cores).map(|core| listen(&config, core)).collect::<Result<_, _>>()?;
        handle.endpoints = listeners.iter().map(|listener| listener.local_addr().clone()).collect();
        let config = Arc::new(config);
        let mut starting = Vec::new();
        for (core, listener) in (0..).zip(listeners) {
            let (running, started) = Core::spawn(core, listener, Arc::clone(&config))?;
            handle.cores.push(running);
            starting.push(started);
        }
        for (core, started) in handle.cores.iter_mut().zip(starting) {
            // A thread that ended without a word has panicked; its join tells.
            let lost = || StartError::System(io::Error::other("a router core ended while it started"));
            core.waker = Some(started.recv().map_err(|_| lost())??);
        }
        Ok(handle)
    }
}

/// How long an address may be in use by a router that has just ended: the kernel takes an io_uring and the listener in
/// it apart in the background, after its process is gone.
const LISTEN_PATIENCE: Duration = Duration::from_secs(2);

fn listen(config: &RouterConfig, core: u16) -> Result<Listener, StartError> {
    let start = Instant::now();
    loop {
        match listen_once(config, core) {
            Err(StartError::Listen { error, .. })
                if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < LISTEN_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn listen_once(config: &RouterConfig, core: u16) -> Result<Listener, StartError> {
    let address = config.listen_of(core);
    // Without SO_REUSEPORT: two routers on one address would split its chats between them.
    let options = TcpOptions { reuse_port: false, ..TcpOptions::default() };
    let (listener, name) = match &address {
        Listen::Tcp(address) => (Listener::tcp(*address, &options), address.to_string()),
        Listen::Unix(address) => (Listener::unix(address, DEFAULT_BACKLOG), address.to_string()),
    };
    listener.map_err(|error| StartError::Listen { address: name, error })
}

/// Figures of one router core.
#[derive(Clone, Debug, Default)]
pub struct CoreSnapshot {
    /// What the core counts.
    pub core: CoreStats,
    /// What its ring counts.
    pub ring: RingStats,
}

/// A core ended although nobody stopped it; the process is of no more use.
#[derive(Debug, thiserror::Error)]
#[error("router core {core} ended: {cause}")]
pub struct CoreFailure {
    /// Which one.
    pub core: u16,
    /// Why.
    pub cause: io::Error,
}

/// A running router. Dropping it stops the cores at once, without notice to the gateways.
#[derive(Debug)]
pub struct RouterHandle {
    endpoints: Vec<ListenAddr>,
    cores: Vec<Core>,
}

impl RouterHandle {
    /// Where each core listens (port 0 resolved): the endpoint list that gateways on this host use.
    pub fn endpoints(&self) -> &[ListenAddr] {
        &self.endpoints
    }

    /// Figures per core, at most 100 ms old. Never waits for a core.
    pub fn stats(&self) -> Vec<CoreSnapshot> {
        self.stats_handle().snapshot()
    }

    /// The figures for another thread.
    pub fn stats_handle(&self) -> StatsHandle {
        StatsHandle { cores: self.cores.iter().map(|core| Arc::clone(&core.snapshot)).collect() }
    }

    /// Tells the gateways that this router stops, serves what is in flight, and ends all links after `grace` or when
    /// the last gateway has left. Then the cores end: see [`RouterHandle::join`].
    pub fn shutdown(&self, grace: Duration) {
        self.order(&Order::Drain { grace });
    }

    /// Whether a core has ended, by order or by itself.
    pub fn is_finished(&self) -> bool {
        self.cores.iter().any(|core| core.thread.as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// Waits until all cores have ended. An error names the first core that ended by itself; the others are stopped.
    pub fn join(mut self) -> Result<(), CoreFailure> {
        let mut outcome = Ok(());
        for (number, index) in (0..).zip(0..self.cores.len()) {
            let Some(thread) = self.cores[index].thread.take() else { continue };
            let panicked = |_| Err(io::Error::other("a panic"));
            if let Err(cause) = thread.join().unwrap_or_else(panicked)
                && outcome.is_ok()
            {
                outcome = Err(CoreFailure { core: number, cause });
                self.order(&Order::Stop);
            }
        }
        outcome
    }

    fn order(&self, order: &Order) {
        for core in &self.cores {
            // A core that has ended takes no orders; one that has no waker yet looks for orders before it sleeps.
            let _ = core.orders.send(order.clone());
            if let Some(waker) = &core.waker {
                waker.wake();
            }
        }
    }
}

impl Drop for RouterHandle {
    fn drop(&mut self) {
        self.order(&Order::Stop);
        for core in &mut self.cores {
            if let Some(thread) = core.thread.take() {
                // What went wrong was for `join` to tell; here nobody asks.
                let _ = thread.join();
            }
        }
    }
}

/// Figures of all cores, readable from any thread.
#[derive(Clone, Debug)]
pub struct StatsHandle {
    cores: Vec<Arc<Mutex<CoreSnapshot>>>,
}

impl StatsHandle {
    /// Figures per core, at most 100 ms old.
    pub fn snapshot(&self) -> Vec<CoreSnapshot> {
        self.cores.iter().map(|core| core.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

/// One core as its handle sees it.
#[derive(Debug)]
struct Core {
    orders: Sender<Order>,
    /// Known once the core has started.
    waker: Option<Waker>,
    snapshot: Arc<Mutex<CoreSnapshot>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

type Started = Receiver<Result<Waker, StartError>>;

impl Core {
    fn spawn(core: u16, listener: Listener, config: Arc<RouterConfig>) -> Result<(Self, Started), StartError> {
        let (orders, inbox) = unbounded();
        let (started, starting) = bounded(1);
        let snapshot = Arc::new(Mutex::new(CoreSnapshot::default()));
        let shared = Arc::clone(&snapshot);
        let run = move || {
            let setup = CoreThread::new(core, listener, &config, inbox, shared);
            let (mut thread, waker) = match setup {
                Ok(ready) => ready,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ok(());
                }
            };
            // The starter is gone if another core failed to start.
            if started.send(Ok(waker)).is_err() {
                return Ok(());
            }
            thread.run()
        };
        let thread = std::thread::Builder::new().name(format!("router-{core}")).spawn(run);
        let thread = Some(thread.map_err(StartError::System)?);
        Ok((Self { orders, waker: None, snapshot, thread }, starting))
    }
}

//! The null server: a broadcaster that does nothing but what every target must do, to find the generator's own ceiling.
//!
//! It accepts, upgrades, keeps members by chat, numbers messages and sends each to all members: one thread, one ring, one
//! frame per message and encoding. No limits, permissions, slow-member policy or durability: it trusts the generator. It
//! speaks Centrifuge JSON and Protobuf (on `/connection/websocket`) and the raw protocol (elsewhere), and can misbehave on
//! purpose ([`Faults`]) to prove that the checker notices.

mod chats;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use corecast_ring::{ListenAddr, Listener, ReactorConfig, TcpOptions};

/// How to start a null server.
#[derive(Debug, Clone)]
pub struct NullConfig {
    /// Where it listens; port 0 = any free one.
    pub listen: SocketAddr,
    /// Pinned there, if given.
    pub cpu: Option<usize>,
    /// Most connections.
    pub connections: u32,
    /// Deliberate misbehaviour.
    pub faults: Faults,
}

impl Default for NullConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            cpu: None,
            connections: 16_384,
            faults: Faults::default(),
        }
    }
}

/// What the server does wrong, once each.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// At which delivery (counted from 1 over all members), and what.
    pub delivery: Option<(u64, DeliveryFault)>,
    /// At which publish (from 1) everything stands still, and for how long.
    pub stall: Option<(u64, Duration)>,
    /// At which publish (from 1) the server dies: all connections are cut and nothing listens any more.
    pub die: Option<u64>,
    /// Every upgrade is answered with this status.
    pub refuse_upgrades: bool,
}

/// One wrong delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryFault {
    /// Not sent.
    Drop,
    /// Sent twice.
    Duplicate,
    /// Sent after the next message of the same chat.
    Swap,
    /// Sent with one changed byte.
    Corrupt,
    /// A message of another chat's body is sent in its place.
    Misroute,
}

/// A running null server; stops when dropped.
#[derive(Debug)]
pub struct NullServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    task: u64,
}

impl NullServer {
    /// Binds and starts the thread.
    pub fn start(config: NullConfig) -> io::Result<Self> {
        let listener = Listener::tcp(config.listen, &TcpOptions { reuse_port: false, ..TcpOptions::default() })?;
        let ListenAddr::Tcp(address) = *listener.local_addr() else {
            return Err(io::Error::other("a TCP listener has a TCP address"));
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let seen = stop.clone();
        let thread = std::thread::Builder::new().name("load-null".to_owned()).spawn(move || {
            let outcome = server::run(listener, &config, &seen, &ready);
            if let Err(error) = outcome {
                let _ = ready.send(Err(error));
            }
        })?;
        match started.recv() {
            Ok(Ok(task)) => Ok(Self { address, stop, thread: Some(thread), task }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the null server's thread ended at once")),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The thread's id under `/proc/self/task`, for its CPU time.
    pub fn task(&self) -> u64 {
        self.task
    }

    /// Runs until the thread ends by itself, which it does only by a fault or with the process.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A ring for so many connections.
fn ring(connections: u32) -> ReactorConfig {
    ReactorConfig { connections, ..ReactorConfig::default() }
}

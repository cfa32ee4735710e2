//! The thread of one router core: its ring in front of its [`RouterCore`].
//!
//! A turn: wait → hand everything that happened to the core → let it flush → send, per link, all that it has for that
//! link in one vectored send. The next wait submits those sends.
//!
//! Invariants worth naming:
//! - All bytes of a link pass through the core's queue, so their order and their limit are the core's. At most one send
//!   per link and turn; what it leaves over goes back to the head of that queue.
//! - The core calls a link blocked from an `Unsent` to the `Writable` that follows, exactly as the ring does.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use corecast_ring::{CloseReason, ConnId, Event, Listener, PeerAddr, Reactor, SendOutcome, Wait, Waker, affinity};
use crossbeam::channel::Receiver;

use super::CoreSnapshot;
use super::nonces::Nonces;
use crate::config::{RouterConfig, StartError};
use crate::core::{LinkId, Now, RouterCore};
use crate::log::MemoryLog;

/// How old the published figures may be.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);

/// When to try again after the kernel had no memory for a send.
const RETRY_SEND: Duration = Duration::from_millis(1);

/// What a core is told from outside.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Stop in good order.
    Drain {
        /// How long the gateways have.
        grace: Duration,
    },
    /// Stop now.
    Stop,
}

/// A core with its ring, on its thread.
pub(super) struct CoreThread {
    reactor: Reactor,
    core: RouterCore<MemoryLog>,
    nonces: Nonces,
    min_wait: Duration,
    orders: Receiver<Order>,
    /// By slot of the connection.
    links: Vec<Option<(ConnId, LinkId)>>,
    /// By index of the link.
    conns: Vec<Option<ConnId>>,
    frames: Vec<Bytes>,
    /// Links whose send the kernel had no memory for.
    retry: Vec<(ConnId, LinkId)>,
    snapshot: Arc<Mutex<CoreSnapshot>>,
    /// When the figures are to be published, if anything has happened since the last time.
    snapshot_due: Option<Instant>,
    stopped: bool,
}

impl CoreThread {
    /// Sets up on the calling thread, which becomes the core's.
    pub(super) fn new(
        core: u16,
        listener: Listener,
        config: &RouterConfig,
        orders: Receiver<Order>,
        snapshot: Arc<Mutex<CoreSnapshot>>,
    ) -> Result<(Self, Waker), StartError> {
        if let Some(&cpu) = config.cpus.get(usize::from(core) % config.cpus.len().max(1)) {
            affinity::pin(cpu).map_err(|error| StartError::Pin { core, cpu, error })?;
        }
        affinity::share_cpu();
        let mut nonces = Nonces::new().map_err(StartError::System)?;
        let router = RouterCore::new(config.core_config(nonces.next_u64()), MemoryLog::new())?;
        let mut reactor = Reactor::new(&config.reactor_config())?;
        let address = listener.local_addr().to_string();
        reactor.listen(listener).map_err(StartError::System)?;
        tracing::info!(core, address, "a router core listens");
        let waker = reactor.waker();
        let thread = Self {
            reactor,
            core: router,
            nonces,
            min_wait: config.min_wait,
            orders,
            links: Vec::new(),
            conns: Vec::new(),
            frames: Vec::new(),
            retry: Vec::new(),
            snapshot,
            snapshot_due: None,
            stopped: false,
        };
        Ok((thread, waker))
    }

    /// Works until told to stop. An error means that the ring is of no more use.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !self.stopped {
            let wait = self.wait();
            let orders = &self.orders;
            self.reactor.turn(wait, &mut events, || orders.is_empty())?;
            let now = now();
            if !events.is_empty() && self.snapshot_due.is_none() {
                self.snapshot_due = Some(now.instant + SNAPSHOT_EVERY);
            }
            for (conn, link) in std::mem::take(&mut self.retry) {
                self.reactor.unblock(conn);
                self.core.handle_writable(link);
            }
            for event in events.drain(..) {
                self.dispatch(event, now);
            }
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Drain { grace } => self.core.drain(grace, now),
                    Order::Stop => self.stopped = true,
                }
            }
            self.core.handle_timeout(now);
            self.core.flush(now);
            self.transmit(now);
            self.stopped |= self.core.is_drained();
            if self.snapshot_due.is_some_and(|due| due <= now.instant) {
                self.publish_figures();
            }
        }
        self.publish_figures();
        // Hands the last sends and closes to the kernel.
        self.reactor.turn(Wait::Poll, &mut events, || true)
    }

    fn wait(&self) -> Wait {
        let retry = (!self.retry.is_empty()).then(|| Instant::now() + RETRY_SEND);
        let deadline = [self.core.next_timeout(), self.snapshot_due, retry].into_iter().flatten().min();
        Wait::Until { deadline, window: self.min_wait }
    }

    fn dispatch(&mut self, event: Event, now: Now) {
        match event {
            Event::Received { conn, chunk } => {
                if let Some(link) = self.link(conn) {
                    self.core.handle_received(link, self.reactor.received(&chunk), now);
                }
            }
            Event::Unsent { conn, rest } => {
                if let Some(link) = self.link(conn) {
                    self.core.handle_unsent(link, rest.frames);
                }
            }
            Event::Writable { conn } => {
                if let Some(link) = self.link(conn) {
                    self.reactor.unblock(conn);
                    self.core.handle_writable(link);
                }
            }
            Event::Accepted { conn, peer, .. } => self.accept(conn, peer, now),
            Event::Closed { conn, reason } => {
                if let Some(link) = self.link(conn) {
                    if let CloseReason::Error(_) = reason {
                        tracing::info!(error = %reason.to_error(), "a gateway's connection is lost");
                    }
                    self.core.handle_closed(link, now);
                    self.conns[link.index()] = None;
                    self.links[conn.slot() as usize] = None;
                }
                self.reactor.close(conn);
            }
            Event::Woken | Event::Connected { .. } | Event::ConnectFailed { .. } => {}
        }
    }

    fn accept(&mut self, conn: ConnId, peer: PeerAddr, now: Now) {
        let Some(link) = self.core.handle_accepted(self.nonces.next(), now) else {
            tracing::warn!(?peer, "no room for another connection");
            self.reactor.close(conn);
            return;
        };
        tracing::debug!(?peer, "a gateway connects");
        *entry(&mut self.links, conn.slot() as usize) = Some((conn, link));
        *entry(&mut self.conns, link.index()) = Some(conn);
    }

    /// Sends what the core has for each link, and closes the links that it has ended.
    fn transmit(&mut self, now: Now) {
        while let Some(link) = self.core.poll_transmit() {
            let Some(conn) = self.conns.get(link.index()).copied().flatten() else { continue };
            self.frames.clear();
            self.core.take_frames(link, &mut self.frames, now);
            let staged = self.reactor.stage(&self.frames);
            match self.reactor.send(conn, staged) {
                SendOutcome::Queued => {}
                // The core never sends twice in a turn nor to a blocked link: this is memory that the kernel lacks.
                SendOutcome::Busy => {
                    self.core.handle_unsent(link, self.frames.drain(..).collect());
                    self.retry.push((conn, link));
                }
                // Its `Closed` is under way.
                SendOutcome::Gone => {}
            }
        }
        while let Some(link) = self.core.poll_gone() {
            if let Some(conn) = self.conns[link.index()].take() {
                self.links[conn.slot() as usize] = None;
                self.reactor.close(conn);
            }
        }
    }

    fn link(&self, conn: ConnId) -> Option<LinkId> {
        let (known, link) = self.links.get(conn.slot() as usize).copied().flatten()?;
        (known == conn).then_some(link)
    }

    fn publish_figures(&mut self) {
        self.snapshot_due = None;
        let snapshot = CoreSnapshot { core: self.core.stats(), ring: *self.reactor.stats() };
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// The entry of a table that grows to the largest index in use.
fn entry<T: Copy>(table: &mut Vec<Option<T>>, index: usize) -> &mut Option<T> {
    if index >= table.len() {
        table.resize(index + 1, None);
    }
    &mut table[index]
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}

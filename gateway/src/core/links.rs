//! The router links that this core owns: their sockets, what cores ask of them and what they answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_ring::{ConnId, Reactor, SendOutcome, Target, UnixAddr, Unsent};
use corecast_wire::Text;
use corecast_wire::message::{Disconnect, NodeStats, Signal};

use super::Shared;
use super::admin::Pending;
use super::mail::{Asked, LinkRequest, Post, Posted};
use super::origin::{Failure, Origin};
use super::state::State;
use crate::config::{RouterEndpoint, RouterTarget};
use crate::control::{ControlError, DisconnectRequest};
use crate::link::{CoreId, Link, LinkAction, LinkBlame, LinkConfig, LinkLimits, LinkNotice, LinkState, RequestRefused};
use crate::stats::LinkSnapshot;

/// Bytes handed to the kernel per turn and link; what does not fit waits in the link, where it is bounded.
const TRANSMIT_BYTES: usize = 512 * 1024;

/// One link and its socket.
struct Owned {
    endpoint: u16,
    name: String,
    target: Target,
    link: Link<Origin>,
    conn: Option<ConnId>,
    connected: bool,
    /// Frames that the socket did not take, in order.
    rest: Vec<Bytes>,
    /// The socket is full; `Writable` follows.
    is_full: bool,
}

/// All links of this core.
pub(super) struct Links {
    core: CoreId,
    cores: CoreId,
    owned: Vec<Owned>,
}

impl Links {
    /// The links of the endpoints whose number leaves the remainder `core` when divided by the number of cores.
    pub(super) fn new(shared: &Shared, core: CoreId, now: Instant, mut seed: impl FnMut() -> [u8; 32]) -> Self {
        let config = &shared.config;
        let names: Vec<&str> = config.routers.iter().map(|router| router.name.as_str()).collect();
        let owned = config
            .routers
            .iter()
            .enumerate()
            .filter(|(endpoint, _)| endpoint % usize::from(config.cores) == usize::from(core))
            .map(|(endpoint, router)| {
                let link = LinkConfig {
                    node: Text::new(&config.node).unwrap_or_default(),
                    node_incarnation: shared.incarnation,
                    secret: config.secret.clone(),
                    slots: config.slots,
                    topology: shared.placement.fingerprint(),
                    endpoint_index: rank(&router.name, &names),
                    cores: config.cores,
                    limits: LinkLimits { request_timeout: config.timing.answer, ..LinkLimits::default() },
                };
                Owned {
                    endpoint: u16::try_from(endpoint).unwrap_or(u16::MAX),
                    name: router.name.clone(),
                    target: target(router),
                    link: Link::new(link, now, seed()),
                    conn: None,
                    connected: false,
                    rest: Vec::new(),
                    is_full: false,
                }
            })
            .collect();
        Self { core, cores: config.cores, owned }
    }

    /// The core that owns the link of an endpoint.
    fn owner(&self, endpoint: u16) -> CoreId {
        endpoint % self.cores
    }

    fn by_conn(&mut self, conn: ConnId) -> Option<&mut Owned> {
        self.owned.iter_mut().find(|owned| owned.conn == Some(conn))
    }

    /// A connect succeeded.
    pub(super) fn connected(&mut self, conn: ConnId, reactor: &mut Reactor, now: Instant) {
        if let Some(owned) = self.by_conn(conn) {
            owned.connected = true;
            reactor.unblock(conn);
            owned.link.handle_connected(now);
        }
    }

    /// A connect failed or a connection ended. `close` says whether the ring still has it.
    pub(super) fn disconnected(&mut self, conn: ConnId, close: Option<&mut Reactor>, now: Instant) {
        if let Some(owned) = self.by_conn(conn) {
            owned.forget_connection();
            owned.link.handle_disconnected(now);
        }
        if let Some(reactor) = close {
            reactor.close(conn);
        }
    }

    /// Bytes arrived. An error ends the link by its own action.
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        if let Some(owned) = self.by_conn(conn)
            && let Err(error) = owned.link.handle_received(bytes, now)
        {
            tracing::warn!(endpoint = owned.name, %error, "link given up");
        }
    }

    /// The socket did not take everything.
    pub(super) fn unsent(&mut self, conn: ConnId, rest: Unsent) {
        if let Some(owned) = self.by_conn(conn) {
            owned.rest.splice(0..0, rest.frames);
            owned.is_full = true;
        }
    }

    /// The socket has room again.
    pub(super) fn writable(&mut self, conn: ConnId) {
        if let Some(owned) = self.by_conn(conn) {
            owned.is_full = false;
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeouts(&mut self, now: Instant) {
        for owned in &mut self.owned {
            if owned.link.next_timeout().is_some_and(|at| at <= now) {
                owned.link.handle_timeout(now);
            }
        }
    }

    /// When [`Self::handle_timeouts`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.owned.iter().filter_map(|owned| owned.link.next_timeout()).min()
    }

    /// Moves requests of this core to links and events of links to cores until nothing moves any more.
    pub(super) fn pump(&mut self, state: &mut State, post: &mut Post, now: Instant) {
        loop {
            let mut moved = false;
            while let Some((endpoint, request)) = state.requests.pop_front() {
                moved = true;
                let owner = self.owner(endpoint);
                let refused = if owner == self.core {
                    self.ask(self.core, endpoint, request, now)
                } else {
                    let full = post.ask(owner, endpoint, request).err();
                    full.and_then(|request| request.asker()).map(|asker| (asker, RequestRefused::QueueFull))
                };
                if let Some(((asked, origin), refused)) = refused {
                    state.declined(asked, origin, refused.into());
                }
            }
            for owned in &mut self.owned {
                moved |= owned.pump_events(self.core, state, post, now);
            }
            if !moved {
                break;
            }
        }
    }

    /// A request that came by mail.
    pub(super) fn ask_for(&mut self, core: CoreId, endpoint: u16, request: LinkRequest, post: &mut Post, now: Instant) {
        if let Some(((asked, origin), refused)) = self.ask(core, endpoint, request, now) {
            post.decline(core, asked, origin, refused);
        }
    }

    /// Asks a link of this core. Returns who has to be told that it did not take the request.
    fn ask(
        &mut self,
        core: CoreId,
        endpoint: u16,
        request: LinkRequest,
        now: Instant,
    ) -> Option<((Asked, Origin), RequestRefused)> {
        let asker = request.asker();
        let index = usize::from(endpoint / self.cores);
        let Some(owned) = self.owned.get_mut(index).filter(|owned| owned.endpoint == endpoint) else {
            return asker.map(|asker| (asker, RequestRefused::LinkDown));
        };
        let link = &mut owned.link;
        let result = match request {
            LinkRequest::Join { chat, local, want } => {
                link.join(&chat, core, local, None, want, now);
                Ok(())
            }
            LinkRequest::Leave { local } => {
                link.leave(core, local, now);
                Ok(())
            }
            LinkRequest::Members { local, count } => {
                link.members(core, local, count, now);
                Ok(())
            }
            LinkRequest::Publish { publish, origin } => link.publish(publish, core, origin, now),
            LinkRequest::History { query, origin } => link.history(query, core, origin, now),
            LinkRequest::PresenceStats { chat, origin } => link.presence_stats(chat, core, origin, now),
        };
        let refused = result.err()?;
        asker.map(|asker| (asker, refused))
    }

    /// Sends what links have to say, and connects and disconnects them.
    pub(super) fn transmit(&mut self, reactor: &mut Reactor, now: Instant) {
        for owned in &mut self.owned {
            owned.transmit(reactor, now);
            while let Some(action) = owned.link.poll_action() {
                match action {
                    LinkAction::Connect => owned.connect(reactor, now),
                    LinkAction::Disconnect => {
                        if let Some(conn) = owned.conn {
                            reactor.close(conn);
                        }
                        owned.forget_connection();
                    }
                }
            }
        }
    }

    /// Whether something waits that the next turn can send.
    pub(super) fn is_pending(&self) -> bool {
        self.owned.iter().any(|owned| owned.connected && !owned.is_full && !owned.rest.is_empty())
    }

    /// Tells the routers about this node.
    pub(super) fn report(&mut self, stats: &NodeStats) {
        for owned in &mut self.owned {
            owned.link.report(stats.clone());
        }
    }

    /// Asks any router that answers for the nodes of the cluster.
    pub(super) fn nodes(&mut self, state: &mut State, pending: Pending, now: Instant) {
        let Some(origin) = state.wait_for(pending) else { return };
        for owned in &mut self.owned {
            if owned.link.nodes(self.core, origin, now).is_ok() {
                return;
            }
        }
        if let Origin::Control(token) = origin {
            state.control_failed(token, Failure::NotAvailable);
        }
    }

    /// Has a disconnect relayed to all gateways, this one included.
    pub(super) fn relay(&mut self, request: &DisconnectRequest, now: Instant) -> Result<(), ControlError> {
        let text = |text: &str| Text::new(text).map_err(|_| ControlError::LimitExceeded);
        let except = request.whitelist.iter().map(|client| text(client)).collect::<Result<_, _>>()?;
        let disconnect = Disconnect {
            user: text(&request.user)?,
            client: text(request.client.as_deref().unwrap_or_default())?,
            code: request.code,
            reason: text(&request.reason)?,
            except,
        };
        for owned in &mut self.owned {
            let signal = Signal::Disconnect(Box::new(disconnect.clone()));
            if owned.link.signal(signal, self.core, Origin::Nobody, now).is_ok() {
                return Ok(());
            }
        }
        Err(ControlError::NotAvailable)
    }

    /// Says goodbye to the routers.
    pub(super) fn stop(&mut self, now: Instant) {
        for owned in &mut self.owned {
            owned.link.stop(now);
        }
    }

    /// Figures of the links.
    pub(super) fn snapshot(&self) -> Vec<LinkSnapshot> {
        let snapshot = |owned: &Owned| LinkSnapshot {
            endpoint: owned.name.clone(),
            state: owned.link.state(),
            stats: *owned.link.stats(),
            open_requests: owned.link.open_requests(),
        };
        self.owned.iter().map(snapshot).collect()
    }

    /// How many links this core owns.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.owned.len()).unwrap_or(u32::MAX)
    }

    /// How many links are up.
    pub(super) fn up(&self) -> usize {
        self.owned.iter().filter(|owned| owned.link.state() == LinkState::Up).count()
    }
}

impl Owned {
    fn pump_events(&mut self, core: CoreId, state: &mut State, post: &mut Post, now: Instant) -> bool {
        let mut moved = false;
        while let Some((to, event)) = self.link.poll_event() {
            moved = true;
            if to == core {
                state.handle_link_event(event);
            } else if let Posted::GiveUp(local) = post.event(to, self.endpoint, event) {
                state.counters.mailbox_lost += 1;
                self.link.leave(to, local, now);
            }
        }
        while let Some(notice) = self.link.poll_notice() {
            self.log(&notice);
        }
        moved
    }

    fn log(&self, notice: &LinkNotice) {
        let endpoint = self.name.as_str();
        match notice {
            LinkNotice::Up { version, router_incarnation } => {
                tracing::info!(endpoint, version, router_incarnation, "router link up");
            }
            LinkNotice::Down { error, message, retry_in } if error.blame() == LinkBlame::Path => {
                tracing::warn!(endpoint, %error, message, ?retry_in, "router link down");
            }
            LinkNotice::Down { error, message, retry_in } => {
                tracing::error!(endpoint, %error, message, ?retry_in, "router link down");
            }
            LinkNotice::GoAway { reason, drain } => {
                tracing::info!(endpoint, ?reason, ?drain, "router is about to end the link");
            }
            LinkNotice::Resetting { chats } => {
                tracing::warn!(endpoint, chats, "router link is down for too long: its chats are reset");
            }
        }
    }

    fn connect(&mut self, reactor: &mut Reactor, now: Instant) {
        match reactor.connect(&self.target) {
            Ok(conn) => {
                self.forget_connection();
                self.conn = Some(conn);
            }
            Err(error) => {
                tracing::warn!(endpoint = self.name, %error, "cannot connect to router");
                self.link.handle_disconnected(now);
            }
        }
    }

    fn forget_connection(&mut self) {
        self.conn = None;
        self.connected = false;
        self.rest.clear();
        self.is_full = false;
    }

    /// All of the socket's sends come from here, one per turn, so order needs no blocking.
    fn transmit(&mut self, reactor: &mut Reactor, now: Instant) {
        let Some(conn) = self.conn.filter(|_| self.connected && !self.is_full) else { return };
        let mut bytes: usize = self.rest.iter().map(Bytes::len).sum();
        while bytes < TRANSMIT_BYTES
            && let Some(frame) = self.link.poll_transmit(now)
        {
            bytes += frame.len();
            self.rest.push(frame);
        }
        if self.rest.is_empty() {
            return;
        }
        let staged = reactor.stage(&self.rest);
        match reactor.send_blocked(conn, staged) {
            SendOutcome::Queued => self.rest.clear(),
            SendOutcome::Busy => {}
            SendOutcome::Gone => {
                self.forget_connection();
                self.link.handle_disconnected(now);
            }
        }
    }
}

fn rank(name: &str, names: &[&str]) -> u16 {
    corecast_wire::placement::rank(name, names)
}

fn target(router: &RouterEndpoint) -> Target {
    match &router.target {
        RouterTarget::Abstract(name) => Target::Unix(UnixAddr::Abstract(name.as_bytes().to_vec())),
        RouterTarget::Tcp(addr) => Target::Tcp { addr: *addr, source: None },
        RouterTarget::Unix(path) => Target::Unix(UnixAddr::Path(path.clone())),
    }
}

/// How often a gateway reports its figures to its routers.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(2);

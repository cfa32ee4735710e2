//! Configuration of a gateway: plain values, each with its unit, its default and what happens at the limit.
//!
//! Invariants worth naming:
//! * Every limit is finite or documented as "0 = no limit"; nothing in the gateway grows without one of them.
//! * Relations between defaults that other code relies on are asserted at compile time, below the constants.
//! * Nothing here is read on the per-message path through a lock: cores hold the configuration in an `Arc`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::AuthConfig;

/// Everything that [`Gateway::start`](crate::Gateway::start) needs.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Name of this node, unique in the cluster. Default: `gateway`.
    pub node: String,
    /// Address of the WebSocket port; every core listens on it with `SO_REUSEPORT`. Port 0 takes a free port, which
    /// [`Gateway::local_addr`](crate::Gateway::local_addr) tells. Default: `127.0.0.1:8000`.
    pub listen: SocketAddr,
    /// Path of the WebSocket endpoint. Default: `/connection/websocket`.
    pub path: String,
    /// Core threads, 1 or more. May exceed the number of CPUs, which lifts the limit of descriptors per ring.
    /// Default: 1.
    pub cores: u16,
    /// CPUs to pin the cores to, used in turn; empty means no pinning. Default: empty.
    pub cpus: Vec<usize>,
    /// Which core's listener gets a new connection. Default: [`Steering::Auto`].
    pub steering: Steering,
    /// Connections that a core may hold, in percent of the mean of all cores, from 100; what it accepts beyond that goes
    /// to the core with the fewest, once it holds 256. 0 switches that off, and only a core without free slots gives its
    /// connections away. Default: [`IMBALANCE_PERCENT`].
    pub imbalance: u32,
    /// The router cores, in any order; every gateway of a cluster must list the same names. At least one.
    pub routers: Vec<RouterEndpoint>,
    /// Shared secret of the router links. Must be the same on gateways and routers.
    pub secret: Vec<u8>,
    /// Slots that chats are hashed to before slots are spread over `routers`; the same on all nodes. Default: 1,024.
    pub slots: u16,
    /// Proxies whose `X-Forwarded-For` is believed. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Address of the demo page, named in the answer to a plain HTTP request on the WebSocket port. Default: none.
    pub demo_page: Option<String>,
    /// How long the closes of a drain are spread over. Default: [`DRAIN_WINDOW`].
    pub drain_window: Duration,
    /// Who may do what. Default: nobody anything.
    pub auth: AuthConfig,
    /// Everything that is bounded.
    pub limits: Limits,
    /// Intervals and deadlines towards clients.
    pub timing: Timing,
    /// The ring of each core.
    pub ring: RingConfig,
}

/// How new connections find their core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Steering {
    /// [`Self::Cpu`] if each core has a CPU of its own, these are exactly the CPUs that take the packets of the host's
    /// network interfaces, and the port is not on loopback; else [`Self::Hash`].
    #[default]
    Auto,
    /// By the kernel's hash over addresses and ports: even, wherever packets arrive.
    Hash,
    /// To the core pinned to the CPU that took the packet, by hash if no core is. Needs a CPU of its own for each core.
    Cpu,
}

/// One router core and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterEndpoint {
    /// Identity for the placement of slots. Must be stable and the same on every gateway; usually the address.
    pub name: String,
    /// Where to connect.
    pub target: RouterTarget,
}

/// Where a router core listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterTarget {
    /// A name in Linux' abstract Unix socket namespace, without the leading NUL.
    Abstract(String),
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket in the file system.
    Unix(PathBuf),
}

/// An address with a prefix length, for lists of trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What is wrong with the text of a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or address/prefix, such as 10.0.0.0/8")]
pub struct BadNetwork;

impl Network {
    /// Whether `address` lies in this network. IPv4 addresses mapped into IPv6 count as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                u64::from(network.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| BadNetwork)?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| BadNetwork)?.to_canonical();
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(widest);
        if prefix > widest { Err(BadNetwork) } else { Ok(Self { address, prefix }) }
    }
}

/// Largest message of a client and largest payload of a publication, in bytes: 100,000 ASCII characters fit.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Largest first frame, before authentication, in bytes. Connect and 128 subscribes with a 250-byte token each
/// measure 47 KB, and close code 1009 would be final for an honest client.
pub const MAX_FIRST_FRAME: usize = 64 * 1024;
/// Largest upgrade request in bytes, request line and headers.
pub const MAX_UPGRADE: usize = 8 * 1024;
/// Most headers of an upgrade request.
pub const MAX_UPGRADE_HEADERS: usize = 64;
/// Input of all connections that are not authenticated yet, per core, in bytes: 256 first frames of full size.
pub const MAX_UNAUTHENTICATED: usize = 256 * MAX_FIRST_FRAME;
/// Chats of one connection.
pub const MAX_CHATS: usize = 128;
/// Longest name of a chat in bytes.
pub const MAX_CHAT_NAME: usize = 255;
/// Queued bytes of a connection from which a chat is cut for it (unsubscribe 2500 once drained).
pub const OUTBOX_SOFT: usize = 64 * 1024;
/// Queued bytes of a connection at which it is closed (3008). One message larger than that still fits.
pub const OUTBOX_HARD: usize = 256 * 1024;
/// Queued bytes of all connections of a core, shared frames counted once; over it the largest are cut:
/// 1,024 connections at the soft limit with nothing shared.
pub const OUTBOX_TOTAL: usize = 1024 * OUTBOX_SOFT;
/// Bytes that a connection with something queued must take in each window of [`PROGRESS_WINDOW`]
/// (or all that was queued, if less): a reader of 409 bytes/s passes.
pub const PROGRESS_BYTES: usize = 4 * 1024;
/// Window in which [`PROGRESS_BYTES`] must have been taken.
pub const PROGRESS_WINDOW: Duration = Duration::from_secs(10);
/// Rounds of falling behind and recovering within [`CIRCLE_WINDOW`] after which a connection is closed (3008).
pub const CIRCLE_ROUNDS: u8 = 4;
/// Window of [`CIRCLE_ROUNDS`].
pub const CIRCLE_WINDOW: Duration = Duration::from_secs(60);
/// Most publications of one recovery, as in Centrifugo; more missed means "not recoverable".
pub const RECOVERY_MESSAGES: usize = 300;
/// Most payload bytes of one recovery: it must fit the outbox beside live traffic.
pub const RECOVERY_BYTES: usize = 192 * 1024;
/// Publications kept per chat and core for recovery without asking the router.
pub const RECENT_MESSAGES: usize = 300;
/// Bytes kept per chat and core for recovery without asking the router.
pub const RECENT_BYTES: usize = RECOVERY_BYTES;
/// Bytes kept for recovery by all chats of a core; over it the oldest publications go first.
pub const RECENT_TOTAL: usize = 64 * 1024 * 1024;
/// Publications asked for when a chat becomes live on a core, so that the first recoveries are served locally.
pub const WARM_MESSAGES: u16 = 32;
/// Most publications of one history answer to a client.
pub const HISTORY_MESSAGES: usize = 300;
/// Units per second of a connection's input budget; see [`Limits::input_rate`].
pub const INPUT_RATE: u32 = 50_000;
/// Pings, pongs and empty or refused frames cost this many units: 200 a second are allowed.
pub const CONTROL_COST: u32 = INPUT_RATE / 200;
/// Frames that begin or continue a fragmented message cost this many units: 2,500 a second are allowed.
pub const FRAGMENT_COST: u32 = INPUT_RATE / 2_500;
/// Completed accepts per second and core before the upgrade is answered with 503.
pub const HANDSHAKES_PER_SECOND: u32 = 50_000;
/// Members of a chat that are told unsubscribe 2500 per millisecond, so that their resubscribes do not arrive at once.
pub const CUT_PER_MS: u32 = 20;
/// Most sends of one chat before the next chat has its turn: about 0.4 ms at 6 µs each. Smaller ones cost a large chat
/// time where cores share a CPU, larger ones the small chats beside it; alone on a CPU, 32 to 256 cost the same.
pub const SLICE_SENDS: usize = 64;
/// Most sends of one turn of the loop, before the ring is looked at again: about 10 ms at 5 µs each.
pub const TURN_SENDS: usize = 2_048;
/// Most updates of one chat that go out as one vectored send.
pub const COALESCE_FRAMES: usize = 32;
/// Most bytes of updates of one chat that go out as one vectored send (or one update, if larger).
pub const COALESCE_BYTES: usize = 32 * 1024;
/// Most updates of one chat that wait for their fan-out; beyond it the chat's members are cut.
pub const BACKLOG_UPDATES: usize = 4_096;
/// Most bytes of updates of one chat that wait for their fan-out; beyond it the chat's members are cut.
pub const BACKLOG_BYTES: usize = 16 * 1024 * 1024;
/// How long a chat stays subscribed after its last member of a core left, so that a reload finds it warm.
pub const LINGER: Duration = Duration::from_secs(5);
/// Default of [`GatewayConfig::imbalance`]: the busiest core does a quarter more than the mean, which a core that is
/// planned for three quarters of its time still can.
pub const IMBALANCE_PERCENT: u32 = 125;
/// Default of [`GatewayConfig::drain_window`].
pub const DRAIN_WINDOW: Duration = Duration::from_secs(10);

const _: () = {
    assert!(MAX_FIRST_FRAME <= MAX_MESSAGE);
    assert!(OUTBOX_SOFT < OUTBOX_HARD);
    assert!(RECOVERY_BYTES < OUTBOX_HARD, "a recovery reply must fit the outbox");
    assert!(RECENT_MESSAGES >= RECOVERY_MESSAGES && RECENT_BYTES >= RECOVERY_BYTES);
    assert!(SLICE_SENDS <= TURN_SENDS);
    assert!(COALESCE_BYTES < OUTBOX_SOFT, "one coalesced send must not put a healthy member behind");
    assert!(MAX_CHATS <= 255, "session subscriptions are counted in a byte");
};

/// Everything that is bounded. The constants of this module are the defaults and give the reasons.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections of the whole process; beyond it the upgrade is answered with 503. 0 = only the rings bound it.
    /// Default: 0.
    pub connections: u32,
    /// Connections per client address, answered with 429 beyond it; 0 = no limit. Default: 0.
    pub connections_per_address: u32,
    /// Upgrades per second and core, answered with 503 beyond it. Default: [`HANDSHAKES_PER_SECOND`].
    pub handshakes_per_second: u32,
    /// Upgrades per second and client address, answered with 429 beyond it (bursts of one second's worth pass);
    /// 0 = no limit. Default: 0.
    pub handshakes_per_second_per_address: u32,
    /// Whether limits per address hold for loopback addresses too. They usually stand for a proxy on the same host,
    /// and so for all its clients. Default: false.
    pub limit_loopback: bool,
    /// Bytes. Default: [`MAX_MESSAGE`].
    pub message: usize,
    /// Bytes. Default: [`MAX_FIRST_FRAME`].
    pub first_frame: usize,
    /// Bytes. Default: [`MAX_UPGRADE`].
    pub upgrade: usize,
    /// Count. Default: [`MAX_UPGRADE_HEADERS`].
    pub upgrade_headers: usize,
    /// Bytes per core. Default: [`MAX_UNAUTHENTICATED`].
    pub unauthenticated: usize,
    /// Count, at most 255. Default: [`MAX_CHATS`].
    pub chats_per_connection: usize,
    /// Bytes, at most 255. Default: [`MAX_CHAT_NAME`].
    pub chat_name: usize,
    /// Bytes per connection. Default: [`OUTBOX_SOFT`].
    pub outbox_soft: usize,
    /// Bytes per connection. Default: [`OUTBOX_HARD`].
    pub outbox_hard: usize,
    /// Bytes per core. Default: [`OUTBOX_TOTAL`].
    pub outbox_total: usize,
    /// Bytes per window. Default: [`PROGRESS_BYTES`].
    pub progress_bytes: usize,
    /// Default: [`PROGRESS_WINDOW`].
    pub progress_window: Duration,
    /// Count, at least 1. Default: [`CIRCLE_ROUNDS`].
    pub circle_rounds: u8,
    /// Default: [`CIRCLE_WINDOW`].
    pub circle_window: Duration,
    /// Count. Default: [`RECOVERY_MESSAGES`].
    pub recovery_messages: usize,
    /// Bytes. Default: [`RECOVERY_BYTES`].
    pub recovery_bytes: usize,
    /// Count per chat and core. Default: [`RECENT_MESSAGES`].
    pub recent_messages: usize,
    /// Bytes per chat and core. Default: [`RECENT_BYTES`].
    pub recent_bytes: usize,
    /// Bytes per core. Default: [`RECENT_TOTAL`].
    pub recent_total: usize,
    /// Count. Default: [`WARM_MESSAGES`].
    pub warm_messages: u16,
    /// Count. Default: [`HISTORY_MESSAGES`].
    pub history_messages: usize,
    /// Input budget of one connection in units per second, with a burst of two seconds' worth. A data frame costs
    /// one unit, a control frame [`CONTROL_COST`], a fragment [`FRAGMENT_COST`]; over it the connection is closed (3013, or 1008 before connect).
    /// 0 = no limit. Default: [`INPUT_RATE`].
    pub input_rate: u32,
    /// Publications per second of one connection, with a burst of two seconds' worth; over it they are answered with
    /// error 111 (temporary). 0 = no limit. Default: 0.
    pub publish_rate: u32,
    /// Members per millisecond and core. Default: [`CUT_PER_MS`].
    pub cut_per_ms: u32,
    /// Sends. Default: [`SLICE_SENDS`].
    pub slice_sends: usize,
    /// Sends. Default: [`TURN_SENDS`].
    pub turn_sends: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_address: 0,
            handshakes_per_second: HANDSHAKES_PER_SECOND,
            handshakes_per_second_per_address: 0,
            limit_loopback: false,
            message: MAX_MESSAGE,
            first_frame: MAX_FIRST_FRAME,
            upgrade: MAX_UPGRADE,
            upgrade_headers: MAX_UPGRADE_HEADERS,
            unauthenticated: MAX_UNAUTHENTICATED,
            chats_per_connection: MAX_CHATS,
            chat_name: MAX_CHAT_NAME,
            outbox_soft: OUTBOX_SOFT,
            outbox_hard: OUTBOX_HARD,
            outbox_total: OUTBOX_TOTAL,
            progress_bytes: PROGRESS_BYTES,
            progress_window: PROGRESS_WINDOW,
            circle_rounds: CIRCLE_ROUNDS,
            circle_window: CIRCLE_WINDOW,
            recovery_messages: RECOVERY_MESSAGES,
            recovery_bytes: RECOVERY_BYTES,
            recent_messages: RECENT_MESSAGES,
            recent_bytes: RECENT_BYTES,
            recent_total: RECENT_TOTAL,
            warm_messages: WARM_MESSAGES,
            history_messages: HISTORY_MESSAGES,
            input_rate: INPUT_RATE,
            publish_rate: 0,
            cut_per_ms: CUT_PER_MS,
            slice_sends: SLICE_SENDS,
            turn_sends: TURN_SENDS,
        }
    }
}

/// Intervals and deadlines towards clients. Resolution: 100 ms.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The whole upgrade request must have arrived by then. Default: 5 s.
    pub handshake: Duration,
    /// A valid `connect` must have arrived by then, counted from the upgrade; else close 3502. Default: 10 s.
    pub connect: Duration,
    /// Interval of pings; the first comes after a random time between half of it and all of it. Default: 25 s.
    pub ping: Duration,
    /// How long a pong may take; else close 3012. Default: 8 s.
    pub pong: Duration,
    /// How long after its expiry a token may be refreshed; then close 3005 or unsubscribe 2501. Default: 25 s.
    pub expiry_grace: Duration,
    /// How long a peer may take to close its side after a close frame. Default: 3 s.
    pub close: Duration,
    /// How long a subscribe or a history request may wait for the router before it is answered with a temporary
    /// error; clients give up after 5 s. Default: 4 s.
    pub answer: Duration,
    /// How long a chat without members on a core stays subscribed. Default: [`LINGER`].
    pub linger: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            connect: Duration::from_secs(10),
            ping: Duration::from_secs(25),
            pong: Duration::from_secs(8),
            expiry_grace: Duration::from_secs(25),
            close: Duration::from_secs(3),
            answer: Duration::from_secs(4),
            linger: LINGER,
        }
    }
}

/// The ring of each core.
#[derive(Debug, Clone)]
pub struct RingConfig {
    /// Connections per core, router links included. Bounded by `RLIMIT_NOFILE`; 0 takes as many as that allows.
    /// Default: 0.
    pub connections: u32,
    /// Longest batching window: under load a turn waits up to this long so that several updates share a wake-up; a busy
    /// loop waits less and an idle one not at all. Up to three times as long where cores outnumber CPUs. Zero switches
    /// it off. Default: 150 µs.
    pub min_wait: Duration,
    /// Entries of the submission queue, a power of two: so many sends share a system call. All of it passes through the
    /// cache in turn. Default: 512 (32 KiB of memory that the kernel pins).
    pub submission_entries: u32,
    /// Entries of the completion queue, a power of two: more completions at once cost extra system calls. Default:
    /// 8,192 (128 KiB of memory that the kernel pins): all receive buffers, all sends of a submission and a full accept
    /// queue at once.
    pub completion_entries: u32,
    /// Receive buffers per core, a power of two up to 32,768. The kernel uses them in turn, so all of them count as
    /// memory and pass through the cache. Default: 256.
    pub receive_buffers: u16,
    /// Bytes of one receive buffer. Default: 2,048.
    pub receive_buffer_bytes: u32,
    /// `SO_SNDBUF` of client sockets in bytes; `None` leaves it to the kernel's tuning. Default: none.
    pub send_buffer: Option<u32>,
    /// Length of the accept queue of each listener; the kernel caps it at `net.core.somaxconn`. Default: 4,096.
    pub backlog: u32,
    /// Messages that may wait in each direction between two cores, 64 bytes each. Default: 1,024.
    pub mailbox: usize,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            connections: 0,
            min_wait: Duration::from_micros(150),
            submission_entries: 512,
            completion_entries: 8_192,
            receive_buffers: 256,
            receive_buffer_bytes: 2_048,
            send_buffer: None,
            backlog: 4_096,
            mailbox: 1_024,
        }
    }
}

impl GatewayConfig {
    /// A configuration with all defaults for one node that links to `routers`.
    #[must_use]
    pub fn new(routers: Vec<RouterEndpoint>, secret: Vec<u8>) -> Self {
        Self {
            node: "gateway".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            path: "/connection/websocket".into(),
            cores: 1,
            cpus: Vec::new(),
            steering: Steering::default(),
            imbalance: IMBALANCE_PERCENT,
            routers,
            secret,
            slots: 1_024,
            trusted_proxies: Vec::new(),
            demo_page: None,
            drain_window: DRAIN_WINDOW,
            auth: AuthConfig::default(),
            limits: Limits::default(),
            timing: Timing::default(),
            ring: RingConfig::default(),
        }
    }

    /// The CPU of each core, if no two cores share one.
    pub(crate) fn own_cpus(&self) -> Option<&[usize]> {
        let cpus = self.cpus.get(..usize::from(self.cores))?;
        let distinct: BTreeSet<usize> = cpus.iter().copied().collect();
        (distinct.len() == cpus.len()).then_some(cpus)
    }

    /// Checks relations between values that would break an invariant. Called by
    /// [`Gateway::start`](crate::Gateway::start).
    ///
    /// # Errors
    /// The first problem, in words for an operator.
    pub fn check(&self) -> Result<(), BadConfig> {
        let limits = &self.limits;
        let rules = [
            (self.cores >= 1, "cores must be at least 1"),
            (
                self.steering != Steering::Cpu || self.own_cpus().is_some(),
                "steering by CPU needs a CPU of its own for each core: cpus must name at least as many as there are cores",
            ),
            (self.imbalance == 0 || self.imbalance >= 100, "imbalance must be 0 or at least 100 percent"),
            (!self.routers.is_empty(), "at least one router endpoint is needed"),
            (self.routers.len() <= 4_096, "at most 4,096 router endpoints are supported"),
            (self.slots >= 1, "slots must be at least 1"),
            (self.path.starts_with('/'), "path must begin with /"),
            (limits.first_frame <= limits.message, "first_frame must not exceed message"),
            (limits.outbox_soft < limits.outbox_hard, "outbox_soft must be below outbox_hard"),
            (limits.recovery_bytes < limits.outbox_hard, "recovery_bytes must be below outbox_hard"),
            ((1..=255).contains(&limits.chats_per_connection), "chats_per_connection must be between 1 and 255"),
            ((1..=255).contains(&limits.chat_name), "chat_name must be between 1 and 255"),
            (limits.message <= 512 * 1024, "message must not exceed 512 KiB, half a link frame"),
            (limits.circle_rounds >= 1, "circle_rounds must be at least 1"),
            (
                limits.slice_sends >= 1 && limits.turn_sends >= limits.slice_sends,
                "slice_sends must be at least 1 and not exceed turn_sends",
            ),
            (limits.cut_per_ms >= 1, "cut_per_ms must be at least 1"),
            (self.timing.ping >= Duration::from_secs(1), "ping must be at least 1 s"),
            (self.timing.pong < self.timing.ping, "pong must be shorter than ping"),
            (self.ring.receive_buffers.is_power_of_two(), "receive_buffers must be a power of two"),
            (self.ring.mailbox >= 64, "mailbox must hold at least 64 messages"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(BadConfig(problem)),
            None => Ok(()),
        }
    }
}

/// A configuration that breaks a relation between values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_match_by_prefix_and_never_across_families() {
        let ten: Network = "10.0.0.0/8".parse().unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(ten.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!ten.contains("a00::".parse().unwrap()));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("192.168.1.1".parse().unwrap()));
        let six: Network = "2001:db8::/32".parse().unwrap();
        assert!(six.contains("2001:db8:1::1".parse().unwrap()));
        assert!(!six.contains("2001:db9::1".parse().unwrap()));
        let every: Network = "::/0".parse().unwrap();
        assert!(every.contains("2001:db9::1".parse().unwrap()));
        let one: Network = "127.0.0.1".parse().unwrap();
        assert!(one.contains("127.0.0.1".parse().unwrap()) && !one.contains("127.0.0.2".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "host"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }

    #[test]
    fn defaults_pass_their_own_check_and_each_broken_relation_is_named() {
        let endpoint = RouterEndpoint { name: "r".into(), target: RouterTarget::Abstract("r".into()) };
        let good = GatewayConfig::new(vec![endpoint], vec![1]);
        assert_eq!(good.check(), Ok(()));
        let mut bad = good.clone();
        bad.routers.clear();
        assert!(bad.check().unwrap_err().0.contains("router"));
        let mut bad = good.clone();
        bad.limits.outbox_soft = bad.limits.outbox_hard;
        assert!(bad.check().unwrap_err().0.contains("outbox_soft"));
        let mut bad = good.clone();
        bad.imbalance = 99;
        assert!(bad.check().unwrap_err().0.contains("imbalance"));
        let mut bad = good.clone();
        (bad.steering, bad.cores) = (Steering::Cpu, 2);
        for cpus in [&[][..], &[0], &[1, 1]] {
            bad.cpus = cpus.to_vec();
            assert!(bad.check().unwrap_err().0.contains("steering"), "{cpus:?}");
        }
        bad.cpus = vec![3, 1, 0];
        assert_eq!((bad.check(), bad.own_cpus()), (Ok(()), Some(&[3, 1][..])));
        let mut bad = good;
        bad.timing.pong = bad.timing.ping;
        assert!(bad.check().unwrap_err().0.contains("pong"));
    }
}

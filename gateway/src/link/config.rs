//! What a link is told at its start, and the limits that it keeps.

use std::fmt;
use std::time::Duration;

use corecast_wire::Text;

use super::CoreId;

/// Longest wait for a connection: two retransmissions of a lost SYN (1 s, then 2 s) and the way.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_500);
/// Longest handshake, as the protocol states it.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// First upper bound of the random wait before a reconnect; doubled with each failure in a row.
pub const BACKOFF_BASE: Duration = Duration::from_millis(50);
/// Last upper bound of the random wait before a reconnect.
pub const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// Shortest wait after a refusal that only a change of configuration helps.
pub const BACKOFF_PERMANENT_MIN: Duration = Duration::from_secs(1);
/// A link that lived this long starts again at [`BACKOFF_BASE`] when it breaks.
pub const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Heartbeat intervals without a byte from the router after which the link counts as dead.
pub const SILENT_BEATS_MAX: u32 = 3;
/// Heartbeat intervals that a `Pong` may take: longer than silence, because it waits behind everything queued.
pub const PONG_BEATS_MAX: u32 = 5;
/// Time from the loss of an established link until its chats are reset.
pub const RESET_AFTER_LOSS: Duration = Duration::from_secs(2);
/// Time from the last byte heard until the chats are reset, where it is the silence that ended the link: 4 s and the
/// spreading below make 5 s, within which clients are told.
pub const RESET_AFTER_SILENCE: Duration = Duration::from_secs(4);
/// Interval between two slices of resets.
pub const RESET_TICK: Duration = Duration::from_millis(20);
/// All resets of an outage are spread over this many slices: 40 × 20 ms = 0.8 s.
pub const RESET_SLICES: usize = 40;
/// Least chats in a slice, so that a small endpoint is done at once.
pub const RESET_SLICE_MIN: usize = 256;
/// How long a chat stays subscribed after all its joins were reset: its members are about to come back.
pub const LINGER_AFTER_RESET: Duration = Duration::from_secs(5);
/// Most `Subscribe`s that wait for an answer, as the protocol states it.
pub const SUBSCRIBES_UNANSWERED_MAX: usize = 1_024;
/// Queued bytes over which no further `Subscribe` is written: one full frame.
pub const SUBSCRIBE_QUEUE_BYTES: usize = 64 << 10;
/// Longest wait for the answer to a `Subscribe`, before who waits is told that it failed for now: below the 5 s of
/// client SDKs.
pub const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(4);
/// Interval in which changed member counts are sent.
pub const MEMBERS_TICK: Duration = Duration::from_millis(200);
/// Longest wait for the answer to a repair's `History`.
pub const REPAIR_TIMEOUT: Duration = Duration::from_secs(2);
/// Publications that one repair asks for at a time.
pub const REPAIR_PUBLICATIONS: u32 = 1_000;
/// Payload bytes that one repair asks for at a time.
pub const REPAIR_BYTES: u32 = 256 << 10;
/// Most repairs that wait for an answer: 32 × 256 KiB = 8 MiB on their way.
pub const REPAIRS_UNANSWERED_MAX: usize = 32;
/// Most questions that one repair asks. Each brings it forward, so only a chat that is faster than its history needs
/// more.
pub const REPAIR_ROUNDS_MAX: u8 = 32;
/// Updates of one chat that are kept while it is repaired. What comes beyond them is fetched again.
pub const REPAIR_KEPT_UPDATES: usize = 1_000;
/// Payload bytes of one chat that are kept while it is repaired.
pub const REPAIR_KEPT_BYTES: usize = 1 << 20;
/// Payload bytes that are kept by all repairs of a link.
pub const REPAIR_KEPT_BYTES_TOTAL: usize = 16 << 20;
/// Notices kept for the log; the oldest give way.
pub const NOTICES_MAX: usize = 32;
/// Bytes by which answers to the router (pongs, subscriptions) may exceed `outbound_bytes_max` before the link is
/// given up: the router does not read.
pub const OUTBOUND_SLACK_BYTES: usize = 1 << 20;

const _: () = assert!(REPAIR_PUBLICATIONS as usize <= corecast_wire::limits::MAX_HISTORY_PUBLICATIONS);
const _: () = assert!(REPAIR_BYTES as usize <= corecast_wire::limits::MAX_HISTORY_BYTES);
const _: () = assert!(RESET_TICK.as_millis() * RESET_SLICES as u128 + RESET_AFTER_SILENCE.as_millis() <= 5_000);
const _: () = assert!(BACKOFF_CAP.as_millis() >= BACKOFF_PERMANENT_MIN.as_millis());

/// Who the link is and with whom.
#[derive(Clone)]
pub struct LinkConfig {
    /// Name of this node, unique in the installation.
    pub node: Text,
    /// Differs at each start of this node.
    pub node_incarnation: u64,
    /// The secret that gateways and routers share.
    pub secret: Vec<u8>,
    /// Slots of the placement.
    pub slots: u16,
    /// [`fingerprint`](corecast_wire::placement::fingerprint) of the endpoint list.
    pub topology: u64,
    /// [`rank`](corecast_wire::placement::rank) of this endpoint in that list.
    pub endpoint_index: u16,
    /// Cores of this gateway, numbered from 0: all of them get signals.
    pub cores: CoreId,
    /// What is bounded.
    pub limits: LinkLimits,
}

impl fmt::Debug for LinkConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LinkConfig")
            .field("node", &self.node)
            .field("endpoint_index", &self.endpoint_index)
            .field("cores", &self.cores)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What is bounded and may be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// How long a chat stays subscribed after the last core left it. Zero: not at all. Default: zero, because cores
    /// linger themselves.
    pub linger: Duration,
    /// Chats of this endpoint; a join beyond them is reset at once. Default: 1,000,000, about 200 bytes each.
    pub chats_max: usize,
    /// Requests that wait for an answer; less, if the router allows less. Default: 16,384, a second and
    /// a half at 10,000 a second: a pause of the host must not refuse anything. About 100 bytes each.
    pub requests_max: usize,
    /// Bytes queued for the router, beyond which requests are refused. Default: 4 MiB, 30 publishes of full size.
    pub outbound_bytes_max: usize,
    /// Longest wait for the answer to a request. Default: 4 s, below the 5 s of client SDKs.
    pub request_timeout: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            linger: Duration::ZERO,
            chats_max: 1_000_000,
            requests_max: 16_384,
            outbound_bytes_max: 4 << 20,
            request_timeout: Duration::from_secs(4),
        }
    }
}

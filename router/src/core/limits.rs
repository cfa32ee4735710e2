//! Every limit of a router core, with its arithmetic.

use std::time::Duration;

use corecast_wire::limits::{
    MAX_BODY_BYTES, MAX_HISTORY_BYTES, MAX_HISTORY_PUBLICATIONS, MAX_NODES, MAX_PAYLOAD_BYTES, MAX_SLOTS,
};
use corecast_wire::placement::DEFAULT_SLOTS;

use crate::chat::Kept;
use crate::keys::KeyLimits;

/// Largest frame body before a gateway has proved the secret: a hello has at most 255 bytes of name, 1 KiB of
/// extensions and 60 bytes of numbers.
pub(super) const BODY_BYTES_BEFORE_PROOF: usize = 4 << 10;

/// Most frames handed out for one send: far below the kernel's 1,024 parts of a vectored send, and with frames of
/// 64 KiB more than a socket takes at once.
pub(super) const FRAMES_PER_SEND: usize = 256;

/// What refused requests are told to wait when the router cannot know better.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How long a closing link may take to read its last frames.
pub(super) const CLOSE_LINGER: Duration = Duration::from_secs(1);

/// Chats looked at per turn when the memory budget is exceeded: about 50 µs.
pub(super) const SHRINKS_PER_TURN: usize = 1_024;

/// Idle chats taken out of memory per turn: each may free 1,000 messages, some 50 µs.
pub(super) const CHATS_PER_TURN: usize = 64;

/// Keys whose window is over that are taken out per turn: about 100 µs.
pub(super) const KEYS_PER_TURN: usize = 1_024;

/// Keys whose window is over that are taken out per publish with a key: more than one, so that the table shrinks.
pub(super) const KEYS_PER_PUBLISH: usize = 4;

/// Bounds of one router core. Everything a gateway may cause is bounded by one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linked gateways. Default 1,500: the design's 1,000 and room for restarts.
    pub links: usize,
    /// Connections that are no link yet (they have not proved the secret) or no more (they are closing). Default 256;
    /// each may hold 4 KiB of input for 5 s.
    pub links_before_proof: usize,
    /// Chats in memory. Default 1,000,000 of about 300 bytes each, beside their messages.
    pub chats: usize,
    /// Subscriptions per link. Default 1,000,000.
    pub subscriptions_per_link: usize,
    /// Requests per link that wait for an answer. Default 65,536, so that 100,000 messages/s may wait 0.6 s.
    pub requests_per_link: usize,
    /// Bytes of one message. Default 256 KiB: twice what a client may send, so that envelopes fit.
    pub payload_bytes: usize,
    /// What each chat keeps. Default 1,000 messages or 1 MiB.
    pub kept: Kept,
    /// Bytes of all kept messages of the core; above it chats lose the older half of theirs, one after the other.
    /// Default 512 MiB: 3 million messages of 100 bytes.
    pub kept_bytes_total: usize,
    /// The idempotency window.
    pub keys: KeyLimits,
    /// Messages that wait for durability. Default 65,536.
    pub pending: usize,
    /// Bytes of messages that wait for durability. Default 64 MiB.
    pub pending_bytes: usize,
    /// Queued bytes of a link above which updates are withheld and the link resynchronises by history later.
    /// Default 8 MiB: 0.7 s of 100,000 updates/s of 100 bytes.
    pub link_soft_bytes: usize,
    /// Queued bytes of a link below which withheld chats are announced. Default 1 MiB.
    pub link_drained_bytes: usize,
    /// Queued bytes of a link above which it is cut: it asks and does not read. Default 32 MiB.
    pub link_hard_bytes: usize,
    /// Publications in one history result. Default 1,000.
    pub history_messages: usize,
    /// Payload bytes in one history result. Default 512 KiB.
    pub history_bytes: usize,
    /// Payload bytes sent to warm a gateway's cache on a fresh subscription. Default 256 KiB.
    pub warm_bytes: usize,
    /// How long a chat without subscriber and without message stays in memory. When it comes back it has a new epoch.
    /// Default 5 minutes, as long as the idempotency window: a chat with a key in its window stays in any case.
    pub idle_retention: Duration,
    /// From the connect to the proof. Default 5 s.
    pub handshake: Duration,
    /// Each side sends something at least this often. Default 1 s.
    pub heartbeat: Duration,
    /// Silence after which a link is dead. Default 5 s.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: MAX_NODES,
            links_before_proof: 256,
            chats: 1_000_000,
            subscriptions_per_link: 1_000_000,
            requests_per_link: 65_536,
            payload_bytes: 256 << 10,
            kept: Kept::default(),
            kept_bytes_total: 512 << 20,
            keys: KeyLimits::default(),
            pending: 65_536,
            pending_bytes: 64 << 20,
            link_soft_bytes: 8 << 20,
            link_drained_bytes: 1 << 20,
            link_hard_bytes: 32 << 20,
            history_messages: 1_000,
            history_bytes: 512 << 10,
            warm_bytes: 256 << 10,
            idle_retention: Duration::from_secs(300),
            handshake: Duration::from_secs(5),
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(5),
        }
    }
}

/// Limits that contradict each other or the wire format. The operator is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {must}")]
pub struct LimitsError {
    /// The field.
    pub field: &'static str,
    /// What it must be.
    pub must: &'static str,
}

impl Limits {
    /// Checks the relations that the core relies on.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let checks = [
            ((1..=MAX_NODES).contains(&self.links), "links", "1 to 1,500"),
            (self.links_before_proof >= 1, "links_before_proof", "at least 1"),
            ((1..=1 << 31).contains(&self.chats), "chats", "1 to 2^31"),
            ((1..=1 << 31).contains(&self.requests_per_link), "requests_per_link", "1 to 2^31"),
            ((1..=MAX_PAYLOAD_BYTES).contains(&self.payload_bytes), "payload_bytes", "1 to 512 KiB"),
            (self.kept.messages >= 1, "kept.messages", "at least 1"),
            (self.pending >= 1, "pending", "at least 1"),
            (self.pending_bytes >= self.payload_bytes, "pending_bytes", "at least payload_bytes"),
            (self.link_drained_bytes < self.link_soft_bytes, "link_drained_bytes", "below link_soft_bytes"),
            (
                self.link_soft_bytes + 2 * MAX_BODY_BYTES <= self.link_hard_bytes,
                "link_hard_bytes",
                "at least 2 MiB over link_soft_bytes",
            ),
            ((1..=MAX_HISTORY_PUBLICATIONS).contains(&self.history_messages), "history_messages", "1 to 4,096"),
            (
                (self.payload_bytes..=MAX_HISTORY_BYTES).contains(&self.history_bytes),
                "history_bytes",
                "payload_bytes to 768 KiB",
            ),
            (
                (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&self.heartbeat),
                "heartbeat",
                "1 ms to 60 s",
            ),
            (self.silence >= 2 * self.heartbeat, "silence", "at least twice the heartbeat"),
        ];
        match checks.into_iter().find(|(holds, _, _)| !holds) {
            Some((_, field, must)) => Err(LimitsError { field, must }),
            None => Ok(()),
        }
    }
}

/// What a router core needs to know.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Random and new for each core of each start. Epochs are derived from it.
    pub incarnation: u64,
    /// Shared with the gateways. Empty: anyone who can connect is a gateway.
    pub secret: Vec<u8>,
    /// Slots of the placement, 1 to 16,384; gateways must agree.
    pub slots: u16,
    /// Index of this endpoint in the gateways' list; `None`: as the first gateway says.
    pub endpoint_index: Option<u16>,
    /// Bounds.
    pub limits: Limits,
}

impl CoreConfig {
    /// Defaults without a secret.
    pub fn new(incarnation: u64) -> Self {
        Self { incarnation, secret: Vec::new(), slots: DEFAULT_SLOTS, endpoint_index: None, limits: Limits::default() }
    }

    /// Checks slots and limits.
    pub fn validate(&self) -> Result<(), LimitsError> {
        if !(1..=MAX_SLOTS).contains(&self.slots) {
            return Err(LimitsError { field: "slots", must: "1 to 16,384" });
        }
        self.limits.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        assert_eq!(CoreConfig::new(1).validate(), Ok(()));
    }

    #[test]
    fn contradictions_are_named() {
        let field = |change: fn(&mut CoreConfig)| {
            let mut config = CoreConfig::new(1);
            change(&mut config);
            config.validate().map_err(|error| error.field)
        };
        assert_eq!(field(|config| config.slots = 0), Err("slots"));
        assert_eq!(field(|config| config.limits.payload_bytes = 1 << 20), Err("payload_bytes"));
        assert_eq!(field(|config| config.limits.history_bytes = 1_000), Err("history_bytes"));
        assert_eq!(field(|config| config.limits.link_drained_bytes = 8 << 20), Err("link_drained_bytes"));
        assert_eq!(field(|config| config.limits.silence = Duration::from_millis(1_999)), Err("silence"));
    }
}

//! Counters of a router core: plain numbers, one writer, copied out when somebody asks.

/// Counters and present sizes of one router core. Counters grow from 0 at the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreStats {
    /// Links that are up.
    pub links: u64,
    /// Links that were up at some time.
    pub links_total: u64,
    /// Links refused in the handshake.
    pub links_refused: u64,
    /// Links ended because they were silent, broke the protocol or did not read.
    pub links_cut: u64,
    /// Chats in memory.
    pub chats: u64,
    /// Chats that left memory because nobody used them.
    pub chats_forgotten: u64,
    /// Subscriptions of all links.
    pub subscriptions: u64,
    /// Subscriptions continued from their position.
    pub resumed: u64,
    /// Subscriptions that could not be continued.
    pub reset: u64,
    /// Publishes received.
    pub publishes: u64,
    /// Publishes answered with the offset of an earlier one.
    pub duplicates: u64,
    /// Messages that became durable.
    pub committed: u64,
    /// Bytes of those messages.
    pub committed_bytes: u64,
    /// Messages that wait for durability now.
    pub pending: u64,
    /// Requests refused.
    pub refused: u64,
    /// Publishes whose outcome the log did not know.
    pub unknown_outcomes: u64,
    /// Updates queued for gateways.
    pub updates: u64,
    /// Updates withheld because their link was behind.
    pub withheld: u64,
    /// Times that a (link, chat) fell behind.
    pub lagged: u64,
    /// History questions answered.
    pub histories: u64,
    /// Idempotency keys in their window now.
    pub keys: u64,
    /// Memory of all kept messages now, in bytes.
    pub kept_bytes: u64,
    /// Chats that lost the older half of their messages to the memory budget.
    pub shrunk: u64,
    /// Bytes received on links.
    pub received_bytes: u64,
    /// Frames handed out for sending.
    pub sent_frames: u64,
    /// Bytes handed out for sending.
    pub sent_bytes: u64,
    /// Bytes queued for all links now.
    pub queued_bytes: u64,
    /// Slots that another owner has taken.
    pub slots_lost: u64,
}

//! The storage seam: what the router asks of a log, whatever keeps it (memory, an embedded store, a quorum).
//!
//! One [`Log`] serves one router core; it holds one independent log per slot. Every call only *submits*; what became
//! of it is told by [`Log::poll`], so that the core's thread never waits for a disk or a peer. An engine with threads
//! of its own wakes the core when `poll` has something new (how is between the engine's constructor and the driver).
//!
//! What every engine must keep, and what the conformance suite checks:
//! 1. Appends to one slot become durable in the order of submission. [`Event::Durable`] covers a prefix.
//! 2. One failed append fails everything behind it in its slot ([`Event::Failed`]); the slot takes no append until it
//!    is opened again.
//! 3. [`Outcome::Unavailable`] and [`Outcome::Fenced`] promise that the record is not in the log and never will be.
//!    Only [`Outcome::Unknown`] leaves it open.
//! 4. When [`Event::Opened`] is told, all earlier appends to that slot by anyone are settled: the tail is final until
//!    the new owner appends. So opening again and reading the tail answers every `Unknown`.
//! 5. Opening fences the owner before: its appends fail with [`Outcome::Fenced`]. An open whose fence is below the
//!    slot's last one fails. Safety never rests on clocks or leases.
//! 6. Events of one slot come in the order of what caused them.

use bytes::Bytes;
use corecast_wire::{ChatName, Position};

#[cfg(test)]
pub(crate) mod conformance;
mod memory;
#[cfg(test)]
pub(crate) mod scripted;

pub use memory::MemoryLog;

/// A place in the log of a slot: the number of records up to and including this one, so 0 is the empty log's tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos(pub u64);

impl Pos {
    /// The place behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Who opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Incarnation of the router.
    pub incarnation: u64,
    /// Generation of the slot's assignment; an assignment made later has a larger one. With a static slot map it is
    /// always 0, and who opens last owns the slot.
    pub fence: u64,
}

/// A message to be appended, borrowed from the chat that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The chat.
    pub chat: &'a ChatName,
    /// Epoch of the chat.
    pub epoch: u64,
    /// Offset in the chat.
    pub offset: u64,
    /// When it was sequenced, milliseconds since 1970.
    pub time_ms: u64,
    /// Its idempotency key.
    pub key: Option<&'a [u8]>,
    /// The message.
    pub payload: &'a Bytes,
}

impl RecordRef<'_> {
    /// A copy that stands alone (the payload is shared).
    pub fn to_record(self) -> Record {
        Record {
            chat: self.chat.clone(),
            epoch: self.epoch,
            offset: self.offset,
            time_ms: self.time_ms,
            key: self.key.map(Bytes::copy_from_slice),
            payload: self.payload.clone(),
        }
    }
}

/// A message as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The chat.
    pub chat: ChatName,
    /// Epoch of the chat.
    pub epoch: u64,
    /// Offset in the chat.
    pub offset: u64,
    /// When it was sequenced, milliseconds since 1970.
    pub time_ms: u64,
    /// Its idempotency key.
    pub key: Option<Bytes>,
    /// The message.
    pub payload: Bytes,
}

/// How much one read may return. At least one record is returned if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most records.
    pub records: usize,
    /// Most payload bytes.
    pub bytes: usize,
}

/// What a slot's log may forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most records kept per slot; the oldest go first.
    pub records: usize,
}

/// Why a submission was not taken. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Too much is in flight; try again after the next event.
    #[error("the log has too much in flight")]
    Busy,
    /// The slot is not open, or an earlier append failed.
    #[error("the slot is not open")]
    NotOpen,
}

/// What became of an append that did not become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Not in the log: another owner has the slot.
    Fenced,
    /// Not in the log: it could not take it.
    Unavailable,
    /// In the log or not: opening the slot again and reading its tail tells.
    Unknown,
}

/// Why a slot could not be opened or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Another owner has the slot.
    #[error("another owner has the slot")]
    Fenced,
    /// The engine cannot answer now.
    #[error("the log is unavailable")]
    Unavailable,
    /// What was asked for is not kept any more.
    #[error("no longer kept")]
    Forgotten,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The slot is ours: its tail, or why not.
    Opened {
        /// The slot.
        slot: u16,
        /// Place of the last record.
        tail: Result<Pos, LogError>,
    },
    /// Everything up to here is durable.
    Durable {
        /// The slot.
        slot: u16,
        /// Place of the last durable record.
        upto: Pos,
    },
    /// The append of this place, and all behind it, failed.
    Failed {
        /// The slot.
        slot: u16,
        /// First place that failed.
        from: Pos,
        /// In what way.
        outcome: Outcome,
    },
    /// Answer to a read.
    Records {
        /// Number that the asker gave.
        read: u64,
        /// The records in order of their places.
        records: Result<Vec<(Pos, Record)>, LogError>,
    },
}

/// A log per slot. See the module for what an engine must keep.
pub trait Log {
    /// Makes `owner` the owner of the slot. Told by [`Event::Opened`].
    fn open(&mut self, slot: u16, owner: Owner);

    /// Submits a record that is to follow `expect`, the last place that this owner knows (its tail, or its own last
    /// submission). Returns the place it will take. Told by [`Event::Durable`] or [`Event::Failed`]; if something
    /// else is behind `expect`, that is [`Outcome::Fenced`].
    fn append(&mut self, slot: u16, expect: Pos, record: RecordRef<'_>) -> Result<Pos, Rejected>;

    /// Ends a batch: everything submitted so far is to be made durable now, by one write if the engine can.
    fn flush(&mut self);

    /// Asks for the records from `from` on, for replay. Told by [`Event::Records`] under the number `read`;
    /// [`LogError::Forgotten`] if `from` lies before what is kept.
    fn read(&mut self, read: u64, slot: u16, from: Pos, bounds: Bounds);

    /// Asks for a chat's records behind a position, for history older than the memory window. Told as in
    /// [`Log::read`]; [`LogError::Forgotten`] if the record at `since.offset + 1` is not kept any more.
    fn chat_since(&mut self, read: u64, slot: u16, chat: &ChatName, since: Position, bounds: Bounds);

    /// Sets what the slot's log may forget.
    fn retain(&mut self, slot: u16, retention: Retention);

    /// The next event, if there is one.
    fn poll(&mut self) -> Option<Event>;
}

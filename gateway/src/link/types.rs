//! What goes in and out of a link, and its errors sorted by who is to blame.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corecast_wire::message::{
    GoAwayReason, HelloRefusal, NodeInfo, Publication, RefusalReason, Signal, SubscribeOutcome, UnsubscribedReason,
};
use corecast_wire::{ChatName, FrameError, MessageError, Position, WireError};

/// A core of this gateway, from 0.
pub type CoreId = u16;

/// Index of a chat on its core; dense, as the link keeps a table by it. Free for another chat once the link has said
/// [`FromLink::Left`] or [`FromLink::Reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalChat(pub u32);

/// What the link tells a core. `O` is the core's own note of who asked.
#[derive(Clone, Debug)]
pub enum FromLink<O> {
    /// The core now holds `position` of the chat. Updates from `position.offset + 1` on follow without a gap, until
    /// `Reset` or `Left`.
    Joined {
        /// The core's index of the chat.
        local: LocalChat,
        /// Where the updates begin.
        position: Position,
        /// Updates up to this offset only warm the core's cache; not below `position.offset`.
        top: u64,
        /// Oldest message that the router kept when the chat was subscribed; above `top` if none.
        oldest: u64,
        /// What became of the resume position of the join that subscribed the chat.
        outcome: SubscribeOutcome,
    },
    /// The next message of the chat.
    Update {
        /// The core's index of the chat.
        local: LocalChat,
        /// One more than the offset before.
        offset: u64,
        /// When the router sequenced it, in milliseconds since the Unix epoch.
        time_ms: u64,
        /// The message; shares the memory of the batch it came in.
        payload: Bytes,
    },
    /// The join is over: what follows the last update could not be brought, or nothing could. Members are to be cut
    /// (2500), waiting subscribers to be told that it failed for now. The last mention of `local`.
    Reset {
        /// The core's index of the chat.
        local: LocalChat,
        /// Why.
        reason: ResetReason,
    },
    /// The join is over, as the core asked. The last mention of `local`.
    Left {
        /// The core's index of the chat.
        local: LocalChat,
    },
    /// Answer to [`Link::publish`](super::Link::publish).
    Published {
        /// Who asked.
        origin: O,
        /// What became of it.
        result: Result<Acked, PublishError>,
    },
    /// Answer to [`Link::history`](super::Link::history).
    History {
        /// Who asked.
        origin: O,
        /// What became of it.
        result: Result<HistoryPage, RequestError>,
    },
    /// Answer to [`Link::presence_stats`](super::Link::presence_stats).
    PresenceStats {
        /// Who asked.
        origin: O,
        /// What became of it.
        result: Result<PresenceStats, RequestError>,
    },
    /// Answer to [`Link::nodes`](super::Link::nodes).
    Nodes {
        /// Who asked.
        origin: O,
        /// What became of it.
        result: Result<Vec<NodeInfo>, RequestError>,
    },
    /// Answer to [`Link::signal`](super::Link::signal): how many gateways it went to, this one included.
    Signaled {
        /// Who asked.
        origin: O,
        /// What became of it.
        result: Result<u32, RequestError>,
    },
    /// Something that every core of every gateway must do.
    Signal(Arc<Signal>),
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The chat.
    pub chat: ChatName,
    /// Idempotency key, 1 to 255 bytes.
    pub key: Option<Bytes>,
    /// The message.
    pub payload: Bytes,
}

/// A range of a chat's history; see [`History`](corecast_wire::message::History) for the fields.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// The chat.
    pub chat: ChatName,
    /// Exclusive start.
    pub since: Option<Position>,
    /// Most publications; 0 = only the position.
    pub limit: u32,
    /// Most payload bytes.
    pub max_bytes: u32,
    /// Newest first.
    pub reverse: bool,
}

/// Where a publish ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Place of the message; of the first one with its key, if `duplicate`.
    pub position: Position,
    /// The key had been seen: nothing was appended.
    pub duplicate: bool,
}

/// A range of a chat's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Epoch and newest offset of the chat.
    pub top: Position,
    /// In the order asked for, without gaps between them.
    pub publications: Vec<Publication>,
}

/// Counts of a chat over all gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceStats {
    /// Members.
    pub clients: u32,
    /// Distinct users; equal to `clients` where the router cannot tell users apart.
    pub users: u32,
}

/// Why a request was not taken. Nothing was sent and no answer will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// The link is not up. Temporary.
    #[error("the link to the router is down")]
    LinkDown,
    /// Too much is queued or waits for an answer. Temporary.
    #[error("too many requests on the link")]
    QueueFull,
    /// The payload exceeds what the router takes.
    #[error("the payload is larger than the router takes")]
    TooLarge,
    /// A field that the protocol cannot carry, such as an empty or overlong key.
    #[error("a field exceeds the limits of the protocol")]
    Invalid,
}

/// Why a publish failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The link was lost before the message was handed out: it did not happen. Temporary.
    #[error("the link was lost before the message was sent")]
    NotSent,
    /// The link was lost, or no answer came in time, after the message was handed out: nobody knows.
    #[error("the outcome is unknown")]
    Unknown,
    /// The router said no: it did not happen.
    #[error("the router refused: {reason:?}")]
    Refused {
        /// Why.
        reason: RefusalReason,
        /// Earliest time for another try in milliseconds; 0 = no advice.
        retry_after_ms: u32,
    },
}

/// Why a request that changes nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The link was lost. Temporary.
    #[error("the link was lost")]
    LinkLost,
    /// No answer came in time. Temporary.
    #[error("no answer in time")]
    TimedOut,
    /// The router said no.
    #[error("the router refused: {reason:?}")]
    Refused {
        /// Why.
        reason: RefusalReason,
        /// Earliest time for another try in milliseconds; 0 = no advice.
        retry_after_ms: u32,
    },
}

/// Why a join ended without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The link has been down for too long.
    LinkDown,
    /// After a reconnect the router could not continue: a new epoch, or messages that it no longer keeps.
    NotResumed,
    /// Messages are missing and could not be fetched.
    Lost,
    /// The router does not serve the chat (any more).
    Refused(UnsubscribedReason),
    /// The router does not answer the subscription.
    Unanswered,
    /// This link has no room for another chat.
    TooManyChats,
}

/// What the driver must do for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkAction {
    /// Connect; answer with `handle_connected` or `handle_disconnected`.
    Connect,
    /// Close the connection, or stop connecting. Nothing is expected in return.
    Disconnect,
}

/// Why a link is given up. [`LinkError::blame`] sorts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The connection ended or could not be made.
    #[error("connection lost")]
    Disconnected,
    /// The connection was not made in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The handshake was not done in time.
    #[error("no answer to the handshake in time")]
    HandshakeTimeout,
    /// Nothing was heard for too long.
    #[error("the router is silent")]
    Silent,
    /// The router sends, but does not answer.
    #[error("the router does not answer heartbeats")]
    NoPong,
    /// The router does not read what it is sent.
    #[error("the router does not read")]
    Overflow,
    /// The router does not know our secret.
    #[error("the router does not know the secret")]
    RouterUnproved,
    /// The router refuses us.
    #[error("the router refuses the link: {0:?}")]
    Refused(HelloRefusal),
    /// The stream is damaged, or a message is not allowed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        Self::Wire(error.into())
    }
}

impl From<MessageError> for LinkError {
    fn from(error: MessageError) -> Self {
        Self::Wire(error.into())
    }
}

/// Who is to blame for the end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkBlame {
    /// The network or the host of the router: trying again helps.
    Path,
    /// The configuration of one of the nodes: only an operator helps.
    Configuration,
    /// The router broke the protocol: a bug, or no router at all.
    Router,
}

impl LinkError {
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> LinkBlame {
        match self {
            Self::Disconnected
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::Silent
            | Self::NoPong
            | Self::Overflow
            | Self::Wire(WireError::Frame(_)) => LinkBlame::Path,
            Self::RouterUnproved => LinkBlame::Configuration,
            Self::Refused(reason) if reason.is_permanent() => LinkBlame::Configuration,
            Self::Refused(_) => LinkBlame::Path,
            Self::Wire(WireError::Message(_)) => LinkBlame::Router,
        }
    }

    /// What the router is told before the connection is closed, if it can be told anything: the only place that
    /// decides it.
    pub(super) fn farewell(&self) -> Option<GoAwayReason> {
        match self {
            Self::Wire(error) => Some(error.into()),
            Self::Overflow | Self::NoPong => Some(GoAwayReason::Slow),
            Self::Disconnected
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::Silent
            | Self::RouterUnproved
            | Self::Refused(_) => None,
        }
    }
}

/// Something for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNotice {
    /// The link is up.
    Up {
        /// Version spoken.
        version: u16,
        /// Incarnation of the router; another one than last time means that it was restarted.
        router_incarnation: u64,
    },
    /// The link, or an attempt at one, is over; another follows.
    Down {
        /// Why.
        error: LinkError,
        /// What the router said, if it refused.
        message: String,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// The router is about to end the link.
    GoAway {
        /// Why.
        reason: GoAwayReason,
        /// Time until it does.
        drain: Duration,
    },
    /// The link has been down for so long that its chats are reset now.
    Resetting {
        /// Chats that are subscribed.
        chats: usize,
    },
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Waits until it connects again.
    Waiting,
    /// Connecting or in its handshake.
    Connecting,
    /// Up: the router is proved and answers.
    Up,
    /// Stopped for good.
    Stopped,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Links that came up.
    pub ups: u64,
    /// Links and attempts that failed.
    pub failures: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes handed out.
    pub sent_bytes: u64,
    /// Updates received.
    pub updates: u64,
    /// Updates passed to cores.
    pub deliveries: u64,
    /// Updates that had been passed on before.
    pub duplicates: u64,
    /// Repairs begun.
    pub repairs: u64,
    /// Repairs that failed.
    pub repairs_failed: u64,
    /// Joins that were reset.
    pub resets: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
    /// Answers that came after that.
    pub late_answers: u64,
    /// Last time from `Ping` to `Pong` in microseconds.
    pub round_trip_us: u64,
}

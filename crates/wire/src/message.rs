//! The messages of a link, one enum per direction.
//!
//! Byte fields are slices of the body they came in and keep all of it alive: copy what is kept for long. How each
//! message is laid out stands in `docs/PROTOCOL.md` and in the private modules `encode` and `decode`.
use crate::auth::{Mac, Nonce};
use crate::error::{EncodeError, MessageError};
use crate::text::{ChatName, Text};
use crate::version::{Features, VersionRange};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

/// One direction's messages.
pub trait Message: Sized {
    /// Appends the encoding of `self` to `out`.
    ///
    /// # Errors
    /// [`EncodeError`] if a field is outside its documented range; `out` then ends in a part of the message.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The message at `position` of `body`, and `position` moved behind it. Messages that may be skipped are; `None`
    /// if nothing else was left.
    ///
    /// # Errors
    /// [`MessageError`]; `position` is then unspecified.
    fn decode(body: &Bytes, position: &mut usize) -> Result<Option<Self>, MessageError>;
}

/// A place in a chat's sequence: everything up to and including `offset` of `epoch` is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Identity of the chat's sequence of offsets; never 0 in what a router sends.
    pub epoch: u64,
    /// Offset of the last message known, 0 before the first; at most [`MAX_OFFSET`](crate::limits::MAX_OFFSET).
    pub offset: u64,
}

/// What a gateway sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToRouter {
    /// First message of a link.
    Hello(Hello),
    /// Answer to the challenge.
    Proof {
        /// HMAC over [`proof_parts`](crate::auth::proof_parts).
        mac: Mac,
    },
    /// The gateway wants a chat's updates from now on, under `handle`. Answered by `Subscribed` or `Unsubscribed`.
    Subscribe(Subscribe),
    /// The gateway wants no more updates. Answered by `Unsubscribed`, after which `handle` is free again.
    Unsubscribe {
        /// Handle of a `Subscribe` on this link.
        handle: u32,
    },
    /// A message for a chat. Answered by `Ack` or `Refusal`.
    Publish(Publish),
    /// A range of a chat's kept messages. Answered by `HistoryResult` or `Refusal`.
    History(History),
    /// Counts of a chat. Answered by `PresenceResult` or `Refusal`.
    PresenceStats {
        /// Chosen by the gateway, unique among its open requests on this link.
        request: u64,
        /// The chat.
        chat: ChatName,
    },
    /// How many members a chat has on this gateway; replaces the last count of this handle.
    Members {
        /// Handle of a `Subscribe` on this link.
        handle: u32,
        /// Members on all cores of the gateway.
        count: u32,
    },
    /// Something that every gateway must do; the router relays it to all its gateways, the sender included.
    /// Answered by `SignalResult`.
    Signal {
        /// Chosen by the gateway, unique among its open requests on this link.
        request: u64,
        /// What is to be done.
        signal: Signal,
    },
    /// Figures about the sender; replaces its last ones.
    NodeStats(NodeStats),
    /// What the router knows of all gateways. Answered by `NodesResult`.
    Nodes {
        /// Chosen by the gateway, unique among its open requests on this link.
        request: u64,
    },
    /// Sign of life that wants a `Pong`.
    Ping {
        /// Returned in the `Pong`.
        nonce: u64,
    },
    /// Answer to a `Ping`, behind everything that the sender had queued for this link.
    Pong {
        /// Of the `Ping`.
        nonce: u64,
    },
    /// The gateway ends the link.
    GoAway(GoAway),
}

/// What a router sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGateway {
    /// Answer to `Hello`, and the router's own proof of the secret.
    Challenge {
        /// The router's nonce.
        nonce: Nonce,
        /// HMAC over [`challenge_parts`](crate::auth::challenge_parts).
        mac: Mac,
    },
    /// The link is up.
    Welcome(Welcome),
    /// The link is refused; the router closes it.
    Refused(Refused),
    /// The subscription stands. The updates from `start + 1` to `offset` follow, then live ones.
    Subscribed(Subscribed),
    /// The subscription does not stand (any more): the last mention of `handle` until a new `Subscribe` uses it.
    Unsubscribed {
        /// Handle of the `Subscribe`.
        handle: u32,
        /// Why.
        reason: UnsubscribedReason,
        /// Earliest time for another try in milliseconds; 0 = no advice.
        retry_after_ms: u32,
    },
    /// A sequenced message of a chat.
    Update(Update),
    /// Updates of this chat were withheld because the link was behind: everything up to `offset` that has not come as
    /// an `Update` must be asked for. Updates after `offset` follow as usual.
    Lagged {
        /// Handle of the `Subscribe`.
        handle: u32,
        /// Epoch of the chat.
        epoch: u64,
        /// Top of the chat when this was queued.
        offset: u64,
    },
    /// A publish is done, to the durability that is configured.
    Ack {
        /// Of the `Publish`.
        request: u64,
        /// Epoch of the chat.
        epoch: u64,
        /// Offset of the message; of the first one with this key, if `duplicate`.
        offset: u64,
        /// The key had been seen: nothing was appended.
        duplicate: bool,
    },
    /// A request is not done.
    Refusal {
        /// Of the request.
        request: u64,
        /// Why.
        reason: RefusalReason,
        /// Earliest time for another try in milliseconds; 0 = no advice.
        retry_after_ms: u32,
    },
    /// Answer to `History`.
    HistoryResult(HistoryResult),
    /// Answer to `PresenceStats`.
    PresenceResult {
        /// Of the request.
        request: u64,
        /// Members on all gateways.
        clients: u32,
        /// Distinct users; equal to `clients` where the router cannot tell users apart.
        users: u32,
    },
    /// Something that this gateway must do.
    Signal(Signal),
    /// Answer to `Signal`.
    SignalResult {
        /// Of the request.
        request: u64,
        /// Gateways that the signal was queued for.
        gateways: u32,
    },
    /// Answer to `Nodes`.
    NodesResult {
        /// Of the request.
        request: u64,
        /// One entry per gateway that is linked.
        nodes: Vec<NodeInfo>,
    },
    /// The router is about to end the link.
    GoAway(GoAway),
    /// A slot has left this endpoint. Only with [`Features::MOVES`].
    Moved {
        /// The slot.
        slot: u16,
        /// [`rank`](crate::placement::rank) of its new endpoint in the list that both sides know.
        endpoint: u16,
    },
    /// Sign of life that wants a `Pong`.
    Ping {
        /// Returned in the `Pong`.
        nonce: u64,
    },
    /// Answer to a `Ping`, behind everything that the sender had queued for this link.
    Pong {
        /// Of the `Ping`.
        nonce: u64,
    },
}

/// Who the gateway is, what it speaks, and which placement it computes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Versions spoken.
    pub versions: VersionRange,
    /// Features offered.
    pub features: Features,
    /// Name of the node, unique in the installation.
    pub node: Text,
    /// Differs at each start of the node. A second link of the same node and endpoint replaces the first.
    pub node_incarnation: u64,
    /// Slots of the placement, 1 to [`MAX_SLOTS`](crate::limits::MAX_SLOTS).
    pub slots: u16,
    /// [`fingerprint`](crate::placement::fingerprint) of the endpoint list.
    pub topology: u64,
    /// [`rank`](crate::placement::rank) of this endpoint in that list.
    pub endpoint_index: u16,
    /// The gateway's nonce.
    pub nonce: Nonce,
}

/// Terms of a link that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both sides speak from now on.
    pub version: u16,
    /// Features granted.
    pub features: Features,
    /// Differs at each start of the router.
    pub router_incarnation: u64,
    /// Each side sends something at least this often, in milliseconds
    /// ([`HEARTBEAT_MS`](crate::limits::HEARTBEAT_MS)).
    pub heartbeat_ms: u32,
    /// Largest payload that the router takes in a `Publish`, in bytes.
    pub payload_bytes_max: u32,
    /// Most requests that the router takes unanswered on this link.
    pub requests_max: u32,
}

/// Refusal of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: HelloRefusal,
    /// Versions that the router speaks.
    pub versions: VersionRange,
    /// For the operator.
    pub message: Text,
}

/// A wish for a chat's updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Chosen by the gateway, small and dense; stands for the chat in everything that follows.
    pub handle: u32,
    /// The chat.
    pub chat: ChatName,
    /// Continue behind this position, if the router still can.
    pub resume: Option<Position>,
    /// If not resumed: how many of the newest messages to send first, to warm the gateway's cache.
    pub want: u16,
}

/// A message to be sequenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Chosen by the gateway, unique among its open requests on this link.
    pub request: u64,
    /// The chat.
    pub chat: ChatName,
    /// Idempotency key, 1 to 255 bytes: within the window a second publish with it changes nothing.
    pub key: Option<Bytes>,
    /// The message, opaque; may be empty.
    pub payload: Bytes,
}

/// A wish for a range of a chat's kept messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Chosen by the gateway, unique among its open requests on this link.
    pub request: u64,
    /// The chat.
    pub chat: ChatName,
    /// Exclusive start: forward from behind it, in reverse from before it. `None` = from the oldest kept message, in
    /// reverse from the newest. Epoch 0 stands for the chat's own; any other than the chat's is refused with
    /// `UnrecoverablePosition`. What is no longer kept is left out in silence.
    pub since: Option<Position>,
    /// Most publications; 0 asks for the position alone. The router may send fewer.
    pub limit: u32,
    /// Most payload bytes; at least one publication is sent if there is one and `limit` is not 0.
    pub max_bytes: u32,
    /// Newest first.
    pub reverse: bool,
}

/// A subscription that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Of the `Subscribe`.
    pub handle: u32,
    /// Epoch of the chat.
    pub epoch: u64,
    /// Top: offset of the newest message, 0 if there is none.
    pub offset: u64,
    /// The updates that follow at once begin at `start + 1` and end at `offset`; `start == offset`: none.
    pub start: u64,
    /// Offset of the oldest message kept; `offset + 1` if none is kept.
    pub oldest: u64,
    /// What became of `resume`.
    pub outcome: SubscribeOutcome,
}

/// A sequenced message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Handle of the chat.
    pub handle: u32,
    /// Its place in the chat's sequence, from 1.
    pub offset: u64,
    /// When the router sequenced it, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The message, opaque.
    pub payload: Bytes,
}

/// One message of a history result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its place in the chat's sequence, from 1.
    pub offset: u64,
    /// When the router sequenced it, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The message, opaque.
    pub payload: Bytes,
}

/// A range of kept messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryResult {
    /// Of the request.
    pub request: u64,
    /// Epoch of the chat.
    pub epoch: u64,
    /// Top: offset of the newest message, 0 if there is none.
    pub offset: u64,
    /// In ascending order of offsets, contiguous; in reverse descending.
    pub publications: Vec<Publication>,
}

/// Something that every gateway must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Close connections. Boxed: it is rare, and would double the size of [`ToGateway`].
    Disconnect(Box<Disconnect>),
}

/// Which connections to close, and how. Empty `user` and `client` match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Only connections of this user; empty = any user.
    pub user: Text,
    /// Only the connection with this client id; empty = any client.
    pub client: Text,
    /// WebSocket close code.
    pub code: u16,
    /// WebSocket close reason.
    pub reason: Text,
    /// Client ids to spare.
    pub except: Vec<Text>,
}

/// Figures about a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Software version.
    pub version: Text,
    /// Authenticated connections.
    pub clients: u32,
    /// Distinct users.
    pub users: u32,
    /// Chats with members.
    pub chats: u32,
    /// Members of all chats.
    pub subscriptions: u32,
    /// Seconds since the start.
    pub uptime_s: u32,
    /// CPU use in thousandths of one core, over the last interval.
    pub cpu_permille: u32,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// A gateway as the router knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Name from its `Hello`.
    pub node: Text,
    /// Incarnation from its `Hello`.
    pub node_incarnation: u64,
    /// Its last `NodeStats`; zeros before the first.
    pub stats: NodeStats,
}

/// Notice that the sender is about to end the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Why.
    pub reason: GoAwayReason,
    /// Time until the sender closes, in milliseconds: what is in flight may still be answered.
    pub drain_ms: u32,
}

/// What became of a subscription's `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeOutcome {
    /// None was asked for.
    Fresh,
    /// Every message behind it follows; `start` is its offset.
    Resumed,
    /// It could not be continued: another epoch, or messages behind it are no longer kept.
    Reset,
}

/// Declares an enum whose codes on the wire are fixed, and which keeps codes that it does not know.
macro_rules! codes {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A code that a later version of the peer uses.
            Unknown(UnknownCode),
        }

        impl $name {
            /// All known values, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            #[must_use]
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Unknown(code) => code.0,
                }
            }

            /// The value of a code.
            #[must_use]
            pub fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Unknown(UnknownCode(other)),
                }
            }
        }
    };
}

/// A code without a name in this build. Only decoding makes one, so that a known code has one representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnknownCode(u8);

codes! {
    /// Why a router refuses a link. What a gateway may expect of another try: [`HelloRefusal::is_permanent`].
    pub enum HelloRefusal {
        /// No common version.
        Version = 1,
        /// The proof is wrong: another secret.
        Unauthenticated = 2,
        /// Another endpoint list than the gateways that are already served.
        TopologyMismatch = 3,
        /// Another number of slots.
        SlotsMismatch = 4,
        /// This endpoint does not have the index that the gateway thinks it has.
        EndpointMismatch = 5,
        /// No room for another link.
        TooManyLinks = 6,
        /// The router is stopping.
        Draining = 7,
        /// The handshake took too long or broke its rules.
        Handshake = 8,
    }
}

impl HelloRefusal {
    /// Whether only a change of configuration helps. A gateway still tries again (the configuration may be about to
    /// change on the other side), but says so loudly.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        match self {
            Self::Version
            | Self::Unauthenticated
            | Self::TopologyMismatch
            | Self::SlotsMismatch
            | Self::EndpointMismatch => true,
            Self::TooManyLinks | Self::Draining | Self::Handshake | Self::Unknown(_) => false,
        }
    }
}

codes! {
    /// Why a request is not done. Codes below 64 are temporary: nothing happened, the same request may succeed later.
    pub enum RefusalReason {
        /// The router has too much to do.
        Overloaded = 1,
        /// Too many unanswered requests on this link.
        TooManyRequests = 2,
        /// The window of idempotency keys is full; forgetting one early would break its promise.
        KeyTableFull = 3,
        /// The router is stopping.
        Draining = 4,
        /// The log does not take the message now.
        StorageUnavailable = 5,
        /// The chat's slot is not served here (now).
        WrongSlot = 6,
        /// No room for another chat.
        TooManyChats = 7,
        /// The message is too large.
        TooLarge = 64,
        /// `since` names another epoch than the chat's.
        UnrecoverablePosition = 65,
        /// A field has a value that the router does not allow.
        BadRequest = 66,
        /// The chat's offsets are used up.
        Exhausted = 67,
        /// The log may or may not hold the message. With a key the same publish may be repeated safely.
        OutcomeUnknown = 68,
    }
}

impl RefusalReason {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        self.code() < 64
    }
}

codes! {
    /// Why a subscription does not stand.
    pub enum UnsubscribedReason {
        /// The gateway asked for it.
        Requested = 1,
        /// The chat's slot is not served here (any more).
        WrongSlot = 2,
        /// No room for another chat or subscription.
        TooManyChats = 3,
        /// The router is stopping.
        Draining = 4,
        /// The router cannot read the chat's log now.
        StorageUnavailable = 5,
    }
}

codes! {
    /// Why a side ends the link.
    pub enum GoAwayReason {
        /// It is stopping.
        Shutdown = 1,
        /// The bytes it received were not intact frames.
        Corrupt = 2,
        /// The peer broke the protocol.
        Protocol = 3,
        /// The peer read or answered too slowly.
        Slow = 4,
        /// A newer link of the same node has taken over.
        Replaced = 5,
    }
}

/// A message is moved out of the decoder for each update: it stays within one cache line.
const _: () = assert!(size_of::<ToGateway>() <= 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_one_representation() {
        for code in 0..=u8::MAX {
            assert_eq!(HelloRefusal::from_code(code).code(), code);
            assert_eq!(RefusalReason::from_code(code).code(), code);
            assert_eq!(UnsubscribedReason::from_code(code).code(), code);
            assert_eq!(GoAwayReason::from_code(code).code(), code);
        }
        for &reason in RefusalReason::ALL {
            assert_eq!(RefusalReason::from_code(reason.code()), reason);
        }
    }

    #[test]
    fn temporary_refusals_are_the_low_codes() {
        assert!(RefusalReason::KeyTableFull.is_temporary());
        assert!(!RefusalReason::TooLarge.is_temporary());
        assert!(RefusalReason::from_code(63).is_temporary());
        assert!(!RefusalReason::from_code(200).is_temporary());
    }
}

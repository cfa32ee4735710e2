//! How to talk to each kind of target: what to send to join, publish and switch, and how to read what comes back.
//!
//! | Module | Target |
//! |---|---|
//! | [`address`] | `ws://host:port/path`: where it is |
//! | [`centrifuge`] | Corecast, Centrifugo and everything else that speaks the Centrifuge protocol v2, JSON or Protobuf |
//! | [`raw`] | the broadcast servers of `benches/peers` (Bun, uWebSockets, ws, axum): commands of one letter |
//! | [`nats`] | nats-server over WebSocket |
//! | [`nchan`] | nginx with nchan: the chat is in the path |
//!
//! Pure: bytes in, [`Incoming`] out. Invariant: reading a publication never allocates in any of them, as long as it comes
//! whole and laid out as usual; whatever is laid out otherwise takes a slower road to the same result.

pub(crate) mod address;
mod centrifuge;
mod frames;
mod names;
mod nats;
mod nchan;
mod raw;

pub(crate) use address::Address;
pub(crate) use frames::Frames;
pub(crate) use names::Names;

use corecast_centrifuge::Encoding;
use serde::{Deserialize, Serialize};

use crate::scenario::Publisher;

/// What the target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Centrifuge protocol v2, JSON (Corecast, Centrifugo).
    CentrifugeJson,
    /// Centrifuge protocol v2, Protobuf.
    CentrifugeProtobuf,
    /// The one-letter commands of the servers in `benches/peers`.
    Raw,
    /// NATS over WebSocket.
    Nats,
    /// nchan; members publish, and the chat is the last part of the path.
    Nchan,
}

impl Protocol {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::CentrifugeJson => "centrifuge-json",
            Self::CentrifugeProtobuf => "centrifuge-protobuf",
            Self::Raw => "raw",
            Self::Nats => "nats",
            Self::Nchan => "nchan",
        }
    }

    /// Publications carry an offset, subscriptions a position: gaps are checked by the target's own numbers.
    pub fn has_offsets(self) -> bool {
        matches!(self, Self::CentrifugeJson | Self::CentrifugeProtobuf)
    }

    /// Every publish is answered.
    pub fn acknowledges(self) -> bool {
        self.has_offsets()
    }

    /// A member can open another chat on the same socket.
    pub fn switches(self) -> bool {
        self != Self::Nchan
    }

    /// Where the target listens by convention.
    pub fn default_path(self) -> &'static str {
        match self {
            Self::CentrifugeJson | Self::CentrifugeProtobuf => "/connection/websocket",
            Self::Raw | Self::Nats => "/",
            Self::Nchan => "/chat/",
        }
    }

    /// Who can publish.
    pub fn publishes_by(self, wanted: Publisher) -> Publisher {
        if self == Self::Nchan { Publisher::Member } else { wanted }
    }
}

/// A subscription to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Join<'a> {
    pub chat: u32,
    /// Epoch and offset from which to go on.
    pub resume: Option<(&'a str, u64)>,
}

/// What a member learns from one message of the target.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// `chat` is `None` if the name on it is not one of ours; `position` is `None` for targets without offsets.
    Publication { chat: Option<u32>, position: Option<u64>, body: &'a [u8] },
    /// The session is open; `subscribed` replies follow.
    Connected,
    /// A subscription is confirmed.
    Subscribed(Subscribed<'a>),
    /// All subscriptions asked for so far are confirmed (targets that do not name them).
    AllSubscribed,
    /// The answer to a publish.
    Published { id: u32, refused: Option<u32> },
    /// The target ended a subscription: code, as in the Centrifuge protocol.
    Unsubscribed { chat: Option<u32>, code: u32 },
    /// To be answered with [`Adapter::pong`].
    Ping,
    /// The target refuses the session or a subscription: for people.
    Refused { what: &'static str, code: u32, message: String, temporary: bool },
    /// Understood, and of no interest.
    Other,
}

/// See [`Incoming::Subscribed`].
#[derive(Debug)]
pub(crate) struct Subscribed<'a> {
    pub place: Place,
    /// `None` for targets without positions.
    pub position: Option<(&'a str, u64)>,
    /// Answer to a request to resume.
    pub recovery: Recovery,
    /// Missed publications, with their positions.
    pub missed: &'a [(u64, bytes::Bytes)],
}

/// Which of a member's chats is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// As numbered in [`Adapter::greet`] and [`Adapter::subscribe`].
    Index(u16),
    /// By its name.
    Chat(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// Not asked for.
    Fresh,
    Recovered,
    Lost,
}

/// What could not be read; counted, and the first few are shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(pub String);

/// One kind of target with what all its connections share.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    pub protocol: Protocol,
    pub names: Names,
    /// JWT of the connect command.
    pub token: Option<String>,
}

impl Adapter {
    fn encoding(&self) -> Encoding {
        if self.protocol == Protocol::CentrifugeProtobuf { Encoding::Protobuf } else { Encoding::Json }
    }

    /// To be offered in the upgrade.
    pub(crate) fn subprotocols(&self) -> &'static [&'static str] {
        if self.protocol == Protocol::CentrifugeProtobuf { &["centrifuge-protobuf"] } else { &[] }
    }

    /// Path of the upgrade; nchan names the chat there.
    pub(crate) fn path(&self, base: &str, first_chat: Option<u32>) -> String {
        match (self.protocol, first_chat) {
            (Protocol::Nchan, Some(chat)) => nchan::path(&self.names, base, chat),
            _ => base.to_owned(),
        }
    }

    /// Says hello and asks for all of a member's chats (none for a publisher).
    pub(crate) fn greet(&self, joins: &[Join<'_>], frames: &mut Frames) {
        match self.protocol {
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => {
                centrifuge::greet(self.encoding(), &self.names, self.token.as_deref(), joins, frames);
            }
            Protocol::Raw => raw::greet(&self.names, joins, frames),
            Protocol::Nats => nats::greet(&self.names, joins, frames),
            Protocol::Nchan => {}
        }
    }

    /// Whether the session is usable at once after the upgrade, without an answer to the greeting.
    pub(crate) fn joins_by_upgrade(&self, joins: usize) -> bool {
        self.protocol == Protocol::Nchan || (self.protocol == Protocol::Raw && joins == 0)
    }

    /// Asks for one more chat in place `index`.
    pub(crate) fn subscribe(&self, index: u16, join: Join<'_>, frames: &mut Frames) {
        match self.protocol {
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => {
                centrifuge::subscribe(self.encoding(), &self.names, index, &join, frames);
            }
            Protocol::Raw => raw::subscribe(&self.names, join.chat, frames),
            Protocol::Nats => nats::subscribe(&self.names, index, join.chat, frames),
            Protocol::Nchan => {}
        }
    }

    /// Leaves the chat in place `index`.
    pub(crate) fn unsubscribe(&self, index: u16, chat: u32, frames: &mut Frames) {
        match self.protocol {
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => {
                centrifuge::unsubscribe(self.encoding(), &self.names, index, chat, frames);
            }
            Protocol::Raw => raw::unsubscribe(&self.names, chat, frames),
            Protocol::Nats => nats::unsubscribe(index, frames),
            Protocol::Nchan => {}
        }
    }

    /// Publishes `body`; the answer, if there is one, carries `id` (at least [`PUBLISH_ID_MIN`]).
    pub(crate) fn publish(&self, id: u32, chat: u32, body: &[u8], frames: &mut Frames) {
        match self.protocol {
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => {
                centrifuge::publish(self.encoding(), &self.names, id, chat, body, frames);
            }
            Protocol::Raw => raw::publish(&self.names, chat, body, frames),
            Protocol::Nats => nats::publish(&self.names, chat, body, frames),
            Protocol::Nchan => frames.message(body),
        }
    }

    /// The answer to [`Incoming::Ping`].
    pub(crate) fn pong(&self, frames: &mut Frames) {
        match self.protocol {
            Protocol::CentrifugeJson | Protocol::CentrifugeProtobuf => frames.message(self.encoding().ping()),
            Protocol::Nats => nats::pong(frames),
            Protocol::Raw | Protocol::Nchan => {}
        }
    }

    /// Whether messages to the target are binary.
    pub(crate) fn is_binary(&self) -> bool {
        matches!(self.protocol, Protocol::CentrifugeProtobuf | Protocol::Nats)
    }

    /// Reads one WebSocket message. `carry` keeps what a message cut off, for protocols whose messages are a stream.
    pub(crate) fn read(
        &self,
        payload: &[u8],
        carry: &mut Option<Vec<u8>>,
        sink: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), Unreadable> {
        match self.protocol {
            Protocol::CentrifugeJson => centrifuge::read_json(&self.names, payload, sink),
            Protocol::CentrifugeProtobuf => centrifuge::read_protobuf(&self.names, payload, sink),
            Protocol::Raw => raw::read(&self.names, payload, sink),
            Protocol::Nats => nats::read(&self.names, payload, carry, sink),
            Protocol::Nchan => nchan::read(payload, sink),
        }
    }
}

/// Ids below are for connect, subscribe and unsubscribe.
pub(crate) const PUBLISH_ID_MIN: u32 = 1 << 16;

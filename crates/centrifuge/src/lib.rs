//! Centrifuge client protocol v2: one set of messages, two encodings (JSON and Protobuf), no I/O.
//!
//! A server decodes what a client sends with [`decode_commands`] and appends replies and pushes to a frame with
//! [`encode_reply`], [`encode_error`], [`encode_push`] and, on the path that costs something, a
//! [`PublicationEncoder`] per chat. Load generator and tests use the other direction in [`client`].
//!
//! Invariants that a change here would break:
//! * A payload is carried as it came. Neither encoding parses a body again or re-encodes it; in JSON it is the same
//!   text, in Protobuf the same bytes.
//! * Bytes that were not checked by [`sanitize_json`] (or did not arrive inside a JSON frame) never reach a JSON frame:
//!   the callers' duty, because only they know whether a chat has JSON members.
//! * A raw newline never leaves inside a JSON message, since it separates messages.
//! * A successful reply always contains its result field, even an empty one: the SDKs disconnect for good without it.
//! * No input makes this crate panic, and nothing is allocated from a declared length.
//! * Reasons of close frames and unsubscribe pushes are shorter than 124 bytes and never parse as JSON, because
//!   `centrifuge-js` takes such a reason as reconnect advice.
#![deny(clippy::cast_possible_truncation, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod client;
pub mod codes;
mod command;
mod encoding;
mod envelope;
mod json;
mod messages;
mod payload;
mod publication;
mod reply;
mod varint;

pub use command::{Command, Commands, DecodeError, DecodeLimits, Request, decode_commands};
pub use encoding::{Encoding, PING_JSON, PING_PROTOBUF, SUBPROTOCOL_JSON, SUBPROTOCOL_PROTOBUF};
pub use messages::{
    ClientInfo, ConnectRequest, ConnectResult, Disconnect, HistoryRequest, HistoryResult, Join, Leave, Message,
    PingRequest, PingResult, PresenceRequest, PresenceResult, PresenceStatsRequest, PresenceStatsResult, ProtocolError,
    Publication, PublishRequest, PublishResult, Push, RefreshRequest, RefreshResult, RpcRequest, RpcResult,
    SendRequest, StreamPosition, SubRefreshRequest, SubRefreshResult, Subscribe, SubscribeRequest, SubscribeResult,
    Unsubscribe, UnsubscribeRequest, UnsubscribeResult,
};
pub use payload::{MAX_PAYLOAD_DEPTH, NotJson, sanitize_json};
pub use publication::{PublicationEncoder, encode_publication};
pub use reply::{ReplyBody, encode_error, encode_ping, encode_push, encode_reply, encode_unsubscribe_push};

//! The protocol's messages. Field numbers and JSON names are those of the public protocol definition.
//!
//! Left out, and therefore skipped as unknown when a peer sends them: delta compression, tag filters, map and
//! shared-poll subscriptions, dictionary compression, HTTP emulation. `bytes` fields are embedded JSON in the JSON
//! encoding and any bytes in Protobuf.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::json::json_object;

/// Body of an error reply.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ProtocolError {
    /// Error code, see [`crate::codes::ErrorCode`]; custom ones are 400 to 1999.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people and logs.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Whether the client should try again by itself. Clients do not derive it from the code.
    #[prost(bool, tag = "3")]
    pub temporary: bool,
}
json_object!(ProtocolError { code, message, temporary });

/// Where in a chat's stream a reader stands.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct StreamPosition {
    /// Offset of the last message seen; 0 before the first one.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// Identity of the offset sequence; empty if unknown.
    #[prost(string, tag = "2")]
    pub epoch: String,
}
json_object!(StreamPosition { offset, epoch });

/// Who published or is present.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ClientInfo {
    /// User id; empty for an anonymous one.
    #[prost(string, tag = "1")]
    pub user: String,
    /// Id of the connection.
    #[prost(string, tag = "2")]
    pub client: String,
    /// `info` of the connection token.
    #[prost(bytes = "bytes", tag = "3")]
    pub conn_info: Bytes,
    /// `info` of the subscription token.
    #[prost(bytes = "bytes", tag = "4")]
    pub chan_info: Bytes,
}
json_object!(ClientInfo { user, client, conn_info, chan_info });

/// One message of a chat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Publication {
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
    /// The publisher, if the chat shows it.
    #[prost(message, optional, tag = "5")]
    pub info: Option<ClientInfo>,
    /// Position in the chat, from 1 and below 2^53; 0 in a chat without a stream.
    #[prost(uint64, tag = "6")]
    pub offset: u64,
    /// Application's tags.
    #[prost(btree_map = "string, string", tag = "7")]
    pub tags: BTreeMap<String, String>,
    /// Unix time of publication in milliseconds, if sent.
    #[prost(int64, tag = "9")]
    pub time: i64,
    /// The chat, where it is not clear from what surrounds the publication.
    #[prost(string, tag = "10")]
    pub channel: String,
    /// Epoch, in the first publication of a stream that did not exist when the client subscribed.
    #[prost(string, tag = "14")]
    pub epoch: String,
}
json_object!(Publication { data, info, offset, tags, time, channel, epoch });

/// Push: a client came.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Join {
    /// Who.
    #[prost(message, optional, tag = "1")]
    pub info: Option<ClientInfo>,
}
json_object!(Join { info });

/// Push: a client went.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Leave {
    /// Who.
    #[prost(message, optional, tag = "1")]
    pub info: Option<ClientInfo>,
}
json_object!(Leave { info });

/// Push: the server ended a subscription.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Unsubscribe {
    /// Code, see [`crate::codes::UnsubscribeCode`].
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// For people and logs.
    #[prost(string, tag = "3")]
    pub reason: String,
}
json_object!(Unsubscribe { code, reason });

/// Push: an asynchronous message outside any chat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Message {
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}
json_object!(Message { data });

/// Push: the server subscribed the client.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Subscribe {
    /// Whether a later resubscribe may recover.
    #[prost(bool, tag = "1")]
    pub recoverable: bool,
    /// Epoch of the stream.
    #[prost(string, tag = "4")]
    pub epoch: String,
    /// Top offset of the chat.
    #[prost(uint64, tag = "5")]
    pub offset: u64,
    /// Whether epoch and offset are given.
    #[prost(bool, tag = "6")]
    pub positioned: bool,
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "7")]
    pub data: Bytes,
}
json_object!(Subscribe { recoverable, positioned, epoch, offset, data });

/// Push: the server is about to close. Not used on WebSocket, where a close frame says the same.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Disconnect {
    /// Code, see [`crate::codes::CloseCode`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people and logs.
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Whether to come back.
    #[prost(bool, tag = "3")]
    pub reconnect: bool,
}
json_object!(Disconnect { code, reason, reconnect });

/// What the server sends without being asked. At most one of the optional fields is set.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Push {
    /// The chat.
    #[prost(string, tag = "2")]
    pub channel: String,
    /// A message.
    #[prost(message, optional, tag = "4")]
    pub publication: Option<Publication>,
    /// A client came.
    #[prost(message, optional, tag = "5")]
    pub join: Option<Join>,
    /// A client went.
    #[prost(message, optional, tag = "6")]
    pub leave: Option<Leave>,
    /// The server ended the subscription.
    #[prost(message, optional, tag = "7")]
    pub unsubscribe: Option<Unsubscribe>,
    /// An asynchronous message.
    #[prost(message, optional, tag = "8")]
    pub message: Option<Message>,
    /// The server subscribed the client.
    #[prost(message, optional, tag = "9")]
    pub subscribe: Option<Subscribe>,
    /// The server is about to close.
    #[prost(message, optional, tag = "11")]
    pub disconnect: Option<Disconnect>,
}
json_object!(Push { channel, publication = "pub", join, leave, unsubscribe, message, subscribe, disconnect });

/// First command of a connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct ConnectRequest {
    /// JWT; empty for an anonymous client.
    #[prost(string, tag = "1")]
    pub token: String,
    /// Application data, opaque.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// Positions of the server-side subscriptions of an earlier connection, by chat.
    #[prost(btree_map = "string, message", tag = "3")]
    pub subs: BTreeMap<String, SubscribeRequest>,
    /// Name of the SDK, such as `js`.
    #[prost(string, tag = "4")]
    pub name: String,
    /// Version of the application.
    #[prost(string, tag = "5")]
    pub version: String,
    /// Emulated HTTP headers of browsers.
    #[prost(btree_map = "string, string", tag = "6")]
    pub headers: BTreeMap<String, String>,
    /// Bits of optional features that the client supports.
    #[prost(int64, tag = "7")]
    pub flag: i64,
}
json_object!(ConnectRequest { token, data, subs, name, version, headers, flag });

/// Without the token, which opens an account to whoever reads the log.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectRequest")
            .field("token", &Redacted(&self.token))
            .field("data", &self.data)
            .field("subs", &self.subs)
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Answer to [`ConnectRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConnectResult {
    /// Unique id of this connection.
    #[prost(string, tag = "1")]
    pub client: String,
    /// Version of the server, if told.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Whether the connection ends at `ttl` unless refreshed.
    #[prost(bool, tag = "3")]
    pub expires: bool,
    /// Seconds until then.
    #[prost(uint32, tag = "4")]
    pub ttl: u32,
    /// Application data, opaque.
    #[prost(bytes = "bytes", tag = "5")]
    pub data: Bytes,
    /// Server-side subscriptions, by chat.
    #[prost(btree_map = "string, message", tag = "6")]
    pub subs: BTreeMap<String, SubscribeResult>,
    /// Interval of the server's pings in seconds; 0 = none.
    #[prost(uint32, tag = "7")]
    pub ping: u32,
    /// Whether the client must answer pings.
    #[prost(bool, tag = "8")]
    pub pong: bool,
    /// For HTTP fallbacks.
    #[prost(string, tag = "9")]
    pub session: String,
    /// For HTTP fallbacks.
    #[prost(string, tag = "10")]
    pub node: String,
    /// Unix time of the server in milliseconds, if sent.
    #[prost(int64, tag = "11")]
    pub time: i64,
    /// Bits of optional features that the server enabled.
    #[prost(int64, tag = "12")]
    pub flag: i64,
}
json_object!(ConnectResult { client, version, expires, ttl, data, subs, ping, pong, session, node, time, flag });

/// Wants the messages of a chat from now on, or from a known position.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct SubscribeRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// JWT for this chat; empty if none.
    #[prost(string, tag = "2")]
    pub token: String,
    /// Whether `offset` and `epoch` are where the client stopped.
    #[prost(bool, tag = "3")]
    pub recover: bool,
    /// Epoch that the client knows; empty if none.
    #[prost(string, tag = "6")]
    pub epoch: String,
    /// Offset of the last message that the client has.
    #[prost(uint64, tag = "7")]
    pub offset: u64,
    /// Application data, opaque.
    #[prost(bytes = "bytes", tag = "8")]
    pub data: Bytes,
    /// Asks for a positioned subscription.
    #[prost(bool, tag = "9")]
    pub positioned: bool,
    /// Asks for a recoverable subscription.
    #[prost(bool, tag = "10")]
    pub recoverable: bool,
    /// Asks for join and leave pushes.
    #[prost(bool, tag = "11")]
    pub join_leave: bool,
    /// Bits: 1 = accepts numeric chat ids, 2 = wants error 112 instead of `recovered: false`.
    #[prost(int64, tag = "14")]
    pub flag: i64,
    /// 0 = stream subscription, the only kind here.
    #[prost(int32, tag = "15")]
    pub r#type: i32,
}
json_object!(SubscribeRequest {
    channel,
    token,
    flag,
    recover,
    offset,
    epoch,
    data,
    positioned,
    recoverable,
    join_leave,
    r#type = "type",
});

impl SubscribeRequest {
    /// Bit of `flag`: answer error 112 instead of `recovered: false`.
    pub const FLAG_ERROR_IF_UNRECOVERABLE: i64 = 2;
}

/// Without the token.
impl fmt::Debug for SubscribeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SubscribeRequest")
            .field("channel", &self.channel)
            .field("token", &Redacted(&self.token))
            .field("recover", &self.recover)
            .field("offset", &self.offset)
            .field("epoch", &self.epoch)
            .field("flag", &self.flag)
            .finish_non_exhaustive()
    }
}

/// Answer to [`SubscribeRequest`], and state of a server-side subscription.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SubscribeResult {
    /// Whether the subscription ends at `ttl` unless refreshed.
    #[prost(bool, tag = "1")]
    pub expires: bool,
    /// Seconds until then.
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
    /// Must be set in every reply for a chat with recovery, or the client forgets its position.
    #[prost(bool, tag = "3")]
    pub recoverable: bool,
    /// Epoch of the stream.
    #[prost(string, tag = "6")]
    pub epoch: String,
    /// Missed messages, ascending and contiguous, only if `recovered`.
    #[prost(message, repeated, tag = "7")]
    pub publications: Vec<Publication>,
    /// Whether all missed messages are here.
    #[prost(bool, tag = "8")]
    pub recovered: bool,
    /// Top of the chat; after a recovery the client's own offset.
    #[prost(uint64, tag = "9")]
    pub offset: u64,
    /// Whether epoch and offset are given.
    #[prost(bool, tag = "10")]
    pub positioned: bool,
    /// Application data, opaque.
    #[prost(bytes = "bytes", tag = "11")]
    pub data: Bytes,
    /// Whether the request asked for recovery.
    #[prost(bool, tag = "12")]
    pub was_recovering: bool,
}
json_object!(SubscribeResult {
    expires,
    ttl,
    recoverable,
    positioned,
    epoch,
    was_recovering,
    recovered,
    offset,
    publications,
    data,
});

/// Wants no more messages of a chat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UnsubscribeRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
}
json_object!(UnsubscribeRequest { channel });

/// Answer to [`UnsubscribeRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct UnsubscribeResult {}
json_object!(UnsubscribeResult {});

/// Sends a message to a chat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PublishRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// 0 = to the stream, the only kind here.
    #[prost(int32, tag = "3")]
    pub r#type: i32,
}
json_object!(PublishRequest { channel, data, r#type = "type" });

/// Answer to [`PublishRequest`]: no offset.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PublishResult {}
json_object!(PublishResult {});

/// Asks who is in a chat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PresenceRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
}
json_object!(PresenceRequest { channel });

/// Answer to [`PresenceRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PresenceResult {
    /// By id of the connection.
    #[prost(btree_map = "string, message", tag = "1")]
    pub presence: BTreeMap<String, ClientInfo>,
}
json_object!(PresenceResult { presence });

/// Asks how many are in a chat.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PresenceStatsRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
}
json_object!(PresenceStatsRequest { channel });

/// Answer to [`PresenceStatsRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PresenceStatsResult {
    /// Connections.
    #[prost(uint32, tag = "1")]
    pub num_clients: u32,
    /// Distinct users.
    #[prost(uint32, tag = "2")]
    pub num_users: u32,
}
json_object!(PresenceStatsResult { num_clients, num_users });

/// Asks for messages of the past.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HistoryRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// Most messages wanted; 0 = only the position, negative = as many as the server gives.
    #[prost(int32, tag = "7")]
    pub limit: i32,
    /// Only messages after this position (before it if `reverse`).
    #[prost(message, optional, tag = "8")]
    pub since: Option<StreamPosition>,
    /// Newest first.
    #[prost(bool, tag = "9")]
    pub reverse: bool,
}
json_object!(HistoryRequest { channel, limit, since, reverse });

/// Answer to [`HistoryRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HistoryResult {
    /// In the order asked for.
    #[prost(message, repeated, tag = "1")]
    pub publications: Vec<Publication>,
    /// Epoch of the stream.
    #[prost(string, tag = "2")]
    pub epoch: String,
    /// Top offset of the chat.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
}
json_object!(HistoryResult { publications, epoch, offset });

/// Not used by SDKs; kept so that it can be refused by name.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PingRequest {}
json_object!(PingRequest {});

/// Answer to [`PingRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PingResult {}
json_object!(PingResult {});

/// An asynchronous message to the application, without a reply.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SendRequest {
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}
json_object!(SendRequest { data });

/// A call to the application.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RpcRequest {
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// What to call.
    #[prost(string, tag = "2")]
    pub method: String,
}
json_object!(RpcRequest { data, method });

/// Answer to [`RpcRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RpcResult {
    /// The body, opaque.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}
json_object!(RpcResult { data });

/// Extends the connection with a fresh token.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct RefreshRequest {
    /// JWT.
    #[prost(string, tag = "1")]
    pub token: String,
}
json_object!(RefreshRequest { token });

/// Without the token.
impl fmt::Debug for RefreshRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RefreshRequest").field("token", &Redacted(&self.token)).finish()
    }
}

/// Answer to [`RefreshRequest`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RefreshResult {
    /// Unique id of this connection.
    #[prost(string, tag = "1")]
    pub client: String,
    /// Version of the server, if told.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Whether the connection ends at `ttl` unless refreshed.
    #[prost(bool, tag = "3")]
    pub expires: bool,
    /// Seconds until then.
    #[prost(uint32, tag = "4")]
    pub ttl: u32,
}
json_object!(RefreshResult { client, version, expires, ttl });

/// Extends a subscription with a fresh token.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct SubRefreshRequest {
    /// The chat.
    #[prost(string, tag = "1")]
    pub channel: String,
    /// JWT for this chat.
    #[prost(string, tag = "2")]
    pub token: String,
    /// 0 = refresh, the only kind here.
    #[prost(int32, tag = "3")]
    pub r#type: i32,
}
json_object!(SubRefreshRequest { channel, token, r#type = "type" });

/// Without the token.
impl fmt::Debug for SubRefreshRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SubRefreshRequest")
            .field("channel", &self.channel)
            .field("token", &Redacted(&self.token))
            .finish_non_exhaustive()
    }
}

/// Answer to [`SubRefreshRequest`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SubRefreshResult {
    /// Whether the subscription ends at `ttl` unless refreshed.
    #[prost(bool, tag = "1")]
    pub expires: bool,
    /// Seconds until then.
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
}
json_object!(SubRefreshResult { expires, ttl });

/// Shows how long a secret is, not what it is.
struct Redacted<'a>(&'a str);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{} bytes>", self.0.len())
    }
}

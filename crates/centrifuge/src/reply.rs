//! What the server sends: replies to commands, and pushes.

use crate::codes::UnsubscribeCode;
use crate::encoding::Encoding;
use crate::envelope::{self, Field, envelope};
use crate::messages::{
    ConnectResult, HistoryResult, PingResult, PresenceResult, PresenceStatsResult, ProtocolError, PublishResult, Push,
    RefreshResult, RpcResult, SubRefreshResult, SubscribeResult, Unsubscribe, UnsubscribeResult,
};

envelope! {
    /// The result of a command. Always sent, even when empty.
    pub enum ReplyBody;
    struct ReplyMessage { id, error: ProtocolError = 2, push: Push = 4, }
    units {}
    /// Of `connect`.
    Connect(ConnectResult) = connect 5;
    /// Of `subscribe`.
    Subscribe(SubscribeResult) = subscribe 6;
    /// Of `unsubscribe`.
    Unsubscribe(UnsubscribeResult) = unsubscribe 7;
    /// Of `publish`.
    Publish(PublishResult) = publish 8;
    /// Of `presence`.
    Presence(PresenceResult) = presence 9;
    /// Of `presence_stats`.
    PresenceStats(PresenceStatsResult) = presence_stats 10;
    /// Of `history`.
    History(HistoryResult) = history 11;
    /// Of `ping`.
    Ping(PingResult) = ping 12;
    /// Of `rpc`.
    Rpc(RpcResult) = rpc 13;
    /// Of `refresh`.
    Refresh(RefreshResult) = refresh 14;
    /// Of `sub_refresh`.
    SubRefresh(SubRefreshResult) = sub_refresh 15;
}

/// Number of `error` in a reply.
const ERROR: u32 = 2;

/// Number of `push` in a reply.
const PUSH: u32 = 4;

/// Appends the successful reply to command `id`.
///
/// Like the other functions here it appends to what `out` holds of the same frame: JSON messages are joined by `\n`,
/// Protobuf messages follow each other behind their lengths. `out` must not hold a WebSocket header.
pub fn encode_reply(encoding: Encoding, id: u32, reply: &ReplyBody, out: &mut Vec<u8>) {
    envelope::write(encoding, id, reply.field().as_ref(), out);
}

/// Appends the error reply to command `id`.
pub fn encode_error(encoding: Encoding, id: u32, error: &ProtocolError, out: &mut Vec<u8>) {
    envelope::write(encoding, id, Some(&Field { number: ERROR, name: "error", body: error }), out);
}

/// Appends a push. For publications to many members use [`PublicationEncoder`](crate::PublicationEncoder).
pub fn encode_push(encoding: Encoding, push: &Push, out: &mut Vec<u8>) {
    envelope::write(encoding, 0, Some(&Field { number: PUSH, name: "push", body: push }), out);
}

/// Appends the push that ends the subscription to `channel`. After a code from 2500 the client subscribes again at
/// once; nothing of this chat may follow before the reply to that.
pub fn encode_unsubscribe_push(encoding: Encoding, channel: &str, code: UnsubscribeCode, out: &mut Vec<u8>) {
    let unsubscribe = Unsubscribe { code: code.code(), reason: code.reason().to_owned() };
    let push = Push { channel: channel.to_owned(), unsubscribe: Some(unsubscribe), ..Push::default() };
    encode_push(encoding, &push, out);
}

/// Appends a ping. Where it is the whole frame, [`Encoding::ping`] is the same as a constant.
pub fn encode_ping(encoding: Encoding, out: &mut Vec<u8>) {
    envelope::write(encoding, 0, None, out);
}

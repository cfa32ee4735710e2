//! How each message is written. The tables in `docs/PROTOCOL.md` list the fields in this order.
use crate::codec::{
    put_bool, put_bounded, put_bytes, put_chat, put_offset, put_position, put_text, put_time, put_u64, put_varint,
};
use crate::error::EncodeError;
use crate::limits::{
    MAX_HISTORY_BYTES, MAX_HISTORY_PUBLICATIONS, MAX_KEY_BYTES, MAX_NODES, MAX_PAYLOAD_BYTES, MAX_SIGNAL_EXCEPTIONS,
    MAX_SLOTS,
};
use crate::message::{
    Disconnect, GoAway, Hello, History, HistoryResult, NodeInfo, NodeStats, Publication, Publish, Refused, Signal,
    Subscribe, SubscribeOutcome, Subscribed, ToGateway, ToRouter, Welcome,
};
use crate::version::VersionRange;
use alloc::vec::Vec;

/// Message types. Below 0x80 an unknown type is an error; from 0x80 on a type is followed by a length, and who does
/// not know it skips it.
pub(crate) mod types {
    pub(crate) const PING: u8 = 0x01;
    pub(crate) const PONG: u8 = 0x02;
    pub(crate) const GO_AWAY: u8 = 0x03;

    pub(crate) const HELLO: u8 = 0x10;
    pub(crate) const PROOF: u8 = 0x11;
    pub(crate) const SUBSCRIBE: u8 = 0x12;
    pub(crate) const UNSUBSCRIBE: u8 = 0x13;
    pub(crate) const PUBLISH: u8 = 0x14;
    pub(crate) const HISTORY: u8 = 0x15;
    pub(crate) const PRESENCE_STATS: u8 = 0x16;
    pub(crate) const MEMBERS: u8 = 0x17;
    pub(crate) const SIGNAL_REQUEST: u8 = 0x18;
    pub(crate) const NODE_STATS: u8 = 0x19;
    pub(crate) const NODES: u8 = 0x1a;

    pub(crate) const CHALLENGE: u8 = 0x40;
    pub(crate) const WELCOME: u8 = 0x41;
    pub(crate) const REFUSED: u8 = 0x42;
    pub(crate) const SUBSCRIBED: u8 = 0x43;
    pub(crate) const UNSUBSCRIBED: u8 = 0x44;
    pub(crate) const UPDATE: u8 = 0x45;
    pub(crate) const LAGGED: u8 = 0x46;
    pub(crate) const ACK: u8 = 0x47;
    pub(crate) const REFUSAL: u8 = 0x48;
    pub(crate) const HISTORY_RESULT: u8 = 0x49;
    pub(crate) const PRESENCE_RESULT: u8 = 0x4a;
    pub(crate) const SIGNAL: u8 = 0x4b;
    pub(crate) const SIGNAL_RESULT: u8 = 0x4c;
    pub(crate) const NODES_RESULT: u8 = 0x4d;
    pub(crate) const MOVED: u8 = 0x4e;

    /// First type that may be skipped.
    pub(crate) const SKIPPABLE: u8 = 0x80;
}

/// Codes of [`Signal`].
pub(crate) mod signals {
    pub(crate) const DISCONNECT: u8 = 1;
}

/// Codes of [`SubscribeOutcome`].
pub(crate) mod outcomes {
    pub(crate) const FRESH: u8 = 0;
    pub(crate) const RESUMED: u8 = 1;
    pub(crate) const RESET: u8 = 2;
}

/// Space for the fields of an update: type 1, handle 5, offset 8, time 7, length 3.
const UPDATE_FIELDS_BYTES_MAX: usize = 24;

#[inline]
pub(crate) fn update(
    out: &mut Vec<u8>,
    handle: u32,
    offset: u64,
    time_ms: u64,
    payload: &[u8],
) -> Result<(), EncodeError> {
    out.reserve(UPDATE_FIELDS_BYTES_MAX + payload.len().min(MAX_PAYLOAD_BYTES));
    out.push(types::UPDATE);
    put_varint(out, u64::from(handle));
    put_offset(out, offset)?;
    put_time(out, time_ms)?;
    put_bytes(out, payload, MAX_PAYLOAD_BYTES, "payload")
}

pub(crate) fn to_router(message: &ToRouter, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match message {
        ToRouter::Hello(message) => hello(out, message),
        ToRouter::Proof { mac } => {
            out.push(types::PROOF);
            out.extend_from_slice(mac);
            no_extensions(out);
            Ok(())
        }
        ToRouter::Subscribe(message) => subscribe(out, message),
        ToRouter::Unsubscribe { handle } => {
            out.push(types::UNSUBSCRIBE);
            put_varint(out, u64::from(*handle));
            Ok(())
        }
        ToRouter::Publish(message) => publish(out, message),
        ToRouter::History(message) => history(out, message),
        ToRouter::PresenceStats { request, chat } => {
            out.push(types::PRESENCE_STATS);
            put_varint(out, *request);
            put_chat(out, chat);
            Ok(())
        }
        ToRouter::Members { handle, count } => {
            out.push(types::MEMBERS);
            put_varint(out, u64::from(*handle));
            put_varint(out, u64::from(*count));
            Ok(())
        }
        ToRouter::Signal { request, signal } => {
            out.push(types::SIGNAL_REQUEST);
            put_varint(out, *request);
            put_signal(out, signal)
        }
        ToRouter::NodeStats(stats) => {
            out.push(types::NODE_STATS);
            put_stats(out, stats);
            Ok(())
        }
        ToRouter::Nodes { request } => {
            out.push(types::NODES);
            put_varint(out, *request);
            Ok(())
        }
        ToRouter::Ping { nonce } => beat(out, types::PING, *nonce),
        ToRouter::Pong { nonce } => beat(out, types::PONG, *nonce),
        ToRouter::GoAway(message) => go_away(out, message),
    }
}

pub(crate) fn to_gateway(message: &ToGateway, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match message {
        ToGateway::Update(message) => update(out, message.handle, message.offset, message.time_ms, &message.payload),
        ToGateway::Challenge { nonce, mac } => {
            out.push(types::CHALLENGE);
            out.extend_from_slice(nonce);
            out.extend_from_slice(mac);
            no_extensions(out);
            Ok(())
        }
        ToGateway::Welcome(message) => welcome(out, message),
        ToGateway::Refused(message) => refused(out, message),
        ToGateway::Subscribed(message) => subscribed(out, message),
        ToGateway::Unsubscribed { handle, reason, retry_after_ms } => {
            no(out, types::UNSUBSCRIBED, u64::from(*handle), reason.code(), *retry_after_ms)
        }
        ToGateway::Lagged { handle, epoch, offset } => {
            out.push(types::LAGGED);
            put_varint(out, u64::from(*handle));
            put_u64(out, *epoch);
            put_offset(out, *offset)
        }
        ToGateway::Ack { request, epoch, offset, duplicate } => {
            out.push(types::ACK);
            put_varint(out, *request);
            put_u64(out, *epoch);
            put_offset(out, *offset)?;
            put_bool(out, *duplicate);
            Ok(())
        }
        ToGateway::Refusal { request, reason, retry_after_ms } => {
            no(out, types::REFUSAL, *request, reason.code(), *retry_after_ms)
        }
        ToGateway::HistoryResult(HistoryResult { request, epoch, offset, publications }) => {
            let publications = publications
                .iter()
                .map(|Publication { offset, time_ms, payload }| (*offset, *time_ms, payload.as_ref()));
            history_result(out, *request, *epoch, *offset, publications)
        }
        ToGateway::PresenceResult { request, clients, users } => {
            out.push(types::PRESENCE_RESULT);
            put_varint(out, *request);
            put_varint(out, u64::from(*clients));
            put_varint(out, u64::from(*users));
            Ok(())
        }
        ToGateway::Signal(signal) => {
            out.push(types::SIGNAL);
            put_signal(out, signal)
        }
        ToGateway::SignalResult { request, gateways } => {
            out.push(types::SIGNAL_RESULT);
            put_varint(out, *request);
            put_varint(out, u64::from(*gateways));
            Ok(())
        }
        ToGateway::NodesResult { request, nodes } => nodes_result(out, *request, nodes),
        ToGateway::GoAway(message) => go_away(out, message),
        ToGateway::Moved { slot, endpoint } => {
            out.push(types::MOVED);
            put_varint(out, u64::from(*slot));
            put_varint(out, u64::from(*endpoint));
            Ok(())
        }
        ToGateway::Ping { nonce } => beat(out, types::PING, *nonce),
        ToGateway::Pong { nonce } => beat(out, types::PONG, *nonce),
    }
}

/// A refusal of what `subject` stands for.
fn no(out: &mut Vec<u8>, kind: u8, subject: u64, reason: u8, retry_after_ms: u32) -> Result<(), EncodeError> {
    out.push(kind);
    put_varint(out, subject);
    out.push(reason);
    put_varint(out, u64::from(retry_after_ms));
    Ok(())
}

/// The handshake's messages end in a byte string for fields of later versions; this version has none.
fn no_extensions(out: &mut Vec<u8>) {
    out.push(0);
}

fn put_versions(out: &mut Vec<u8>, versions: VersionRange) -> Result<(), EncodeError> {
    if versions.min > versions.max {
        return Err(EncodeError::OutOfRange { field: "versions" });
    }
    put_varint(out, u64::from(versions.min));
    put_varint(out, u64::from(versions.max));
    Ok(())
}

fn hello(out: &mut Vec<u8>, message: &Hello) -> Result<(), EncodeError> {
    if message.slots == 0 || message.slots > MAX_SLOTS {
        return Err(EncodeError::OutOfRange { field: "slots" });
    }
    out.push(types::HELLO);
    put_versions(out, message.versions)?;
    put_u64(out, message.features.0);
    put_text(out, &message.node);
    put_u64(out, message.node_incarnation);
    put_varint(out, u64::from(message.slots));
    put_u64(out, message.topology);
    put_varint(out, u64::from(message.endpoint_index));
    out.extend_from_slice(&message.nonce);
    no_extensions(out);
    Ok(())
}

fn welcome(out: &mut Vec<u8>, message: &Welcome) -> Result<(), EncodeError> {
    if !crate::limits::HEARTBEAT_MS.contains(&message.heartbeat_ms) {
        return Err(EncodeError::OutOfRange { field: "heartbeat_ms" });
    }
    out.push(types::WELCOME);
    put_varint(out, u64::from(message.version));
    put_u64(out, message.features.0);
    put_u64(out, message.router_incarnation);
    put_varint(out, u64::from(message.heartbeat_ms));
    put_varint(out, u64::from(message.payload_bytes_max));
    put_varint(out, u64::from(message.requests_max));
    no_extensions(out);
    Ok(())
}

fn refused(out: &mut Vec<u8>, message: &Refused) -> Result<(), EncodeError> {
    out.push(types::REFUSED);
    out.push(message.reason.code());
    put_versions(out, message.versions)?;
    put_text(out, &message.message);
    no_extensions(out);
    Ok(())
}

fn subscribe(out: &mut Vec<u8>, message: &Subscribe) -> Result<(), EncodeError> {
    out.push(types::SUBSCRIBE);
    put_varint(out, u64::from(message.handle));
    put_chat(out, &message.chat);
    put_position(out, message.resume.as_ref())?;
    put_varint(out, u64::from(message.want));
    Ok(())
}

fn publish(out: &mut Vec<u8>, message: &Publish) -> Result<(), EncodeError> {
    out.push(types::PUBLISH);
    put_varint(out, message.request);
    put_chat(out, &message.chat);
    // An empty byte string stands for "no key"; a key has at least one byte.
    let key: &[u8] = match &message.key {
        Some(key) if key.is_empty() => return Err(EncodeError::OutOfRange { field: "key" }),
        Some(key) => key,
        None => &[],
    };
    put_bytes(out, key, MAX_KEY_BYTES, "key")?;
    put_bytes(out, &message.payload, MAX_PAYLOAD_BYTES, "payload")
}

fn history(out: &mut Vec<u8>, message: &History) -> Result<(), EncodeError> {
    out.push(types::HISTORY);
    put_varint(out, message.request);
    put_chat(out, &message.chat);
    put_position(out, message.since.as_ref())?;
    put_varint(out, u64::from(message.limit));
    put_varint(out, u64::from(message.max_bytes));
    put_bool(out, message.reverse);
    Ok(())
}

fn subscribed(out: &mut Vec<u8>, message: &Subscribed) -> Result<(), EncodeError> {
    out.push(types::SUBSCRIBED);
    put_varint(out, u64::from(message.handle));
    put_u64(out, message.epoch);
    put_offset(out, message.offset)?;
    put_bounded(out, message.start, message.offset, "start")?;
    put_bounded(out, message.oldest, message.offset.saturating_add(1), "oldest")?;
    out.push(match message.outcome {
        SubscribeOutcome::Fresh => outcomes::FRESH,
        SubscribeOutcome::Resumed => outcomes::RESUMED,
        SubscribeOutcome::Reset => outcomes::RESET,
    });
    Ok(())
}

/// A history result of publications given as (offset, time, payload).
pub(crate) fn history_result<'a>(
    out: &mut Vec<u8>,
    request: u64,
    epoch: u64,
    top: u64,
    publications: impl ExactSizeIterator<Item = (u64, u64, &'a [u8])>,
) -> Result<(), EncodeError> {
    let count = publications.len();
    if count > MAX_HISTORY_PUBLICATIONS {
        return Err(EncodeError::OutOfRange { field: "publications" });
    }
    out.push(types::HISTORY_RESULT);
    put_varint(out, request);
    put_u64(out, epoch);
    put_offset(out, top)?;
    put_varint(out, count as u64);
    let mut payload_bytes = 0_usize;
    for (offset, time_ms, payload) in publications {
        put_offset(out, offset)?;
        put_time(out, time_ms)?;
        put_bytes(out, payload, MAX_PAYLOAD_BYTES, "payload")?;
        payload_bytes += payload.len();
    }
    if payload_bytes > MAX_HISTORY_BYTES {
        return Err(EncodeError::OutOfRange { field: "publications" });
    }
    Ok(())
}

fn nodes_result(out: &mut Vec<u8>, request: u64, nodes: &[NodeInfo]) -> Result<(), EncodeError> {
    if nodes.len() > MAX_NODES {
        return Err(EncodeError::OutOfRange { field: "nodes" });
    }
    out.push(types::NODES_RESULT);
    put_varint(out, request);
    put_varint(out, nodes.len() as u64);
    for NodeInfo { node, node_incarnation, stats } in nodes {
        put_text(out, node);
        put_u64(out, *node_incarnation);
        put_stats(out, stats);
    }
    Ok(())
}

fn put_stats(out: &mut Vec<u8>, stats: &NodeStats) {
    put_text(out, &stats.version);
    put_varint(out, u64::from(stats.clients));
    put_varint(out, u64::from(stats.users));
    put_varint(out, u64::from(stats.chats));
    put_varint(out, u64::from(stats.subscriptions));
    put_varint(out, u64::from(stats.uptime_s));
    put_varint(out, u64::from(stats.cpu_permille));
    put_varint(out, stats.rss_bytes);
}

fn put_signal(out: &mut Vec<u8>, signal: &Signal) -> Result<(), EncodeError> {
    match signal {
        Signal::Disconnect(disconnect) => {
            let Disconnect { user, client, code, reason, except } = &**disconnect;
            if except.len() > MAX_SIGNAL_EXCEPTIONS {
                return Err(EncodeError::OutOfRange { field: "except" });
            }
            out.push(signals::DISCONNECT);
            put_text(out, user);
            put_text(out, client);
            put_varint(out, u64::from(*code));
            put_text(out, reason);
            put_varint(out, except.len() as u64);
            for client in except {
                put_text(out, client);
            }
            Ok(())
        }
    }
}

fn go_away(out: &mut Vec<u8>, message: &GoAway) -> Result<(), EncodeError> {
    out.push(types::GO_AWAY);
    out.push(message.reason.code());
    put_varint(out, u64::from(message.drain_ms));
    Ok(())
}

fn beat(out: &mut Vec<u8>, kind: u8, nonce: u64) -> Result<(), EncodeError> {
    out.push(kind);
    put_varint(out, nonce);
    Ok(())
}

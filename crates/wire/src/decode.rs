//! How each message is read: the mirror of `encode`.
use crate::codec::Reader;
use crate::encode::{outcomes, signals, types};
use crate::error::{EncodeError, MessageError};
use crate::limits::{
    HEARTBEAT_MS, MAX_BODY_BYTES, MAX_EXTENSION_BYTES, MAX_HISTORY_BYTES, MAX_HISTORY_PUBLICATIONS, MAX_KEY_BYTES,
    MAX_NODES, MAX_PAYLOAD_BYTES, MAX_SIGNAL_EXCEPTIONS, MAX_SLOTS,
};
use crate::message::{
    Disconnect, GoAway, GoAwayReason, Hello, HelloRefusal, History, HistoryResult, Message, NodeInfo, NodeStats,
    Publication, Publish, RefusalReason, Refused, Signal, Subscribe, SubscribeOutcome, Subscribed, ToGateway, ToRouter,
    UnsubscribedReason, Update, Welcome,
};
use crate::version::{Features, VersionRange};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;

impl Message for ToRouter {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        crate::encode::to_router(self, out)
    }

    fn decode(body: &Bytes, position: &mut usize) -> Result<Option<Self>, MessageError> {
        let mut reader = Reader::new(body, *position);
        let message = next_known(&mut reader, to_router)?;
        *position = reader.position();
        Ok(message)
    }
}

impl Message for ToGateway {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        crate::encode::to_gateway(self, out)
    }

    #[inline]
    fn decode(body: &Bytes, position: &mut usize) -> Result<Option<Self>, MessageError> {
        let mut reader = Reader::new(body, *position);
        let message = next_known(&mut reader, to_gateway)?;
        *position = reader.position();
        Ok(message)
    }
}

/// The next message whose type is known; passes over those that may be skipped.
#[inline]
fn next_known<'a, M>(
    reader: &mut Reader<'a>,
    decode: impl Fn(&mut Reader<'a>, u8) -> Result<M, MessageError>,
) -> Result<Option<M>, MessageError> {
    while !reader.is_at_end() {
        let kind = reader.u8()?;
        if kind < types::SKIPPABLE {
            return decode(reader, kind).map(Some);
        }
        reader.skip_bytes(MAX_BODY_BYTES, "length")?;
    }
    Ok(None)
}

fn to_router(reader: &mut Reader<'_>, kind: u8) -> Result<ToRouter, MessageError> {
    Ok(match kind {
        types::PUBLISH => ToRouter::Publish(publish(reader)?),
        types::HELLO => ToRouter::Hello(hello(reader)?),
        types::PROOF => {
            let mac = reader.array()?;
            extensions(reader)?;
            ToRouter::Proof { mac }
        }
        types::SUBSCRIBE => ToRouter::Subscribe(Subscribe {
            handle: reader.u32("handle")?,
            chat: reader.chat()?,
            resume: reader.position_option()?,
            want: reader.u16("want")?,
        }),
        types::UNSUBSCRIBE => ToRouter::Unsubscribe { handle: reader.u32("handle")? },
        types::HISTORY => ToRouter::History(History {
            request: reader.varint()?,
            chat: reader.chat()?,
            since: reader.position_option()?,
            limit: reader.u32("limit")?,
            max_bytes: reader.u32("max_bytes")?,
            reverse: reader.bool("reverse")?,
        }),
        types::PRESENCE_STATS => ToRouter::PresenceStats { request: reader.varint()?, chat: reader.chat()? },
        types::MEMBERS => ToRouter::Members { handle: reader.u32("handle")?, count: reader.u32("count")? },
        types::SIGNAL_REQUEST => ToRouter::Signal { request: reader.varint()?, signal: signal(reader)? },
        types::NODE_STATS => ToRouter::NodeStats(stats(reader)?),
        types::NODES => ToRouter::Nodes { request: reader.varint()? },
        types::PING => ToRouter::Ping { nonce: reader.varint()? },
        types::PONG => ToRouter::Pong { nonce: reader.varint()? },
        types::GO_AWAY => ToRouter::GoAway(go_away(reader)?),
        other => return Err(MessageError::UnknownType(other)),
    })
}

#[inline]
fn to_gateway(reader: &mut Reader<'_>, kind: u8) -> Result<ToGateway, MessageError> {
    if kind == types::UPDATE {
        return Ok(ToGateway::Update(Update {
            handle: reader.u32("handle")?,
            offset: reader.offset()?,
            time_ms: reader.time()?,
            payload: reader.bytes(MAX_PAYLOAD_BYTES, "payload")?,
        }));
    }
    to_gateway_rare(reader, kind)
}

fn to_gateway_rare(reader: &mut Reader<'_>, kind: u8) -> Result<ToGateway, MessageError> {
    Ok(match kind {
        types::ACK => ToGateway::Ack {
            request: reader.varint()?,
            epoch: reader.u64()?,
            offset: reader.offset()?,
            duplicate: reader.bool("duplicate")?,
        },
        types::CHALLENGE => {
            let (nonce, mac) = (reader.array()?, reader.array()?);
            extensions(reader)?;
            ToGateway::Challenge { nonce, mac }
        }
        types::WELCOME => ToGateway::Welcome(welcome(reader)?),
        types::REFUSED => ToGateway::Refused(refused(reader)?),
        types::SUBSCRIBED => ToGateway::Subscribed(subscribed(reader)?),
        types::UNSUBSCRIBED => ToGateway::Unsubscribed {
            handle: reader.u32("handle")?,
            reason: UnsubscribedReason::from_code(reader.u8()?),
            retry_after_ms: reader.u32("retry_after_ms")?,
        },
        types::LAGGED => {
            ToGateway::Lagged { handle: reader.u32("handle")?, epoch: reader.u64()?, offset: reader.offset()? }
        }
        types::REFUSAL => ToGateway::Refusal {
            request: reader.varint()?,
            reason: RefusalReason::from_code(reader.u8()?),
            retry_after_ms: reader.u32("retry_after_ms")?,
        },
        types::HISTORY_RESULT => ToGateway::HistoryResult(history_result(reader)?),
        types::PRESENCE_RESULT => ToGateway::PresenceResult {
            request: reader.varint()?,
            clients: reader.u32("clients")?,
            users: reader.u32("users")?,
        },
        types::SIGNAL => ToGateway::Signal(signal(reader)?),
        types::SIGNAL_RESULT => {
            ToGateway::SignalResult { request: reader.varint()?, gateways: reader.u32("gateways")? }
        }
        types::NODES_RESULT => nodes_result(reader)?,
        types::GO_AWAY => ToGateway::GoAway(go_away(reader)?),
        types::MOVED => ToGateway::Moved { slot: reader.u16("slot")?, endpoint: reader.u16("endpoint")? },
        types::PING => ToGateway::Ping { nonce: reader.varint()? },
        types::PONG => ToGateway::Pong { nonce: reader.varint()? },
        other => return Err(MessageError::UnknownType(other)),
    })
}

/// Passes over fields of later versions.
fn extensions(reader: &mut Reader<'_>) -> Result<(), MessageError> {
    reader.skip_bytes(MAX_EXTENSION_BYTES, "extensions")
}

fn versions(reader: &mut Reader<'_>) -> Result<VersionRange, MessageError> {
    let range = VersionRange { min: reader.u16("versions")?, max: reader.u16("versions")? };
    if range.min > range.max {
        return Err(MessageError::OutOfRange { field: "versions" });
    }
    Ok(range)
}

fn hello(reader: &mut Reader<'_>) -> Result<Hello, MessageError> {
    let message = Hello {
        versions: versions(reader)?,
        features: Features(reader.u64()?),
        node: reader.text("node")?,
        node_incarnation: reader.u64()?,
        slots: reader.u16("slots")?,
        topology: reader.u64()?,
        endpoint_index: reader.u16("endpoint_index")?,
        nonce: reader.array()?,
    };
    if message.slots == 0 || message.slots > MAX_SLOTS {
        return Err(MessageError::OutOfRange { field: "slots" });
    }
    extensions(reader)?;
    Ok(message)
}

fn welcome(reader: &mut Reader<'_>) -> Result<Welcome, MessageError> {
    let message = Welcome {
        version: reader.u16("version")?,
        features: Features(reader.u64()?),
        router_incarnation: reader.u64()?,
        heartbeat_ms: reader.u32("heartbeat_ms")?,
        payload_bytes_max: reader.u32("payload_bytes_max")?,
        requests_max: reader.u32("requests_max")?,
    };
    if !HEARTBEAT_MS.contains(&message.heartbeat_ms) {
        return Err(MessageError::OutOfRange { field: "heartbeat_ms" });
    }
    extensions(reader)?;
    Ok(message)
}

fn refused(reader: &mut Reader<'_>) -> Result<Refused, MessageError> {
    let message = Refused {
        reason: HelloRefusal::from_code(reader.u8()?),
        versions: versions(reader)?,
        message: reader.text("message")?,
    };
    extensions(reader)?;
    Ok(message)
}

fn publish(reader: &mut Reader<'_>) -> Result<Publish, MessageError> {
    let request = reader.varint()?;
    let chat = reader.chat()?;
    let key = reader.bytes(MAX_KEY_BYTES, "key")?;
    let payload = reader.bytes(MAX_PAYLOAD_BYTES, "payload")?;
    Ok(Publish { request, chat, key: (!key.is_empty()).then_some(key), payload })
}

fn subscribed(reader: &mut Reader<'_>) -> Result<Subscribed, MessageError> {
    let handle = reader.u32("handle")?;
    let epoch = reader.u64()?;
    let offset = reader.offset()?;
    let start = reader.bounded(offset, "start")?;
    let oldest = reader.bounded(offset.saturating_add(1), "oldest")?;
    let outcome = match reader.u8()? {
        outcomes::FRESH => SubscribeOutcome::Fresh,
        outcomes::RESUMED => SubscribeOutcome::Resumed,
        outcomes::RESET => SubscribeOutcome::Reset,
        _ => return Err(MessageError::OutOfRange { field: "outcome" }),
    };
    Ok(Subscribed { handle, epoch, offset, start, oldest, outcome })
}

fn history_result(reader: &mut Reader<'_>) -> Result<HistoryResult, MessageError> {
    let request = reader.varint()?;
    let epoch = reader.u64()?;
    let offset = reader.offset()?;
    let count = reader.bounded(MAX_HISTORY_PUBLICATIONS as u64, "publications")?;
    // Grows with what is really there, never from `count`.
    let mut publications = Vec::new();
    let mut payload_bytes = 0_usize;
    for _ in 0..count {
        let publication = Publication {
            offset: reader.offset()?,
            time_ms: reader.time()?,
            payload: reader.bytes(MAX_PAYLOAD_BYTES, "payload")?,
        };
        payload_bytes += publication.payload.len();
        publications.push(publication);
    }
    if payload_bytes > MAX_HISTORY_BYTES {
        return Err(MessageError::OutOfRange { field: "publications" });
    }
    Ok(HistoryResult { request, epoch, offset, publications })
}

fn nodes_result(reader: &mut Reader<'_>) -> Result<ToGateway, MessageError> {
    let request = reader.varint()?;
    let count = reader.bounded(MAX_NODES as u64, "nodes")?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(NodeInfo { node: reader.text("node")?, node_incarnation: reader.u64()?, stats: stats(reader)? });
    }
    Ok(ToGateway::NodesResult { request, nodes })
}

fn stats(reader: &mut Reader<'_>) -> Result<NodeStats, MessageError> {
    Ok(NodeStats {
        version: reader.text("version")?,
        clients: reader.u32("clients")?,
        users: reader.u32("users")?,
        chats: reader.u32("chats")?,
        subscriptions: reader.u32("subscriptions")?,
        uptime_s: reader.u32("uptime_s")?,
        cpu_permille: reader.u32("cpu_permille")?,
        rss_bytes: reader.varint()?,
    })
}

fn signal(reader: &mut Reader<'_>) -> Result<Signal, MessageError> {
    match reader.u8()? {
        signals::DISCONNECT => {
            let user = reader.text("user")?;
            let client = reader.text("client")?;
            let code = reader.u16("code")?;
            let reason = reader.text("reason")?;
            let count = reader.bounded(MAX_SIGNAL_EXCEPTIONS as u64, "except")?;
            let mut except = Vec::new();
            for _ in 0..count {
                except.push(reader.text("except")?);
            }
            Ok(Signal::Disconnect(Box::new(Disconnect { user, client, code, reason, except })))
        }
        _ => Err(MessageError::OutOfRange { field: "signal" }),
    }
}

fn go_away(reader: &mut Reader<'_>) -> Result<GoAway, MessageError> {
    Ok(GoAway { reason: GoAwayReason::from_code(reader.u8()?), drain_ms: reader.u32("drain_ms")? })
}

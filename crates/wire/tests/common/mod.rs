//! Arbitrary valid messages of both directions.
#![allow(dead_code)] // each test file uses its part

use bytes::Bytes;
use corecast_wire::limits::{MAX_OFFSET, MAX_SLOTS, MAX_TIME_MS};
use corecast_wire::message::*;
use corecast_wire::version::{Features, VersionRange};
use corecast_wire::{ChatName, Message, Text};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn encoded<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out).expect("a valid message");
    out
}

pub(crate) fn decoded<M: Message>(bytes: &[u8]) -> Result<Vec<M>, corecast_wire::MessageError> {
    corecast_wire::Messages::new(Bytes::copy_from_slice(bytes)).collect()
}

/// Numbers whose varints have every length.
fn number(max: u64) -> impl Strategy<Value = u64> {
    (0_u32..64, any::<u64>()).prop_map(move |(shift, value)| (value >> shift).min(max))
}

fn small(max: u32) -> impl Strategy<Value = u32> {
    number(u64::from(max)).prop_map(|value| value as u32)
}

fn offset() -> impl Strategy<Value = u64> {
    number(MAX_OFFSET)
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn chat() -> impl Strategy<Value = ChatName> {
    "\\PC{1,60}".prop_map(|name| ChatName::new(&name).expect("at most 240 bytes"))
}

fn text() -> impl Strategy<Value = Text> {
    "\\PC{0,60}".prop_map(|text| Text::new(&text).expect("at most 240 bytes"))
}

fn position() -> impl Strategy<Value = Option<Position>> {
    option::of((any::<u64>(), offset()).prop_map(|(epoch, offset)| Position { epoch, offset }))
}

fn versions() -> impl Strategy<Value = VersionRange> {
    (any::<u16>(), any::<u16>()).prop_map(|(a, b)| VersionRange { min: a.min(b), max: a.max(b) })
}

fn hello() -> impl Strategy<Value = Hello> {
    (versions(), any::<u64>(), text(), any::<u64>(), 1..=MAX_SLOTS, any::<u64>(), any::<u16>(), any::<[u8; 16]>())
        .prop_map(|(versions, features, node, node_incarnation, slots, topology, endpoint_index, nonce)| Hello {
            versions,
            features: Features(features),
            node,
            node_incarnation,
            slots,
            topology,
            endpoint_index,
            nonce,
        })
}

fn signal() -> impl Strategy<Value = Signal> {
    (text(), text(), any::<u16>(), text(), vec(text(), 0..4)).prop_map(|(user, client, code, reason, except)| {
        Signal::Disconnect(Box::new(Disconnect { user, client, code, reason, except }))
    })
}

fn stats() -> impl Strategy<Value = NodeStats> {
    (text(), any::<[u32; 6]>(), number(u64::MAX)).prop_map(
        |(version, [clients, users, chats, subscriptions, uptime_s, cpu_permille], rss_bytes)| NodeStats {
            version,
            clients,
            users,
            chats,
            subscriptions,
            uptime_s,
            cpu_permille,
            rss_bytes,
        },
    )
}

fn go_away() -> impl Strategy<Value = GoAway> {
    (any::<u8>(), any::<u32>()).prop_map(|(code, drain_ms)| GoAway { reason: GoAwayReason::from_code(code), drain_ms })
}

fn update() -> impl Strategy<Value = Update> {
    (small(u32::MAX), offset(), number(MAX_TIME_MS), payload()).prop_map(|(handle, offset, time_ms, payload)| Update {
        handle,
        offset,
        time_ms,
        payload,
    })
}

fn publication() -> impl Strategy<Value = Publication> {
    update().prop_map(|Update { offset, time_ms, payload, .. }| Publication { offset, time_ms, payload })
}

pub(crate) fn to_router() -> impl Strategy<Value = ToRouter> {
    let request = || number(u64::MAX);
    prop_oneof![
        hello().prop_map(ToRouter::Hello),
        any::<[u8; 32]>().prop_map(|mac| ToRouter::Proof { mac }),
        (small(u32::MAX), chat(), position(), any::<u16>())
            .prop_map(|(handle, chat, resume, want)| ToRouter::Subscribe(Subscribe { handle, chat, resume, want })),
        small(u32::MAX).prop_map(|handle| ToRouter::Unsubscribe { handle }),
        (request(), chat(), option::of(vec(any::<u8>(), 1..60).prop_map(Bytes::from)), payload())
            .prop_map(|(request, chat, key, payload)| ToRouter::Publish(Publish { request, chat, key, payload })),
        (request(), chat(), position(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
            |(request, chat, since, limit, max_bytes, reverse)| ToRouter::History(History {
                request,
                chat,
                since,
                limit,
                max_bytes,
                reverse
            })
        ),
        (request(), chat()).prop_map(|(request, chat)| ToRouter::PresenceStats { request, chat }),
        (small(u32::MAX), small(u32::MAX)).prop_map(|(handle, count)| ToRouter::Members { handle, count }),
        (request(), signal()).prop_map(|(request, signal)| ToRouter::Signal { request, signal }),
        stats().prop_map(ToRouter::NodeStats),
        request().prop_map(|request| ToRouter::Nodes { request }),
        request().prop_map(|nonce| ToRouter::Ping { nonce }),
        request().prop_map(|nonce| ToRouter::Pong { nonce }),
        go_away().prop_map(ToRouter::GoAway),
    ]
}

pub(crate) fn to_gateway() -> impl Strategy<Value = ToGateway> {
    let request = || number(u64::MAX);
    prop_oneof![
        3 => update().prop_map(ToGateway::Update),
        1 => handshake_to_gateway(),
        1 => subscription_to_gateway(),
        1 => (request(), any::<u64>(), offset(), any::<bool>()).prop_map(
            |(request, epoch, offset, duplicate)| ToGateway::Ack { request, epoch, offset, duplicate }
        ),
        1 => (request(), any::<u8>(), any::<u32>()).prop_map(|(request, code, retry_after_ms)| ToGateway::Refusal {
            request,
            reason: RefusalReason::from_code(code),
            retry_after_ms
        }),
        1 => (request(), any::<u64>(), offset(), vec(publication(), 0..5)).prop_map(
            |(request, epoch, offset, publications)| ToGateway::HistoryResult(HistoryResult {
                request,
                epoch,
                offset,
                publications
            })
        ),
        1 => (request(), any::<u32>(), any::<u32>())
            .prop_map(|(request, clients, users)| ToGateway::PresenceResult { request, clients, users }),
        1 => signal().prop_map(ToGateway::Signal),
        1 => (request(), any::<u32>()).prop_map(|(request, gateways)| ToGateway::SignalResult { request, gateways }),
        1 => (request(), vec((text(), any::<u64>(), stats()), 0..3)).prop_map(|(request, nodes)| {
            let nodes = nodes
                .into_iter()
                .map(|(node, node_incarnation, stats)| NodeInfo { node, node_incarnation, stats })
                .collect();
            ToGateway::NodesResult { request, nodes }
        }),
        1 => go_away().prop_map(ToGateway::GoAway),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(slot, endpoint)| ToGateway::Moved { slot, endpoint }),
        1 => request().prop_map(|nonce| ToGateway::Ping { nonce }),
        1 => request().prop_map(|nonce| ToGateway::Pong { nonce }),
    ]
}

fn handshake_to_gateway() -> impl Strategy<Value = ToGateway> {
    prop_oneof![
        (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(nonce, mac)| ToGateway::Challenge { nonce, mac }),
        (any::<u16>(), any::<u64>(), any::<u64>(), 10..=60_000_u32, any::<u32>(), any::<u32>()).prop_map(
            |(version, features, router_incarnation, heartbeat_ms, payload_bytes_max, requests_max)| {
                ToGateway::Welcome(Welcome {
                    version,
                    features: Features(features),
                    router_incarnation,
                    heartbeat_ms,
                    payload_bytes_max,
                    requests_max,
                })
            }
        ),
        (any::<u8>(), versions(), text()).prop_map(|(code, versions, message)| ToGateway::Refused(Refused {
            reason: HelloRefusal::from_code(code),
            versions,
            message
        })),
    ]
}

fn subscription_to_gateway() -> impl Strategy<Value = ToGateway> {
    let outcome =
        prop_oneof![Just(SubscribeOutcome::Fresh), Just(SubscribeOutcome::Resumed), Just(SubscribeOutcome::Reset)];
    prop_oneof![
        (any::<u32>(), any::<u64>(), offset(), any::<u64>(), any::<u64>(), outcome).prop_map(
            |(handle, epoch, offset, start, oldest, outcome)| ToGateway::Subscribed(Subscribed {
                handle,
                epoch,
                offset,
                start: start % (offset + 1),
                oldest: oldest % (offset + 2),
                outcome
            })
        ),
        (any::<u32>(), any::<u8>(), any::<u32>()).prop_map(|(handle, code, retry_after_ms)| {
            ToGateway::Unsubscribed { handle, reason: UnsubscribedReason::from_code(code), retry_after_ms }
        }),
        (any::<u32>(), any::<u64>(), offset()).prop_map(|(handle, epoch, offset)| ToGateway::Lagged {
            handle,
            epoch,
            offset
        }),
    ]
}

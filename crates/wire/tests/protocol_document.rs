//! `docs/PROTOCOL.md` says what the code does: its golden vectors, message types, codes and placement are read from the
//! document and compared.
mod common;

use bytes::Bytes;
use common::{decoded, encoded};
use corecast_wire::message::*;
use corecast_wire::version::{Features, VersionRange};
use corecast_wire::{ChatName, FrameDecoder, FrameEncoder, Message, Text, epoch, placement};
use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

/// The lines of the only code block with this name.
fn block(name: &str) -> Vec<&'static str> {
    let mut blocks = DOCUMENT.split("\n```").filter_map(|block| block.strip_prefix(name)?.strip_prefix('\n'));
    let lines = blocks.next().unwrap_or_else(|| panic!("no block {name}")).lines().collect();
    assert!(blocks.next().is_none(), "two blocks {name}");
    lines
}

/// `name = value` lines of a code block.
fn values(name: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = block(name);
    let values: BTreeMap<_, _> = lines.iter().map(|line| line.split_once(" = ").expect("name = value")).collect();
    assert_eq!(values.len(), lines.len(), "a name twice in {name}");
    values
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings grow");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex digits"))
        .collect()
}

/// Checks one direction's vectors and returns their bytes by name.
fn check<M: Message + Debug + PartialEq>(vectors: Vec<(&'static str, M)>, known: &mut BTreeMap<&str, Vec<u8>>) {
    let document = values("golden");
    for (name, message) in vectors {
        let bytes = encoded(&message);
        let written = document.get(name).unwrap_or_else(|| panic!("{name} = {} is missing", hex(&bytes)));
        assert_eq!(unhex(written), bytes, "{name} = {}", hex(&bytes));
        assert_eq!(decoded::<M>(&bytes), Ok(vec![message]), "{name}");
        assert!(known.insert(name, bytes).is_none(), "{name} twice");
    }
}

fn chat(name: &str) -> ChatName {
    ChatName::new(name).expect("a valid name")
}

fn text(text: &str) -> Text {
    Text::new(text).expect("short")
}

fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first.wrapping_add(index as u8))
}

fn disconnect() -> Signal {
    Signal::Disconnect(Box::new(Disconnect {
        user: text("u42"),
        client: text(""),
        code: 3_503,
        reason: text("force disconnect"),
        except: vec![text("c1")],
    }))
}

fn stats() -> NodeStats {
    NodeStats {
        version: text("0.1.0"),
        clients: 1_000,
        users: 900,
        chats: 300,
        subscriptions: 1_500,
        uptime_s: 3_600,
        cpu_permille: 250,
        rss_bytes: 64 << 20,
    }
}

const EPOCH: u64 = 0x0123_4567_89ab_cdef;

fn vectors_to_router() -> Vec<(&'static str, ToRouter)> {
    let position = Position { epoch: EPOCH, offset: 300 };
    vec![
        ("Ping", ToRouter::Ping { nonce: 7 }),
        ("Pong", ToRouter::Pong { nonce: 300 }),
        ("GoAway", ToRouter::GoAway(GoAway { reason: GoAwayReason::Shutdown, drain_ms: 5_000 })),
        (
            "Hello",
            ToRouter::Hello(Hello {
                versions: VersionRange { min: 1, max: 1 },
                features: Features::NONE,
                node: text("gw-1"),
                node_incarnation: 0x1122_3344_5566_7788,
                slots: 1_024,
                topology: 0x0a0b_0c0d_0e0f_1011,
                endpoint_index: 2,
                nonce: counting(0x00),
            }),
        ),
        ("Proof", ToRouter::Proof { mac: counting(0x80) }),
        ("Subscribe", ToRouter::Subscribe(Subscribe { handle: 5, chat: chat("chat:1"), resume: None, want: 32 })),
        (
            "Subscribe with resume",
            ToRouter::Subscribe(Subscribe { handle: 200, chat: chat("общий"), resume: Some(position), want: 0 }),
        ),
        ("Unsubscribe", ToRouter::Unsubscribe { handle: 5 }),
        (
            "Publish",
            ToRouter::Publish(Publish {
                request: 1,
                chat: chat("chat:1"),
                key: None,
                payload: Bytes::from_static(b"{\"t\":\"hi\"}"),
            }),
        ),
        (
            "Publish with key",
            ToRouter::Publish(Publish {
                request: u64::MAX,
                chat: chat("chat:1"),
                key: Some(Bytes::from_static(b"k1")),
                payload: Bytes::new(),
            }),
        ),
        (
            "History",
            ToRouter::History(History {
                request: 2,
                chat: chat("chat:1"),
                since: Some(position),
                limit: 300,
                max_bytes: 196_608,
                reverse: false,
            }),
        ),
        (
            "History in reverse",
            ToRouter::History(History {
                request: 3,
                chat: chat("chat:1"),
                since: None,
                limit: 10,
                max_bytes: 65_536,
                reverse: true,
            }),
        ),
        ("PresenceStats", ToRouter::PresenceStats { request: 4, chat: chat("chat:1") }),
        ("Members", ToRouter::Members { handle: 5, count: 129 }),
        ("Signal request", ToRouter::Signal { request: 5, signal: disconnect() }),
        ("NodeStats", ToRouter::NodeStats(stats())),
        ("Nodes", ToRouter::Nodes { request: 6 }),
    ]
}

fn vectors_to_gateway() -> Vec<(&'static str, ToGateway)> {
    vec![
        ("Challenge", ToGateway::Challenge { nonce: counting(0xf0), mac: counting(0x40) }),
        (
            "Welcome",
            ToGateway::Welcome(Welcome {
                version: 1,
                features: Features::NONE,
                router_incarnation: 0x8877_6655_4433_2211,
                heartbeat_ms: 1_000,
                payload_bytes_max: 131_072,
                requests_max: 4_096,
            }),
        ),
        (
            "Refused",
            ToGateway::Refused(Refused {
                reason: HelloRefusal::TopologyMismatch,
                versions: VersionRange { min: 1, max: 1 },
                message: text("other endpoint list"),
            }),
        ),
        (
            "Subscribed",
            ToGateway::Subscribed(Subscribed {
                handle: 5,
                epoch: EPOCH,
                offset: 300,
                start: 268,
                oldest: 1,
                outcome: SubscribeOutcome::Fresh,
            }),
        ),
        (
            "Subscribed to an empty chat",
            ToGateway::Subscribed(Subscribed {
                handle: 200,
                epoch: EPOCH,
                offset: 0,
                start: 0,
                oldest: 1,
                outcome: SubscribeOutcome::Reset,
            }),
        ),
        (
            "Unsubscribed",
            ToGateway::Unsubscribed { handle: 5, reason: UnsubscribedReason::Requested, retry_after_ms: 0 },
        ),
        (
            "Update",
            ToGateway::Update(Update {
                handle: 5,
                offset: 301,
                time_ms: 1_700_000_000_000,
                payload: Bytes::from_static(b"{\"t\":\"hi\"}"),
            }),
        ),
        (
            "Update at its limits",
            ToGateway::Update(Update {
                handle: u32::MAX,
                offset: (1 << 53) - 1,
                time_ms: (1 << 48) - 1,
                payload: Bytes::new(),
            }),
        ),
        ("Lagged", ToGateway::Lagged { handle: 5, epoch: EPOCH, offset: 900 }),
        ("Ack", ToGateway::Ack { request: 1, epoch: EPOCH, offset: 301, duplicate: false }),
        ("Refusal", ToGateway::Refusal { request: 1, reason: RefusalReason::KeyTableFull, retry_after_ms: 1_000 }),
        (
            "HistoryResult",
            ToGateway::HistoryResult(HistoryResult {
                request: 2,
                epoch: EPOCH,
                offset: 302,
                publications: vec![
                    Publication { offset: 301, time_ms: 1_700_000_000_000, payload: Bytes::from_static(b"\"a\"") },
                    Publication { offset: 302, time_ms: 1_700_000_000_001, payload: Bytes::from_static(b"\"b\"") },
                ],
            }),
        ),
        ("PresenceResult", ToGateway::PresenceResult { request: 4, clients: 10_000, users: 10_000 }),
        ("Signal", ToGateway::Signal(disconnect())),
        ("SignalResult", ToGateway::SignalResult { request: 5, gateways: 3 }),
        (
            "NodesResult",
            ToGateway::NodesResult {
                request: 6,
                nodes: vec![NodeInfo { node: text("gw-1"), node_incarnation: 0x1122_3344_5566_7788, stats: stats() }],
            },
        ),
        ("Moved", ToGateway::Moved { slot: 1_023, endpoint: 2 }),
    ]
}

#[test]
fn golden_vectors_and_message_types() {
    let mut known = BTreeMap::new();
    check(vectors_to_router(), &mut known);
    check(vectors_to_gateway(), &mut known);
    // The messages that go both ways have one encoding.
    for (name, message) in [
        ("Ping", ToGateway::Ping { nonce: 7 }),
        ("Pong", ToGateway::Pong { nonce: 300 }),
        ("GoAway", ToGateway::GoAway(GoAway { reason: GoAwayReason::Shutdown, drain_ms: 5_000 })),
    ] {
        assert_eq!(encoded(&message), known[name]);
    }
    let document = values("golden");
    for name in document.keys() {
        assert!(known.contains_key(name), "{name} is in the document only");
    }

    let headings: BTreeMap<u8, &str> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("#### 0x")?.split_once(' '))
        .map(|(kind, name)| (u8::from_str_radix(kind, 16).expect("a type"), name))
        .collect();
    for (name, bytes) in &known {
        let heading = headings.get(&bytes[0]).unwrap_or_else(|| panic!("no heading for {name}"));
        assert!(name.starts_with(heading), "{name} under {heading}");
    }
    for (kind, name) in headings {
        assert!(known.values().any(|bytes| bytes[0] == kind), "no vector for {name}");
    }
}

#[test]
fn a_whole_frame() {
    let mut encoder = FrameEncoder::new();
    encoder.push(&ToGateway::Ping { nonce: 7 }).expect("valid");
    encoder.push_update(5, 301, 1_700_000_000_000, b"{\"t\":\"hi\"}").expect("valid");
    let frame = encoder.take().expect("one frame");
    assert_eq!(hex(&frame), block("frame").concat().replace(' ', ""));

    let mut decoder = FrameDecoder::new();
    decoder.feed_shared(frame);
    let body = decoder.next_body().expect("intact").expect("complete");
    assert_eq!(decoded::<ToGateway>(&body).expect("valid").len(), 2);
}

/// The row `| code | `Name` …` of each code stands under the heading of its message.
#[test]
fn codes_of_reasons() {
    fn check<T: Debug + Copy>(heading: &str, all: &[T], code: impl Fn(T) -> u8) {
        let section = DOCUMENT.split("\n#### ").find(|part| part.starts_with(heading)).expect("the heading");
        let section = section.split("\n### ").next().expect("the part before the next chapter");
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ") && line.contains("| `")).collect();
        for &reason in all {
            let row = format!("| {} | `{reason:?}`", code(reason));
            assert_eq!(rows.iter().filter(|line| line.starts_with(&row)).count(), 1, "{row}");
        }
        let coded = rows.iter().filter(|line| line[2..].starts_with(|first: char| first.is_ascii_digit()));
        assert_eq!(coded.count(), all.len(), "codes under {heading}");
    }
    check("0x03 GoAway", GoAwayReason::ALL, GoAwayReason::code);
    check("0x42 Refused", HelloRefusal::ALL, HelloRefusal::code);
    check("0x44 Unsubscribed", UnsubscribedReason::ALL, UnsubscribedReason::code);
    check("0x48 Refusal", RefusalReason::ALL, RefusalReason::code);
}

#[test]
fn placement_examples() {
    let values = values("placement");
    let names: Vec<&str> = values["endpoints"].split(' ').collect();
    let hashes: Vec<u64> = names.iter().map(|name| placement::endpoint_hash(name)).collect();
    assert_eq!(values["fingerprint"], format!("{:016x}", placement::fingerprint(&names)));
    let (mut slots, mut owners) = (0, 0);
    for (name, value) in &values {
        if let Some(rest) = name.strip_prefix("slot(\"") {
            let chat = rest.strip_suffix("\", 1024)").expect("slot(\"chat\", 1024)");
            assert_eq!(*value, placement::slot_of(chat.as_bytes(), 1_024).to_string(), "{name}");
            slots += 1;
        } else if let Some(rest) = name.strip_prefix("owner(") {
            let slot = rest.strip_suffix(')').and_then(|slot| slot.parse().ok()).expect("owner(slot)");
            assert_eq!(*value, names[placement::endpoint_of(slot, &hashes)], "{name}");
            owners += 1;
        }
    }
    assert!(slots >= 3 && owners >= 4);
}

#[test]
fn epochs_in_text() {
    for (number, text) in values("epochs") {
        let number = number.parse().expect("a number");
        assert_eq!(epoch::EpochText::new(number).as_str(), text);
        assert_eq!(epoch::parse(text), Some(number));
    }
}

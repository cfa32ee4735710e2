//! Any byte stream has the same outcome in any chunks, and the outcome that tungstenite gives it.

mod common;

use std::io::{self, Read, Write};

use common::{Length, Outcome, Owned, RawFrame, decode};
use corecast_websocket::{Decoder, Violation};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tungstenite::protocol::{Role, WebSocketConfig};

/// The limit of both decoders, low enough to be reached.
const MESSAGE_BYTES_MAX: usize = 600;

/// Appended to each stream: completes whatever frame is open and is then no frame, so that neither side is left waiting.
const TAIL: [u8; MESSAGE_BYTES_MAX + 100] = [0xff; MESSAGE_BYTES_MAX + 100];

/// How a stream ended, as far as two implementations have to agree.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Close,
    Protocol,
    Size,
    Text,
    Waiting,
}

fn ours(outcome: &Outcome) -> End {
    match outcome.violation.map(|violation| violation.close_code()) {
        Some(1007) => End::Text,
        Some(1009) => End::Size,
        Some(_) => End::Protocol,
        None if matches!(outcome.messages.last(), Some(Owned::Close(..))) => End::Close,
        None => End::Waiting,
    }
}

/// A stream to read from; what is written to it is dropped.
struct Source<'a>(&'a [u8]);

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Source<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The messages before the end, without the close frame, and the end.
fn theirs(role: Role, bytes: &[u8]) -> (Vec<Owned>, End) {
    use tungstenite::{Error, Message};
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut socket = tungstenite::WebSocket::from_raw_socket(Source(bytes), role, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => messages.push(Owned::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => messages.push(Owned::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => messages.push(Owned::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => messages.push(Owned::Pong(bytes.to_vec())),
            // How tungstenite says that the code is not permitted.
            Ok(Message::Close(Some(frame))) if frame.reason.as_str() == "Protocol violation" => {
                return (messages, End::Protocol);
            }
            Ok(Message::Close(frame)) => {
                messages.push(match frame {
                    Some(frame) => Owned::Close(Some(frame.code.into()), frame.reason.to_string()),
                    None => Owned::Close(None, String::new()),
                });
                return (messages, End::Close);
            }
            Ok(Message::Frame(_)) => unreachable!("never returned when reading"),
            Err(Error::Protocol(_)) => return (messages, End::Protocol),
            Err(Error::Capacity(_)) => return (messages, End::Size),
            Err(Error::Utf8(_)) => return (messages, End::Text),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (messages, End::Waiting),
            Err(error) => panic!("unexpected: {error}"),
        }
    }
}

fn decoder(role: Role) -> Decoder {
    match role {
        Role::Server => Decoder::server(MESSAGE_BYTES_MAX),
        Role::Client => Decoder::client(MESSAGE_BYTES_MAX),
    }
}

/// Decodes `bytes` whole and in the given chunks; panics unless both agree.
fn in_any_chunks(role: Role, bytes: &[u8], sizes: &[usize]) -> Outcome {
    let whole = decode(&mut decoder(role), bytes, &[bytes.len()]);
    assert_eq!(decode(&mut decoder(role), bytes, sizes), whole, "in chunks of {sizes:?}");
    assert_eq!(decode(&mut decoder(role), bytes, &[1]), whole, "in single bytes");
    whole
}

/// Panics unless tungstenite sees the same messages and the same end, except for the known differences.
fn agree(role: Role, outcome: &Outcome, bytes: &[u8]) {
    let (messages, end) = theirs(role, bytes);
    match (outcome.violation, outcome.messages.last()) {
        // tungstenite accepts a short length in a long form, so all that can be compared is what came before.
        (Some(Violation::LengthNotMinimal | Violation::ControlTooLong), _) => {
            assert!(messages.starts_with(&outcome.messages));
        }
        // Registered with IANA after tungstenite's table was written.
        (None, Some(Owned::Close(Some(1014), _))) => {
            assert_eq!(outcome.messages[..outcome.messages.len() - 1], messages);
            assert_eq!(end, End::Protocol);
        }
        _ => {
            assert_eq!(outcome.messages, messages);
            // We check bytes in their order; tungstenite the length before the other fields, and a reason before its code.
            let same = match outcome.violation {
                Some(Violation::CloseCode(_)) => matches!(end, End::Protocol | End::Text),
                _ => end == ours(outcome) || (ours(outcome), end) == (End::Protocol, End::Size),
            };
            assert!(same, "{:?} here, {end:?} there", outcome.violation);
        }
    }
}

/// Sizes of chunks, empty ones included; the last repeats.
fn chunk_sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![4 => 0..20_usize, 1 => 0..700_usize], 0..20).prop_map(|mut sizes| {
        sizes.push(5);
        sizes
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        vec(select(vec!['a', '"', '\0', 'ß', '€', '\u{7ff}', '\u{ffff}', '💩', '\u{10ffff}']), 0..40)
            .prop_map(String::from_iter),
        (0..350_usize).prop_map(|length| "x".repeat(length)),
    ]
}

/// A client's control frame that is permitted within a message.
fn control() -> impl Strategy<Value = RawFrame> {
    (select(vec![9, 10]), vec(any::<u8>(), 0..126)).prop_map(|(opcode, payload)| RawFrame::client(opcode, &payload))
}

/// The frames of a message: cut at random places, with control frames between them.
fn message() -> impl Strategy<Value = Vec<RawFrame>> {
    let payload = prop_oneof![
        text().prop_map(|text| (1, text.into_bytes())),
        vec(any::<u8>(), 0..350).prop_map(|bytes| (2, bytes)),
    ];
    (payload, vec((0..100_usize, proptest::option::weighted(0.3, control())), 0..4), any::<[u8; 4]>()).prop_map(
        |((opcode, payload), cuts, mask)| {
            let mut frames = Vec::new();
            let mut rest = &payload[..];
            let mut opcode = opcode;
            for (cut, control) in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                frames.push(RawFrame::client(opcode, part).unfinished());
                frames.extend(control);
                (rest, opcode) = (after, 0);
            }
            frames.push(RawFrame::client(opcode, rest));
            for frame in &mut frames {
                frame.mask = Some(mask);
            }
            frames
        },
    )
}

/// A conversation that breaks no rule.
fn conversation() -> impl Strategy<Value = Vec<RawFrame>> {
    let close = proptest::option::of((select(vec![1000_u16, 1001, 3000, 4999]), text())).prop_map(|close| {
        let payload = close.map(|(code, mut reason)| {
            reason.truncate(reason.floor_char_boundary(123));
            [&code.to_be_bytes()[..], reason.as_bytes()].concat()
        });
        RawFrame::client(8, &payload.unwrap_or_default())
    });
    (vec(prop_oneof![3 => message(), 1 => control().prop_map(|frame| vec![frame])], 0..6), proptest::option::of(close))
        .prop_map(|(messages, close)| messages.into_iter().flatten().chain(close).collect())
}

/// A frame with any fields, mostly reasonable ones.
fn any_frame() -> impl Strategy<Value = RawFrame> {
    let first = prop_oneof![8 => select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0x8a]), 1 => any::<u8>()];
    let mask = prop_oneof![15 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    let length = prop_oneof![
        20 => Just(Length::Shortest),
        1 => Just(Length::Medium),
        1 => Just(Length::Long),
        1 => any::<u64>().prop_map(Length::Declared),
        1 => select(vec![1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63]).prop_map(Length::Declared),
    ];
    let close = (select(vec![0_u16, 999, 1000, 1004, 1005, 1011, 1014, 1015, 2999, 3000, 5000]), text())
        .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
    let payload = prop_oneof![
        4 => text().prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..130),
        1 => vec(any::<u8>(), 0..700),
        1 => close,
    ];
    (first, mask, length, payload).prop_map(|(first, mask, length, payload)| RawFrame { first, mask, length, payload })
}

/// Small damage to a stream.
#[derive(Clone, Debug)]
enum Damage {
    Flip(u8),
    Insert(u8),
    Remove,
    Truncate,
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, Damage)> {
    let kind = prop_oneof![
        4 => (0..8_u8).prop_map(|bit| Damage::Flip(1 << bit)),
        2 => any::<u8>().prop_map(Damage::Insert),
        2 => Just(Damage::Remove),
        1 => Just(Damage::Truncate),
    ];
    (any::<prop::sample::Index>(), kind)
}

fn apply(bytes: &mut Vec<u8>, damages: Vec<(prop::sample::Index, Damage)>) {
    for (index, damage) in damages {
        if bytes.is_empty() {
            return;
        }
        let at = index.index(bytes.len());
        match damage {
            Damage::Flip(bits) => bytes[at] ^= bits,
            Damage::Insert(byte) => bytes.insert(at, byte),
            Damage::Remove => _ = bytes.remove(at),
            Damage::Truncate => bytes.truncate(at),
        }
    }
}

fn bytes_of(frames: &[RawFrame]) -> Vec<u8> {
    frames.iter().flat_map(RawFrame::bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_streams(frames in conversation(), sizes in chunk_sizes()) {
        let bytes = bytes_of(&frames);
        let outcome = in_any_chunks(Role::Server, &bytes, &sizes);
        prop_assert_eq!(outcome.violation, None);
        prop_assert_eq!(outcome.frames, frames.len() as u32);
        agree(Role::Server, &outcome, &bytes);
    }

    #[test]
    fn damaged_streams(frames in conversation(), damages in vec(damage(), 1..4), sizes in chunk_sizes()) {
        let mut bytes = bytes_of(&frames);
        apply(&mut bytes, damages);
        in_any_chunks(Role::Server, &bytes, &sizes);
        bytes.extend(TAIL);
        agree(Role::Server, &in_any_chunks(Role::Server, &bytes, &sizes), &bytes);
    }

    #[test]
    fn any_frames(frames in vec(any_frame(), 0..8), sizes in chunk_sizes()) {
        let mut bytes = bytes_of(&frames);
        in_any_chunks(Role::Server, &bytes, &sizes);
        bytes.extend(TAIL);
        agree(Role::Server, &in_any_chunks(Role::Server, &bytes, &sizes), &bytes);
    }

    #[test]
    fn frames_from_a_server(frames in conversation(), damages in vec(damage(), 0..2), sizes in chunk_sizes()) {
        let unmasked: Vec<RawFrame> = frames.into_iter().map(|frame| RawFrame { mask: None, ..frame }).collect();
        let mut bytes = bytes_of(&unmasked);
        apply(&mut bytes, damages);
        in_any_chunks(Role::Client, &bytes, &sizes);
        bytes.extend(TAIL);
        agree(Role::Client, &in_any_chunks(Role::Client, &bytes, &sizes), &bytes);
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200), sizes in chunk_sizes()) {
        for role in [Role::Server, Role::Client] {
            in_any_chunks(role, &bytes, &sizes);
        }
    }
}

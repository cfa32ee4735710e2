//! Each thing that RFC 6455 forbids is refused at the byte that proves it, with the right close code and however the bytes
//! are cut; what it permits is let through.

mod common;

use common::{Length, Outcome, Owned, RawFrame, decode};
use corecast_websocket::{Decoder, Violation};

/// The limit of the decoders under test.
const MESSAGE_BYTES_MAX: usize = 1000;

struct Case {
    name: &'static str,
    /// Permitted frames first, their messages being `messages`.
    before: Vec<RawFrame>,
    messages: Vec<Owned>,
    bad: Vec<u8>,
    /// How many bytes of `bad` suffice.
    proof: usize,
    violation: Violation,
    close_code: u16,
}

fn case(name: &'static str, bad: impl Into<Vec<u8>>, proof: usize, violation: Violation, close_code: u16) -> Case {
    Case { name, before: vec![], messages: vec![], bad: bad.into(), proof, violation, close_code }
}

impl Case {
    fn after(self, frames: &[RawFrame], messages: &[Owned]) -> Self {
        Self { before: frames.to_vec(), messages: messages.to_vec(), ..self }
    }

    fn check(&self, decoder: impl Fn() -> Decoder) {
        let before: Vec<u8> = self.before.iter().flat_map(RawFrame::bytes).collect();
        let bytes = [&before[..], &self.bad].concat();
        let expected = |outcome: &Outcome, how: &str| {
            assert_eq!(outcome.messages, self.messages, "{}, {how}", self.name);
            assert_eq!(outcome.violation, Some(self.violation), "{}, {how}", self.name);
        };
        for split in 0..=bytes.len() {
            expected(&decode(&mut decoder(), &bytes, &[split, bytes.len()]), &format!("split at {split}"));
        }
        expected(&decode(&mut decoder(), &bytes, &[1]), "in single bytes");
        // Not a byte later than possible, and not one earlier.
        let proven = before.len() + self.proof;
        for sizes in [1, bytes.len()] {
            expected(&decode(&mut decoder(), &bytes[..proven], &[sizes]), "only the proof");
            let outcome = decode(&mut decoder(), &bytes[..proven - 1], &[sizes]);
            assert_eq!(outcome.violation, None, "{}: not proven yet", self.name);
        }
        assert_eq!(self.violation.close_code(), self.close_code, "{}", self.name);
    }
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    RawFrame::client(8, &[&code.to_be_bytes()[..], reason].concat()).bytes()
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    RawFrame::client(0, payload).with_first(first).bytes()
}

#[test]
fn headers() {
    let server = || Decoder::server(MESSAGE_BYTES_MAX);
    let text = RawFrame::client(1, b"ok");
    let fragment = RawFrame::client(1, b"fragment").unfinished();
    let ok = [Owned::Text("ok".into())];
    for bits in [0x40, 0x20, 0x10, 0x70] {
        case("reserved bit", frame(0x81 | bits, b"x"), 1, Violation::ReservedBit, 1002).check(server);
        case("reserved bit of a ping", frame(0x89 | bits, b"x"), 1, Violation::ReservedBit, 1002)
            .after(std::slice::from_ref(&text), &ok)
            .check(server);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let violation = Violation::ReservedOpcode(opcode);
        case("reserved opcode", frame(0x80 | opcode, b""), 1, violation, 1002).check(server);
        case("unfinished reserved opcode", frame(opcode, b"x"), 1, violation, 1002)
            .after(std::slice::from_ref(&fragment), &[])
            .check(server);
    }
    for opcode in [8, 9, 10] {
        case("fragmented control frame", frame(opcode, b""), 1, Violation::ControlFragmented, 1002).check(server);
        let long = RawFrame::client(opcode, &[b'x'; 126]);
        case("control frame of 126 bytes", long.bytes(), 2, Violation::ControlTooLong, 1002).check(server);
        let long = RawFrame::client(opcode, b"x").with_length(Length::Long);
        case("control frame with a 64-bit length", long.bytes(), 2, Violation::ControlTooLong, 1002).check(server);
    }
    for opcode in [0x00, 0x80] {
        case("orphan continuation", frame(opcode, b"x"), 1, Violation::OrphanContinuation, 1002)
            .after(std::slice::from_ref(&text), &ok)
            .check(server);
    }
    for first in [0x81, 0x82, 0x01, 0x02] {
        case("message within a message", frame(first, b"x"), 1, Violation::Interleaved, 1002)
            .after(&[text.clone(), fragment.clone()], &ok)
            .check(server);
    }
}

#[test]
fn masks() {
    for opcode in [1, 2, 8, 9, 10] {
        let unmasked = RawFrame::server(opcode, b"").bytes();
        case("unmasked client frame", unmasked, 2, Violation::Unmasked, 1002)
            .after(&[RawFrame::client(1, b"ok")], &[Owned::Text("ok".into())])
            .check(|| Decoder::server(MESSAGE_BYTES_MAX));
        let masked = RawFrame::client(opcode, b"").bytes();
        case("masked server frame", masked, 2, Violation::Masked, 1002)
            .after(&[RawFrame::server(1, b"ok")], &[Owned::Text("ok".into())])
            .check(|| Decoder::client(MESSAGE_BYTES_MAX));
    }
}

#[test]
fn lengths() {
    let server = || Decoder::server(MESSAGE_BYTES_MAX);
    let binary = RawFrame::client(2, &[]);
    for length in [0, 1, 125] {
        let medium = RawFrame::client(2, &vec![0; length]).with_length(Length::Medium).bytes();
        case("16-bit length below 126", medium, 4, Violation::LengthNotMinimal, 1002).check(server);
    }
    for length in [0, 125, 126, 0xffff] {
        let long = binary.clone().with_length(Length::Declared(length)).bytes();
        case("64-bit length below 65,536", long, 10, Violation::LengthNotMinimal, 1002).check(server);
    }
    for length in [1 << 63, (1 << 63) | 1, u64::MAX] {
        let long = binary.clone().with_length(Length::Declared(length)).bytes();
        case("top bit", long, 10, Violation::LengthTopBit, 1002).check(server);
    }
    for length in [0x1_0000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1] {
        let long = binary.clone().with_length(Length::Declared(length)).bytes();
        case("over the limit in 64 bits", long, 10, Violation::TooLarge, 1009).check(server);
    }
    let large = RawFrame::client(2, &[0; MESSAGE_BYTES_MAX + 1]).bytes();
    case("over the limit in 16 bits", large, 4, Violation::TooLarge, 1009).check(server);
    let fragments = [RawFrame::client(2, &[1; MESSAGE_BYTES_MAX - 5]).unfinished(), RawFrame::client(9, b"ping")];
    let last = RawFrame::client(0, &[1; 6]).bytes();
    case("over the limit in sum", last, 2, Violation::TooLarge, 1009)
        .after(&fragments, &[Owned::Ping(b"ping".to_vec())])
        .check(server);
}

#[test]
fn text() {
    let server = || Decoder::server(MESSAGE_BYTES_MAX);
    // Header and mask take 6 bytes; the count says with which byte of the text it stops being UTF-8.
    for (text, bad_at) in [
        (&b"\xff"[..], 1),
        (b"abc\x80", 4),
        (b"\xc0\xaf", 1),
        (b"\xc3\x28 rest", 2),
        (b"\xe0\x80\x80", 2),
        (b"\xed\xa0\x80", 2),
        (b"\xf0\x80\x80\x80", 2),
        (b"\xf4\x90\x80\x80", 2),
        (b"\xf5\x80\x80\x80", 1),
        (b"\xe2\x82\x28", 3),
        (b"\xf0\x9f\x92\x28", 4),
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", 13),
    ] {
        let whole = RawFrame::client(1, text).bytes();
        case("text that is not UTF-8", whole, 6 + bad_at, Violation::Utf8, 1007).check(server);
        for cut in 0..bad_at {
            let (head, tail) = text.split_at(cut);
            let first = RawFrame::client(1, head).unfinished();
            let rest = RawFrame::client(0, tail).bytes();
            case("the same in fragments", rest, 6 + bad_at - cut, Violation::Utf8, 1007)
                .after(&[first, RawFrame::client(9, b"")], &[Owned::Ping(vec![])])
                .check(server);
        }
    }
    for unfinished in [&b"\xc3"[..], b"a\xe2\x82", b"\xf0\x9f\x92"] {
        let whole = RawFrame::client(1, unfinished).bytes();
        let proof = whole.len();
        case("text that ends within a character", whole, proof, Violation::Utf8, 1007).check(server);
        let first = RawFrame::client(1, unfinished).unfinished();
        case("the same, noticed at an empty last fragment", frame(0x80, b""), 6, Violation::Utf8, 1007)
            .after(&[first], &[])
            .check(server);
    }
}

#[test]
fn close_frames() {
    let server = || Decoder::server(MESSAGE_BYTES_MAX);
    case("half a code", frame(0x88, b"\x03"), 7, Violation::CloseLength, 1002).check(server);
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 0xffff] {
        case("forbidden code", close(code, b""), 8, Violation::CloseCode(code), 1002).check(server);
        case("forbidden code", close(code, b"why"), 11, Violation::CloseCode(code), 1002).check(server);
    }
    let bad = close(1000, b"caf\xc3");
    let proof = bad.len();
    case("reason that is not UTF-8", bad, proof, Violation::CloseReason, 1007)
        .after(&[RawFrame::client(1, b"half").unfinished()], &[])
        .check(server);
}

/// Frames that are permitted, alone and in every split.
#[test]
fn permitted() {
    let ping = Owned::Ping(b"p".to_vec());
    let long = vec![b'x'; 125];
    let limit = "é".repeat(MESSAGE_BYTES_MAX / 2);
    let split_character = [
        RawFrame::client(1, b"\xf0").unfinished(),
        RawFrame::client(9, b"p"),
        RawFrame::client(0, b"").unfinished(),
        RawFrame::client(0, b"\x9f\x92").unfinished(),
        RawFrame::client(9, b"p"),
        RawFrame::client(0, b"\xa9!"),
    ];
    let mut cases: Vec<(Vec<RawFrame>, Vec<Owned>)> = vec![
        (vec![RawFrame::client(1, b"")], vec![Owned::Text(String::new())]),
        (vec![RawFrame::client(2, b"")], vec![Owned::Binary(vec![])]),
        (vec![RawFrame::client(9, &long)], vec![Owned::Ping(long.clone())]),
        (vec![RawFrame::client(10, &long), RawFrame::client(10, b"")], vec![Owned::Pong(long), Owned::Pong(vec![])]),
        (vec![RawFrame::client(1, limit.as_bytes())], vec![Owned::Text(limit)]),
        (split_character.to_vec(), vec![ping.clone(), ping, Owned::Text("💩!".into())]),
        (vec![RawFrame::client(8, b"")], vec![Owned::Close(None, String::new())]),
        (
            vec![
                RawFrame::client(2, b"1").unfinished(),
                RawFrame::client(0, b"").unfinished(),
                RawFrame::client(0, b"2"),
            ],
            vec![Owned::Binary(b"12".to_vec())],
        ),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let reason = "ü".repeat(61);
        let payload = [&u16::to_be_bytes(code)[..], reason.as_bytes()].concat();
        cases.push((vec![RawFrame::client(8, &payload)], vec![Owned::Close(Some(code), reason)]));
    }
    for (frames, messages) in cases {
        let bytes: Vec<u8> = frames.iter().flat_map(RawFrame::bytes).collect();
        let expected = Outcome { messages, violation: None, frames: frames.len() as u32 };
        for split in 0..=bytes.len() {
            let mut decoder = Decoder::server(MESSAGE_BYTES_MAX);
            assert_eq!(decode(&mut decoder, &bytes, &[split, bytes.len()]), expected, "split at {split}");
            assert_eq!(decoder.buffered(), 0, "idle again");
        }
        assert_eq!(decode(&mut Decoder::server(MESSAGE_BYTES_MAX), &bytes, &[1]), expected, "in single bytes");
    }
}

/// After a close frame nothing counts any more, whatever it is.
#[test]
fn nothing_counts_after_a_close_frame() {
    let first = [RawFrame::client(1, b"half").unfinished().bytes(), close(1000, b"")].concat();
    for after in [frame(0x81, b"x"), frame(0x80, b"x"), frame(0x89, b"x"), close(1001, b""), vec![0xff; 40]] {
        let bytes = [&first[..], &after].concat();
        let expected = Outcome { messages: vec![Owned::Close(Some(1000), String::new())], violation: None, frames: 2 };
        for split in 0..=bytes.len() {
            let mut decoder = Decoder::server(MESSAGE_BYTES_MAX);
            assert_eq!(decode(&mut decoder, &bytes, &[split, bytes.len()]), expected, "split at {split}");
            assert!(decoder.is_finished());
            assert_eq!(decoder.buffered(), 0, "the half message is forgotten");
        }
    }
}

/// A limit changed within a message holds from the next frame on.
#[test]
fn limit_can_change() {
    let mut decoder = Decoder::server(10);
    let fragment = RawFrame::client(2, &[0; 10]).unfinished().bytes();
    assert_eq!(decode(&mut decoder, &fragment, &[]).violation, None);
    decoder.set_max_message(20);
    let outcome = decode(&mut decoder, &RawFrame::client(0, &[0; 10]).bytes(), &[]);
    assert_eq!(outcome.messages, [Owned::Binary(vec![0; 20])]);
    decoder.set_max_message(19);
    assert_eq!(decode(&mut decoder, &RawFrame::client(2, &[0; 20]).bytes(), &[]).violation, Some(Violation::TooLarge));
}

/// A client reads unmasked frames in place, the server's own included.
#[test]
fn client_reads_server_frames() {
    use corecast_websocket::{Opcode, close_frame, server_frame};
    let text = "x".repeat(70_000);
    let bytes = [
        server_frame(Opcode::Text, text.as_bytes()),
        server_frame(Opcode::Binary, &[1; 200]),
        server_frame(Opcode::Ping, b"?"),
        close_frame(3001, "shutdown"),
    ]
    .concat();
    let expected = [
        Owned::Text(text),
        Owned::Binary(vec![1; 200]),
        Owned::Ping(b"?".to_vec()),
        Owned::Close(Some(3001), "shutdown".into()),
    ];
    for size in [bytes.len(), 4096, 7, 1] {
        let outcome = decode(&mut Decoder::client(100_000), &bytes, &[size]);
        assert_eq!(outcome.messages, expected);
        assert_eq!(outcome.violation, None);
    }
}

//! Claim: whatever breaks RFC 6455 after the upgrade is answered at once with the right close code and with nothing else, however the
//! bytes are cut into pieces, before `connect` and after it.

use std::time::Duration;

use corecast_hostile::client::{CONNECT, Client};
use corecast_hostile::eventually;
use corecast_hostile::frame::{
    BINARY, CLOSE, CONTINUATION, FIN, Length, PING, PONG, TEXT, close, header, mask, masked, text,
};
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;

const PROTOCOL_ERROR: u16 = 1002;
const INVALID_DATA: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// A close frame that has not come by then does not come promptly.
const PROMPT: Duration = Duration::from_secs(2);
/// What half of all answers take less than.
const PROMPT_MEDIAN: Duration = Duration::from_millis(100);
/// Cases up to this length are also split at every point.
const SPLIT_BYTES_MAX: usize = 24;

/// What is sent, and the close code that it earns.
struct Case {
    name: String,
    bytes: Vec<u8>,
    code: u16,
}

#[test]
fn each_violation_gets_its_close_code_before_connect() {
    attack(wrong_frames(), Client::greeted);
}

#[test]
fn each_violation_gets_its_close_code_after_connect() {
    attack(wrong_frames(), Client::live);
}

#[test]
fn each_wrong_text_gets_its_close_code() {
    attack(wrong_texts(), Client::live);
}

#[test]
fn each_wrong_close_frame_gets_its_close_code() {
    attack(wrong_closes(), Client::live);
}

/// Plays each case whole, byte by byte, and split in two at every point.
fn attack(cases: Vec<Case>, start: impl Fn(std::net::SocketAddr) -> Client) {
    let stage = Stage::start("");
    let mut times = Vec::new();
    for case in &cases {
        let mut play = |pieces: &[&[u8]]| {
            let mut client = start(stage.websocket());
            for piece in pieces {
                client.socket.dribble(piece, piece.len().max(1));
            }
            let outcome = client.outcome(PROMPT);
            let how =
                format!("{} in {} pieces, the first of {}: {outcome:?}", case.name, pieces.len(), pieces[0].len());
            assert_eq!(outcome.code(), Some(case.code), "{how}");
            assert!(outcome.frames.is_empty() && outcome.rest.is_empty(), "no echo, no reply: {how}");
            times.push(outcome.took);
        };
        play(&[&case.bytes]);
        play(&case.bytes.chunks(1).collect::<Vec<_>>());
        for at in 1..case.bytes.len().min(SPLIT_BYTES_MAX) {
            let (first, second) = case.bytes.split_at(at);
            play(&[first, second]);
        }
    }
    times.sort();
    let median = times[times.len() / 2];
    println!("{} attacks of {} kinds, half of them answered within {median:?}", times.len(), cases.len());
    assert!(median < PROMPT_MEDIAN, "half of the answers took more than {median:?}");
    stage.finish();
}

fn wrong_frames() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, code: u16, bytes: Vec<u8>| cases.push(Case { name: name.to_owned(), bytes, code });

    case("unmasked text", PROTOCOL_ERROR, b"\x81\x05hello".to_vec());
    case("unmasked empty text", PROTOCOL_ERROR, vec![0x81, 0]);
    case("unmasked ping", PROTOCOL_ERROR, vec![0x89, 0]);
    case("unmasked close", PROTOCOL_ERROR, b"\x88\x02\x03\xe8".to_vec());
    case("unmasked text with a long length", PROTOCOL_ERROR, b"\x81\x7e\x01\x00".to_vec());

    for bits in 1..8 {
        case(&format!("reserved bits {bits} on text"), PROTOCOL_ERROR, masked(FIN | bits << 4 | TEXT, b"{}"));
    }
    case("reserved bit on a ping", PROTOCOL_ERROR, masked(FIN | 0x40 | PING, b""));
    case("reserved bit on a close", PROTOCOL_ERROR, masked(FIN | 0x10 | CLOSE, b"\x03\xe8"));
    let begun = masked(TEXT, b"{");
    let continued = [begun.clone(), masked(FIN | 0x20 | CONTINUATION, b"}")].concat();
    case("reserved bit on a continuation", PROTOCOL_ERROR, continued);

    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        case(&format!("opcode {opcode}"), PROTOCOL_ERROR, masked(FIN | opcode, b"{}"));
        case(&format!("opcode {opcode} without FIN"), PROTOCOL_ERROR, masked(opcode, b""));
    }

    for opcode in [CLOSE, PING, PONG] {
        case(&format!("fragmented control frame {opcode}"), PROTOCOL_ERROR, masked(opcode, b""));
        case(&format!("control frame {opcode} of 126 bytes"), PROTOCOL_ERROR, masked(FIN | opcode, &[b'x'; 126]));
        let enormous = header(FIN | opcode, Length::Long(1 << 40));
        case(&format!("control frame {opcode} of a terabyte"), PROTOCOL_ERROR, enormous);
        let padded = [header(FIN | opcode, Length::Medium(4)), b"xxxx".to_vec()].concat();
        case(&format!("control frame {opcode} with a padded length"), PROTOCOL_ERROR, padded);
    }

    for (length, name) in [(0, "0"), (1, "1"), (125, "125")] {
        let bytes = [header(FIN | TEXT, Length::Medium(length)), vec![b'x'; usize::from(length)]].concat();
        case(&format!("length {name} in two bytes"), PROTOCOL_ERROR, bytes);
    }
    for length in [0, 125, 126, 65_535] {
        case(&format!("length {length} in eight bytes"), PROTOCOL_ERROR, header(FIN | BINARY, Length::Long(length)));
    }
    for length in [1 << 63, u64::MAX, (1 << 63) + 5] {
        case(&format!("length {length:#x}"), PROTOCOL_ERROR, header(FIN | TEXT, Length::Long(length)));
    }

    case("continuation of nothing", PROTOCOL_ERROR, masked(FIN | CONTINUATION, b"{}"));
    case("continuation of nothing without FIN", PROTOCOL_ERROR, masked(CONTINUATION, b""));
    case("text within a text", PROTOCOL_ERROR, [begun.clone(), text("{}")].concat());
    case("binary within a text", PROTOCOL_ERROR, [begun, masked(FIN | BINARY, b"{}")].concat());

    for length in [128 * 1024 + 1, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) - 1] {
        case(&format!("length {length:#x}"), TOO_BIG, header(FIN | TEXT, Length::Shortest(length)));
        let rest = header(FIN | CONTINUATION, Length::Shortest(length));
        case(&format!("length {length:#x} of a second fragment"), TOO_BIG, [masked(BINARY, b"{"), rest].concat());
    }
    cases
}

fn wrong_texts() -> Vec<Case> {
    let bad: &[(&str, &[u8])] = &[
        ("a byte that never occurs", b"{\xff}"),
        ("a continuation byte alone", b"\x80"),
        ("overlong slash", b"\xc0\xaf"),
        ("overlong zero", b"\xe0\x80\x80"),
        ("surrogate", b"\xed\xa0\x80"),
        ("beyond Unicode", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("cut off at the end", b"{}\xe2\x82"),
    ];
    let mut cases = Vec::new();
    for (name, payload) in bad {
        let mut case = |how: &str, bytes: Vec<u8>| {
            cases.push(Case { name: format!("{name}, {how}"), bytes, code: INVALID_DATA });
        };
        case("in one frame", masked(FIN | TEXT, payload));
        let fragments = payload.iter().map(|byte| masked(CONTINUATION, &[*byte]));
        let fragments: Vec<u8> = [masked(TEXT, b"")].into_iter().chain(fragments).flatten().collect();
        case("in fragments of a byte", [fragments.clone(), masked(FIN | CONTINUATION, b"")].concat());
        if !name.starts_with("cut off") {
            // Known at the bad byte: nobody waits for the end of the message.
            case("in fragments without an end", fragments);
            let unfinished = [header(FIN | TEXT, Length::Shortest(60_000)), mask(payload)].concat();
            case("at the start of a frame that never ends", unfinished);
        }
    }
    cases
}

fn wrong_closes() -> Vec<Case> {
    let mut cases = Vec::new();
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
        cases.push(Case { name: format!("close code {code}"), bytes: close(code, b""), code: PROTOCOL_ERROR });
    }
    let half = masked(FIN | CLOSE, &[3]);
    cases.push(Case { name: "half a close code".to_owned(), bytes: half, code: PROTOCOL_ERROR });
    for reason in [&b"\xff"[..], b"bye \xe2\x82", b"\xed\xa0\x80"] {
        let name = format!("close reason {reason:?}");
        cases.push(Case { name, bytes: close(1000, reason), code: INVALID_DATA });
    }
    cases
}

#[test]
fn what_follows_a_close_frame_is_not_looked_at() {
    let stage = Stage::start("");
    let after: &[(&str, Vec<u8>)] = &[
        ("nothing", Vec::new()),
        ("a command", text(CONNECT)),
        ("another close frame", close(1001, b"")),
        ("a ping", masked(FIN | PING, b"x")),
        ("a violation", vec![0xff; 64]),
        ("a long message", masked(FIN | TEXT, &vec![b' '; 60_000])),
    ];
    for (name, after) in after {
        for (sent, answered) in [(close(1000, b"bye"), 1000), (close(4999, b""), 4999), (masked(FIN | CLOSE, b""), 0)] {
            let mut client = Client::greeted(stage.websocket());
            client.send(&[sent, after.clone()].concat());
            let outcome = client.outcome(PROMPT);
            assert_eq!(outcome.code(), Some(answered), "{name} after a close frame: {outcome:?}");
            assert!(outcome.frames.is_empty() && outcome.rest.is_empty(), "{name} after a close frame: {outcome:?}");
        }
    }
    stage.finish();
}

#[test]
fn a_close_frame_arrives_although_more_is_under_way() {
    let stage = Stage::start("");
    // More than all buffers on the way hold: if the server just closed, its close frame would be lost in a reset.
    let flood = vec![b'x'; 256 * 1024];
    for _ in 0..20 {
        let mut client = Client::live(stage.websocket());
        client.send(&header(FIN | TEXT, Length::Long(1 << 30)));
        for piece in flood.chunks(16 * 1024) {
            if client.socket.send_some(piece).is_err() {
                break;
            }
        }
        assert_eq!(client.outcome(PROMPT).code(), Some(TOO_BIG));
    }
    stage.finish();
}

#[test]
fn a_peer_that_does_not_answer_the_close_frame_is_dropped() {
    let stage = Stage::start("[timing]\nclose = \"1s\"\n");
    let mut clients: Vec<Socket> = (0..50)
        .map(|_| {
            let mut client = Client::live(stage.websocket());
            client.send(&[0x81, 0]);
            client.socket
        })
        .collect();
    for socket in &mut clients {
        socket.wait_for_end("a connection whose peer ignores the close frame ends", Duration::from_secs(4));
    }
    // Nobody has closed on this side: the server gives up its own.
    let (process, websocket) = (stage.process(), stage.websocket());
    let gone = || process.connections(websocket) == 1;
    eventually("the control client is left alone", Duration::from_secs(4), gone);
    drop(clients);
    stage.finish();
}

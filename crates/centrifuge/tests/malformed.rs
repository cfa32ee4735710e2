//! Nothing that a peer sends makes the codec panic, loop, or allocate from a declared length.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use Encoding::{Json, Protobuf};
use corecast_centrifuge::client::{decode_replies, encode_command};
use corecast_centrifuge::codes::ErrorCode;
use corecast_centrifuge::{
    Command, DecodeError, DecodeLimits, Encoding, PublishRequest, Request, SubscribeRequest, decode_commands,
    encode_error, encode_publication,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn decode(encoding: Encoding, frame: &[u8]) -> Result<Vec<Command>, DecodeError> {
    decode_commands(encoding, frame, DecodeLimits::default()).collect()
}

/// Runs every decoder over the frame and checks that each ends, at the latest one item per byte.
fn exhaust(frame: &[u8]) {
    for encoding in Encoding::ALL {
        let commands: Vec<_> = decode_commands(encoding, frame, DecodeLimits { commands: usize::MAX }).collect();
        assert!(commands.len() <= frame.len().max(1));
        assert!(commands.iter().rev().skip(1).all(Result::is_ok), "nothing comes after an error");
        let replies: Vec<_> = decode_replies(encoding, frame).collect();
        assert!(replies.len() <= frame.len().max(1));
        assert!(replies.iter().rev().skip(1).all(Result::is_ok));
    }
}

fn sample(encoding: Encoding) -> Vec<u8> {
    let subscribe = SubscribeRequest { channel: "chat:1".into(), recover: true, offset: 7, ..Default::default() };
    let publish = PublishRequest { channel: "é\"".into(), data: "{\"a\":[1,{}]}".into(), ..Default::default() };
    let mut frame = Vec::new();
    encode_command(encoding, &Command { id: 1, request: Request::Subscribe(subscribe) }, &mut frame);
    encode_command(encoding, &Command { id: 300, request: Request::Publish(publish) }, &mut frame);
    encode_publication(encoding, "chat:1", 6, b"{\"t\":\"hi\"}", &mut frame);
    encode_error(encoding, 4, &ErrorCode::Internal.into(), &mut frame);
    frame
}

proptest! {
    #[test]
    fn random_bytes(frame in vec(any::<u8>(), 0..200)) {
        exhaust(&frame);
    }

    #[test]
    fn random_json_like_text(frame in "[{}\\[\\]\",:a-z0-9\\\\\n ]{0,200}") {
        exhaust(frame.as_bytes());
    }

    #[test]
    fn mutated_frames(position: prop::sample::Index, byte: u8, cut: prop::sample::Index, protobuf: bool) {
        let mut frame = sample(if protobuf { Protobuf } else { Json });
        let position = position.index(frame.len());
        frame[position] = byte;
        exhaust(&frame);
        frame.truncate(cut.index(frame.len()));
        exhaust(&frame);
    }

    /// Publications laid out as ours, with anything in the holes: the path without checks agrees with the other one.
    #[test]
    fn publications_with_hostile_parts(channel in ".{0,20}", data in vec(any::<u8>(), 0..40), tail in ".{0,10}") {
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            encode_publication(encoding, &channel, 5, &data, &mut frame);
            exhaust(&frame);
            frame.extend_from_slice(tail.as_bytes());
            exhaust(&frame);
        }
    }
}

#[test]
fn frames_without_a_message() {
    for encoding in Encoding::ALL {
        assert_eq!(decode(encoding, b""), Err(DecodeError::EmptyFrame));
    }
    assert!(decode(Json, b"\n").is_err());
    assert!(decode(Json, b"{}\n\n").is_err(), "at most one newline at the end");
    assert!(decode(Json, b"{}\n\n{}").is_err());
    assert_eq!(decode(Json, b"{}\n").unwrap().len(), 1);
}

#[test]
fn a_command_needs_an_id_and_a_known_request() {
    assert_eq!(decode(Json, br#"{"id":7}"#), Err(DecodeError::UnknownRequest(7)));
    assert_eq!(decode(Json, br#"{"id":7,"dance":{}}"#), Err(DecodeError::UnknownRequest(7)));
    assert_eq!(decode(Json, br#"{"connect":{}}"#), Err(DecodeError::NoId));
    assert_eq!(decode(Json, br#"{"id":0,"publish":{}}"#), Err(DecodeError::NoId));
    assert!(matches!(decode(Json, br#"{"send":{"data":1}}"#).unwrap()[0].request, Request::Send(_)));
    assert_eq!(decode(Protobuf, &[2, 8, 7]), Err(DecodeError::UnknownRequest(7)));
    assert_eq!(decode(Protobuf, &[2, 0x22, 0]), Err(DecodeError::NoId));
    // Methods of protocol version 1: fields 2 and 3.
    assert_eq!(decode(Protobuf, &[4, 8, 1, 16, 1]), Err(DecodeError::UnknownRequest(1)));
}

#[test]
fn the_first_request_wins() {
    let both = br#"{"id":1,"publish":{"channel":"p"},"subscribe":{"channel":"s"}}"#;
    let request = SubscribeRequest { channel: "s".into(), ..Default::default() };
    assert_eq!(decode(Json, both).unwrap(), [Command { id: 1, request: Request::Subscribe(request) }]);
}

#[test]
fn null_unknown_fields_and_repeated_keys_are_tolerated() {
    let frame = br#" {"id":1,"id":2,"x":[{}],"connect":null,"subscribe":{"channel":"a","channel":"b","token":null,
        "recover":null,"offset":null,"tf":{"op":"and","nodes":[{"op":"eq"}]},"delta":"fossil"}} "#;
    let frame: Vec<u8> = frame.iter().copied().filter(|byte| *byte != b'\n').collect();
    let request = SubscribeRequest { channel: "b".into(), ..Default::default() };
    assert_eq!(decode(Json, &frame).unwrap(), [Command { id: 2, request: Request::Subscribe(request) }]);

    let maps = br#"{"id":1,"connect":{"subs":null,"headers":{"a":"b"},"data":null}}"#;
    let Request::Connect(connect) = &decode(Json, maps).unwrap()[0].request else { panic!("connect went in") };
    assert_eq!(connect.data, "null", "a body stays what it was");
    assert!(connect.subs.is_empty());

    // Unknown fields of all wire types: varint, 64-bit, length-delimited, 32-bit.
    let mut message = vec![8, 1, 0x3a, 0];
    message.extend_from_slice(&[0x80, 0x7d, 5, 0x81, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8]);
    message.extend_from_slice(&[0x82, 0x7d, 1, 9, 0x85, 0x7d, 1, 2, 3, 4]);
    message.insert(0, u8::try_from(message.len()).unwrap());
    assert!(matches!(decode(Protobuf, &message).unwrap()[0].request, Request::Publish(_)));
}

#[test]
fn wrong_types_are_refused() {
    for frame in [
        r#"[]"#,
        r#"1"#,
        r#"null"#,
        r#"{"id":-1,"connect":{}}"#,
        r#"{"id":4294967296,"connect":{}}"#,
        r#"{"id":1.5,"connect":{}}"#,
        r#"{"id":"1","connect":{}}"#,
        r#"{"id":1,"connect":[]}"#,
        r#"{"id":1,"connect":{"token":7}}"#,
        r#"{"id":1,"subscribe":{"recover":"yes"}}"#,
        r#"{"id":1,"subscribe":{"offset":-1}}"#,
        r#"{"id":1,"connect":{}}{"#,
        r#"{"id":1,"connect":{}} {"id":2,"connect":{}}"#,
        r#"{"id":1,"publish":{"data":{]}}"#,
        r#"{"id":1,"publish":{"data":"#,
    ] {
        assert!(matches!(decode(Json, frame.as_bytes()), Err(DecodeError::Json { .. })), "{frame}");
    }
    assert!(decode(Json, b"{\"id\":1,\"publish\":{\"data\":\"\xff\"}}").is_err(), "not UTF-8");
}

#[test]
fn nesting_costs_no_stack() {
    let deep = |open: &str, close: &str| open.repeat(200_000) + &close.repeat(200_000);
    let data = format!(r#"{{"id":1,"publish":{{"data":{}}}}}"#, deep("[", "]"));
    assert!(decode(Json, data.as_bytes()).is_ok(), "a body is only scanned; sanitize_json limits it");
    let unknown = format!(r#"{{"id":1,"publish":{{}},"x":{}}}"#, deep("{\"a\":", "}").replace(":}", ":1}"));
    assert!(decode(Json, unknown.as_bytes()).is_ok());
    // Protobuf groups (wire types 3 and 4), which only an attacker nests.
    let mut groups = vec![0xfb; 100_000];
    groups.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = 0x7d);
    let mut frame = vec![0xa0, 0x8d, 0x06];
    frame.extend_from_slice(&groups);
    assert!(matches!(decode(Protobuf, &frame), Err(DecodeError::Protobuf(_))));
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for frame in [
        [5, 8, 1].as_slice(),
        &[0x80],
        &[0xff; 11],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
    ] {
        assert_eq!(decode(Protobuf, frame), Err(DecodeError::Length), "{frame:?}");
    }
    // A field inside declares 2^63 bytes.
    let frame = [15, 8, 1, 0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0];
    assert!(matches!(decode(Protobuf, &frame), Err(DecodeError::Protobuf(_))));
}

#[test]
fn commands_in_a_frame_are_limited() {
    let limits = DecodeLimits { commands: 3 };
    for (encoding, frame) in [(Json, "{}\n{}\n{}\n{}".as_bytes()), (Protobuf, &[0, 0, 0, 0])] {
        let all: Vec<_> = decode_commands(encoding, frame, limits).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(all[3], Err(DecodeError::TooMany(3)));
        let most = DecodeLimits { commands: 4 };
        assert!(decode_commands(encoding, frame, most).all(|command| command.is_ok()));
    }
}

#[test]
fn tokens_do_not_reach_logs() {
    let frames = [
        r#"{"id":1,"connect":{"token":"secret","subs":{"a":{"token":"secret"}}}}"#,
        r#"{"id":1,"subscribe":{"token":"secret"}}"#,
        r#"{"id":1,"refresh":{"token":"secret"}}"#,
        r#"{"id":1,"sub_refresh":{"token":"secret"}}"#,
    ];
    for frame in frames {
        let shown = format!("{:?}", decode(Json, frame.as_bytes()).unwrap());
        assert!(!shown.contains("secret") && shown.contains("<6 bytes>"), "{shown}");
    }
}

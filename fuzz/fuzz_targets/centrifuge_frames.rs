//! Any frame in either encoding, from either side: the codec never panics, and what it understood it can say again.
//!
//! Input: one byte for the encoding, then the frame.

#![no_main]

use bytes::Bytes;
use corecast_centrifuge::client::{Incoming, decode_replies, encode_command};
use corecast_centrifuge::{
    Command, DecodeLimits, Encoding, Request, decode_commands, encode_error, encode_publication, encode_push,
    encode_reply, sanitize_json,
};
use libfuzzer_sys::fuzz_target;

fn commands(encoding: Encoding, frame: &[u8]) -> Vec<Command> {
    decode_commands(encoding, frame, DecodeLimits::default()).map_while(Result::ok).collect()
}

fn from_client(encoding: Encoding, frame: &[u8]) {
    let understood = commands(encoding, frame);
    assert!(understood.len() <= DecodeLimits::default().commands);
    let mut again = Vec::new();
    for command in &understood {
        encode_command(encoding, command, &mut again);
        if let Request::Publish(publish) = &command.request {
            body(publish.data.clone());
        }
    }
    if !understood.is_empty() {
        assert_eq!(commands(encoding, &again), understood);
    }
}

/// A body that passes is one line of JSON with the same meaning, and passes again as it is.
fn body(data: Bytes) {
    let Ok(clean) = sanitize_json(data.clone()) else { return };
    assert!(!clean.contains(&b'\n') && clean.len() <= data.len());
    assert_eq!(sanitize_json(clean.clone()).as_ref(), Ok(&clean));
    let mut frame = Vec::new();
    encode_publication(Encoding::Json, "chat", 1, &clean, &mut frame);
    match decode_replies(Encoding::Json, &frame).collect::<Vec<_>>()[..] {
        [Ok(Incoming::Publication(publication))] => assert_eq!(publication.data, clean),
        ref other => panic!("one publication went in: {other:?}"),
    }
}

fn from_server(encoding: Encoding, frame: &[u8]) {
    for incoming in decode_replies(encoding, frame) {
        let Ok(Incoming::Reply(reply)) = incoming else { continue };
        let mut again = Vec::new();
        match (&reply.error, &reply.push, &reply.body) {
            (Some(error), None, None) => encode_error(encoding, reply.id, error, &mut again),
            (None, Some(push), None) if reply.id == 0 => encode_push(encoding, push, &mut again),
            (None, None, Some(body)) => encode_reply(encoding, reply.id, body, &mut again),
            _ => continue,
        }
        let same = match decode_replies(encoding, &again).next() {
            Some(Ok(Incoming::Reply(same))) => same == reply,
            // The first decoder may not have seen our own layout.
            Some(Ok(Incoming::Publication(same))) => reply
                .push
                .as_ref()
                .and_then(|push| push.publication.as_ref())
                .is_some_and(|publication| (same.offset, same.data) == (publication.offset, &publication.data)),
            _ => false,
        };
        assert!(same, "{reply:?}");
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((options, frame)) = input.split_first() else { return };
    let encoding = if options & 1 == 0 { Encoding::Json } else { Encoding::Protobuf };
    from_client(encoding, frame);
    from_server(encoding, frame);
    body(Bytes::copy_from_slice(frame));
});

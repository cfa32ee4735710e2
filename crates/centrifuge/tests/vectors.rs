//! Field names and numbers are those of the public protocol definition: every message with every field, checked against
//! code generated from it.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use corecast_centrifuge::client::{Incoming, decode_replies, encode_command};
use corecast_centrifuge::{
    Command, DecodeLimits, Encoding, decode_commands, encode_error, encode_publication, encode_push, encode_reply,
};

const VECTORS: &str = include_str!("vectors.txt");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn command(encoding: Encoding, frame: &[u8]) -> Command {
    decode_commands(encoding, frame, DecodeLimits::default()).next().unwrap().unwrap()
}

fn incoming(encoding: Encoding, frame: &[u8]) -> Incoming<'_> {
    decode_replies(encoding, frame).next().unwrap().unwrap()
}

fn encode_incoming(encoding: Encoding, incoming: &Incoming<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match incoming {
        Incoming::Ping => panic!("no vector is a ping"),
        Incoming::Publication(publication) => {
            encode_publication(encoding, publication.channel, publication.offset, publication.data, &mut out);
        }
        Incoming::Reply(reply) => match (&reply.error, &reply.push, &reply.body) {
            (Some(error), None, None) => encode_error(encoding, reply.id, error, &mut out),
            (None, Some(push), None) => encode_push(encoding, push, &mut out),
            (None, None, Some(body)) => encode_reply(encoding, reply.id, body, &mut out),
            _ => panic!("one body expected: {reply:?}"),
        },
    }
    out
}

#[test]
fn both_encodings_of_every_message_say_the_same() {
    let mut checked = 0;
    for vector in VECTORS.split("\n\n").skip(1) {
        let [kind, json, protobuf] = vector.lines().collect::<Vec<_>>()[..] else { panic!("three lines: {vector}") };
        let protobuf = unhex(protobuf);
        let frames = [(Encoding::Json, json.as_bytes()), (Encoding::Protobuf, &protobuf[..])];
        for (from, input) in frames {
            for (to, expected) in frames {
                let output = if kind == "command" {
                    let mut out = Vec::new();
                    encode_command(to, &command(from, input), &mut out);
                    out
                } else {
                    encode_incoming(to, &incoming(from, input))
                };
                assert_eq!(output, expected, "{from:?} to {to:?}: {vector}");
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 32);
}

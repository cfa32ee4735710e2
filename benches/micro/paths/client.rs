//! What clients send: one publish command, from the masked bytes in the receive buffer to the command.

use std::hint::black_box;

use anyhow::Result;
use bytes::Bytes;
use corecast_centrifuge::client::encode_command;
use corecast_centrifuge::{
    Command, DecodeLimits, Encoding, PublishRequest, PublishResult, ReplyBody, Request, decode_commands, encode_reply,
};
use corecast_websocket::{Decoder, FrameBuilder, Message, Opcode, client_frame};

use super::{HotPath, Operation, chat, payload};

/// Limit of a client message, as the gateway's default.
const MESSAGE_BYTES_MAX: usize = 128 << 10;
/// What a reply reserves; longer ones grow.
const REPLY_BYTES: usize = 64;

pub(super) fn paths() -> Vec<HotPath> {
    let path = |name, prepare| HotPath { name, prepare, each: 1, warm_up: 20, operations: 500 };
    vec![
        path("client: unmask and decode a publish, JSON", |operations| decode(Encoding::Json, operations)),
        path("client: unmask and decode a publish, Protobuf", |operations| decode(Encoding::Protobuf, operations)),
        path("client: encode the reply to a publish, JSON", |_| reply(Encoding::Json)),
        path("client: encode the reply to a publish, Protobuf", |_| reply(Encoding::Protobuf)),
    ]
}

fn opcode(encoding: Encoding) -> Opcode {
    match encoding {
        Encoding::Json => Opcode::Text,
        Encoding::Protobuf => Opcode::Binary,
    }
}

fn decode(encoding: Encoding, operations: usize) -> Result<Operation> {
    let mut chunks: Vec<_> = (0..operations).map(|number| publish(encoding, number)).collect();
    let mut decoder = Decoder::server(MESSAGE_BYTES_MAX);
    let limits = DecodeLimits::default();
    Ok(Box::new(move |index| {
        let chunk = &mut chunks[index];
        let mut at = 0;
        let mut publishes = 0;
        while let Ok((used, Some(message))) = decoder.decode(&mut chunk[at..]) {
            at += used;
            let Message::Data { payload, .. } = message else { continue };
            for command in decode_commands(encoding, payload, limits) {
                if let Ok(Command { request: Request::Publish(publish), .. }) = command {
                    black_box(publish);
                    publishes += 1;
                }
            }
        }
        publishes
    }))
}

fn publish(encoding: Encoding, number: usize) -> Vec<u8> {
    let data = Bytes::from(payload(number));
    let request = Request::Publish(PublishRequest { channel: chat(number), data, r#type: 0 });
    let mut message = Vec::new();
    encode_command(encoding, &Command { id: 1_000 + number as u32, request }, &mut message);
    let mut frame = Vec::new();
    let mask = (number as u32).wrapping_mul(0x9e37_79b9).to_le_bytes();
    client_frame(opcode(encoding), &message, mask, &mut frame);
    frame
}

fn reply(encoding: Encoding) -> Result<Operation> {
    Ok(Box::new(move |index| {
        let mut frame = FrameBuilder::with_capacity(REPLY_BYTES);
        encode_reply(encoding, 1_000 + index as u32, &ReplyBody::Publish(PublishResult {}), frame.payload());
        usize::from(!black_box(frame.finish(opcode(encoding))).is_empty())
    }))
}

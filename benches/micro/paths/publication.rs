//! One publication into one frame, built once for all members that speak the encoding.

use std::hint::black_box;

use anyhow::Result;
use bytes::Bytes;
use corecast_centrifuge::{Encoding, PublicationEncoder};
use corecast_websocket::{Opcode, frame};

use super::{HotPath, Operation, chat, payload};

pub(super) fn paths() -> Vec<HotPath> {
    let path = |name, prepare| HotPath { name, prepare, each: 1, warm_up: 20, operations: 500 };
    vec![
        path("chat: encode a publication frame, JSON", |_| encode(Encoding::Json, Opcode::Text)),
        path("chat: encode a publication frame, Protobuf", |_| encode(Encoding::Protobuf, Opcode::Binary)),
    ]
}

fn encode(encoding: Encoding, opcode: Opcode) -> Result<Operation> {
    let encoder = PublicationEncoder::new(&chat(0));
    let payload = payload(0);
    Ok(Box::new(move |index| {
        let offset = 1_000 + index as u64;
        let length = encoder.encoded_len(encoding, offset, &payload);
        let mut bytes = Vec::with_capacity(frame::header_bytes(length) + length);
        frame::header_into(&mut bytes, opcode, length);
        encoder.write(encoding, offset, &payload, &mut bytes);
        usize::from(!black_box(Bytes::from(bytes)).is_empty())
    }))
}

//! Frames of a router link.

use std::hint::black_box;

use anyhow::Result;
use corecast_wire::{FrameDecoder, FrameEncoder, Messages, ToGateway};

use super::{BATCH, HotPath, Operation, UNIX_MS, payload};

pub(super) fn paths() -> Vec<HotPath> {
    let path = |name, prepare, each| HotPath { name, prepare, each, warm_up: 20, operations: 500 };
    vec![
        path("wire: encode a frame of 64 updates", encode, BATCH),
        path("wire: decode a frame of 1 update", |operations| decode(operations, 1), 1),
        path("wire: decode a frame of 64 updates", |operations| decode(operations, BATCH), BATCH),
    ]
}

/// What a router core does for each subscribed gateway.
fn encode(_operations: usize) -> Result<Operation> {
    let mut encoder = FrameEncoder::new();
    let payload = payload(0);
    Ok(Box::new(move |index| {
        let pushed = (0..BATCH)
            .filter(|handle| encoder.push_update(*handle as u32, index as u64 + 1, UNIX_MS, &payload).is_ok())
            .count();
        while let Some(frame) = encoder.take() {
            black_box(frame);
        }
        pushed
    }))
}

/// From the bytes of a chunk to messages, as the link machine takes them in.
fn decode(operations: usize, batch: usize) -> Result<Operation> {
    let chunks = (1..=operations).map(|offset| updates(batch, offset as u64)).collect::<Result<Vec<_>>>()?;
    let mut decoder = FrameDecoder::new();
    Ok(Box::new(move |index| {
        decoder.feed(&chunks[index]);
        let mut decoded = 0;
        while let Ok(Some(body)) = decoder.next_body() {
            for message in Messages::<ToGateway>::new(body) {
                if let Ok(ToGateway::Update(update)) = message {
                    black_box(update);
                    decoded += 1;
                }
            }
        }
        decoded
    }))
}

/// One frame with the update `offset` of as many chats, by handles from 0.
pub(crate) fn updates(chats: usize, offset: u64) -> Result<Vec<u8>> {
    let mut encoder = FrameEncoder::new();
    for handle in 0..chats {
        encoder.push_update(u32::try_from(handle)?, offset, UNIX_MS, &payload(handle))?;
    }
    let mut chunk = Vec::new();
    while let Some(frame) = encoder.take() {
        chunk.extend_from_slice(&frame);
    }
    Ok(chunk)
}

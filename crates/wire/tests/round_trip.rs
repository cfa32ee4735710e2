//! What one side encodes, the other decodes to the same messages, however they are batched and chunked.
mod common;

use bytes::Bytes;
use common::{decoded, encoded, to_gateway, to_router};
use corecast_wire::message::Update;
use corecast_wire::{FrameDecoder, FrameEncoder, Message, Messages, ToGateway, ToRouter};
use proptest::collection::vec;
use proptest::prelude::*;

/// Sends `messages` through frames of about `target` bytes and chunks of the given sizes, taken in turn.
fn through_frames<M: Message>(messages: &[M], target: usize, chunks: &[usize], shared: bool) -> Vec<M> {
    let mut encoder = FrameEncoder::with_target(target);
    for message in messages {
        encoder.push(message).expect("a valid message");
    }
    let mut stream = Vec::new();
    let queued = encoder.queued_bytes();
    while let Some(frame) = encoder.take() {
        stream.extend_from_slice(&frame);
    }
    assert_eq!(stream.len(), queued);

    let mut decoder = FrameDecoder::new();
    let mut received = Vec::new();
    let mut rest = stream.as_slice();
    let mut sizes = chunks.iter().cycle();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at((*sizes.next().expect("a cycle")).min(rest.len()));
        rest = behind;
        if shared {
            decoder.feed_shared(Bytes::copy_from_slice(chunk));
        } else {
            decoder.feed(chunk);
        }
        while let Some(body) = decoder.next_body().expect("an intact stream") {
            received.extend(Messages::new(body).map(|message| message.expect("a valid body")));
        }
    }
    assert_eq!(decoder.buffered(), 0);
    received
}

proptest! {
    #[test]
    fn each_message_to_a_router(message in to_router()) {
        prop_assert_eq!(decoded::<ToRouter>(&encoded(&message)).expect("valid"), vec![message]);
    }

    #[test]
    fn each_message_to_a_gateway(message in to_gateway()) {
        prop_assert_eq!(decoded::<ToGateway>(&encoded(&message)).expect("valid"), vec![message]);
    }

    #[test]
    fn batches_to_a_router(
        messages in vec(to_router(), 1..40), target in 1..4_000_usize,
        chunks in vec(1..2_000_usize, 1..8), shared: bool,
    ) {
        prop_assert_eq!(through_frames(&messages, target, &chunks, shared), messages);
    }

    #[test]
    fn batches_to_a_gateway(
        messages in vec(to_gateway(), 1..40), target in 1..4_000_usize,
        chunks in vec(1..2_000_usize, 1..8), shared: bool,
    ) {
        prop_assert_eq!(through_frames(&messages, target, &chunks, shared), messages);
    }

    #[test]
    fn the_short_cut_for_history_writes_the_same_bytes(message in to_gateway()) {
        if let ToGateway::HistoryResult(result) = &message {
            let (mut short, mut plain) = (FrameEncoder::new(), FrameEncoder::new());
            let publications = result.publications.iter().map(|each| (each.offset, each.time_ms, each.payload.as_ref()));
            short.push_history(result.request, result.epoch, result.offset, publications).expect("valid");
            plain.push(&message).expect("valid");
            prop_assert_eq!(short.take(), plain.take());
        }
    }

    #[test]
    fn the_short_cut_for_updates_writes_the_same_bytes(
        handle: u32, offset in 0..1_u64 << 53, time_ms in 0..1_u64 << 48, payload in vec(any::<u8>(), 0..200),
    ) {
        let message = ToGateway::Update(Update {
            handle, offset, time_ms, payload: payload.clone().into(),
        });
        let (mut short, mut plain) = (FrameEncoder::new(), FrameEncoder::new());
        short.push_update(handle, offset, time_ms, &payload).expect("valid");
        plain.push(&message).expect("valid");
        prop_assert_eq!(short.take(), plain.take());
    }
}

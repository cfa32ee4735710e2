//! Any body: decoding never panics, and what decodes encodes to the same bytes and decodes to the same messages.
//!
//! Input: one byte for the direction, then the body.

#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use corecast_wire::{FrameDecoder, FrameEncoder, Message, Messages, ToGateway, ToRouter};
use libfuzzer_sys::fuzz_target;

/// Types whose last field, `extensions`, is ignored: it is not written again.
const WITH_EXTENSIONS: [u8; 5] = [0x10, 0x11, 0x40, 0x41, 0x42];

fn check<M: Message + Debug + PartialEq>(body: &Bytes) {
    let mut messages = Vec::new();
    let mut position = 0;
    while position < body.len() {
        let start = position;
        let Ok(Some(message)) = M::decode(body, &mut position) else { break };
        assert!(start < position && position <= body.len());
        let mut again = Vec::new();
        message.encode(&mut again).expect("what decodes can be encoded");
        let original = &body[start..position];
        if !WITH_EXTENSIONS.contains(&again[0]) {
            assert!(original.ends_with(&again), "another encoding of {message:?}");
            assert!(original.len() == again.len() || original[0] >= 0x80, "skipped something");
        }
        messages.push(message);
    }

    let mut encoder = FrameEncoder::with_target(4_096);
    for message in &messages {
        encoder.push(message).expect("what decodes can be encoded");
    }
    let mut decoder = FrameDecoder::new();
    let mut received = Vec::new();
    while let Some(frame) = encoder.take() {
        decoder.feed_shared(frame);
        while let Some(body) = decoder.next_body().expect("our own frame") {
            received.extend(Messages::<M>::new(body).map(|message| message.expect("our own message")));
        }
    }
    assert_eq!(received, messages);
}

fuzz_target!(|data: &[u8]| {
    let [direction, body @ ..] = data else { return };
    let body = Bytes::copy_from_slice(body);
    if direction & 1 == 0 {
        check::<ToRouter>(&body);
    } else {
        check::<ToGateway>(&body);
    }
});

//! Damaged, cut or foreign bytes are refused: never a panic, never a message that was not sent.
mod common;

use bytes::Bytes;
use common::{decoded, encoded, to_gateway, to_router};
use corecast_wire::message::{ToGateway, ToRouter};
use corecast_wire::{FrameDecoder, FrameEncoder, Message, MessageError, Messages};
use proptest::collection::vec;
use proptest::prelude::*;

fn frame<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_target(1 << 20);
    for message in messages {
        encoder.push(message).expect("a valid message");
    }
    let frame = encoder.take().expect("one frame").to_vec();
    assert!(encoder.is_empty());
    frame
}

fn bodies(stream: &[u8]) -> usize {
    let mut decoder = FrameDecoder::new();
    decoder.feed(stream);
    let mut count = 0;
    while let Ok(Some(_)) = decoder.next_body() {
        count += 1;
    }
    count
}

/// All prefixes of an encoded message end inside it.
fn cut_everywhere<M: Message + std::fmt::Debug + PartialEq>(message: &M) {
    let bytes = encoded(message);
    for end in 1..bytes.len() {
        assert_eq!(decoded::<M>(&bytes[..end]), Err(MessageError::Truncated), "cut at {end} of {message:?}");
    }
}

/// Whatever decodes encodes to the bytes it came from: each message has one encoding. (The handshake's messages may
/// have had extensions that were ignored, and a message may stand behind others that were skipped.)
fn canonical<M: Message + std::fmt::Debug>(bytes: &[u8]) {
    const HANDSHAKE: [u8; 5] = [0x10, 0x11, 0x40, 0x41, 0x42];
    let body = Bytes::copy_from_slice(bytes);
    let mut position = 0;
    while position < body.len() {
        let start = position;
        let Ok(Some(message)) = M::decode(&body, &mut position) else { return };
        assert!(start < position && position <= body.len());
        let again = encoded(&message);
        if !HANDSHAKE.contains(&again[0]) {
            assert!(bytes[start..position].ends_with(&again), "{message:?}");
        }
        if bytes[start] < 0x80 && !HANDSHAKE.contains(&bytes[start]) {
            assert_eq!(bytes[start..position], again, "{message:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_message_to_a_router_cut_at_every_byte(message in to_router()) {
        cut_everywhere(&message);
    }

    #[test]
    fn a_message_to_a_gateway_cut_at_every_byte(message in to_gateway()) {
        cut_everywhere(&message);
    }

    #[test]
    fn a_frame_cut_at_every_byte_yields_nothing(messages in vec(to_gateway(), 1..3)) {
        let frame = frame(&messages);
        for end in 0..frame.len() {
            prop_assert_eq!(bodies(&frame[..end]), 0);
        }
        prop_assert_eq!(bodies(&frame), 1);
    }

    #[test]
    fn each_flipped_bit_is_noticed(messages in vec(to_gateway(), 1..3)) {
        let frame = frame(&messages);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(bodies(&damaged), 0, "bit {}", bit);
        }
    }

    #[test]
    fn bursts_of_up_to_32_bits_are_noticed(
        messages in vec(to_router(), 1..4), start: prop::sample::Index, burst in 1..=u32::MAX,
    ) {
        let frame = frame(&messages);
        prop_assume!(frame.len() >= 12);
        let mut damaged = frame.clone();
        let at = start.index(frame.len() - 3);
        for (byte, flip) in damaged[at..].iter_mut().zip(burst.to_le_bytes()) {
            *byte ^= flip;
        }
        // Over length and checksum at once, a burst is caught only with probability 1 − 2^-32.
        prop_assume!(at >= 8);
        prop_assert_eq!(bodies(&damaged), 0);
    }

    #[test]
    fn arbitrary_streams_do_no_harm(stream in vec(any::<u8>(), 0..600), size in 1..64_usize) {
        let mut decoder = FrameDecoder::new();
        for chunk in stream.chunks(size) {
            decoder.feed(chunk);
            while let Ok(Some(body)) = decoder.next_body() {
                Messages::<ToRouter>::new(body.clone()).count();
                Messages::<ToGateway>::new(body).count();
            }
        }
    }

    #[test]
    fn arbitrary_bodies_do_no_harm(body in vec(any::<u8>(), 1..300)) {
        canonical::<ToRouter>(&body);
        canonical::<ToGateway>(&body);
    }

    #[test]
    fn changed_messages_are_refused_or_canonical(message in to_gateway(), at: prop::sample::Index, value: u8) {
        let mut bytes = encoded(&message);
        let at = at.index(bytes.len());
        bytes[at] = value;
        canonical::<ToGateway>(&bytes);
    }
}

#[test]
fn unknown_types_below_0x80_are_errors_and_above_are_skipped() {
    let ping = encoded(&ToGateway::Ping { nonce: 7 });
    assert_eq!(decoded::<ToGateway>(&[0x7f, 0]), Err(MessageError::UnknownType(0x7f)));
    // A router's message is unknown to a router.
    assert_eq!(decoded::<ToRouter>(&encoded(&ToGateway::Signal(signal()))), Err(MessageError::UnknownType(0x4b)));

    let mut body = vec![0x80, 3, 1, 2, 3];
    body.extend_from_slice(&ping);
    body.extend_from_slice(&[0xff, 0]);
    assert_eq!(decoded(&body), Ok(vec![ToGateway::Ping { nonce: 7 }]));
    assert_eq!(decoded::<ToGateway>(&[0x80, 3, 1]), Err(MessageError::Truncated));
}

#[test]
fn extensions_of_later_versions_are_ignored() {
    let message = ToRouter::Proof { mac: [9; 32] };
    let mut bytes = encoded(&message);
    assert_eq!(bytes.pop(), Some(0), "an empty byte string at the end");
    bytes.extend_from_slice(&[2, 0xaa, 0xbb]);
    assert_eq!(decoded(&bytes), Ok(vec![message]));
}

#[test]
fn declared_counts_and_lengths_allocate_nothing() {
    // A history result that promises 4,096 publications, and a payload that promises 512 KiB.
    let mut history = vec![0x49, 1];
    history.extend_from_slice(&[0; 8]);
    history.extend_from_slice(&[5, 0x80, 0x20]);
    assert_eq!(decoded::<ToGateway>(&history), Err(MessageError::Truncated));
    assert_eq!(decoded::<ToGateway>(&[0x45, 1, 1, 0, 0x80, 0x80, 0x20]), Err(MessageError::Truncated));
    // One more than allowed is refused before the length is believed.
    assert_eq!(
        decoded::<ToGateway>(&[0x45, 1, 1, 0, 0x81, 0x80, 0x20]),
        Err(MessageError::OutOfRange { field: "payload" })
    );
}

fn signal() -> corecast_wire::message::Signal {
    corecast_wire::message::Signal::Disconnect(Box::new(corecast_wire::message::Disconnect {
        user: corecast_wire::Text::from_static("u"),
        client: corecast_wire::Text::default(),
        code: 3_503,
        reason: corecast_wire::Text::default(),
        except: Vec::new(),
    }))
}

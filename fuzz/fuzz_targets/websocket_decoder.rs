//! Any bytes in any chunks: the decoder never panics, holds little, and the chunks do not change the outcome.
//!
//! Input: one byte of options, one byte with the number of chunk sizes, the sizes, then the stream.

#![no_main]

use corecast_websocket::{Decoder, Kind, Message, Violation};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, PartialEq)]
enum Event {
    Data(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Violation(Violation),
}

impl From<Message<'_>> for Event {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Data { kind, payload } => {
                assert!(kind == Kind::Binary || std::str::from_utf8(payload).is_ok());
                Self::Data(kind, payload.to_vec())
            }
            Message::Ping(payload) => Self::Ping(payload.to_vec()),
            Message::Pong(payload) => Self::Pong(payload.to_vec()),
            Message::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Decodes one chunk into `events`.
fn decode_chunk(decoder: &mut Decoder, mut chunk: Vec<u8>, events: &mut Vec<Event>) -> Result<(), Violation> {
    let mut at = 0;
    loop {
        let (used, message) = decoder.decode(&mut chunk[at..])?;
        at += used;
        match message {
            Some(message) => events.push(message.into()),
            None => {
                assert_eq!(at, chunk.len());
                return Ok(());
            }
        }
    }
}

fn decode(options: u8, stream: &[u8], mut sizes: impl Iterator<Item = usize>) -> (Vec<Event>, u32) {
    let limit = usize::from(options >> 1) * 8;
    let mut decoder = if options & 1 == 0 { Decoder::server(limit) } else { Decoder::client(limit) };
    let mut events = Vec::new();
    let mut frames = 0;
    let mut rest = stream;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        if let Err(violation) = decode_chunk(&mut decoder, chunk.to_vec(), &mut events) {
            events.push(Event::Violation(violation));
        }
        frames += decoder.take_frames();
        assert!(decoder.buffered() <= 2 * (stream.len() - rest.len()) + 300);
    }
    (events, frames)
}

fuzz_target!(|input: &[u8]| {
    let [options, count, rest @ ..] = input else {
        return;
    };
    let Some((sizes, stream)) = rest.split_at_checked(usize::from(*count)) else {
        return;
    };
    let whole = decode(*options, stream, std::iter::empty());
    let chunked = decode(*options, stream, sizes.iter().copied().map(usize::from));
    assert_eq!(whole, chunked);
    assert_eq!(whole, decode(*options, stream, std::iter::repeat(1)));
});

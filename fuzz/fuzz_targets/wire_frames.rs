//! Any bytes in any chunks: the frame decoder never panics, holds little, and the chunks do not change the outcome.
//!
//! Input: one byte of options, one byte with the number of chunk sizes, the sizes, then the stream. With option 2 the
//! checksums in the stream are made right first: otherwise hardly any body would get through.

#![no_main]

use bytes::Bytes;
use corecast_wire::limits::FRAME_HEADER_BYTES;
use corecast_wire::{FrameDecoder, FrameError, Messages, ToGateway, ToRouter};
use libfuzzer_sys::fuzz_target;

/// Bodies of up to 64 KiB: larger ones teach the fuzzer nothing.
const LIMIT: usize = 64 << 10;

fn with_right_checksums(stream: &[u8]) -> Vec<u8> {
    let mut fixed = stream.to_vec();
    let mut at = 0;
    while let Some(header) = fixed.get(at..at + FRAME_HEADER_BYTES) {
        let len = u32::from_le_bytes(header[..4].try_into().expect("4 bytes")) as usize;
        let start = at + FRAME_HEADER_BYTES;
        let Some(body) = start.checked_add(len).and_then(|end| fixed.get(start..end)) else { break };
        let checksum = crc32c::crc32c(body);
        fixed[at + 4..start].copy_from_slice(&checksum.to_le_bytes());
        at = start + len;
    }
    fixed
}

fn decode(stream: &[u8], mut sizes: impl Iterator<Item = usize>, shared: bool) -> (Vec<Bytes>, Option<FrameError>) {
    let mut decoder = FrameDecoder::with_limit(LIMIT);
    let mut bodies = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        if shared {
            decoder.feed_shared(Bytes::copy_from_slice(chunk));
        } else {
            decoder.feed(chunk);
        }
        loop {
            match decoder.next_body() {
                Ok(Some(body)) => bodies.push(body),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_body(), Err(error), "damage is final");
                    assert_eq!(decoder.buffered(), 0);
                    return (bodies, Some(error));
                }
            }
        }
        assert!(decoder.buffered() < FRAME_HEADER_BYTES + LIMIT);
    }
    (bodies, None)
}

fuzz_target!(|data: &[u8]| {
    let [options, count, rest @ ..] = data else { return };
    let Some((sizes, stream)) = rest.split_at_checked(usize::from(*count)) else { return };
    let stream = if options & 2 == 0 { stream.to_vec() } else { with_right_checksums(stream) };

    let whole = decode(&stream, std::iter::empty(), true);
    let chunks = decode(&stream, sizes.iter().cycle().map(|&size| usize::from(size) + 1), options & 1 == 0);
    assert_eq!(whole, chunks);
    let taken: usize = whole.0.iter().map(|body| FRAME_HEADER_BYTES + body.len()).sum();
    assert!(taken <= stream.len());
    for body in whole.0 {
        Messages::<ToRouter>::new(body.clone()).for_each(drop);
        Messages::<ToGateway>::new(body).for_each(drop);
    }
});

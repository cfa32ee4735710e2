//! Any bytes in any chunks: neither side of the handshake panics, and the chunks do not change the outcome.
//!
//! Input: one byte of options, one byte with the number of chunk sizes, the sizes, then the stream.

#![no_main]

use corecast_websocket::handshake::{
    ClientHandshake, ClientProgress, HandshakeLimits, Progress, RequestParser, accept,
};
use libfuzzer_sys::fuzz_target;

fn chunks(stream: &[u8], mut sizes: impl Iterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (chunk, after) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        rest = after;
        Some(chunk)
    })
}

/// What the server's side makes of the stream, and how much of it it consumed.
fn request(limits: HandshakeLimits, stream: &[u8], sizes: impl Iterator<Item = usize>) -> String {
    let mut parser = RequestParser::new(limits);
    let mut fed = 0;
    for chunk in chunks(stream, sizes) {
        match parser.feed(chunk) {
            Ok(Progress::Incomplete) => fed += chunk.len(),
            Ok(Progress::Complete { request, consumed }) => {
                assert!(consumed <= chunk.len());
                assert!(request.path().starts_with('/'));
                assert!(!request.host().is_empty());
                let chosen = request.choose_protocol(&["centrifuge-json", "centrifuge-protobuf"]);
                let answer = accept(&request, chosen);
                assert!(answer.ends_with(b"\r\n\r\n"));
                let token = request.query("cf_token").map(|token| token.into_owned());
                let seen = (request.origin(), request.protocols().collect::<Vec<_>>(), request.header("Cookie"), token);
                return format!("{seen:?} {request:?} {}", fed + consumed);
            }
            Err(refusal) => {
                assert!((400..=505).contains(&refusal.status().code()));
                return refusal.to_string();
            }
        }
        assert!(parser.buffered() <= 2 * fed.max(4));
    }
    "incomplete".to_owned()
}

/// What the client's side makes of the stream.
fn answer(stream: &[u8], sizes: impl Iterator<Item = usize>) -> String {
    let mut client =
        ClientHandshake::new("a", "/", &["centrifuge-json"], &[], [0; 16]).expect("parts that HTTP can carry");
    let mut fed = 0;
    for chunk in chunks(stream, sizes) {
        match client.feed(chunk) {
            Ok(ClientProgress::Incomplete) => fed += chunk.len(),
            Ok(ClientProgress::Complete { protocol, consumed }) => return format!("{protocol:?} {}", fed + consumed),
            Err(failure) => return format!("{failure:?}"),
        }
    }
    "incomplete".to_owned()
}

fuzz_target!(|input: &[u8]| {
    let [options, count, rest @ ..] = input else {
        return;
    };
    let Some((sizes, stream)) = rest.split_at_checked(usize::from(*count)) else {
        return;
    };
    let limits = HandshakeLimits {
        head_bytes: 64 + usize::from(*options) * 4,
        headers: 4 + usize::from(*options) / 4,
        reads: usize::MAX,
    };
    let sizes = || sizes.iter().copied().map(usize::from);
    let whole = request(limits, stream, std::iter::empty());
    assert_eq!(whole, request(limits, stream, sizes()));
    assert_eq!(whole, request(limits, stream, std::iter::repeat(1)));
    request(HandshakeLimits::default(), stream, sizes());
    let whole = answer(stream, std::iter::empty());
    assert_eq!(whole, answer(stream, sizes()));
    assert_eq!(whole, answer(stream, std::iter::repeat(1)));
});

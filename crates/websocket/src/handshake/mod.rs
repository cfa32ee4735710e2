//! The opening handshake (RFC 6455 section 4) on HTTP/1.1, server and client side.
//!
//! # Invariants
//! * A head is scanned for its end as it arrives and parsed once, when it is complete: the work is linear in its length,
//!   whatever the chunks. (The parser that restarts with every read is tungstenite's CVE-2023-43669.)
//! * Lines end in CRLF and nothing else; a bare LF is refused where it stands.
//! * What two parsers could read in two ways is refused: duplicate Host, key or version, folded lines, any sign of a body.
//! * A head that arrives in one chunk is copied once, into the [`Request`] that the caller keeps as long as it likes.

mod client;
mod head;
mod refusal;
mod request;
mod response;

pub use client::{ClientHandshake, ClientProgress, HandshakeFailure};
pub use head::{HEAD_BYTES_MAX, HEADERS_MAX, HandshakeLimits, READS_MAX};
pub use refusal::{Refusal, Status};
pub use request::{Progress, Request, RequestParser};
pub use response::{accept, refuse};

use alloc::string::String;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appended to the key before hashing (section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2).
fn accept_value(key: &str) -> String {
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(KEY_SUFFIX);
    STANDARD.encode(sha1.digest().bytes())
}

/// The elements of a comma-separated header value, trimmed, empty ones left out (RFC 9110 section 5.6.1).
fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty())
}

/// Whether a comma-separated header value contains `wanted`, in any case.
fn contains_element(value: &str, wanted: &str) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(wanted))
}

/// A token of RFC 9110 section 5.6.2: what a subprotocol's name is made of.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Visible ASCII only: safe to be written into a request line or a header value.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

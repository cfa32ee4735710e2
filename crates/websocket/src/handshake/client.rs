//! The client's side: the request to send and the server's answer. For the load generator and for tests.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::head::{HEADERS_MAX, HandshakeLimits, Head, HeadError};
use super::{accept_value, contains_element, elements, is_token, is_visible};

/// One opening handshake from the client's side.
#[derive(Debug)]
pub struct ClientHandshake {
    head: Head,
    limits: HandshakeLimits,
    request: Vec<u8>,
    key: String,
    offered: String,
}

/// What [`ClientHandshake::feed`] made of a chunk.
#[derive(Debug, Eq, PartialEq)]
pub enum ClientProgress {
    /// The head of the answer has not ended; feed the next chunk.
    Incomplete,
    /// The connection is open.
    Complete {
        /// The subprotocol that the server chose.
        protocol: Option<String>,
        /// How many bytes of this chunk belonged to the handshake. What follows are frames.
        consumed: usize,
    },
}

/// Why a connection does not open.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The caller's fault: this part of the request contains what HTTP cannot carry there.
    #[error("{0} cannot be sent in an HTTP request")]
    BadInput(&'static str),
    /// The server accepts with something that was not offered, or without a proof that it has read the request.
    #[error("the server's handshake has a wrong {0}")]
    BadAnswer(&'static str),
    /// Not HTTP, or an answer beyond the limits.
    #[error("the server's answer is not an HTTP response")]
    Malformed,
    /// The server refuses.
    #[error("the server refuses the upgrade: {status} {reason}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
}

impl ClientHandshake {
    /// A handshake for `host` (with the port where it is not the default), `path` (with a query if any), the subprotocols
    /// offered, and headers beyond those of the handshake. `nonce` has to be random and fresh for each connection.
    ///
    /// # Errors
    /// [`HandshakeFailure::BadInput`] if a part cannot be sent as it is.
    pub fn new(
        host: &str,
        path: &str,
        protocols: &[&str],
        headers: &[(&str, &str)],
        nonce: [u8; 16],
    ) -> Result<Self, HandshakeFailure> {
        if !is_visible(host) {
            return Err(HandshakeFailure::BadInput("host"));
        }
        if !is_visible(path) || !path.starts_with('/') {
            return Err(HandshakeFailure::BadInput("path"));
        }
        if !protocols.iter().all(|protocol| is_token(protocol)) {
            return Err(HandshakeFailure::BadInput("subprotocol"));
        }
        let is_text = |value: &str| !value.chars().any(char::is_control);
        if !headers.iter().all(|(name, value)| is_token(name) && is_text(value)) {
            return Err(HandshakeFailure::BadInput("header"));
        }
        let key = STANDARD.encode(nonce);
        let offered = protocols.join(", ");
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        if !offered.is_empty() {
            request.push_str("Sec-WebSocket-Protocol: ");
            request.push_str(&offered);
            request.push_str("\r\n");
        }
        for (name, value) in headers {
            for part in [name, ": ", value, "\r\n"] {
                request.push_str(part);
            }
        }
        request.push_str("\r\n");
        let limits = HandshakeLimits { headers: HEADERS_MAX, reads: usize::MAX, ..HandshakeLimits::default() };
        Ok(Self { head: Head::default(), limits, request: request.into_bytes(), key, offered })
    }

    /// The request to send.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes the next chunk of the answer. After [`ClientProgress::Complete`] or an error the handshake is spent.
    ///
    /// # Errors
    /// [`HandshakeFailure`]: why the connection does not open.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<ClientProgress, HandshakeFailure> {
        let complete = self.head.feed(chunk, &self.limits).map_err(|error| match error {
            HeadError::BareLineFeed | HeadError::TooLarge | HeadError::TooManyReads => HandshakeFailure::Malformed,
        })?;
        let Some(complete) = complete else {
            return Ok(ClientProgress::Incomplete);
        };
        let protocol = check_answer(complete.head, &self.key, &self.offered)?;
        Ok(ClientProgress::Complete { protocol, consumed: complete.consumed })
    }
}

/// The rules of RFC 6455 section 4.1 for the server's answer; answers the subprotocol.
fn check_answer(head: &[u8], key: &str, offered: &str) -> Result<Option<String>, HandshakeFailure> {
    let mut storage = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut storage);
    if !parsed.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err(HandshakeFailure::Malformed);
    }
    let status = parsed.code.unwrap_or_default();
    if status != 101 {
        let reason = parsed.reason.unwrap_or_default().to_owned();
        return Err(HandshakeFailure::Refused { status, reason });
    }
    let values = |name: &'static str| {
        parsed
            .headers
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| core::str::from_utf8(field.value).unwrap_or_default())
    };
    for (name, wanted) in [("Upgrade", "websocket"), ("Connection", "Upgrade")] {
        if !values(name).any(|value| contains_element(value, wanted)) {
            return Err(HandshakeFailure::BadAnswer(name));
        }
    }
    if !values("Sec-WebSocket-Accept").eq([accept_value(key).as_str()]) {
        return Err(HandshakeFailure::BadAnswer("Sec-WebSocket-Accept"));
    }
    if values("Sec-WebSocket-Extensions").any(|value| !value.is_empty()) {
        return Err(HandshakeFailure::BadAnswer("Sec-WebSocket-Extensions"));
    }
    let mut protocols = values("Sec-WebSocket-Protocol");
    match (protocols.next(), protocols.next()) {
        (None, _) => Ok(None),
        (Some(protocol), None) if elements(offered).any(|known| known == protocol) => Ok(Some(protocol.to_owned())),
        _ => Err(HandshakeFailure::BadAnswer("Sec-WebSocket-Protocol")),
    }
}

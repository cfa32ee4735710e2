//! The server's answers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::refusal::Status;
use super::request::Request;
use super::{accept_value, is_token};

/// The answer that completes the handshake. `protocol` is the subprotocol chosen from those that the request offers.
///
/// # Panics
/// In debug builds, if `protocol` is not a token (RFC 9110); in release builds it is left out then.
#[must_use]
pub fn accept(request: &Request, protocol: Option<&str>) -> Vec<u8> {
    debug_assert!(protocol.is_none_or(is_token), "subprotocol is not a token");
    let mut answer = String::with_capacity(192);
    answer.push_str(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    answer.push_str(&accept_value(request.key()));
    if let Some(protocol) = protocol.filter(|protocol| is_token(protocol)) {
        answer.push_str("\r\nSec-WebSocket-Protocol: ");
        answer.push_str(protocol);
    }
    answer.push_str("\r\n\r\n");
    answer.into_bytes()
}

/// The answer that refuses, with `body` as plain text for whoever reads it. The connection has to be closed after it, as
/// the answer says.
#[must_use]
pub fn refuse(status: Status, body: &str) -> Vec<u8> {
    let extra = match status {
        Status::UpgradeRequired => "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        Status::MethodNotAllowed => "Connection: close\r\nAllow: GET\r\n",
        _ => "Connection: close\r\n",
    };
    format!(
        "HTTP/1.1 {} {}\r\n{extra}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        status.code(),
        status.reason(),
        body.len(),
    )
    .into_bytes()
}

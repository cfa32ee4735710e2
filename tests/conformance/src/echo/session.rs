//! One connection of the echo service: bytes in, frames out. No I/O.

use bytes::Bytes;
use corecast_websocket::handshake::{HandshakeLimits, Progress, RequestParser, accept, refuse};
use corecast_websocket::{Decoder, Message, Opcode, Violation, close_frame, server_frame};

/// The largest message that the service echoes. Autobahn's largest has 16 MiB (cases 9.1.6, 9.2.6).
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Answers every message with the same message, ping with pong, and whatever ends the conversation with a close frame.
#[derive(Debug)]
pub(crate) enum Session {
    /// Before the upgrade.
    Handshake(RequestParser),
    /// WebSocket.
    Open(Decoder),
    /// The last bytes have been handed out; whatever else comes is ignored.
    Ended,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self::Handshake(RequestParser::new(HandshakeLimits::default()))
    }

    /// Nothing more is to be sent after what has been handed out.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Takes the next chunk; appends what is to be sent, in order.
    pub(crate) fn receive(&mut self, chunk: &mut [u8], out: &mut Vec<Bytes>) {
        let mut chunk = chunk;
        if let Self::Handshake(parser) = self {
            match parser.feed(chunk) {
                Ok(Progress::Incomplete) => return,
                Ok(Progress::Complete { request, consumed }) => {
                    out.push(Bytes::from(accept(&request, None)));
                    chunk = &mut chunk[consumed..];
                    *self = Self::Open(Decoder::server(MESSAGE_BYTES_MAX));
                }
                Err(refusal) => {
                    out.push(Bytes::from(refuse(refusal.status(), &format!("{refusal}\n"))));
                    *self = Self::Ended;
                }
            }
        }
        let Self::Open(decoder) = self else {
            return;
        };
        match echo(decoder, chunk, out) {
            Ok(()) if decoder.is_finished() => *self = Self::Ended,
            Ok(()) => {}
            Err(violation) => {
                out.push(close_frame(violation.close_code(), &violation.to_string()));
                *self = Self::Ended;
            }
        }
    }
}

/// Decodes the whole chunk and answers each message in it.
fn echo(decoder: &mut Decoder, chunk: &mut [u8], out: &mut Vec<Bytes>) -> Result<(), Violation> {
    let mut at = 0;
    while let (used, Some(message)) = decoder.decode(&mut chunk[at..])? {
        at += used;
        match message {
            Message::Data { kind, payload } => out.push(server_frame(kind.into(), payload)),
            Message::Ping(payload) => out.push(server_frame(Opcode::Pong, payload)),
            Message::Pong(_) => {}
            Message::Close { code: Some(code), reason } => out.push(close_frame(code, reason)),
            Message::Close { code: None, .. } => out.push(server_frame(Opcode::Close, &[])),
        }
    }
    Ok(())
}

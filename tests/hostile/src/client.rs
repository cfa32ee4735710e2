//! WebSocket sessions on raw sockets: the upgrade and the first steps of the client protocol, then whatever an attack sends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::frame::{self, BINARY, CLOSE, FIN, Frame, PING, TEXT};
use crate::http::Response;
use crate::socket::{Received, Socket};

/// Path of the WebSocket endpoint.
pub const PATH: &str = "/connection/websocket";
/// The key of RFC 6455 section 1.3, and the proof that belongs to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A correct upgrade request with further header lines, each ended by CRLF.
pub fn upgrade_request(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// The command that must come first, as text.
pub const CONNECT: &str = r#"{"id":1,"connect":{}}"#;
/// The command that must come first in Protobuf, with its length.
pub const CONNECT_PROTOBUF: &[u8] = &[4, 0x08, 1, 0x22, 0];

/// An open WebSocket connection.
#[derive(Debug)]
pub struct Client {
    /// What it stands on.
    pub socket: Socket,
    /// Replies that came and were not asked for yet.
    replies: Vec<Value>,
}

/// How a connection ended.
#[derive(Debug)]
pub struct Outcome {
    /// Frames before the close frame, pings of the protocol left out.
    pub frames: Vec<Frame>,
    /// Code and reason of the close frame, if there was one; code 0 for an empty one.
    pub close: Option<(u16, String)>,
    /// From the call to the close frame or the end of the connection.
    pub took: Duration,
    /// Bytes behind the close frame.
    pub rest: Vec<u8>,
}

impl Outcome {
    /// The close code; `None` if the connection ended without a close frame.
    pub fn code(&self) -> Option<u16> {
        self.close.as_ref().map(|(code, _)| *code)
    }
}

impl Client {
    /// Upgrades a connection that is open.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub fn upgrade(mut socket: Socket, lines: &str) -> Self {
        socket.send(upgrade_request(PATH, lines).as_bytes()).expect("send the upgrade request");
        let response = Response::read(&mut socket, PATIENCE).expect("an answer to the upgrade request");
        assert_eq!(response.status, 101, "{response:?}");
        Self { socket, replies: Vec::new() }
    }

    /// Upgraded, before the first command.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub fn greeted(address: SocketAddr) -> Self {
        Self::upgrade(Socket::connect(address).expect("connect"), "")
    }

    /// Upgraded and connected, JSON.
    ///
    /// # Panics
    /// When either is refused.
    pub fn live(address: SocketAddr) -> Self {
        Self::connected(Self::greeted(address))
    }

    /// Sends the first command and waits for its reply.
    ///
    /// # Panics
    /// When it is refused.
    pub fn connected(mut self) -> Self {
        let reply = self.ask(CONNECT);
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        self
    }

    /// Upgraded and connected, Protobuf.
    ///
    /// # Panics
    /// When either is refused.
    pub fn live_protobuf(address: SocketAddr) -> Self {
        let socket = Socket::connect(address).expect("connect");
        let mut client = Self::upgrade(socket, "Sec-WebSocket-Protocol: centrifuge-protobuf\r\n");
        client.send(&frame::masked(FIN | BINARY, CONNECT_PROTOBUF));
        let reply = client.frame(PATIENCE).expect("a reply to connect");
        // A Reply with id 1 and field 5, the result of connect.
        assert!(reply.opcode() == BINARY && reply.payload[1..4] == [0x08, 1, 0x2a], "{reply:?}");
        client
    }

    /// Sends bytes; that the peer has closed already is no failure here but shows in what comes back.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.send(bytes);
    }

    /// Sends commands, one a line, in one text frame.
    pub fn say(&mut self, commands: &str) {
        self.send(&frame::text(commands));
    }

    /// Sends one command and returns its reply, passing over pushes and pings.
    ///
    /// # Panics
    /// When the connection ends or no reply comes.
    pub fn ask(&mut self, command: &str) -> Value {
        self.say(command);
        let id = serde_json::from_str::<Value>(command).expect("a command in JSON")["id"].clone();
        self.reply(&id)
    }

    /// The reply with this id, passing over pushes and pings.
    ///
    /// # Panics
    /// When the connection ends or no reply comes.
    pub fn reply(&mut self, id: &Value) -> Value {
        loop {
            if let Some(position) = self.replies.iter().position(|reply| reply["id"] == *id) {
                return self.replies.swap_remove(position);
            }
            let frame = self.frame(PATIENCE).expect("a reply before the end of the connection");
            assert_eq!(frame.opcode(), TEXT, "a reply to {id}, not {frame:?}: {:?}", frame.close());
            let text = String::from_utf8(frame.payload).expect("text is UTF-8");
            let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a message in JSON"));
            self.replies.extend(messages.filter(|message| message.get("id").is_some()));
        }
    }

    /// The next frame; `None` if the connection ends.
    ///
    /// # Panics
    /// When neither comes within `limit`.
    pub fn frame(&mut self, limit: Duration) -> Option<Frame> {
        self.socket.wait("a frame", limit, Frame::take)
    }

    /// Waits for the server's close frame (or the end without one), answers it, and makes sure that the connection ends.
    ///
    /// # Panics
    /// When the connection is not closed within `limit`, or not ended soon after our answer.
    pub fn outcome(&mut self, limit: Duration) -> Outcome {
        let begin = Instant::now();
        let mut frames = Vec::new();
        let mut close = None;
        while let Some(frame) = self.socket.wait("a close frame", limit.saturating_sub(begin.elapsed()), Frame::take) {
            if frame.opcode() == CLOSE {
                close = Some(frame);
                break;
            }
            let is_ping = frame.opcode() == PING || frame.payload == b"{}";
            if !is_ping {
                frames.push(frame);
            }
        }
        let took = begin.elapsed();
        if close.is_some() {
            self.send(&frame::masked(FIN | CLOSE, &[]));
        }
        self.socket.wait_for_end("the end of the connection after the close handshake", PATIENCE);
        let rest = std::mem::take(&mut self.socket.input);
        Outcome { frames, close: close.map(|frame| frame.close()), took, rest }
    }

    /// Looks without waiting whether the close frame has come; all frames before it are forgotten.
    pub fn close_code(&mut self) -> Option<u16> {
        while self.socket.receive(Duration::ZERO) == Received::Bytes {}
        while let Some(frame) = Frame::take(&mut self.socket.input) {
            if frame.opcode() == CLOSE {
                return Some(frame.close().0);
            }
        }
        None
    }

    /// Whether nothing has come from the server and the connection is open.
    pub fn is_quiet(&mut self) -> bool {
        self.socket.receive(Duration::ZERO) == Received::Nothing
    }
}

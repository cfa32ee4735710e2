//! What clients send: commands, several in one frame.

use prost::Message as _;

use crate::encoding::Encoding;
use crate::envelope::envelope;
use crate::messages::{
    ConnectRequest, HistoryRequest, PingRequest, PresenceRequest, PresenceStatsRequest, PublishRequest, RefreshRequest,
    RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest,
};
use crate::varint;

/// One command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Chosen by the client and repeated in the reply. 0 only for [`Request::Send`] and [`Request::Pong`].
    pub id: u32,
    /// What the client wants.
    pub request: Request,
}

envelope! {
    /// What a client wants. Where a command sets several, the first of this order wins.
    #[allow(clippy::large_enum_variant)] // lives on the stack for the length of one command
    pub enum Request;
    struct CommandMessage { id, }
    units {
        /// Answer to the server's ping: an empty command. Gets no reply.
        Pong,
    }
    /// Opens the session; must come first and once.
    Connect(ConnectRequest) = connect 4;
    /// Not used by SDKs, and not available at the reference server.
    Ping(PingRequest) = ping 11;
    /// Wants the messages of a chat.
    Subscribe(SubscribeRequest) = subscribe 5;
    /// Wants them no more. Must always be answered with success.
    Unsubscribe(UnsubscribeRequest) = unsubscribe 6;
    /// Sends a message to a chat.
    Publish(PublishRequest) = publish 7;
    /// Asks who is in a chat.
    Presence(PresenceRequest) = presence 8;
    /// Asks how many are in a chat.
    PresenceStats(PresenceStatsRequest) = presence_stats 9;
    /// Asks for messages of the past.
    History(HistoryRequest) = history 10;
    /// A call to the application.
    Rpc(RpcRequest) = rpc 13;
    /// A message to the application. Gets no reply.
    Send(SendRequest) = send 12;
    /// Extends the connection.
    Refresh(RefreshRequest) = refresh 14;
    /// Extends a subscription.
    SubRefresh(SubRefreshRequest) = sub_refresh 15;
}

/// How much one frame may ask for. Its size in bytes is the WebSocket layer's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most commands in one frame. Default 1,024: `connect` and 128 subscribes come in one frame, an application that
    /// batches publishes sends more; the limit keeps a 128 KiB frame from holding 128 Ki one-byte commands.
    pub commands: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { commands: 1_024 }
    }
}

/// Why a frame cannot be understood. The client is to blame for every variant; each is answered with
/// [`CloseCode::BadRequest`](crate::codes::CloseCode::BadRequest).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame holds no message.
    #[error("empty frame")]
    EmptyFrame,
    /// A length prefix is broken or points beyond the frame.
    #[error("message length does not fit the frame")]
    Length,
    /// Not the JSON that the protocol defines. Line and column count within the message.
    #[error("invalid JSON at line {line} column {column}")]
    Json {
        /// From 1.
        line: usize,
        /// From 1; 0 at the start of a line.
        column: usize,
    },
    /// Not the Protobuf that the protocol defines.
    #[error("invalid Protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// More messages in a frame than [`DecodeLimits::commands`].
    #[error("more than {0} messages in a frame")]
    TooMany(usize),
    /// A command that needs a reply has id 0.
    #[error("command without id")]
    NoId,
    /// A command with an id but without a request that this version knows.
    #[error("command {0} without a known request")]
    UnknownRequest(u32),
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json { line: error.line(), column: error.column() }
    }
}

/// Iterates over the commands of one frame. After an error nothing more comes.
pub fn decode_commands(encoding: Encoding, frame: &[u8], limits: DecodeLimits) -> Commands<'_> {
    Commands { messages: Messages::new(encoding, frame), limits, count: 0 }
}

/// See [`decode_commands`].
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    messages: Messages<'a>,
    limits: DecodeLimits,
    count: usize,
}

impl Commands<'_> {
    fn decode(&mut self, message: &[u8]) -> Result<Command, DecodeError> {
        self.count += 1;
        if self.count > self.limits.commands {
            return Err(DecodeError::TooMany(self.limits.commands));
        }
        let message: CommandMessage = match self.messages.encoding {
            Encoding::Json => serde_json::from_slice(message)?,
            Encoding::Protobuf => CommandMessage::decode(message)?,
        };
        let id = message.id;
        match message.into_body() {
            None if id == 0 => Ok(Command { id, request: Request::Pong }),
            None => Err(DecodeError::UnknownRequest(id)),
            Some(request) if id == 0 && !matches!(request, Request::Send(_)) => Err(DecodeError::NoId),
            Some(request) => Ok(Command { id, request }),
        }
    }
}

impl Iterator for Commands<'_> {
    type Item = Result<Command, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.messages.next()?.and_then(|message| self.decode(message));
        if result.is_err() {
            self.messages.stop();
        }
        Some(result)
    }
}

/// Splits a frame into its messages.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a> {
    pub(crate) encoding: Encoding,
    /// What is left; `None` after the end or an error.
    rest: Option<&'a [u8]>,
    first: bool,
}

impl<'a> Messages<'a> {
    pub(crate) const fn new(encoding: Encoding, frame: &'a [u8]) -> Self {
        Self { encoding, rest: Some(frame), first: true }
    }

    pub(crate) const fn stop(&mut self) {
        self.rest = None;
    }

    fn split(&mut self, rest: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        match self.encoding {
            Encoding::Json => {
                let (message, rest) = match rest.iter().position(|byte| *byte == b'\n') {
                    // A single newline may end the frame.
                    Some(end) => (rest.get(..end), rest.get(end + 1..).filter(|rest| !rest.is_empty())),
                    None => (Some(rest), None),
                };
                self.rest = rest;
                message.ok_or(DecodeError::Length)
            }
            Encoding::Protobuf => {
                let (len, rest) = varint::read(rest).ok_or(DecodeError::Length)?;
                let len = usize::try_from(len).map_err(|_| DecodeError::Length)?;
                let (message, rest) = rest.split_at_checked(len).ok_or(DecodeError::Length)?;
                self.rest = Some(rest).filter(|rest| !rest.is_empty());
                Ok(message)
            }
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let message = if rest.is_empty() && self.first { Err(DecodeError::EmptyFrame) } else { self.split(rest) };
        self.first = false;
        if message.is_err() {
            self.stop();
        }
        Some(message)
    }
}

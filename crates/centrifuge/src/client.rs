//! The other direction, for load generator and tests: commands out, replies and pushes in.

use prost::Message as _;

use crate::command::{Command, DecodeError, Messages};
use crate::encoding::Encoding;
use crate::envelope;
use crate::messages::{ProtocolError, Push};
use crate::publication;
use crate::reply::{ReplyBody, ReplyMessage};
use crate::varint;

/// Appends a command to what `out` holds of the same frame; see [`encode_reply`](crate::encode_reply).
pub fn encode_command(encoding: Encoding, command: &Command, out: &mut Vec<u8>) {
    envelope::write(encoding, command.id, command.request.field().as_ref(), out);
}

/// What arrived from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A message of a chat, in the form in which Corecast sends all of them. Other publications come as a [`Reply`] with
    /// a push.
    Publication(PublicationRef<'a>),
    /// To be answered with the same empty frame if the server asked for pongs.
    Ping,
    /// Everything else.
    Reply(Box<Reply>),
}

/// A publication push, borrowed from the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicationRef<'a> {
    /// The chat.
    pub channel: &'a str,
    /// Position in the chat.
    pub offset: u64,
    /// The body as it is in the frame.
    pub data: &'a [u8],
}

/// A reply or push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Id of the command; 0 for pushes.
    pub id: u32,
    /// Set if the command failed.
    pub error: Option<ProtocolError>,
    /// Set if the server sent this without being asked.
    pub push: Option<Push>,
    /// The result of the command.
    pub body: Option<ReplyBody>,
}

/// Iterates over the messages of one frame from the server. After an error nothing more comes.
///
/// A publication as [`encode_publication`](crate::encode_publication) writes it is found without allocating and without
/// checking that its body is valid.
pub const fn decode_replies(encoding: Encoding, frame: &[u8]) -> Replies<'_> {
    Replies { messages: Messages::new(encoding, frame) }
}

/// See [`decode_replies`].
#[derive(Clone, Debug)]
pub struct Replies<'a> {
    messages: Messages<'a>,
}

impl<'a> Iterator for Replies<'a> {
    type Item = Result<Incoming<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let encoding = self.messages.encoding;
        let result = self.messages.next()?.and_then(|message| decode(encoding, message));
        if result.is_err() {
            self.messages.stop();
        }
        Some(result)
    }
}

fn decode(encoding: Encoding, message: &[u8]) -> Result<Incoming<'_>, DecodeError> {
    let publication = match encoding {
        Encoding::Json => json_publication(message),
        Encoding::Protobuf => protobuf_publication(message),
    };
    if let Some(publication) = publication {
        return Ok(Incoming::Publication(publication));
    }
    let mut message: ReplyMessage = match encoding {
        Encoding::Json => serde_json::from_slice(message)?,
        Encoding::Protobuf => ReplyMessage::decode(message)?,
    };
    let (id, error, push) = (message.id, message.error.take(), message.push.take());
    let reply = Reply { id, error, push, body: message.into_body() };
    if reply == Reply::default() {
        return Ok(Incoming::Ping);
    }
    Ok(Incoming::Reply(Box::new(reply)))
}

/// `None` for anything that is not laid out exactly as we write publications.
fn json_publication(message: &[u8]) -> Option<PublicationRef<'_>> {
    let rest = message.strip_prefix(publication::JSON_HEAD)?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (channel, rest) = rest.split_at_checked(end)?;
    let mut rest = rest.strip_prefix(publication::JSON_PUB)?;
    let mut data: &[u8] = &[];
    if let Some(value) = rest.strip_prefix(publication::JSON_DATA) {
        (data, rest) = value.split_at_checked(value_len(value)?)?;
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    let mut offset = 0u64;
    if let Some(digits) = rest.strip_prefix(publication::JSON_OFFSET) {
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, tail) = digits.split_at_checked(end)?;
        offset = str::from_utf8(digits).ok()?.parse().ok()?;
        rest = tail;
    }
    if rest != publication::JSON_TAIL {
        return None;
    }
    Some(PublicationRef { channel: str::from_utf8(channel).ok()?, offset, data })
}

/// Length of the JSON value at the front, taking its validity for granted.
fn value_len(text: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (index, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' if depth == 0 => return Some(index + 1),
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return Some(index + 1),
            b'}' | b']' | b',' if depth == 0 => return (index > 0).then_some(index),
            _ => {}
        }
    }
    None
}

/// `None` for anything that is not laid out exactly as we write publications.
fn protobuf_publication(message: &[u8]) -> Option<PublicationRef<'_>> {
    let (push, rest) = protobuf_field(publication::REPLY_PUSH, message)?;
    if !rest.is_empty() {
        return None;
    }
    let (channel, rest) = protobuf_field(publication::PUSH_CHANNEL, push)?;
    let (body, rest) = protobuf_field(publication::PUSH_PUB, rest)?;
    if !rest.is_empty() {
        return None;
    }
    let (data, rest) = protobuf_field(publication::PUB_DATA, body).unwrap_or((&[], body));
    let (offset, rest) = match rest.strip_prefix(&[publication::PUB_OFFSET]) {
        Some(rest) => varint::read(rest)?,
        None => (0, rest),
    };
    if !rest.is_empty() {
        return None;
    }
    Some(PublicationRef { channel: str::from_utf8(channel).ok()?, offset, data })
}

fn protobuf_field(key: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = varint::read(input.strip_prefix(&[key])?)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

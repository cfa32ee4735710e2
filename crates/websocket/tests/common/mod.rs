//! What the tests of this crate share: any frame, permitted or not, and the outcome of decoding a byte stream in chunks.

#![allow(dead_code, reason = "each test file uses its share")]

use corecast_websocket::{Decoder, Kind, Message, Violation};

/// A frame whose every field can be wrong.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    /// FIN, reserved bits and opcode.
    pub(crate) first: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: Length,
    pub(crate) payload: Vec<u8>,
}

/// How a frame's length is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    Shortest,
    /// In 16 bits, needed or not.
    Medium,
    /// In 64 bits, needed or not.
    Long,
    /// This value in 64 bits, whatever the payload.
    Declared(u64),
}

pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl RawFrame {
    /// A frame as a client sends it, with FIN.
    pub(crate) fn client(opcode: u8, payload: &[u8]) -> Self {
        Self { first: 0x80 | opcode, mask: Some(MASK), length: Length::Shortest, payload: payload.to_vec() }
    }

    /// A frame as a server sends it, with FIN.
    pub(crate) fn server(opcode: u8, payload: &[u8]) -> Self {
        Self { mask: None, ..Self::client(opcode, payload) }
    }

    /// Without FIN.
    pub(crate) fn unfinished(self) -> Self {
        Self { first: self.first & 0x7f, ..self }
    }

    pub(crate) fn with_first(self, first: u8) -> Self {
        Self { first, ..self }
    }

    pub(crate) fn with_length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mask_bit = if self.mask.is_some() { 0x80 } else { 0 };
        let length = self.payload.len();
        let mut bytes = vec![self.first];
        match self.length {
            Length::Shortest if length < 126 => bytes.push(mask_bit | length as u8),
            Length::Shortest | Length::Medium if length <= 0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            Length::Shortest | Length::Medium | Length::Long => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
            Length::Declared(length) => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        let key = self.mask.unwrap_or_default();
        bytes.extend(self.mask.iter().flatten());
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }
}

/// A message that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Data { kind: Kind::Text, payload } => {
                Self::Text(String::from_utf8(payload.to_vec()).expect("the decoder lets only UTF-8 pass as text"))
            }
            Message::Data { kind: Kind::Binary, payload } => Self::Binary(payload.to_vec()),
            Message::Ping(payload) => Self::Ping(payload.to_vec()),
            Message::Pong(payload) => Self::Pong(payload.to_vec()),
            Message::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// All that a byte stream leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) messages: Vec<Owned>,
    pub(crate) violation: Option<Violation>,
    pub(crate) frames: u32,
}

/// Decodes `bytes` cut into chunks of the given sizes (the last one repeats; zeros are empty chunks), checking what holds
/// for any input on the way.
pub(crate) fn decode(decoder: &mut Decoder, bytes: &[u8], sizes: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut rest = bytes;
    let mut sizes = sizes.iter().copied();
    let mut size = bytes.len();
    while !rest.is_empty() {
        size = sizes.next().unwrap_or_else(|| size.max(1));
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        if let Err(violation) = decode_chunk(decoder, chunk, &mut outcome) {
            assert_eq!(outcome.violation, None, "a violation is reported once");
            outcome.violation = Some(violation);
            assert!(decoder.is_finished());
        }
        outcome.frames += decoder.take_frames();
        let received = bytes.len() - rest.len();
        assert!(decoder.buffered() <= 2 * received + 300, "{} bytes held of {received} received", decoder.buffered());
        if decoder.is_finished() && outcome.violation.is_some() {
            assert_eq!(decoder.buffered(), 0);
        }
    }
    outcome
}

fn decode_chunk(decoder: &mut Decoder, chunk: &[u8], outcome: &mut Outcome) -> Result<(), Violation> {
    let mut chunk = chunk.to_vec();
    let mut at = 0;
    loop {
        let (used, message) = decoder.decode(&mut chunk[at..])?;
        let done = message.is_none();
        outcome.messages.extend(message.map(Owned::from));
        at += used;
        if done {
            assert_eq!(at, chunk.len(), "without a message everything is consumed");
            return Ok(());
        }
    }
}

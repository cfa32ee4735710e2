//! Frames to send (RFC 6455 section 5).
//!
//! A server frame is unmasked, so its bytes are the same for every receiver: it is built once as [`Bytes`] and shared by
//! reference. Frames are never fragmented: what we send is complete when it is sent.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::mask;

/// The longest header of a server frame: 2 bytes and 8 of extended length.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;

/// The longest payload of a control frame (section 5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// The longest reason of a close frame: what the code leaves of [`CONTROL_PAYLOAD_MAX`].
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// What a frame carries (section 5.2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A text message or its first fragment.
    Text = 0x1,
    /// A binary message or its first fragment.
    Binary = 0x2,
    /// The end of the conversation in one direction.
    Close = 0x8,
    /// A request for a pong with the same payload.
    Ping = 0x9,
    /// The answer to a ping.
    Pong = 0xa,
}

impl Opcode {
    /// Close, ping or pong: at most 125 bytes, never fragmented, permitted between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Binary => Self::Binary,
            Kind::Text => Self::Text,
        }
    }
}

/// The two kinds of message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Any bytes.
    Binary,
    /// UTF-8, checked by the decoder.
    Text,
}

/// A complete server frame, to be built once and sent to any number of receivers.
///
/// The payload of a [`Opcode::Text`] frame has to be UTF-8, that of a control frame at most 125 bytes long.
#[must_use]
pub fn server_frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(header_bytes(payload.len()) + payload.len());
    header_into(&mut frame, opcode, payload.len());
    frame.extend_from_slice(payload);
    Bytes::from(frame)
}

/// Appends the header of a server frame with `payload_bytes` of payload, so that header and payload can be written into
/// one buffer.
pub fn header_into(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    let (header, used) = encode_header(opcode, payload_bytes, 0);
    out.extend_from_slice(header.get(..used).unwrap_or_default());
}

/// How many bytes [`header_into`] appends for this payload length.
#[must_use]
pub const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => SERVER_HEADER_BYTES_MAX,
    }
}

/// A close frame from a server. A reason longer than [`CLOSE_REASON_BYTES_MAX`] is cut at a character boundary.
#[must_use]
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    server_frame(Opcode::Close, &close_payload(code, reason))
}

/// The payload of a close frame: code and reason, the latter cut to [`CLOSE_REASON_BYTES_MAX`] at a character boundary.
/// For clients, which mask it with [`client_frame`].
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let end = reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
    payload
}

/// Appends a complete client frame, masked with `mask` (unpredictable for real clients, section 10.3).
pub fn client_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let (header, used) = encode_header(opcode, payload.len(), 0x80);
    out.extend_from_slice(header.get(..used).unwrap_or_default());
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(out.get_mut(start..).unwrap_or_default(), mask);
}

/// Writes a payload of unknown length first and its header afterwards, into one buffer and without moving the payload.
///
/// ```
/// use corecast_websocket::{FrameBuilder, Opcode};
/// let mut frame = FrameBuilder::with_capacity(64);
/// frame.payload().extend_from_slice(b"{}");
/// assert_eq!(&frame.finish(Opcode::Text)[..], b"\x81\x02{}");
/// ```
#[derive(Debug)]
pub struct FrameBuilder {
    /// [`SERVER_HEADER_BYTES_MAX`] bytes for the header, then the payload.
    buffer: Vec<u8>,
}

impl FrameBuilder {
    /// A builder that reallocates only for payloads longer than `payload_bytes`.
    #[must_use]
    pub fn with_capacity(payload_bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(SERVER_HEADER_BYTES_MAX + payload_bytes);
        buffer.resize(SERVER_HEADER_BYTES_MAX, 0);
        Self { buffer }
    }

    /// The buffer to append the payload to. What is in it belongs to the header: append only.
    pub const fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// How many bytes of payload have been appended.
    #[must_use]
    pub const fn payload_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(SERVER_HEADER_BYTES_MAX)
    }

    /// The complete frame.
    ///
    /// # Panics
    /// If the caller took bytes away from the buffer that [`Self::payload`] lent.
    #[must_use]
    pub fn finish(mut self, opcode: Opcode) -> Bytes {
        assert!(self.buffer.len() >= SERVER_HEADER_BYTES_MAX, "the payload buffer was shortened");
        let (header, used) = encode_header(opcode, self.payload_bytes(), 0);
        let start = SERVER_HEADER_BYTES_MAX - used;
        for (to, from) in self.buffer.iter_mut().skip(start).zip(header.iter().take(used)) {
            *to = *from;
        }
        Bytes::from(self.buffer).slice(start..)
    }
}

/// The header without a mask, and how many bytes of the array it uses. `mask_bit` is 0 or 0x80.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "each arm's range bounds what it casts")]
fn encode_header(opcode: Opcode, payload_bytes: usize, mask_bit: u8) -> ([u8; SERVER_HEADER_BYTES_MAX], usize) {
    debug_assert!(!opcode.is_control() || payload_bytes <= CONTROL_PAYLOAD_MAX, "control frame too long");
    let first = 0x80 | opcode as u8;
    match payload_bytes {
        0..=125 => ([first, mask_bit | payload_bytes as u8, 0, 0, 0, 0, 0, 0, 0, 0], 2),
        126..=0xffff => {
            let [a, b] = (payload_bytes as u16).to_be_bytes();
            ([first, mask_bit | 126, a, b, 0, 0, 0, 0, 0, 0], 4)
        }
        _ => {
            let [a, b, c, d, e, f, g, h] = (payload_bytes as u64).to_be_bytes();
            ([first, mask_bit | 127, a, b, c, d, e, f, g, h], SERVER_HEADER_BYTES_MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec;

    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (length, header) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (0xffff, &[0x82, 126, 0xff, 0xff]),
            (0x1_0000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![7; length];
            let frame = server_frame(Opcode::Binary, &payload);
            assert_eq!(&frame[..header.len()], header);
            assert_eq!(header_bytes(length), header.len());
            assert_eq!(&frame[header.len()..], &payload);
            let mut built = FrameBuilder::with_capacity(0);
            built.payload().extend_from_slice(&payload);
            assert_eq!(built.payload_bytes(), length);
            assert_eq!(built.finish(Opcode::Binary), frame);
        }
    }

    #[test]
    fn close_reason_is_cut_at_a_character() {
        let frame = close_frame(3008, "slow");
        assert_eq!(&frame[..], b"\x88\x06\x0b\xc0slow");
        // 122 bytes and a two-byte character: it does not fit into 123.
        let mut reason: String = "x".repeat(122);
        reason.push('é');
        let frame = close_frame(1000, &reason);
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert_eq!(frame[1], 124);
    }

    #[test]
    fn client_frame_of_the_rfc() {
        // Section 5.7, a masked "Hello".
        let mut frame = vec![];
        client_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut frame);
        assert_eq!(frame, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}

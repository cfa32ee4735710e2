//! The frame header (RFC 6455 section 5.2), checked byte by byte in the order in which it arrives.

use crate::frame::{CONTROL_PAYLOAD_MAX, Opcode};
use crate::violation::Violation;

/// The longest header: 2 bytes, 8 of extended length, 4 of mask.
pub(crate) const HEADER_BYTES_MAX: usize = 14;

/// Which side of the connection the decoder sits on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Receives from a server: frames must not be masked.
    Client,
    /// Receives from a client: frames must be masked.
    Server,
}

/// What the decoder knows when a header arrives and what the header is checked against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expectation {
    pub(crate) role: Role,
    /// A fragmented message lacks its end.
    pub(crate) in_message: bool,
    /// How many more bytes that message, or a new one, may have.
    pub(crate) room: usize,
}

/// A complete header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    /// Zero for unmasked frames: XOR with zero changes nothing.
    pub(crate) mask: [u8; 4],
    pub(crate) payload_bytes: usize,
    pub(crate) header_bytes: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`; `None` while it is incomplete and, so far, permitted.
    #[inline]
    pub(crate) fn parse(bytes: &[u8], expected: Expectation) -> Result<Option<Self>, Violation> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let (fin, opcode) = first_byte(first, expected.in_message)?;
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let masked = second & 0x80 != 0;
        match expected.role {
            Role::Server if !masked => return Err(Violation::Unmasked),
            Role::Client if masked => return Err(Violation::Masked),
            Role::Client | Role::Server => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_PAYLOAD_MAX {
            return Err(Violation::ControlTooLong);
        }
        let Some((declared, rest)) = length(short, rest)? else {
            return Ok(None);
        };
        let payload_bytes = usize::try_from(declared).map_err(|_| Violation::TooLarge)?;
        if !opcode.is_control() && payload_bytes > expected.room {
            return Err(Violation::TooLarge);
        }
        let (mask, rest) = if masked {
            let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            (*mask, rest)
        } else {
            ([0; 4], rest)
        };
        let header_bytes = bytes.len().saturating_sub(rest.len());
        Ok(Some(Self { fin, opcode, mask, payload_bytes, header_bytes }))
    }
}

/// FIN and opcode, checked against the message in progress.
#[inline]
const fn first_byte(byte: u8, in_message: bool) -> Result<(bool, Opcode), Violation> {
    if byte & 0x70 != 0 {
        return Err(Violation::ReservedBit);
    }
    let fin = byte & 0x80 != 0;
    let opcode = match byte & 0x0f {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        reserved => return Err(Violation::ReservedOpcode(reserved)),
    };
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(Violation::ControlFragmented),
        Opcode::Continuation if !in_message => Err(Violation::OrphanContinuation),
        Opcode::Text | Opcode::Binary if in_message => Err(Violation::Interleaved),
        _ => Ok((fin, opcode)),
    }
}

/// The payload length: 7 bits, or 16 or 64 bits in network order, in its shortest form.
#[inline]
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Violation> {
    match short {
        127 => {
            let Some((long, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*long);
            if length >> 63 != 0 {
                return Err(Violation::LengthTopBit);
            }
            if length <= u64::from(u16::MAX) {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((length, rest)))
        }
        126 => {
            let Some((long, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*long);
            if length < 126 {
                return Err(Violation::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), rest)))
        }
        short => Ok(Some((u64::from(short), rest))),
    }
}

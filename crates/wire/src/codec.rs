//! The field types that messages are made of: how each is written and read.
//!
//! Numbers are LEB128 varints (7 bits a byte, lowest first) in their shortest form, except epochs, hashes and
//! incarnations, which are random and take 8 bytes LE. Byte strings carry their length as a varint.
use crate::error::{EncodeError, MessageError};
use crate::limits::{MAX_OFFSET, MAX_TIME_MS};
use crate::message::Position;
use crate::text::{ChatName, Text};
use alloc::vec::Vec;
use bytes::Bytes;

/// Most bytes of a varint: ⌈64 / 7⌉.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

#[inline]
fn low_byte(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(crate) fn put_offset(out: &mut Vec<u8>, offset: u64) -> Result<(), EncodeError> {
    put_bounded(out, offset, MAX_OFFSET, "offset")
}

#[inline]
pub(crate) fn put_time(out: &mut Vec<u8>, time_ms: u64) -> Result<(), EncodeError> {
    put_bounded(out, time_ms, MAX_TIME_MS, "time")
}

#[inline]
pub(crate) fn put_bounded(out: &mut Vec<u8>, value: u64, max: u64, field: &'static str) -> Result<(), EncodeError> {
    if value > max {
        return Err(EncodeError::OutOfRange { field });
    }
    put_varint(out, value);
    Ok(())
}

#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8], max: usize, field: &'static str) -> Result<(), EncodeError> {
    if bytes.len() > max {
        return Err(EncodeError::OutOfRange { field });
    }
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

pub(crate) fn put_chat(out: &mut Vec<u8>, chat: &ChatName) {
    put_varint(out, chat.as_bytes().len() as u64);
    out.extend_from_slice(chat.as_bytes());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &Text) {
    put_varint(out, text.as_bytes().len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_position(out: &mut Vec<u8>, position: Option<&Position>) -> Result<(), EncodeError> {
    put_bool(out, position.is_some());
    if let Some(position) = position {
        put_u64(out, position.epoch);
        put_offset(out, position.offset)?;
    }
    Ok(())
}

/// A cursor over one body. Byte fields are taken out as slices that share the body.
pub(crate) struct Reader<'a> {
    body: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at `position`; at the end, if `position` lies behind it.
    #[inline]
    pub(crate) fn new(body: &'a Bytes, position: usize) -> Self {
        Self { body, rest: body.get(position..).unwrap_or_default() }
    }

    /// Where the cursor stands.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.body.len() - self.rest.len()
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, MessageError> {
        let (&byte, rest) = self.rest.split_first().ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, MessageError> {
        // One byte is the common case: handles below 128, lengths, small counts.
        let byte = self.u8()?;
        if byte < 0x80 {
            return Ok(u64::from(byte));
        }
        self.varint_rest(byte)
    }

    #[inline]
    fn varint_rest(&mut self, first: u8) -> Result<u64, MessageError> {
        let mut value = u64::from(first & 0x7f);
        let mut rest = self.rest;
        for shift in 1..VARINT_BYTES_MAX {
            let (&byte, behind) = rest.split_first().ok_or(MessageError::Truncated)?;
            rest = behind;
            value |= u64::from(byte & 0x7f) << (shift * 7);
            if byte < 0x80 {
                if byte == 0 {
                    return Err(MessageError::VarintNotMinimal);
                }
                if shift == VARINT_BYTES_MAX - 1 && byte > 1 {
                    return Err(MessageError::VarintTooLong);
                }
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(MessageError::VarintTooLong)
    }

    #[inline]
    pub(crate) fn bounded(&mut self, max: u64, field: &'static str) -> Result<u64, MessageError> {
        let value = self.varint()?;
        if value > max {
            return Err(MessageError::OutOfRange { field });
        }
        Ok(value)
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, MessageError> {
        u32::try_from(self.varint()?).map_err(|_| MessageError::OutOfRange { field })
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, MessageError> {
        u16::try_from(self.varint()?).map_err(|_| MessageError::OutOfRange { field })
    }

    pub(crate) fn u64(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn offset(&mut self) -> Result<u64, MessageError> {
        self.bounded(MAX_OFFSET, "offset")
    }

    #[inline]
    pub(crate) fn time(&mut self) -> Result<u64, MessageError> {
        self.bounded(MAX_TIME_MS, "time")
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, MessageError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(MessageError::OutOfRange { field }),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    /// A byte string of at most `max` bytes, sharing the body. The limit is checked before the length is believed.
    #[inline]
    pub(crate) fn bytes(&mut self, max: usize, field: &'static str) -> Result<Bytes, MessageError> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if len > max {
            return Err(MessageError::OutOfRange { field });
        }
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(MessageError::Truncated)?;
        let start = self.position();
        self.rest = rest;
        // An empty slice of a body would still be counted as a user of it.
        Ok(if taken.is_empty() { Bytes::new() } else { self.body.slice(start..start + len) })
    }

    /// Passes over a byte string.
    pub(crate) fn skip_bytes(&mut self, max: usize, field: &'static str) -> Result<(), MessageError> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if len > max {
            return Err(MessageError::OutOfRange { field });
        }
        let (_, rest) = self.rest.split_at_checked(len).ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(())
    }

    pub(crate) fn chat(&mut self) -> Result<ChatName, MessageError> {
        ChatName::from_wire(self.bytes(crate::limits::MAX_CHAT_BYTES, "chat")?)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<Text, MessageError> {
        Text::from_wire(self.bytes(crate::limits::MAX_TEXT_BYTES, field)?, field)
    }

    pub(crate) fn position_option(&mut self) -> Result<Option<Position>, MessageError> {
        if !self.bool("position")? {
            return Ok(None);
        }
        Ok(Some(Position { epoch: self.u64()?, offset: self.offset()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn read(bytes: &[u8]) -> Result<u64, MessageError> {
        let body = Bytes::copy_from_slice(bytes);
        let mut reader = Reader::new(&body, 0);
        let value = reader.varint()?;
        assert_eq!(reader.position(), bytes.len());
        Ok(value)
    }

    #[test]
    fn varints_at_their_edges() {
        for (value, bytes) in [
            (0, vec![0x00]),
            (127, vec![0x7f]),
            (128, vec![0x80, 0x01]),
            (16_383, vec![0xff, 0x7f]),
            (16_384, vec![0x80, 0x80, 0x01]),
            (u64::MAX, vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&bytes), Ok(value));
        }
    }

    #[test]
    fn varints_that_are_refused() {
        assert_eq!(read(&[]), Err(MessageError::Truncated));
        assert_eq!(read(&[0x80]), Err(MessageError::Truncated));
        assert_eq!(read(&[0x80, 0x00]), Err(MessageError::VarintNotMinimal));
        assert_eq!(read(&[0xff, 0x80, 0x00]), Err(MessageError::VarintNotMinimal));
        let mut long = vec![0xff; 9];
        long.push(0x02);
        assert_eq!(read(&long), Err(MessageError::VarintTooLong));
        assert_eq!(read(&[0xff; 11]), Err(MessageError::VarintTooLong));
    }

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert!(out.len() <= VARINT_BYTES_MAX);
            prop_assert_eq!(read(&out), Ok(value));
        }
    }
}

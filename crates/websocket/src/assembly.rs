//! What a decoder keeps while a message is split over chunks or fragments, and only then.

use alloc::vec::Vec;
use core::mem::size_of;

use crate::decoder::Ready;
use crate::frame::{CONTROL_PAYLOAD_MAX, Kind, Opcode};
use crate::header::Header;
use crate::mask;
use crate::violation::Violation;

/// The smallest buffer of a split message: below it, growing costs more than the bytes.
const MESSAGE_CAPACITY_MIN: usize = 64;

/// A message or a control frame in the making, or lent to the caller until the next call of the decoder.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// The frame whose payload has not arrived in full.
    frame: Option<OpenFrame>,
    /// The kind of the message in progress; `None` between messages, also while a control frame is split.
    kind: Option<Kind>,
    /// The unmasked bytes of that message so far.
    message: Vec<u8>,
    /// How many of them are known to be UTF-8. The rest, at most 3 bytes, may still become a character.
    validated: usize,
    control: ControlPayload,
}

/// A frame whose header has been accepted and whose payload is still arriving.
#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    opcode: Opcode,
    fin: bool,
    /// The key for the next byte, advanced past those that have arrived.
    mask: [u8; 4],
    remaining: usize,
}

impl Assembly {
    /// A message has begun and its last frame has not arrived.
    pub(crate) const fn in_message(&self) -> bool {
        self.kind.is_some()
    }

    /// A frame has begun and the rest of its payload has not arrived.
    pub(crate) const fn in_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Bytes of the message in progress.
    pub(crate) const fn message_bytes(&self) -> usize {
        self.message.len()
    }

    /// Heap memory held, this structure included.
    pub(crate) const fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.message.capacity()
    }

    /// The finished message, as announced by [`Ready::Assembled`].
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// The finished control frame's payload, as announced by [`Ready::Control`].
    pub(crate) fn control(&self) -> &[u8] {
        self.control.as_slice()
    }

    /// Forgets the control frame that was lent. False if nothing else is in progress.
    pub(crate) const fn release_control(&mut self) -> bool {
        self.control.used = 0;
        self.in_message()
    }

    /// Opens the frame of `header` and takes what has arrived of its payload.
    pub(crate) fn begin(&mut self, header: &Header, payload: &mut [u8]) -> Result<(usize, Option<Ready>), Violation> {
        match header.opcode {
            Opcode::Text => self.kind = Some(Kind::Text),
            Opcode::Binary => self.kind = Some(Kind::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => {}
        }
        let frame =
            OpenFrame { opcode: header.opcode, fin: header.fin, mask: header.mask, remaining: header.payload_bytes };
        self.absorb(frame, payload)
    }

    /// Takes more of the open frame's payload. Only while [`Self::in_frame`].
    pub(crate) fn resume(&mut self, input: &mut [u8]) -> Result<(usize, Option<Ready>), Violation> {
        match self.frame.take() {
            Some(frame) => self.absorb(frame, input),
            None => Ok((0, None)),
        }
    }

    /// Unmasks, checks and stores the frame's share of `input`; answers how much that was and what it completed.
    fn absorb(&mut self, mut frame: OpenFrame, input: &mut [u8]) -> Result<(usize, Option<Ready>), Violation> {
        let used = frame.remaining.min(input.len());
        let part = input.get_mut(..used).unwrap_or_default();
        mask::apply(part, frame.mask);
        if frame.opcode.is_control() {
            self.control.extend(part);
        } else {
            self.reserve(&frame, used);
            self.message.extend_from_slice(part);
            if self.kind == Some(Kind::Text) {
                self.validate()?;
            }
        }
        frame.remaining = frame.remaining.saturating_sub(used);
        frame.mask = mask::advance(frame.mask, used);
        if frame.remaining > 0 {
            self.frame = Some(frame);
            return Ok((used, None));
        }
        let ready = if frame.opcode.is_control() {
            check_control(frame.opcode, self.control.as_slice())?;
            Some(Ready::Control(frame.opcode))
        } else if frame.fin {
            Some(self.finish_message()?)
        } else {
            None
        };
        Ok((used, ready))
    }

    /// Makes room for `arrived` bytes: doubling, so that many small fragments stay linear, but never more than the frame
    /// that ends the message can fill. The capacity stays below twice what has arrived.
    fn reserve(&mut self, frame: &OpenFrame, arrived: usize) {
        let length = self.message.len();
        let needed = length.saturating_add(arrived);
        if needed <= self.message.capacity() {
            return;
        }
        let doubled = self.message.capacity().saturating_mul(2).max(MESSAGE_CAPACITY_MIN);
        let useful = if frame.fin { length.saturating_add(frame.remaining) } else { usize::MAX };
        let capacity = doubled.min(useful).max(needed);
        self.message.reserve_exact(capacity.saturating_sub(length));
    }

    /// Checks the bytes that arrived since the last call; fails at the first byte that cannot be part of UTF-8.
    fn validate(&mut self) -> Result<(), Violation> {
        let fresh = self.message.get(self.validated..).unwrap_or_default();
        match simdutf8::compat::from_utf8(fresh) {
            Ok(_) => self.validated = self.message.len(),
            // A character cut off by the end of what has arrived; its bytes so far are permitted.
            Err(error) if error.error_len().is_none() => {
                self.validated = self.validated.saturating_add(error.valid_up_to());
            }
            Err(_) => return Err(Violation::Utf8),
        }
        debug_assert!(self.message.len() - self.validated < 4, "checked text is checked again");
        Ok(())
    }

    fn finish_message(&mut self) -> Result<Ready, Violation> {
        let kind = self.kind.take().unwrap_or(Kind::Binary);
        if kind == Kind::Text && self.validated != self.message.len() {
            return Err(Violation::Utf8);
        }
        Ok(Ready::Assembled(kind))
    }
}

/// The payload of a split control frame.
#[derive(Debug)]
struct ControlPayload {
    bytes: [u8; CONTROL_PAYLOAD_MAX],
    used: u8,
}

impl Default for ControlPayload {
    fn default() -> Self {
        Self { bytes: [0; CONTROL_PAYLOAD_MAX], used: 0 }
    }
}

impl ControlPayload {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.used)).unwrap_or_default()
    }

    /// The header has bounded the payload to [`CONTROL_PAYLOAD_MAX`], so everything fits.
    fn extend(&mut self, part: &[u8]) {
        let free = self.bytes.iter_mut().skip(usize::from(self.used));
        for (to, from) in free.zip(part) {
            *to = *from;
            self.used = self.used.saturating_add(1);
        }
    }
}

/// The rules for a complete control frame's payload (RFC 6455 section 5.5.1): those of close; ping and pong have none.
pub(crate) fn check_control(opcode: Opcode, payload: &[u8]) -> Result<(), Violation> {
    if opcode != Opcode::Close {
        return Ok(());
    }
    match payload {
        [] => Ok(()),
        [_] => Err(Violation::CloseLength),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !close_code_permitted(code) {
                return Err(Violation::CloseCode(code));
            }
            if core::str::from_utf8(reason).is_err() {
                return Err(Violation::CloseReason);
            }
            Ok(())
        }
    }
}

/// Codes that may appear in a frame: those of RFC 6455 section 7.4.1 that are not reserved for local use (1004–1006, 1015),
/// those that IANA registered later (1012–1014), and those for libraries and applications (3000–4999).
const fn close_code_permitted(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

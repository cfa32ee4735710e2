//! Received bytes → messages and control frames.

use alloc::boxed::Box;
use core::mem::size_of;
use core::ops::Range;

use crate::assembly::{Assembly, check_control};
use crate::frame::{Kind, Opcode};
use crate::header::{Expectation, HEADER_BYTES_MAX, Header, Role};
use crate::mask;
use crate::violation::Violation;

/// What a peer sent. Lent by the decoder: from the chunk itself where the frame lies in one chunk, else from the buffer in
/// which it was put together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message<'a> {
    /// A complete message; that of [`Kind::Text`] is UTF-8.
    Data {
        /// Text or binary.
        kind: Kind,
        /// The message, its fragments joined.
        payload: &'a [u8],
    },
    /// To be answered with a pong with the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping, or unsolicited, which is permitted.
    Pong(&'a [u8]),
    /// The peer sends nothing any more. To be answered with a close frame; whatever follows is ignored.
    Close {
        /// `None` if the frame was empty.
        code: Option<u16>,
        /// Empty if the peer gave none.
        reason: &'a str,
    },
}

/// Decodes the frames of one connection in one direction.
///
/// Call [`decode`](Self::decode) with each chunk, again with the rest of the chunk as long as it returns messages:
///
/// ```
/// use corecast_websocket::{Decoder, Message, Kind, Opcode, client_frame};
/// let mut chunk = Vec::new();
/// client_frame(Opcode::Text, b"one", [1, 2, 3, 4], &mut chunk);
/// client_frame(Opcode::Text, b"two", [5, 6, 7, 8], &mut chunk);
///
/// let mut decoder = Decoder::server(128 * 1024);
/// let mut seen = Vec::new();
/// let mut at = 0;
/// while let (used, Some(message)) = decoder.decode(&mut chunk[at..])? {
///     if let Message::Data { kind: Kind::Text, payload } = message {
///         seen.push(payload.to_vec());
///     }
///     at += used;
/// }
/// assert_eq!(seen, [b"one", b"two"]);
/// # Ok::<(), corecast_websocket::Violation>(())
/// ```
///
/// Its size matters, there is one per connection: 32 bytes, and no more while nothing is split over chunks or fragments.
#[derive(Debug)]
pub struct Decoder {
    /// Present only while a message or a frame is split, and until the call after it was completed and lent.
    assembly: Option<Box<Assembly>>,
    message_bytes_max: u32,
    /// Frames begun since [`Self::take_frames`].
    frames: u32,
    /// The start of a header that the chunk cut off. All of it but the last byte, at most.
    held: [u8; HEADER_BYTES_MAX - 1],
    held_bytes: u8,
    role: Role,
    state: State,
}

const _: () = assert!(size_of::<Decoder>() <= 32);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Decoding,
    /// The message in the assembly was lent by the last call.
    LentMessage,
    /// The control frame in the assembly was lent by the last call.
    LentControl,
    /// After a close frame or a violation: everything is ignored.
    Finished,
}

/// Where a completed message lies.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// In the message buffer of the assembly.
    Assembled(Kind),
    /// In the control buffer of the assembly.
    Control(Opcode),
    /// In the input, counted from the start of the step's bytes.
    InPlace(Opcode, Range<usize>),
}

impl Decoder {
    /// A decoder for what a server receives: every frame has to be masked.
    ///
    /// A message of more than `message_bytes_max` bytes (at most `u32::MAX`, larger values mean that) is refused with
    /// [`Violation::TooLarge`] at the header of the frame that exceeds it.
    #[must_use]
    pub fn server(message_bytes_max: usize) -> Self {
        Self::new(Role::Server, message_bytes_max)
    }

    /// A decoder for what a client receives: no frame may be masked. Otherwise like [`Self::server`].
    #[must_use]
    pub fn client(message_bytes_max: usize) -> Self {
        Self::new(Role::Client, message_bytes_max)
    }

    fn new(role: Role, message_bytes_max: usize) -> Self {
        let mut decoder = Self {
            assembly: None,
            message_bytes_max: 0,
            frames: 0,
            held: [0; HEADER_BYTES_MAX - 1],
            held_bytes: 0,
            role,
            state: State::Decoding,
        };
        decoder.set_max_message(message_bytes_max);
        decoder
    }

    /// Changes the limit, from the next frame on; for connections that may send more once they are authenticated.
    pub fn set_max_message(&mut self, message_bytes_max: usize) {
        self.message_bytes_max = u32::try_from(message_bytes_max).unwrap_or(u32::MAX);
    }

    /// Consumes a prefix of `input`, unmasking in place, and answers how long it was and the message that ended with it.
    ///
    /// Without a message all of `input` has been consumed. With one, call again with the rest, even if that is empty: the
    /// call that returns no message is the one that gives the memory of the last message back. After a close frame and
    /// after a violation everything is consumed and ignored.
    ///
    /// # Errors
    /// [`Violation`], once, at the first byte that proves it; [`Violation::close_code`] says what to answer.
    #[inline]
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<(usize, Option<Message<'a>>), Violation> {
        if self.state != State::Decoding {
            self.release();
        }
        let mut consumed = 0;
        let ready = loop {
            let rest = input.get_mut(consumed..).unwrap_or_default();
            if rest.is_empty() || self.state == State::Finished {
                return Ok((input.len(), None));
            }
            match self.step(rest) {
                Ok((used, ready)) => {
                    let start = consumed;
                    consumed = start.saturating_add(used);
                    if let Some(ready) = ready {
                        break ready.shifted(start);
                    }
                }
                Err(violation) => {
                    self.finish();
                    return Err(violation);
                }
            }
        };
        Ok((consumed, Some(self.lend(ready, input))))
    }

    /// Whether a close frame or a violation has ended the conversation.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// Heap memory held for what is split, in bytes: 0 while idle, else below twice the message bytes that have arrived
    /// and a constant of about 300 bytes.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.memory_bytes())
    }

    /// How many frames have begun since the last call, those without a payload included: what a limit on floods of empty
    /// fragments and pings has to count, since messages do not show them.
    pub const fn take_frames(&mut self) -> u32 {
        core::mem::replace(&mut self.frames, 0)
    }

    /// Takes back what the last call lent.
    #[cold]
    fn release(&mut self) {
        match self.state {
            State::Decoding => {}
            State::LentMessage => {
                self.assembly = None;
                self.state = State::Decoding;
            }
            State::LentControl => {
                if !self.assembly.as_mut().is_some_and(|assembly| assembly.release_control()) {
                    self.assembly = None;
                }
                self.state = State::Decoding;
            }
            State::Finished => self.finish(),
        }
    }

    #[cold]
    fn finish(&mut self) {
        self.assembly = None;
        self.held_bytes = 0;
        self.state = State::Finished;
    }

    /// Consumes at most one frame.
    #[inline]
    fn step(&mut self, input: &mut [u8]) -> Result<(usize, Option<Ready>), Violation> {
        if let Some(assembly) = &mut self.assembly
            && assembly.in_frame()
        {
            return assembly.resume(input);
        }
        let Some((header, start)) = self.header(input)? else {
            return Ok((input.len(), None));
        };
        self.frames = self.frames.saturating_add(1);
        let end = start.saturating_add(header.payload_bytes);
        let whole = header.opcode.is_control() || (header.fin && header.opcode != Opcode::Continuation);
        if whole && let Some(payload) = input.get_mut(start..end) {
            mask::apply(payload, header.mask);
            check(header.opcode, payload)?;
            return Ok((end, Some(Ready::InPlace(header.opcode, start..end))));
        }
        let payload = input.get_mut(start..).unwrap_or_default();
        let (used, ready) = self.assembly.get_or_insert_default().begin(&header, payload)?;
        Ok((start.saturating_add(used), ready))
    }

    /// The header that begins or continues at `input`, and how many bytes of `input` belong to it; `None` if it takes all
    /// of `input` and more.
    #[inline]
    fn header(&mut self, input: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let limit = usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX);
        let in_progress = self.assembly.as_ref().filter(|assembly| assembly.in_message());
        let expected = Expectation {
            role: self.role,
            in_message: in_progress.is_some(),
            room: in_progress.map_or(limit, |assembly| limit.saturating_sub(assembly.message_bytes())),
        };
        if self.held_bytes > 0 {
            return self.held_header(input, expected);
        }
        match Header::parse(input, expected)? {
            Some(header) => Ok(Some((header, header.header_bytes))),
            None => {
                self.hold(0, input);
                Ok(None)
            }
        }
    }

    /// [`Self::header`] for a header whose start came with an earlier chunk.
    #[cold]
    fn held_header(&mut self, input: &[u8], expected: Expectation) -> Result<Option<(Header, usize)>, Violation> {
        let held = usize::from(self.held_bytes);
        let mut joined = [0; HEADER_BYTES_MAX];
        let arrived = self.held.iter().take(held).chain(input);
        let mut length = 0_usize;
        for (to, from) in joined.iter_mut().zip(arrived) {
            *to = *from;
            length = length.saturating_add(1);
        }
        match Header::parse(joined.get(..length).unwrap_or_default(), expected)? {
            Some(header) => {
                self.held_bytes = 0;
                Ok(Some((header, header.header_bytes.saturating_sub(held))))
            }
            None => {
                self.hold(held, input);
                Ok(None)
            }
        }
    }

    /// Keeps `input`, all of which is part of an incomplete header, behind the `held` bytes that are kept already.
    #[cold]
    fn hold(&mut self, held: usize, input: &[u8]) {
        for (to, from) in self.held.iter_mut().skip(held).zip(input) {
            *to = *from;
            self.held_bytes = self.held_bytes.saturating_add(1);
        }
    }

    #[inline]
    fn lend<'a>(&'a mut self, ready: Ready, input: &'a [u8]) -> Message<'a> {
        match ready {
            Ready::InPlace(opcode, range) => {
                if opcode == Opcode::Close {
                    self.state = State::Finished;
                }
                message(opcode, input.get(range).unwrap_or_default())
            }
            Ready::Assembled(kind) => {
                self.state = State::LentMessage;
                let payload = self.assembly.as_ref().map_or(&[][..], |assembly| assembly.message());
                Message::Data { kind, payload }
            }
            Ready::Control(opcode) => {
                self.state = if opcode == Opcode::Close { State::Finished } else { State::LentControl };
                message(opcode, self.assembly.as_ref().map_or(&[], |assembly| assembly.control()))
            }
        }
    }
}

impl Ready {
    fn shifted(self, by: usize) -> Self {
        match self {
            Self::InPlace(opcode, range) => {
                Self::InPlace(opcode, range.start.saturating_add(by)..range.end.saturating_add(by))
            }
            elsewhere @ (Self::Assembled(_) | Self::Control(_)) => elsewhere,
        }
    }
}

/// The rules for the payload of a frame that arrived whole.
#[inline]
fn check(opcode: Opcode, payload: &[u8]) -> Result<(), Violation> {
    match opcode {
        Opcode::Text if simdutf8::basic::from_utf8(payload).is_err() => Err(Violation::Utf8),
        Opcode::Text | Opcode::Binary | Opcode::Continuation => Ok(()),
        Opcode::Close | Opcode::Ping | Opcode::Pong => check_control(opcode, payload),
    }
}

/// The message of a checked payload.
#[inline]
fn message(opcode: Opcode, payload: &[u8]) -> Message<'_> {
    match opcode {
        Opcode::Text => Message::Data { kind: Kind::Text, payload },
        Opcode::Binary | Opcode::Continuation => Message::Data { kind: Kind::Binary, payload },
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => match payload {
            [high, low, reason @ ..] => Message::Close {
                code: Some(u16::from_be_bytes([*high, *low])),
                reason: core::str::from_utf8(reason).unwrap_or_default(),
            },
            _ => Message::Close { code: None, reason: "" },
        },
    }
}

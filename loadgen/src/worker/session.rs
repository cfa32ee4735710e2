//! The hot path: chunks of bytes → WebSocket messages → what they say.
//!
//! A data frame that lies whole in one chunk, which is nearly every one, is found by its header alone: no copy, no state.
//! Everything else (split, fragmented, control frames) goes through the full decoder, which exists only that long.
//! Invariant: the decoder is dropped exactly when a data message has ended, because then nothing of it is unfinished.

use corecast_websocket::{Decoder, Message, Opcode};

use super::desk::{Desk, Intent};
use super::member::Phase;
use crate::target::{Adapter, Unreadable};

/// The longest message a member accepts: a recovery reply may carry hundreds of publications.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a step through the decoder led to; borrowed data has been dealt with.
enum Step {
    /// A whole data message ended: the decoder is idle again.
    Done(usize),
    /// A control frame, perhaps within a message.
    Control(usize),
    /// More bytes are needed.
    Starved,
    /// The connection is over.
    Over,
}

/// A worker's desk with its eyes. The adapter stands beside the desk, so that reading borrows both at once.
#[derive(Debug)]
pub(crate) struct Session {
    pub desk: Desk,
    adapter: Adapter,
}

impl Session {
    pub(crate) fn new(desk: Desk) -> Self {
        Self { adapter: desk.shared.adapter.clone(), desk }
    }

    /// Bytes of a connection.
    pub(crate) fn handle_received(&mut self, local: u32, bytes: &mut [u8]) {
        self.desk.counts.bytes_received += bytes.len() as u64;
        if self.desk.members.all[local as usize].phase != Phase::Upgrading {
            self.frames(local, bytes);
        } else if let Some(used) = self.desk.handle_answer(local, bytes) {
            self.frames(local, &mut bytes[used..]);
        }
    }

    /// Takes the frames out of a chunk.
    fn frames(&mut self, local: u32, bytes: &mut [u8]) {
        let mut at = 0;
        loop {
            let member = &self.desk.members.all[local as usize];
            if matches!(member.phase, Phase::Waiting | Phase::Gone | Phase::Connecting) {
                return;
            }
            let split = member.extra.as_ref().is_some_and(|extra| extra.decoder.is_some());
            if !split && let Some((head, length)) = whole_data_frame(&bytes[at..]) {
                self.message(local, &bytes[at + head..at + head + length]);
                at += head + length;
                continue;
            }
            if at == bytes.len() {
                return;
            }
            match self.step(local, &mut bytes[at..]) {
                Step::Done(used) | Step::Control(used) => at += used,
                Step::Starved | Step::Over => return,
            }
        }
    }

    /// One message by the full decoder, which stays only while a message is unfinished.
    #[cold]
    fn step(&mut self, local: u32, bytes: &mut [u8]) -> Step {
        let member = &mut self.desk.members.all[local as usize];
        let mut decoder = member.extra().decoder.take().unwrap_or_else(|| Decoder::client(MESSAGE_BYTES_MAX));
        let step = match decoder.decode(bytes) {
            Ok((used, Some(Message::Data { payload, .. }))) => {
                self.message(local, payload);
                Step::Done(used)
            }
            Ok((used, Some(Message::Ping(payload)))) => {
                self.desk.counts.pings += 1;
                self.desk.frames.control(Opcode::Pong, payload);
                let pong = self.desk.frames.take();
                self.desk.intents.push(Intent::Send(local, pong));
                Step::Control(used)
            }
            Ok((used, Some(Message::Pong(_)))) => Step::Control(used),
            Ok((_, Some(Message::Close { code, reason }))) => {
                let how = match code {
                    Some(code) => format!("close {code} {reason}"),
                    None => "close without a code".to_owned(),
                };
                self.desk.handle_closed(local, how.trim_end().to_owned());
                Step::Over
            }
            Ok((_, None)) => Step::Starved,
            Err(violation) => {
                self.desk.handle_unreadable(local, Unreadable(violation.to_string()));
                Step::Over
            }
        };
        let member = &mut self.desk.members.all[local as usize];
        match step {
            Step::Control(_) | Step::Starved => member.extra().decoder = Some(decoder),
            Step::Done(_) | Step::Over => member.tidy(),
        }
        step
    }

    fn message(&mut self, local: u32, payload: &[u8]) {
        let member = &mut self.desk.members.all[local as usize];
        let mut carry = member.extra.as_mut().and_then(|extra| extra.carry.take());
        let had_carry = carry.is_some();
        let desk = &mut self.desk;
        let result = self.adapter.read(payload, &mut carry, &mut |incoming| desk.incoming(local, incoming));
        if carry.is_some() || had_carry {
            let member = &mut self.desk.members.all[local as usize];
            member.extra().carry = carry;
            member.tidy();
        }
        if let Err(error) = result {
            self.desk.handle_unreadable(local, error);
        }
    }
}

/// Header and payload length of an unfragmented text or binary frame of up to 64 KiB that lies whole in `bytes`.
#[inline]
fn whole_data_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    if *first != 0x81 && *first != 0x82 {
        return None;
    }
    let (head, length) = match *second {
        length @ 0..=125 => (2, usize::from(length)),
        126 => (4, usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]))),
        _ => return None,
    };
    (bytes.len() >= head + length).then_some((head, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_plain_frames_take_the_short_road() {
        assert_eq!(whole_data_frame(b"\x81\x02hi"), Some((2, 2)));
        assert_eq!(whole_data_frame(b"\x82\x00"), Some((2, 0)));
        for other in [&b"\x81\x03hi"[..], b"\x01\x02hi", b"\x89\x00", b"\x81\x82abcdhi", b"\x81\x7f", b"\x81", b""] {
            assert_eq!(whole_data_frame(other), None, "{other:?}");
        }
        let mut long = vec![0x81, 126, 1, 0];
        long.resize(4 + 256, b'x');
        assert_eq!(whole_data_frame(&long), Some((4, 256)));
        long.pop();
        assert_eq!(whole_data_frame(&long), None);
    }
}

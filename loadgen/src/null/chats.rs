//! Chats of the null server: offsets, members by encoding, and enough history to answer recoveries.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use corecast_centrifuge::{Encoding, PublicationEncoder};
use corecast_ring::ConnId;
use corecast_websocket::{FrameBuilder, Opcode};

/// Messages kept per chat: as many as Corecast keeps by default.
const KEPT: usize = 1_000;

/// How a connection wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Json,
    Protobuf,
    Raw,
}

pub(super) const SPEECHES: [Speech; 3] = [Speech::Json, Speech::Protobuf, Speech::Raw];

#[derive(Debug)]
pub(super) struct Chat {
    encoder: PublicationEncoder,
    pub offset: u64,
    /// By [`Speech`].
    pub members: [Vec<ConnId>; 3],
    kept: VecDeque<Bytes>,
}

#[derive(Debug, Default)]
pub(super) struct Chats {
    numbers: HashMap<Box<str>, u32>,
    pub all: Vec<Chat>,
}

impl Chats {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.numbers.insert(name.into(), number);
        let encoder = PublicationEncoder::new(name);
        self.all.push(Chat { encoder, offset: 0, members: Default::default(), kept: VecDeque::new() });
        number
    }
}

impl Chat {
    pub(super) fn join(&mut self, conn: ConnId, speech: Speech) {
        self.members[speech as usize].push(conn);
    }

    pub(super) fn leave(&mut self, conn: ConnId, speech: Speech) {
        let members = &mut self.members[speech as usize];
        if let Some(at) = members.iter().position(|member| *member == conn) {
            members.swap_remove(at);
        }
    }

    /// The next offset is this message's.
    pub(super) fn append(&mut self, data: Bytes) {
        self.offset += 1;
        self.kept.push_back(data);
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    /// The complete frame for members who speak that way.
    pub(super) fn frame(&self, speech: Speech, data: &[u8]) -> Bytes {
        let encoding = match speech {
            Speech::Json => Encoding::Json,
            Speech::Protobuf => Encoding::Protobuf,
            Speech::Raw => return corecast_websocket::server_frame(Opcode::Text, data),
        };
        let mut frame = FrameBuilder::with_capacity(self.encoder.encoded_len(encoding, self.offset, data));
        self.encoder.write(encoding, self.offset, data, frame.payload());
        frame.finish(if speech == Speech::Json { Opcode::Text } else { Opcode::Binary })
    }

    /// Everything after `offset`, or `None` if it is not kept any more.
    pub(super) fn since(&self, offset: u64) -> Option<Vec<(u64, Bytes)>> {
        let missed = self.offset.checked_sub(offset)? as usize;
        let first = self.kept.len().checked_sub(missed)?;
        Some((offset + 1..).zip(self.kept.iter().skip(first).cloned()).collect())
    }
}

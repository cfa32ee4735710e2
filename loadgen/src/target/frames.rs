//! Outgoing messages of one connection, gathered into one buffer of masked WebSocket frames.

use bytes::Bytes;
use corecast_websocket::{Opcode, client_frame};

/// Commands that share a frame do so up to this size: servers limit a message (Corecast to 128 KiB), and a single command
/// may itself be as large as that.
const SHARED_FRAME_BYTES_MAX: usize = 16 * 1024;

/// Collects messages; [`Frames::take`] gives the bytes for the socket.
#[derive(Debug)]
pub(crate) struct Frames {
    opcode: Opcode,
    mask: [u8; 4],
    /// Commands of the frame that is being filled.
    shared: Vec<u8>,
    /// Complete frames.
    ready: Vec<u8>,
}

impl Frames {
    /// `mask` only has to be a mask: nobody between here and the target could be confused by a predictable one.
    pub(crate) fn new(binary: bool, mask: [u8; 4]) -> Self {
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        Self { opcode, mask, shared: Vec::new(), ready: Vec::new() }
    }

    /// One message in a frame of its own.
    pub(crate) fn message(&mut self, payload: &[u8]) {
        self.close_shared();
        client_frame(self.opcode, payload, self.mask, &mut self.ready);
    }

    /// The buffer of a frame that several commands share; a full one is closed first.
    pub(crate) fn shared(&mut self) -> &mut Vec<u8> {
        if self.shared.len() >= SHARED_FRAME_BYTES_MAX {
            self.close_shared();
        }
        &mut self.shared
    }

    /// A control frame.
    pub(crate) fn control(&mut self, opcode: Opcode, payload: &[u8]) {
        self.close_shared();
        client_frame(opcode, payload, self.mask, &mut self.ready);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.ready.is_empty()
    }

    /// Everything gathered so far.
    pub(crate) fn take(&mut self) -> Bytes {
        self.close_shared();
        Bytes::from(std::mem::take(&mut self.ready))
    }

    fn close_shared(&mut self) {
        if !self.shared.is_empty() {
            client_frame(self.opcode, &self.shared, self.mask, &mut self.ready);
            self.shared.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corecast_websocket::{Decoder, Message};

    fn read(bytes: &Bytes) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::server(1 << 20);
        let mut input = bytes.to_vec();
        let mut messages = Vec::new();
        let mut at = 0;
        while let (used, Some(message)) = decoder.decode(&mut input[at..]).unwrap() {
            if let Message::Data { payload, .. } = message {
                messages.push(payload.to_vec());
            }
            at += used;
        }
        messages
    }

    #[test]
    fn commands_share_frames_up_to_a_size_and_keep_their_order() {
        let mut frames = Frames::new(false, [1, 2, 3, 4]);
        frames.shared().extend_from_slice(b"a");
        frames.shared().extend_from_slice(b"b");
        frames.message(b"alone");
        let large = vec![b'x'; SHARED_FRAME_BYTES_MAX];
        frames.shared().extend_from_slice(&large);
        frames.shared().extend_from_slice(b"next");
        let messages = read(&frames.take());
        assert_eq!(messages, [b"ab".to_vec(), b"alone".to_vec(), large, b"next".to_vec()]);
        assert!(frames.is_empty());
    }
}

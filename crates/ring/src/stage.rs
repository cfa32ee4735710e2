//! Frames staged for sending: what the entries of the current submission point to.
//!
//! Invariants worth naming:
//! - Whatever was staged stays, at the same address, until `clear`; and `clear` is called only when the kernel has
//!   consumed every send of the submission and all failure completions of it were read, since a failed send takes its
//!   rest from here (trap 3 of the send recipe, `send.rs`).
//! - In the steady state staging allocates nothing: all vectors are used again.

use std::ptr;

use bytes::{Bytes, BytesMut};

use crate::event::Staged;

/// Most parts of one vectored send (`UIO_MAXIOV`); frames beyond are copied together into the last one.
const PARTS_MAX: usize = 1_024;
/// Most bytes of one send: the kernel cuts longer ones (`MAX_RW_COUNT`), which would look like a complete send.
const BYTES_MAX: usize = 0x7fff_f000;

/// What a submission entry needs to know of a staged send.
#[derive(Clone, Copy)]
pub(crate) struct StagedSend {
    /// The bytes of a single frame, or a `msghdr`.
    pub(crate) address: *const u8,
    /// The length of a single frame.
    pub(crate) length: u32,
    pub(crate) is_vectored: bool,
    /// Where its frames are.
    first: u32,
    count: u32,
}

pub(crate) struct Stage {
    sends: Vec<StagedSend>,
    frames: Vec<Bytes>,
    /// Boxed, so that growing the vector does not move what the kernel is pointed to.
    #[allow(clippy::vec_box)]
    vectored: Vec<Box<Vectored>>,
    vectored_used: usize,
}

struct Vectored {
    header: libc::msghdr,
    parts: Vec<libc::iovec>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { sends: Vec::new(), frames: Vec::new(), vectored: Vec::new(), vectored_used: 0 }
    }

    /// Keeps the frames and prepares them for any number of sends.
    ///
    /// # Panics
    /// With 2 GiB of frames or more.
    pub(crate) fn add(&mut self, frames: &[Bytes], turn: u32) -> Staged {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        assert!(bytes <= BYTES_MAX, "one send has at most 2 GiB");
        let first = self.frames.len() as u32;
        if frames.len() > PARTS_MAX {
            let (head, tail) = frames.split_at(PARTS_MAX - 1);
            let mut joined = BytesMut::with_capacity(tail.iter().map(Bytes::len).sum());
            tail.iter().for_each(|frame| joined.extend_from_slice(frame));
            self.frames.extend_from_slice(head);
            self.frames.push(joined.freeze());
        } else {
            self.frames.extend_from_slice(frames);
        }
        let count = self.frames.len() as u32 - first;
        let (address, length) = match &self.frames[first as usize..] {
            [] => (ptr::NonNull::<u8>::dangling().as_ptr().cast_const(), 0),
            [frame] => (frame.as_ptr(), frame.len() as u32),
            _ => (self.describe(first as usize), 0),
        };
        let index = self.sends.len() as u32;
        self.sends.push(StagedSend { address, length, is_vectored: count > 1, first, count });
        Staged { index, turn }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> StagedSend {
        self.sends[index as usize]
    }

    /// What is left of a send of which the kernel took `sent` bytes. Empty frames vanish.
    pub(crate) fn rest(&self, index: u32, mut sent: usize) -> Vec<Bytes> {
        let Some(send) = self.sends.get(index as usize) else {
            return Vec::new();
        };
        let mut rest = Vec::new();
        for frame in &self.frames[send.first as usize..][..send.count as usize] {
            if sent < frame.len() {
                rest.push(frame.slice(sent..));
            }
            sent = sent.saturating_sub(frame.len());
        }
        rest
    }

    /// Forgets everything. See the invariants.
    pub(crate) fn clear(&mut self) {
        self.sends.clear();
        self.frames.clear();
        self.vectored_used = 0;
    }

    /// Fills in a message header for the frames from `first` on and returns its address.
    fn describe(&mut self, first: usize) -> *const u8 {
        if self.vectored_used == self.vectored.len() {
            // SAFETY: `msghdr` is plain data, for which all zeroes is valid.
            let header = unsafe { std::mem::zeroed() };
            self.vectored.push(Box::new(Vectored { header, parts: Vec::new() }));
        }
        let vectored = &mut self.vectored[self.vectored_used];
        self.vectored_used += 1;
        vectored.parts.clear();
        vectored.parts.extend(
            self.frames[first..]
                .iter()
                .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() }),
        );
        vectored.header.msg_iov = vectored.parts.as_mut_ptr();
        vectored.header.msg_iovlen = vectored.parts.len();
        (&raw const vectored.header).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: &[&'static str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
    }

    #[test]
    fn the_rest_begins_at_the_first_byte_not_sent() {
        let mut stage = Stage::new();
        let _ = stage.add(&frames(&["unrelated"]), 0);
        let staged = stage.add(&frames(&["one", "", "three"]), 0);
        assert_eq!(stage.rest(staged.index, 0), frames(&["one", "three"]));
        assert_eq!(stage.rest(staged.index, 2), frames(&["e", "three"]));
        assert_eq!(stage.rest(staged.index, 3), frames(&["three"]));
        assert_eq!(stage.rest(staged.index, 7), frames(&["e"]));
        assert!(stage.rest(staged.index, 8).is_empty());
        assert!(stage.rest(99, 0).is_empty());
    }

    #[test]
    fn more_frames_than_a_vectored_send_takes_are_joined() {
        let mut stage = Stage::new();
        let many: Vec<Bytes> = (0..2_000_u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
        let staged = stage.add(&many, 0);
        let rest = stage.rest(staged.index, 0);
        assert_eq!(rest.len(), PARTS_MAX);
        assert_eq!(rest.concat(), many.concat());
    }

    #[test]
    fn staged_addresses_do_not_move() {
        let mut stage = Stage::new();
        let pair = frames(&["a", "b"]);
        let first = stage.add(&pair, 0);
        let address = stage.get(first.index).address;
        for _ in 0..1_000 {
            let _ = stage.add(&pair, 0);
        }
        assert_eq!(stage.get(first.index).address, address);
        assert!(stage.get(first.index).is_vectored);
    }
}

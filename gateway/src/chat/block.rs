//! Small frames in one allocation.
//!
//! `Bytes::from(Vec)` takes two as soon as it is shared: the buffer and the count of its users. A frame of an update is
//! always shared (by its receivers and the recent publications) and mostly dropped long after it left the processor's
//! caches, where every allocation is another miss.
//!
//! Invariants worth naming:
//! * A small frame is copied once, out of a buffer that stays in the cache; a large one is never copied.
//! * The buffer never stays large: a large frame takes it along.

use std::mem;

use bytes::Bytes;

/// Longest frame that is small.
const SMALL_MAX: usize = 510;

/// Bytes within the allocation that counts their users.
struct Block<const N: usize> {
    length: u16,
    bytes: [u8; N],
}

impl<const N: usize> Block<N> {
    /// None if they do not fit.
    fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut block = Self { length: u16::try_from(bytes.len()).ok()?, bytes: [0; N] };
        block.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(block)
    }
}

impl<const N: usize> AsRef<[u8]> for Block<N> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Takes a frame out of the buffer that it was written into.
pub(super) fn shared(buffer: &mut Vec<u8>) -> Bytes {
    let bytes = buffer.as_slice();
    // With their length and the 16 bytes of the count: multiples of 16.
    let block = match bytes.len() {
        0..=94 => Block::<94>::copy_of(bytes).map(Bytes::from_owner),
        95..=126 => Block::<126>::copy_of(bytes).map(Bytes::from_owner),
        127..=158 => Block::<158>::copy_of(bytes).map(Bytes::from_owner),
        159..=190 => Block::<190>::copy_of(bytes).map(Bytes::from_owner),
        191..=254 => Block::<254>::copy_of(bytes).map(Bytes::from_owner),
        255..=382 => Block::<382>::copy_of(bytes).map(Bytes::from_owner),
        383..=SMALL_MAX => Block::<SMALL_MAX>::copy_of(bytes).map(Bytes::from_owner),
        _ => None,
    };
    block.unwrap_or_else(|| Bytes::from(mem::take(buffer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_as_it_was() {
        let source: Vec<u8> = (0..1_000).map(|n| n as u8).collect();
        let mut buffer = Vec::new();
        for length in 0..=source.len() {
            buffer.clear();
            buffer.extend_from_slice(&source[..length]);
            let frame = shared(&mut buffer);
            assert_eq!(frame, source[..length]);
            assert_eq!(frame.slice(length / 2..), source[length / 2..length]);
        }
    }

    #[test]
    fn a_large_frame_is_not_copied_and_takes_its_buffer_along() {
        let mut buffer = vec![7; SMALL_MAX + 1];
        let written = buffer.as_ptr();
        assert_eq!(shared(&mut buffer).as_ptr(), written);
        assert_eq!(buffer.capacity(), 0);
        buffer.extend_from_slice(&[7; SMALL_MAX]);
        let written = buffer.as_ptr();
        assert_ne!(shared(&mut buffer).as_ptr(), written);
        assert_eq!(buffer.as_ptr(), written, "it is used again");
    }
}

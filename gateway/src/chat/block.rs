//! Small frames in one allocation.
//!
//! `Bytes::from(Vec)` takes two as soon as it is shared: the buffer and the count of its users. A frame of an update is
//! always shared (by its receivers and the recent publications) and mostly dropped long after it left the processor's
//! caches, where every allocation is another miss.

use bytes::Bytes;

/// Longest frame that gets one.
pub(super) const MAX: usize = 510;

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

/// A copy that is to be shared.
pub(super) fn shared(bytes: &[u8]) -> Bytes {
    // With their length and the 16 bytes of the count: multiples of 16.
    let block = match bytes.len() {
        0..=94 => Block::<94>::copy_of(bytes).map(Bytes::from_owner),
        95..=126 => Block::<126>::copy_of(bytes).map(Bytes::from_owner),
        127..=158 => Block::<158>::copy_of(bytes).map(Bytes::from_owner),
        159..=190 => Block::<190>::copy_of(bytes).map(Bytes::from_owner),
        191..=254 => Block::<254>::copy_of(bytes).map(Bytes::from_owner),
        255..=382 => Block::<382>::copy_of(bytes).map(Bytes::from_owner),
        383..=MAX => Block::<MAX>::copy_of(bytes).map(Bytes::from_owner),
        _ => None,
    };
    block.unwrap_or_else(|| Bytes::copy_from_slice(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_as_it_was() {
        let source: Vec<u8> = (0..1_000).map(|n| n as u8).collect();
        for length in 0..=source.len() {
            let copy = shared(&source[..length]);
            assert_eq!(copy, source[..length]);
            assert_eq!(copy.slice(length / 2..), source[length / 2..length]);
        }
    }
}

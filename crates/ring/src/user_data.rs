//! What a submission carries and its completion brings back: 64 bits that name the operation and its owner.
//!
//! ```text
//! every operation but sends   kind 4 | index 20 | generation 40 (32 used)
//! sends                       kind 4 | index 20 | low bits of the generation 8 | staged index 32
//! ```
//! Invariants worth naming:
//! - An index is a slot of the file table or a listener's index, told apart by the kind: slots and descriptors never
//!   share a number space.
//! - The generation is that of the slot's holder at submission. A completion whose generation is not the current one is
//!   stale and must not touch the slot.
//! - A send's completion is always read before its slot can be freed (`send.rs`), so 8 bits are a second check there,
//!   not the protection.

use crate::setup::CONNECTIONS_MAX;

const INDEX_BITS: u32 = 20;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const KIND_SHIFT: u32 = 60;
const INDEX_SHIFT: u32 = KIND_SHIFT - INDEX_BITS;
const TAG_SHIFT: u32 = 32;
const _: () = assert!(CONNECTIONS_MAX as u64 <= INDEX_MASK + 1);

/// The operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Send = 1,
    Receive = 2,
    Writable = 3,
    Connect = 4,
    CancelReceive = 5,
    CancelWritable = 6,
    CancelConnect = 7,
    Close = 8,
    Shutdown = 9,
    Accept = 10,
    CancelAccept = 11,
    /// The read of the reactor's own eventfd.
    Wake = 12,
    /// A message from another ring: nothing but the fact that it arrived.
    Message = 13,
    /// Our message to another ring failed; the index is the peer's.
    MessageSent = 14,
}

/// A decoded completion name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) index: u32,
    /// 32 bits; for sends, the low 8 bits only.
    pub(crate) generation: u32,
    /// Sends only.
    pub(crate) staged: u32,
}

pub(crate) fn of(kind: Kind, index: u32, generation: u32) -> u64 {
    debug_assert!(u64::from(index) <= INDEX_MASK);
    (kind as u64) << KIND_SHIFT | u64::from(index) << INDEX_SHIFT | u64::from(generation)
}

#[inline]
pub(crate) fn of_send(slot: u32, generation: u32, staged: u32) -> u64 {
    debug_assert!(u64::from(slot) <= INDEX_MASK);
    (Kind::Send as u64) << KIND_SHIFT
        | u64::from(slot) << INDEX_SHIFT
        | u64::from(generation as u8) << TAG_SHIFT
        | u64::from(staged)
}

/// `None` for a value that this crate never submitted.
pub(crate) fn decode(user_data: u64) -> Option<Name> {
    let kind = match user_data >> KIND_SHIFT {
        1 => Kind::Send,
        2 => Kind::Receive,
        3 => Kind::Writable,
        4 => Kind::Connect,
        5 => Kind::CancelReceive,
        6 => Kind::CancelWritable,
        7 => Kind::CancelConnect,
        8 => Kind::Close,
        9 => Kind::Shutdown,
        10 => Kind::Accept,
        11 => Kind::CancelAccept,
        12 => Kind::Wake,
        13 => Kind::Message,
        14 => Kind::MessageSent,
        _ => return None,
    };
    let index = (user_data >> INDEX_SHIFT & INDEX_MASK) as u32;
    let low = user_data as u32;
    Some(if kind == Kind::Send {
        Name { kind, index, generation: u32::from((user_data >> TAG_SHIFT) as u8), staged: low }
    } else {
        Name { kind, index, generation: low, staged: 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for index in [0, 1, CONNECTIONS_MAX - 1] {
            for generation in [0, 255, 256, u32::MAX] {
                for kind in 1..=14 {
                    let encoded = kind << KIND_SHIFT | u64::from(index) << INDEX_SHIFT | u64::from(generation);
                    let name = decode(encoded).unwrap();
                    assert_eq!(name.kind as u64, kind);
                    assert_eq!(name.index, index);
                    if name.kind != Kind::Send {
                        assert_eq!(of(name.kind, index, generation), encoded);
                        assert_eq!(name.generation, generation);
                    }
                }
                for staged in [0, u32::MAX] {
                    let name = decode(of_send(index, generation, staged)).unwrap();
                    assert_eq!(name.kind, Kind::Send);
                    assert_eq!((name.index, name.staged), (index, staged));
                    assert_eq!(name.generation, generation & 255);
                }
            }
        }
        assert_eq!(decode(0), None);
        assert_eq!(decode(u64::MAX), None);
    }
}

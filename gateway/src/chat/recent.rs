//! The last publications of one chat, kept for members that come back.
//!
//! Invariants worth naming:
//! * The kept publications are contiguous and end at the chat's position; their offsets are implied by that.
//! * A kept payload is a slice of the frame that members got, or an own copy; never a slice of a batch from the link,
//!   which would keep the whole batch in memory.

use std::collections::VecDeque;

use bytes::Bytes;

/// Payloads, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    payloads: VecDeque<Bytes>,
    bytes: usize,
}

/// How much one chat may keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecentLimits {
    /// Publications.
    pub(crate) messages: usize,
    /// Bytes of payload, [`ENTRY_BYTES`] added for each.
    pub(crate) bytes: usize,
}

/// What an entry costs beside its payload: the handle, and what surrounds the payload in its frame, roughly.
pub(crate) const ENTRY_BYTES: usize = 100;

impl Recent {
    /// How many publications are kept.
    pub(crate) fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Bytes they hold, by the same measure as [`RecentLimits::bytes`].
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the newest publication and drops the oldest beyond the limits.
    pub(crate) fn push(&mut self, payload: Bytes, limits: RecentLimits) {
        self.bytes += payload.len() + ENTRY_BYTES;
        self.payloads.push_back(payload);
        while self.payloads.len() > limits.messages || self.bytes > limits.bytes {
            if self.pop_oldest().is_none() {
                break;
            }
        }
    }

    /// Puts an older publication in front; false if the limits have no room.
    pub(crate) fn push_older(&mut self, payload: Bytes, limits: RecentLimits) -> bool {
        let cost = payload.len() + ENTRY_BYTES;
        if self.payloads.len() >= limits.messages || self.bytes + cost > limits.bytes {
            return false;
        }
        self.bytes += cost;
        self.payloads.push_front(payload);
        true
    }

    /// The newest `count` payloads, oldest first.
    pub(crate) fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = &Bytes> {
        self.payloads.range(self.payloads.len().saturating_sub(count)..)
    }

    /// Drops the older half, the single last one included. For the core's limit over all chats.
    pub(crate) fn halve(&mut self) {
        for _ in 0..self.payloads.len().div_ceil(2) {
            self.pop_oldest();
        }
        self.payloads.shrink_to(self.payloads.len());
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn pop_oldest(&mut self) -> Option<()> {
        let oldest = self.payloads.pop_front()?;
        self.bytes -= oldest.len() + ENTRY_BYTES;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RecentLimits = RecentLimits { messages: 3, bytes: 3 * ENTRY_BYTES + 10 };

    fn texts(recent: &Recent, count: usize) -> Vec<&[u8]> {
        recent.newest(count).map(AsRef::as_ref).collect()
    }

    #[test]
    fn the_oldest_go_when_count_or_bytes_are_reached() {
        let mut recent = Recent::default();
        for payload in ["a", "b", "c", "d"] {
            recent.push(Bytes::from_static(payload.as_bytes()), LIMITS);
        }
        assert_eq!(texts(&recent, 9), [b"b", b"c", b"d"]);
        assert_eq!(texts(&recent, 2), [b"c", b"d"]);
        recent.push(Bytes::from_static(b"123456789"), LIMITS);
        assert_eq!(texts(&recent, 9), [&b"d"[..], b"123456789"]);
        // Larger than everything allowed: not kept, and the run still ends at the newest, with nothing in it.
        recent.push(Bytes::from(vec![b'x'; 1_000]), LIMITS);
        assert_eq!((recent.len(), recent.bytes()), (0, 0));
    }

    #[test]
    fn older_ones_come_in_front_until_the_limits() {
        let mut recent = Recent::default();
        recent.push(Bytes::from_static(b"c"), LIMITS);
        assert!(recent.push_older(Bytes::from_static(b"b"), LIMITS));
        assert!(!recent.push_older(Bytes::from(vec![b'x'; 1_000]), LIMITS));
        assert!(recent.push_older(Bytes::from_static(b"a"), LIMITS));
        assert!(!recent.push_older(Bytes::from_static(b"z"), LIMITS));
        assert_eq!(texts(&recent, 3), [b"a", b"b", b"c"]);
    }

    #[test]
    fn halving_ends_empty() {
        let mut recent = Recent::default();
        for payload in ["a", "b", "c"] {
            recent.push(Bytes::from_static(payload.as_bytes()), LIMITS);
        }
        recent.halve();
        assert_eq!(texts(&recent, 3), [b"c"]);
        recent.halve();
        assert_eq!((recent.len(), recent.bytes()), (0, 0));
        recent.halve();
        assert_eq!(recent.len(), 0);
    }
}

//! The connection table: 16 bytes per slot, the only user memory that a send touches besides the submission queue.
//!
//! Invariants worth naming:
//! - A slot's generation changes when its holder is gone for good: its last completion was read and its file closed.
//! - `Armed` bits say which operations the kernel still owes a terminal completion for. A slot is closed only when none
//!   is left.

use crate::event::ConnId;

/// What is known about a slot. Bits of one `u32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// Held by a connection.
    pub(crate) const USED: Self = Self(1);
    /// A connect is on its way; terminal completion owed.
    pub(crate) const CONNECTING: Self = Self(1 << 1);
    /// A multishot receive is armed; terminal completion owed.
    pub(crate) const RECEIVING: Self = Self(1 << 2);
    /// A poll for writability is armed; terminal completion owed.
    pub(crate) const AWAITING_WRITABLE: Self = Self(1 << 3);
    /// The owner decides about order; only `send_blocked` passes.
    pub(crate) const BLOCKED: Self = Self(1 << 4);
    /// `close` was called; the owner hears no more.
    pub(crate) const CLOSING: Self = Self(1 << 5);
    /// The descriptor's close was submitted; its completion is owed.
    pub(crate) const CLOSE_SUBMITTED: Self = Self(1 << 6);
    /// The end was reported.
    pub(crate) const ENDED: Self = Self(1 << 7);
    /// The end was an error: nothing can be sent.
    pub(crate) const LOST: Self = Self(1 << 8);
    /// Waits in the list of receives to be armed once buffers are back.
    pub(crate) const STARVED: Self = Self(1 << 9);

    /// `shutdown` was called.
    pub(crate) const SHUTDOWN_WANTED: Self = Self(1 << 11);
    /// A shutdown was submitted; its completion is owed.
    pub(crate) const SHUTTING_DOWN: Self = Self(1 << 10);

    /// The kernel owes a terminal completion.
    pub(crate) const ARMED: Self =
        Self(Self::CONNECTING.0 | Self::RECEIVING.0 | Self::AWAITING_WRITABLE.0 | Self::SHUTTING_DOWN.0);
    /// A send gets `Gone`.
    pub(crate) const UNUSABLE: Self = Self(Self::CLOSING.0 | Self::LOST.0);
    /// A `send` gets `Busy` unless it gets `Gone`.
    pub(crate) const NOT_NOW: Self = Self(Self::BLOCKED.0 | Self::CONNECTING.0 | Self::AWAITING_WRITABLE.0);
    /// A `send_blocked` gets `Busy` unless it gets `Gone`.
    pub(crate) const NOT_EVEN_BLOCKED: Self = Self(Self::CONNECTING.0 | Self::AWAITING_WRITABLE.0);

    #[inline]
    pub(crate) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) generation: u32,
    pub(crate) flags: Flags,
    /// The submission that carries the last send of this connection.
    pub(crate) submission: u32,
    /// The next free slot while the slot is free.
    next_free: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

const NONE: u32 = u32::MAX;

/// All slots of one ring.
pub(crate) struct Table {
    entries: Box<[Entry]>,
    free: u32,
    /// Slots from here on were never used: building the free list would touch all of the table's memory at start.
    untouched: u32,
    used: u32,
}

impl Table {
    pub(crate) fn new(slots: u32) -> Self {
        let empty = Entry { generation: 0, flags: Flags::default(), submission: 0, next_free: NONE };
        Self { entries: vec![empty; slots as usize].into_boxed_slice(), free: NONE, untouched: 0, used: 0 }
    }

    pub(crate) fn free_slots(&self) -> u32 {
        self.entries.len() as u32 - self.used
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Takes a slot; `None` if all are used.
    pub(crate) fn allocate(&mut self) -> Option<ConnId> {
        let slot = if self.free != NONE {
            let slot = self.free;
            self.free = self.entries[slot as usize].next_free;
            slot
        } else if (self.untouched as usize) < self.entries.len() {
            self.untouched += 1;
            self.untouched - 1
        } else {
            return None;
        };
        let entry = &mut self.entries[slot as usize];
        entry.flags = Flags::USED;
        self.used += 1;
        Some(ConnId { slot, generation: entry.generation })
    }

    /// Gives a slot back. Its holder's names are stale from now on.
    pub(crate) fn release(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        assert!(entry.flags.any(Flags::USED) && !entry.flags.any(Flags::ARMED), "slot {slot} is not idle");
        entry.generation = entry.generation.wrapping_add(1);
        entry.flags = Flags::default();
        entry.next_free = self.free;
        self.free = slot;
        self.used -= 1;
    }

    /// The slot of a connection, unless the name is stale.
    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(conn.slot as usize)?;
        (entry.generation == conn.generation && entry.flags.any(Flags::USED)).then_some(entry)
    }

    #[inline]
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Entry> {
        let entry = self.entries.get(conn.slot as usize)?;
        (entry.generation == conn.generation && entry.flags.any(Flags::USED)).then_some(entry)
    }

    /// The current name of a slot's holder.
    pub(crate) fn holder(&self, slot: u32) -> Option<ConnId> {
        let entry = self.entries.get(slot as usize)?;
        entry.flags.any(Flags::USED).then_some(ConnId { slot, generation: entry.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dense_and_names_of_earlier_holders_are_stale() {
        let mut table = Table::new(2);
        let first = table.allocate().unwrap();
        let second = table.allocate().unwrap();
        assert_eq!((first.slot(), second.slot()), (0, 1));
        assert_eq!(table.allocate(), None);
        table.release(0);
        assert!(table.get(first).is_none());
        let third = table.allocate().unwrap();
        assert_eq!(third.slot(), 0);
        assert_ne!(third.generation(), first.generation());
        assert!(table.get(first).is_none());
        assert!(table.get_mut(third).is_some());
        assert_eq!(table.holder(0), Some(third));
        assert_eq!(table.free_slots(), 0);
    }

    #[test]
    #[should_panic(expected = "not idle")]
    fn a_slot_with_an_operation_in_the_kernel_cannot_be_released() {
        let mut table = Table::new(1);
        let conn = table.allocate().unwrap();
        table.get_mut(conn).unwrap().flags.set(Flags::RECEIVING);
        table.release(conn.slot());
    }
}

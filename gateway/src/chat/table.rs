//! All chats of one core: found by index on the path of a message, by name when a client names one.
//!
//! Invariants worth naming:
//! * An index is given away again only after [`Chats::remove`], which the driver calls once the link has confirmed that
//!   it will not mention the index any more.
//! * Recent publications of all chats stay below one limit. Over it a hand goes round and halves what it passes, so that
//!   large and old caches shrink first and nothing has to be remembered per publication.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use slab::Slab;
use std::hash::BuildHasher;

use super::Chat;

/// The chats of one core.
#[derive(Debug)]
pub(crate) struct Chats<M> {
    slab: Slab<Chat<M>>,
    by_name: HashTable<u32>,
    hasher: FixedState,
    recent_bytes: usize,
    hand: usize,
}

impl<M: Copy> Chats<M> {
    /// No chats. `seed` keeps clients from choosing names that collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            slab: Slab::new(),
            by_name: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            recent_bytes: 0,
            hand: 0,
        }
    }

    /// How many chats there are.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The chat at `index`.
    pub(crate) fn get(&self, index: u32) -> Option<&Chat<M>> {
        self.slab.get(index as usize)
    }

    /// The chat at `index`. What changes the recent publications goes through [`Self::change`].
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Chat<M>> {
        self.slab.get_mut(index as usize)
    }

    /// Lets `change` work on the chat at `index` and keeps account of its recent publications.
    pub(crate) fn change<R>(&mut self, index: u32, change: impl FnOnce(&mut Chat<M>) -> R) -> Option<R> {
        let chat = self.slab.get_mut(index as usize)?;
        let before = chat.recent_bytes();
        let result = change(chat);
        self.recent_bytes = self.recent_bytes + chat.recent_bytes() - before;
        Some(result)
    }

    /// The index of the chat called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |&index| self.slab[index as usize].name() == name).copied()
    }

    /// The index of the chat called `name`, which is made if there is none.
    pub(crate) fn find_or_insert(&mut self, name: &str, endpoint: impl FnOnce() -> u16) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
        }
        let index = u32::try_from(self.slab.insert(Chat::new(name, endpoint()))).unwrap_or(u32::MAX);
        assert!(index < u32::MAX, "a core has fewer than 2^32 chats");
        let hash = self.hasher.hash_one(name);
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.by_name.insert_unique(hash, index, |&other| hasher.hash_one(slab[other as usize].name()));
        index
    }

    /// Forgets the chat at `index`.
    pub(crate) fn remove(&mut self, index: u32) {
        let Some(chat) = self.slab.try_remove(index as usize) else { return };
        self.recent_bytes -= chat.recent_bytes();
        let hash = self.hasher.hash_one(chat.name());
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
    }

    /// Bytes that the recent publications of all chats hold.
    pub(crate) fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// Drops recent publications until all chats together hold at most `limit` bytes.
    pub(crate) fn trim_recent(&mut self, limit: usize) {
        while self.recent_bytes > limit {
            self.hand = if self.hand + 1 < self.slab.capacity() { self.hand + 1 } else { 0 };
            let index = u32::try_from(self.hand).unwrap_or(0);
            self.change(index, Chat::halve_recent);
        }
    }

    /// Indices and chats, in no particular order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Chat<M>)> {
        self.slab.iter().map(|(index, chat)| (u32::try_from(index).unwrap_or(u32::MAX), chat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Pool, RecentLimits};
    use corecast_wire::Position;

    #[test]
    fn chats_are_found_by_name_until_they_are_removed() {
        let mut chats = Chats::<u32>::new(7);
        let indices: Vec<u32> = (0..1_000).map(|n| chats.find_or_insert(&format!("c:{n}"), || n)).collect();
        assert_eq!(chats.find_or_insert("c:17", || 0), indices[17]);
        assert_eq!(chats.get(indices[17]).unwrap().endpoint, 17);
        for n in (0..1_000).step_by(2) {
            chats.remove(indices[n]);
        }
        assert_eq!(chats.len(), 500);
        for (n, index) in indices.into_iter().enumerate() {
            assert_eq!(chats.find(&format!("c:{n}")), (n % 2 == 1).then_some(index));
        }
    }

    #[test]
    fn the_limit_over_all_chats_takes_from_everyone() {
        let mut chats = Chats::<u32>::new(7);
        let limits = RecentLimits { messages: 100, bytes: 1 << 20 };
        let mut pool = Pool::default();
        for n in 0..10 {
            let index = chats.find_or_insert(&format!("c:{n}"), || 0);
            chats.get_mut(index).unwrap().begin_join();
            chats.get_mut(index).unwrap().handle_joined(Position { epoch: 1, offset: 0 }, 0);
            for offset in 1..=64 {
                chats.change(index, |chat| chat.handle_update(offset, b"payload", limits, &mut pool)).unwrap().unwrap();
            }
        }
        let full = chats.recent_bytes();
        chats.trim_recent(full / 3);
        assert!(chats.recent_bytes() <= full / 3 && chats.recent_bytes() > full / 10);
        assert_eq!(chats.recent_bytes(), chats.iter().map(|(_, chat)| chat.recent_bytes()).sum::<usize>());
        chats.trim_recent(0);
        assert_eq!(chats.recent_bytes(), 0);
    }
}

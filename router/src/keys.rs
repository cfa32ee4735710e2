//! The idempotency window: which keys were published when, per chat, for all chats of one core.
//!
//! Pure: no I/O, no clock. A key is *pending* from its acceptance until its message is durable, then *done* for the
//! length of the window. A pending key does not age: a duplicate finds it however long the log takes.
//!
//! Invariants worth naming:
//! - Nothing is forgotten early. A full table refuses ([`Full`]); the caller refuses the publish.
//! - A chat must stay in memory while it has keys here ([`Keys::expire`] names the chat of each key that ends), since
//!   a chat's index may be used again afterwards.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

/// Bounds of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// How long a key is remembered after its message became durable.
    pub window: Duration,
    /// Most keys remembered at once, over all chats of the core.
    pub keys: usize,
}

impl Default for KeyLimits {
    /// 5 minutes and 1,048,576 keys: 3,495 publishes with a key per second and core for ever, or 100,000 a second for
    /// 10 s. A key costs about 100 bytes beside its own, so a full table of 36-byte keys holds some 140 MiB.
    fn default() -> Self {
        Self { window: Duration::from_secs(300), keys: 1 << 20 }
    }
}

/// No room for another key before the oldest has served its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// When the next key ends; `None` while all of them are pending.
    pub next_end: Option<Instant>,
}

/// A remembered key. Valid until its [`Keys::forget`] or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId {
    index: u32,
    life: u32,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Never seen, or not within the window.
    Never,
    /// The message with this key waits for its durability.
    Pending(KeyId),
    /// The message with this key is durable under this offset.
    Done {
        /// Its offset in the chat.
        offset: u64,
    },
}

#[derive(Debug)]
struct Entry {
    chat: u32,
    life: u32,
    /// 0 while pending.
    offset: u64,
    key: Box<[u8]>,
}

/// The window of all chats of one core.
#[derive(Debug)]
pub struct Keys {
    limits: KeyLimits,
    hasher: RandomState,
    index: HashTable<u32>,
    entries: Slab<Entry>,
    /// Done keys in the order in which they end.
    ends: VecDeque<(Instant, u32)>,
    lives: u32,
}

impl Keys {
    /// An empty window.
    pub fn new(limits: KeyLimits) -> Self {
        Self {
            limits,
            hasher: RandomState::default(),
            index: HashTable::new(),
            entries: Slab::new(),
            ends: VecDeque::new(),
            lives: 0,
        }
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of `key` in `chat`. Call [`Keys::expire`] with the present time before.
    pub fn seen(&self, chat: u32, key: &[u8]) -> Seen {
        let found = self.index.find(self.hash(chat, key), |&index| self.entries[index as usize].is(chat, key));
        let Some(&index) = found else { return Seen::Never };
        let entry = &self.entries[index as usize];
        match entry.offset {
            0 => Seen::Pending(KeyId { index, life: entry.life }),
            offset => Seen::Done { offset },
        }
    }

    /// Remembers a key that was [`Seen::Never`] as pending.
    pub fn begin(&mut self, chat: u32, key: &[u8]) -> Result<KeyId, Full> {
        debug_assert_eq!(self.seen(chat, key), Seen::Never);
        if self.entries.len() >= self.limits.keys.min(u32::MAX as usize) {
            return Err(Full { next_end: self.next_end() });
        }
        self.lives = self.lives.wrapping_add(1);
        let life = self.lives;
        let index = self.entries.insert(Entry { chat, life, offset: 0, key: key.into() }) as u32;
        let Self { hasher, index: table, entries, .. } = self;
        table.insert_unique(hash(hasher, chat, key), index, |&index| entries[index as usize].hash(hasher));
        Ok(KeyId { index, life })
    }

    /// The message of a pending key is durable: the window of the key begins.
    pub fn done(&mut self, id: KeyId, offset: u64, now: Instant) {
        let Some(entry) = self.entries.get_mut(id.index as usize).filter(|entry| entry.life == id.life) else { return };
        debug_assert!(entry.offset == 0 && offset > 0);
        entry.offset = offset;
        self.ends.push_back((now + self.limits.window, id.index));
    }

    /// The message of a pending key never was: a publish with this key is a new one. Returns the key's chat, if the
    /// key was still there.
    pub fn forget(&mut self, id: KeyId) -> Option<u32> {
        let entry = self.entries.get(id.index as usize).filter(|entry| entry.life == id.life && entry.offset == 0)?;
        let chat = entry.chat;
        self.remove(id.index);
        Some(chat)
    }

    /// The offset of a key that was pending, `None` if it is pending still or was forgotten.
    pub fn offset(&self, id: KeyId) -> Option<u64> {
        let entry = self.entries.get(id.index as usize).filter(|entry| entry.life == id.life)?;
        (entry.offset > 0).then_some(entry.offset)
    }

    /// The key itself, while it is remembered.
    pub fn key(&self, id: KeyId) -> Option<&[u8]> {
        self.entries.get(id.index as usize).filter(|entry| entry.life == id.life).map(|entry| &*entry.key)
    }

    /// Takes out one key whose window is over and returns its chat; `None` when there is none (any more).
    pub fn expire(&mut self, now: Instant) -> Option<u32> {
        let &(end, index) = self.ends.front()?;
        if end > now {
            return None;
        }
        self.ends.pop_front();
        let chat = self.entries[index as usize].chat;
        self.remove(index);
        Some(chat)
    }

    /// When the next key ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.front().map(|&(end, _)| end)
    }

    fn hash(&self, chat: u32, key: &[u8]) -> u64 {
        hash(&self.hasher, chat, key)
    }

    fn remove(&mut self, index: u32) {
        let entry = self.entries.remove(index as usize);
        let hash = entry.hash(&self.hasher);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == index) {
            found.remove();
        }
    }
}

impl Entry {
    fn is(&self, chat: u32, key: &[u8]) -> bool {
        self.chat == chat && *self.key == *key
    }

    fn hash(&self, hasher: &RandomState) -> u64 {
        hash(hasher, self.chat, &self.key)
    }
}

fn hash(hasher: &RandomState, chat: u32, key: &[u8]) -> u64 {
    hasher.hash_one((chat, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn window(keys: usize) -> Keys {
        Keys::new(KeyLimits { window: WINDOW, keys })
    }

    #[test]
    fn a_key_is_pending_then_done_then_gone() {
        let start = Instant::now();
        let mut keys = window(10);
        assert_eq!(keys.seen(1, b"a"), Seen::Never);
        let id = keys.begin(1, b"a").expect("room");
        assert_eq!(keys.seen(1, b"a"), Seen::Pending(id));
        assert_eq!(keys.offset(id), None);
        assert_eq!(keys.expire(start + WINDOW * 9), None, "a pending key does not age");
        keys.done(id, 4, start + WINDOW);
        assert_eq!(keys.seen(1, b"a"), Seen::Done { offset: 4 });
        assert_eq!(keys.offset(id), Some(4));
        assert_eq!(keys.expire(start + WINDOW * 2 - Duration::from_millis(1)), None);
        assert_eq!(keys.expire(start + WINDOW * 2), Some(1));
        assert_eq!(keys.seen(1, b"a"), Seen::Never);
        assert!(keys.is_empty());
    }

    #[test]
    fn keys_belong_to_their_chat() {
        let mut keys = window(10);
        let first = keys.begin(1, b"a").expect("room");
        assert_eq!(keys.seen(2, b"a"), Seen::Never);
        let second = keys.begin(2, b"a").expect("room");
        keys.done(second, 9, Instant::now());
        assert_eq!(keys.seen(1, b"a"), Seen::Pending(first));
        assert_eq!(keys.seen(2, b"a"), Seen::Done { offset: 9 });
    }

    #[test]
    fn a_full_table_refuses_and_forgets_nothing() {
        let start = Instant::now();
        let mut keys = window(2);
        let first = keys.begin(1, b"a").expect("room");
        keys.begin(1, b"b").expect("room");
        assert_eq!(keys.begin(1, b"c"), Err(Full { next_end: None }));
        keys.done(first, 1, start);
        assert_eq!(keys.begin(1, b"c"), Err(Full { next_end: Some(start + WINDOW) }));
        assert_eq!(keys.seen(1, b"a"), Seen::Done { offset: 1 });
        assert_eq!(keys.expire(start + WINDOW), Some(1));
        assert!(keys.begin(1, b"c").is_ok());
    }

    #[test]
    fn a_forgotten_key_may_be_published_anew() {
        let mut keys = window(2);
        let id = keys.begin(1, b"a").expect("room");
        assert_eq!(keys.forget(id), Some(1));
        assert_eq!(keys.forget(id), None);
        assert_eq!(keys.seen(1, b"a"), Seen::Never);
        let again = keys.begin(1, b"a").expect("room");
        assert_ne!(id, again);
        keys.done(id, 3, Instant::now());
        assert_eq!(keys.seen(1, b"a"), Seen::Pending(again), "a stale id changes nothing");
        keys.done(again, 3, Instant::now());
        assert_eq!(keys.forget(again), None, "what is durable is not forgotten");
    }

    #[test]
    fn many_keys_come_and_go() {
        let start = Instant::now();
        let mut keys = window(1_000);
        for round in 0..20_u64 {
            let now = start + WINDOW * round as u32;
            while keys.expire(now).is_some() {}
            assert!(keys.is_empty());
            for number in 0..1_000_u64 {
                let id = keys.begin(number as u32 % 7, &number.to_le_bytes()).expect("room");
                keys.done(id, number + 1, now);
            }
            assert_eq!(keys.len(), 1_000);
            for number in 0..1_000_u64 {
                let seen = keys.seen(number as u32 % 7, &number.to_le_bytes());
                assert_eq!(seen, Seen::Done { offset: number + 1 });
            }
        }
    }
}

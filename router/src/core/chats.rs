//! The chats of one core: found by name, held by index, forgotten when nobody uses them.
//!
//! Invariants worth naming:
//! - A chat's index stays its own while it has a subscriber, a key in its window or a message that waits for
//!   durability; those are all that refer to it by index.
//! - A chat without subscribers is in the heap of deadlines (`watched`), once.
//! - Two lives of a chat never have the same epoch: epochs are a bijection of (incarnation + number of lives).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use corecast_wire::ChatName;
use corecast_wire::placement::slot_of;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use crate::chat::Chat;

/// How soon a chat is looked at again that could not leave memory because of a key in its window.
const RECHECK: Duration = Duration::from_secs(5);

/// A gateway that wants a chat's updates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscriber {
    /// Index of the link.
    pub(super) link: u32,
    /// The gateway's name for the chat.
    pub(super) handle: u32,
    /// Members on that gateway.
    pub(super) members: u32,
    /// Updates are withheld until the link has drained.
    pub(super) behind: bool,
}

/// A chat and who wants it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: ChatName,
    pub(super) slot: u16,
    watched: bool,
    /// Keys in their window or pending.
    pub(super) keys: u32,
    pub(super) chat: Chat,
    pub(super) subscribers: SmallVec<[Subscriber; 2]>,
    pub(super) last_used: Instant,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && self.keys == 0 && self.chat.assigned() == self.chat.top()
    }

    /// Members on all gateways.
    pub(super) fn members(&self) -> u32 {
        self.subscribers.iter().fold(0, |sum, subscriber| subscriber.members.saturating_add(sum))
    }

    /// The subscription of `link` under `handle`.
    pub(super) fn subscriber(&mut self, link: u32, handle: u32) -> Option<&mut Subscriber> {
        self.subscribers.iter_mut().find(|subscriber| subscriber.link == link && subscriber.handle == handle)
    }
}

/// All chats of one core.
#[derive(Debug)]
pub(super) struct Chats {
    hasher: RandomState,
    names: HashTable<u32>,
    entries: Slab<Entry>,
    idle: BinaryHeap<Reverse<(Instant, u32, u64)>>,
    incarnation: u64,
    lives: u64,
    slots: u16,
    max: usize,
    /// Where the search for memory goes on.
    hand: usize,
}

/// No room for another chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Chats {
    pub(super) fn new(incarnation: u64, slots: u16, max: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            names: HashTable::new(),
            entries: Slab::new(),
            idle: BinaryHeap::new(),
            incarnation,
            lives: 0,
            slots,
            max,
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn find(&self, name: &ChatName) -> Option<u32> {
        let hash = self.hasher.hash_one(name.as_bytes());
        self.names.find(hash, |&index| self.entries[index as usize].name == *name).copied()
    }

    /// The chat of that name; a new life of it if it is not in memory. Whoever asks either subscribes at once or
    /// calls [`Chats::watch`].
    #[inline]
    pub(super) fn find_or_begin(&mut self, name: &ChatName, now: Instant) -> Result<u32, TooMany> {
        let hash = self.hasher.hash_one(name.as_bytes());
        let found = self.names.find(hash, |&index| self.entries[index as usize].name == *name);
        match found {
            Some(&index) => Ok(index),
            None => self.begin(name, hash, now),
        }
    }

    #[cold]
    fn begin(&mut self, name: &ChatName, hash: u64, now: Instant) -> Result<u32, TooMany> {
        if self.entries.len() >= self.max {
            return Err(TooMany);
        }
        let index = self.entries.insert(Entry {
            name: name.detached(),
            slot: slot_of(name.as_bytes(), self.slots),
            watched: false,
            keys: 0,
            chat: Chat::new(next_epoch(self.incarnation, &mut self.lives)),
            subscribers: SmallVec::new(),
            last_used: now,
        }) as u32;
        let Self { names, entries, hasher, .. } = self;
        names.insert_unique(hash, index, |&index| hasher.hash_one(entries[index as usize].name.as_bytes()));
        Ok(index)
    }

    pub(super) fn get(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    /// Memory of all messages, added up.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.entries.iter().map(|(_, entry)| entry.chat.memory()).sum()
    }

    /// All chats of a slot. Looks at every chat.
    pub(super) fn of_slot(&self, slot: u16) -> Vec<u32> {
        self.entries.iter().filter(|(_, entry)| entry.slot == slot).map(|(index, _)| index as u32).collect()
    }

    /// Sees to it that a chat without subscribers leaves memory after `retention`.
    #[inline]
    pub(super) fn watch(&mut self, index: u32, now: Instant, retention: Duration) {
        let entry = &mut self.entries[index as usize];
        entry.last_used = now;
        if !entry.watched && entry.subscribers.is_empty() {
            entry.watched = true;
            self.idle.push(Reverse((now + retention, index, entry.chat.epoch())));
        }
    }

    /// Takes one chat out of memory that has been idle for `retention`, and returns the memory its messages held.
    pub(super) fn forget_idle(&mut self, now: Instant, retention: Duration) -> Option<usize> {
        while let Some(&Reverse((deadline, index, epoch))) = self.idle.peek() {
            if deadline > now {
                return None;
            }
            self.idle.pop();
            let Some(entry) = self.entries.get_mut(index as usize).filter(|entry| entry.chat.epoch() == epoch) else {
                continue;
            };
            if !entry.subscribers.is_empty() {
                entry.watched = false;
                continue;
            }
            let due = entry.last_used + retention;
            if due > now {
                self.idle.push(Reverse((due, index, epoch)));
            } else if entry.is_idle() {
                return Some(self.remove(index));
            } else {
                self.idle.push(Reverse((now + RECHECK, index, epoch)));
            }
        }
        None
    }

    /// When [`Chats::forget_idle`] may have something to do.
    pub(super) fn next_idle(&self) -> Option<Instant> {
        self.idle.peek().map(|&Reverse((deadline, _, _))| deadline)
    }

    /// Lets up to `steps` chats, the next ones in turn, lose the older half of their messages until `excess` bytes are
    /// free. Returns the bytes freed and the chats that lost something.
    pub(super) fn shrink(&mut self, excess: usize, steps: usize) -> (usize, u64) {
        let (mut freed, mut shrunk) = (0, 0);
        let end = self.entries.capacity();
        for _ in 0..steps.min(end) {
            if freed >= excess {
                break;
            }
            self.hand = (self.hand + 1) % end;
            if let Some(entry) = self.entries.get_mut(self.hand) {
                let bytes = entry.chat.shrink();
                freed += bytes;
                shrunk += u64::from(bytes > 0);
            }
        }
        (freed, shrunk)
    }

    fn remove(&mut self, index: u32) -> usize {
        let entry = self.entries.remove(index as usize);
        let hash = self.hasher.hash_one(entry.name.as_bytes());
        if let Ok(found) = self.names.find_entry(hash, |&other| other == index) {
            found.remove();
        }
        entry.chat.memory()
    }
}

/// The next epoch: never 0, never the same twice for one incarnation.
fn next_epoch(incarnation: u64, lives: &mut u64) -> u64 {
    loop {
        *lives += 1;
        let epoch = mix(incarnation.wrapping_add(*lives));
        if epoch != 0 {
            return epoch;
        }
    }
}

/// The finaliser of SplitMix64, a bijection, so that epochs of neighbouring lives look nothing alike.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;

    use super::*;
    use crate::chat::{Kept, Message};

    const RETENTION: Duration = Duration::from_secs(300);

    fn name(text: &str) -> ChatName {
        ChatName::new(text).expect("a valid name")
    }

    fn chats(max: usize) -> Chats {
        Chats::new(42, 1_024, max)
    }

    #[test]
    fn a_name_finds_its_chat() {
        let now = Instant::now();
        let mut chats = chats(2);
        let first = chats.find_or_begin(&name("a"), now).expect("room");
        let second = chats.find_or_begin(&name("b"), now).expect("room");
        assert_ne!(first, second);
        assert_eq!(chats.find_or_begin(&name("a"), now), Ok(first));
        assert_eq!(chats.find(&name("b")), Some(second));
        assert_eq!(chats.find(&name("c")), None);
        assert_eq!(chats.find_or_begin(&name("c"), now), Err(TooMany));
        assert_eq!(chats.get(first).slot, slot_of(b"a", 1_024));
    }

    #[test]
    fn epochs_never_repeat() {
        let mut lives = 0;
        let epochs: HashSet<u64> = (0..100_000).map(|_| next_epoch(u64::MAX - 50, &mut lives)).collect();
        assert_eq!(epochs.len(), 100_000);
        assert!(!epochs.contains(&0));
    }

    #[test]
    fn an_idle_chat_leaves_and_comes_back_under_a_new_epoch() {
        let start = Instant::now();
        let mut chats = chats(10);
        let index = chats.find_or_begin(&name("a"), start).expect("room");
        let epoch = chats.get(index).chat.epoch();
        chats.watch(index, start, RETENTION);
        chats.get_mut(index).chat.accept(Message { time_ms: 1, payload: Bytes::from_static(b"xyz") });
        chats.get_mut(index).chat.commit(&Kept::default());
        chats.watch(index, start + RETENTION / 2, RETENTION);
        assert_eq!(chats.next_idle(), Some(start + RETENTION));
        assert_eq!(chats.forget_idle(start + RETENTION, RETENTION), None, "used in between");
        let due = start + RETENTION / 2 + RETENTION;
        assert_eq!(chats.next_idle(), Some(due));
        assert_eq!(chats.forget_idle(due, RETENTION), Some(3 + crate::chat::MESSAGE_OVERHEAD));
        assert_eq!((chats.len(), chats.find(&name("a")), chats.next_idle()), (0, None, None));
        let index = chats.find_or_begin(&name("a"), due).expect("room");
        assert_ne!(chats.get(index).chat.epoch(), epoch);
    }

    #[test]
    fn a_chat_in_use_stays() {
        let start = Instant::now();
        let mut chats = chats(10);
        let index = chats.find_or_begin(&name("a"), start).expect("room");
        chats.watch(index, start, RETENTION);
        let late = start + RETENTION * 3;
        chats.get_mut(index).keys = 1;
        assert_eq!(chats.forget_idle(late, RETENTION), None, "a key in its window");
        chats.get_mut(index).keys = 0;
        chats.get_mut(index).chat.accept(Message { time_ms: 1, payload: Bytes::new() });
        assert_eq!(chats.forget_idle(late + RECHECK, RETENTION), None, "a message that waits");
        chats.get_mut(index).chat.abort();
        let subscriber = Subscriber { link: 0, handle: 0, members: 0, behind: false };
        chats.get_mut(index).subscribers.push(subscriber);
        assert_eq!(chats.forget_idle(late + 2 * RECHECK, RETENTION), None, "a subscriber");
        assert_eq!(chats.next_idle(), None, "no longer watched");
        chats.get_mut(index).subscribers.clear();
        chats.watch(index, late, RETENTION);
        assert!(chats.forget_idle(late + RETENTION, RETENTION).is_some());
    }

    #[test]
    fn shrinking_goes_round_all_chats() {
        let now = Instant::now();
        let mut chats = chats(100);
        let mut total = 0;
        for number in 0..50 {
            let index = chats.find_or_begin(&name(&format!("chat {number}")), now).expect("room");
            for _ in 0..8 {
                chats.get_mut(index).chat.accept(Message { time_ms: 1, payload: Bytes::from_static(b"0123456789") });
                chats.get_mut(index).chat.commit(&Kept::default());
            }
            total += chats.get(index).chat.memory();
        }
        let (freed, shrunk) = chats.shrink(total / 4, 1_000);
        assert!(freed >= total / 4 && freed < total / 4 + 1_000, "{freed} of {total}");
        assert_eq!(shrunk, 25);
        let (more, _) = chats.shrink(total, 100_000);
        assert!(more >= total / 4, "{more}");
        let (few, shrunk) = chats.shrink(total, 3);
        assert!(few < 1_000 && shrunk <= 3);
    }
}

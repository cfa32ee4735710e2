//! A hierarchical timer wheel: one per core, for the ping, idle and handshake deadlines of all its connections.
//!
//! Pure: time is an argument. Scheduling and cancelling are O(1); firing is O(1) a timer, plus one move for each of the
//! at most [`LEVELS`] − 1 levels that it sinks through.
//!
//! Invariants worth naming:
//! - A timer never fires early. Deadlines are rounded up to the tick, "now" is rounded down.
//! - `elapsed` never goes back, and every waiting timer's tick is greater than `elapsed` (or it waits in the due list).
//! - A timer lies on the level of the highest base-64 digit in which its tick differs from `elapsed`. Hence all occupied
//!   slots of a level lie ahead of that level's current slot, and the lowest occupied level holds the next timer.

use std::time::{Duration, Instant};

/// The resolution of the wheel. A timer fires at most one tick late, plus the caller's own delay.
pub const TICK: Duration = Duration::from_millis(1);

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// 64^8 ticks of 1 ms = 2^48 ms, 8,900 years: no deadline needs clamping in practice.
const LEVELS: usize = 8;
const TICK_MAX: u64 = (1 << (BITS * LEVELS as u32)) - 1;
/// The list of timers that were due when scheduled.
const DUE: usize = LEVELS * SLOTS;
const LISTS: usize = DUE + 1;
const NONE: u32 = u32::MAX;
const FREE: u16 = u16::MAX;
const _: () = assert!(LISTS < FREE as usize);

/// Names a scheduled timer. Stays harmless after the timer fired or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// Timers with a key each. Memory: 24 bytes plus the key per timer at the highest number so far; 2 KiB besides.
#[derive(Debug)]
pub struct TimerWheel<K> {
    origin: Instant,
    /// All ticks up to and including this one have been handled.
    elapsed: u64,
    nodes: Vec<Node<K>>,
    free: u32,
    len: usize,
    heads: [u32; LISTS],
    occupied: [u64; LEVELS],
}

#[derive(Debug)]
struct Node<K> {
    tick: u64,
    key: K,
    next: u32,
    previous: u32,
    generation: u32,
    /// The list that it is in; `FREE` if none.
    list: u16,
}

impl<K: Copy> TimerWheel<K> {
    /// An empty wheel whose time starts at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            elapsed: 0,
            nodes: Vec::new(),
            free: NONE,
            len: 0,
            heads: [NONE; LISTS],
            occupied: [0; LEVELS],
        }
    }

    /// Lets `key` appear in [`expired`](Self::expired) once `deadline` has passed; at its next call if it has already.
    ///
    /// # Panics
    /// With more than 2^32 − 1 timers at once.
    pub fn schedule(&mut self, deadline: Instant, key: K) -> TimerId {
        let since_origin = deadline.saturating_duration_since(self.origin);
        let tick = since_origin.as_nanos().div_ceil(TICK.as_nanos());
        let tick = u64::try_from(tick).unwrap_or(TICK_MAX).min(TICK_MAX);
        let index = self.allocate(tick, key);
        self.insert(index);
        self.len += 1;
        TimerId { index, generation: self.nodes[index as usize].generation }
    }

    /// Removes a timer and returns its key; `None` if it has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let node = self.nodes.get(id.index as usize)?;
        if node.generation != id.generation || node.list == FREE {
            return None;
        }
        let key = node.key;
        self.unlink(id.index);
        self.release(id.index);
        Some(key)
    }

    /// Appends the keys of all timers whose deadline has passed, earlier ticks first.
    pub fn expired(&mut self, now: Instant, keys: &mut Vec<K>) {
        let since_origin = now.saturating_duration_since(self.origin).as_nanos();
        let target = u64::try_from(since_origin / TICK.as_nanos()).unwrap_or(TICK_MAX);
        self.fire_list(DUE, keys);
        while let Some((list, start)) = self.next_slot() {
            if start > target {
                break;
            }
            self.elapsed = start;
            if list < SLOTS {
                self.fire_list(list, keys);
            } else {
                self.sink_list(list, keys);
            }
        }
        self.elapsed = self.elapsed.max(target);
    }

    /// When to call [`expired`](Self::expired) next: never later than the first deadline, rounded up to the tick, but
    /// perhaps earlier, when timers only sink to a finer level. `None` without timers.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tick = if self.heads[DUE] == NONE { self.next_slot()?.1 } else { self.elapsed };
        Some(self.origin + Duration::from_millis(tick))
    }

    /// The number of waiting timers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next occupied list and the tick at which its time begins.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = BITS * level as u32;
        let block = (self.elapsed >> shift) & !(SLOTS as u64 - 1);
        Some((level * SLOTS + slot, (block | slot as u64) << shift))
    }

    /// Fires all timers of a list whose time has come.
    fn fire_list(&mut self, list: usize, keys: &mut Vec<K>) {
        let mut index = self.take_list(list);
        while index != NONE {
            let node = &self.nodes[index as usize];
            let next = node.next;
            keys.push(node.key);
            self.release(index);
            index = next;
        }
    }

    /// Moves the timers of a list to finer levels; fires those whose tick is the very start of the list's time.
    fn sink_list(&mut self, list: usize, keys: &mut Vec<K>) {
        let mut index = self.take_list(list);
        while index != NONE {
            let node = &self.nodes[index as usize];
            let next = node.next;
            if node.tick <= self.elapsed {
                keys.push(node.key);
                self.release(index);
            } else {
                self.insert(index);
            }
            index = next;
        }
    }

    fn take_list(&mut self, list: usize) -> u32 {
        if list < DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
        std::mem::replace(&mut self.heads[list], NONE)
    }

    /// Puts a node that is in no list where its tick belongs.
    fn insert(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        let list = if node.tick <= self.elapsed {
            DUE
        } else {
            let highest_difference = 63 - (self.elapsed ^ node.tick).leading_zeros();
            let level = (highest_difference / BITS) as usize;
            let slot = (node.tick >> (BITS * level as u32)) as usize % SLOTS;
            self.occupied[level] |= 1 << slot;
            level * SLOTS + slot
        };
        let head = self.heads[list];
        node.list = list as u16;
        node.previous = NONE;
        node.next = head;
        self.heads[list] = index;
        if head != NONE {
            self.nodes[head as usize].previous = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let node = &self.nodes[index as usize];
        let (list, next, previous) = (node.list as usize, node.next, node.previous);
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous as usize].next = next;
        } else if next != NONE {
            self.heads[list] = next;
        } else {
            self.take_list(list);
        }
    }

    fn allocate(&mut self, tick: u64, key: K) -> u32 {
        let index = self.free;
        if index != NONE {
            let node = &mut self.nodes[index as usize];
            self.free = node.next;
            node.tick = tick;
            node.key = key;
            return index;
        }
        assert!(self.nodes.len() < NONE as usize, "more than 2^32 - 1 timers");
        self.nodes.push(Node { tick, key, next: NONE, previous: NONE, generation: 0, list: FREE });
        (self.nodes.len() - 1) as u32
    }

    fn release(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.list = FREE;
        node.next = self.free;
        self.free = index;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn fired(wheel: &mut TimerWheel<u32>, now: Instant) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.expired(now, &mut keys);
        keys
    }

    #[test]
    fn fires_at_the_deadline_and_not_before() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        wheel.schedule(start + milliseconds(10), 1);
        assert!(fired(&mut wheel, start + milliseconds(9)).is_empty());
        assert_eq!(fired(&mut wheel, start + milliseconds(10)), [1]);
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_fraction_of_a_tick_rounds_up() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        wheel.schedule(start + Duration::from_micros(1_500), 1);
        assert!(fired(&mut wheel, start + Duration::from_micros(1_999)).is_empty());
        assert_eq!(fired(&mut wheel, start + milliseconds(2)), [1]);
    }

    #[test]
    fn a_past_deadline_fires_at_the_next_call() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let now = start + milliseconds(1_000);
        assert!(fired(&mut wheel, now).is_empty());
        wheel.schedule(start + milliseconds(5), 1);
        assert!(wheel.next_deadline().unwrap() <= now);
        assert_eq!(fired(&mut wheel, now), [1]);
    }

    #[test]
    fn a_cancelled_timer_never_fires_and_its_id_stays_harmless() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let first = wheel.schedule(start + milliseconds(5), 1);
        assert_eq!(wheel.cancel(first), Some(1));
        assert_eq!(wheel.cancel(first), None);
        let second = wheel.schedule(start + milliseconds(5), 2);
        assert_eq!(wheel.cancel(first), None, "the node was used again");
        assert_eq!(fired(&mut wheel, start + milliseconds(5)), [2]);
        assert_eq!(wheel.cancel(second), None);
    }

    #[test]
    fn cancels_from_the_middle_of_a_list() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let ids: Vec<_> = (0..5).map(|key| wheel.schedule(start + milliseconds(3), key)).collect();
        for index in [2, 0, 4] {
            wheel.cancel(ids[index]).unwrap();
        }
        let mut keys = fired(&mut wheel, start + milliseconds(3));
        keys.sort_unstable();
        assert_eq!(keys, [1, 3]);
    }

    /// Against the obvious model: a list of deadlines. The step sizes cross the borders of several levels, and
    /// `next_deadline` is followed as the reactor's owner would follow it.
    #[test]
    fn behaves_like_a_sorted_list() {
        let start = Instant::now();
        let mut wheel = TimerWheel::new(start);
        let mut model: Vec<(u64, u32)> = Vec::new();
        let mut ids = std::collections::HashMap::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut draw = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut now = 0;
        for key in 0..20_000_u32 {
            let choice = draw(5) as usize;
            let range = [3, 70, 5_000, 300_000, 30_000_000][choice];
            let deadline = now + draw(range);
            ids.insert(key, wheel.schedule(start + milliseconds(deadline), key));
            model.push((deadline, key));
            if draw(4) == 0 {
                let (_, victim) = model.swap_remove(draw(model.len() as u64) as usize);
                assert_eq!(wheel.cancel(ids[&victim]), Some(victim));
            }
            if draw(3) == 0 {
                let choice = draw(3) as usize;
                now += draw([2, 100, 10_000][choice]);
                let mut keys = fired(&mut wheel, start + milliseconds(now));
                let mut expected: Vec<u32> = Vec::new();
                model.retain(|&(deadline, key)| {
                    let due = deadline <= now;
                    if due {
                        expected.push(key);
                    }
                    !due
                });
                keys.sort_unstable();
                expected.sort_unstable();
                assert_eq!(keys, expected, "at {now} ms");
            }
            assert_eq!(wheel.len(), model.len());
            if let Some(&(first, _)) = model.iter().min() {
                assert!(wheel.next_deadline().unwrap() <= start + milliseconds(first.max(now)));
            }
        }
        // What is left fires when its time comes, in few steps: `next_deadline` always advances.
        let mut steps = 0;
        while let Some(next) = wheel.next_deadline() {
            let due = fired(&mut wheel, next).len();
            steps += 1;
            assert!(steps < 200_000 && due <= model.len());
        }
        assert!(wheel.is_empty());
    }
}

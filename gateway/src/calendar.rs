//! Deadlines of all sessions of a core: a ring of buckets, one per tick, with a slot number per entry.
//!
//! The ring crate's timer wheel names each timer so that it can be cancelled, which costs 40 bytes a session and a cache
//! miss per change. Sessions need neither: each has one next deadline, and nearly all of them pass unused (a pong came,
//! a ping is not due yet). So an entry here is only a hint to look at a slot; the session knows what it is armed for.
//!
//! Invariants worth naming:
//! * A session is visited at the tick that it is armed for, or earlier, never later.
//! * An entry is never removed before its tick. A visit to a slot that was closed, used again or armed anew meanwhile
//!   is harmless: the driver compares the session's own tick.
//! * A session adds an entry only when its deadline came nearer or the armed one has passed, so entries are bounded by
//!   a few per session.

use crate::time::Tick;

/// Buckets: 102.4 s ahead, more than four ping intervals. Deadlines beyond are visited at the horizon and armed again.
const BUCKETS: u32 = 1_024;

/// Slot numbers by tick.
#[derive(Debug)]
pub(crate) struct Calendar {
    buckets: Vec<Vec<u32>>,
    /// All ticks before this one were visited.
    next: Tick,
    entries: usize,
}

impl Calendar {
    /// An empty calendar that begins at tick 0.
    pub(crate) fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Vec::new()).collect(), next: Tick(0), entries: 0 }
    }

    /// Arranges a visit to `slot` at `tick`, or at the horizon if that is nearer, or in the next call of
    /// [`Self::visit`] if it has passed. Returns when.
    pub(crate) fn add(&mut self, tick: Tick, slot: u32) -> Tick {
        let tick = Tick(tick.0.clamp(self.next.0, self.next.0.saturating_add(BUCKETS - 1)));
        self.buckets[(tick.0 % BUCKETS) as usize].push(slot);
        self.entries += 1;
        tick
    }

    /// Moves the slots to be visited up to and including `now` into `slots`.
    pub(crate) fn visit(&mut self, now: Tick, slots: &mut Vec<u32>) {
        // After a pause longer than the horizon every bucket is due, each once.
        let last = now.0.min(self.next.0.saturating_add(BUCKETS - 1));
        for tick in self.next.0..=last {
            let bucket = &mut self.buckets[(tick % BUCKETS) as usize];
            self.entries -= bucket.len();
            slots.append(bucket);
            bucket.shrink_to(BUCKET_KEPT);
        }
        self.next = Tick(self.next.0.max(now.0.saturating_add(1)));
    }

    /// The tick at which something may be due: the next one, unless the calendar is empty.
    pub(crate) fn next(&self) -> Option<Tick> {
        if self.entries == 0 {
            return None;
        }
        // Looks a second ahead at most: an idle core with sessions wakes once a second.
        let soon = (self.next.0..self.next.0.saturating_add(10)).find(|tick| {
            let bucket = &self.buckets[(tick % BUCKETS) as usize];
            !bucket.is_empty()
        });
        Some(Tick(soon.unwrap_or_else(|| self.next.0.saturating_add(9))))
    }
}

/// Capacity that an empty bucket keeps: 1,024 × 64 × 4 bytes = 256 KiB at most.
const BUCKET_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(calendar: &mut Calendar, now: u32) -> Vec<u32> {
        let mut slots = Vec::new();
        calendar.visit(Tick(now), &mut slots);
        slots.sort_unstable();
        slots
    }

    #[test]
    fn slots_come_at_their_tick_and_not_before() {
        let mut calendar = Calendar::new();
        assert_eq!(calendar.next(), None);
        assert_eq!(calendar.add(Tick(5), 50), Tick(5));
        assert_eq!(calendar.add(Tick(3), 30), Tick(3));
        assert_eq!(calendar.next(), Some(Tick(3)));
        assert!(visited(&mut calendar, 2).is_empty());
        assert_eq!(visited(&mut calendar, 3), [30]);
        assert_eq!(visited(&mut calendar, 9), [50]);
        assert_eq!(calendar.next(), None);
        assert_eq!(calendar.add(Tick(1), 10), Tick(10), "past deadlines come next");
        assert_eq!(visited(&mut calendar, 10), [10]);
    }

    #[test]
    fn deadlines_beyond_the_horizon_come_at_the_horizon() {
        let mut calendar = Calendar::new();
        assert_eq!(calendar.add(Tick(1_000_000), 1), Tick(1_023));
        assert_eq!(calendar.next(), Some(Tick(9)), "looks a second ahead");
        assert!(visited(&mut calendar, 1_022).is_empty());
        assert_eq!(visited(&mut calendar, 1_023), [1]);
        assert_eq!(calendar.add(Tick::NEVER, 2), Tick(2_047));
    }

    #[test]
    fn a_long_pause_visits_everything_once() {
        let mut calendar = Calendar::new();
        for slot in 0..1_024 {
            calendar.add(Tick(slot), slot);
        }
        assert_eq!(visited(&mut calendar, 5_000).len(), 1_024);
        assert_eq!(calendar.next(), None);
        assert_eq!(calendar.add(Tick(0), 1), Tick(5_001));
    }
}

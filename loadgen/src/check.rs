//! What every member checks: positions of a chat come one by one, and nothing is missing at the end.
//!
//! A position is the offset that the target gives (Centrifuge), or, for targets without offsets, the publisher's sequence
//! number in the body. Pure; one [`Checker`] per worker, one [`Track`] (24 bytes) per member and chat.
//!
//! Invariants: `Truth::missing` is at any time the number of positions that were skipped and have not come since; a swapped
//! pair counts one gap and one reordering and leaves nothing missing; a repeated position never moves a track.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Holes that are remembered for each track, so that a late arrival is told from a duplicate.
const HOLES_PER_TRACK_MAX: usize = 1_024;
/// Tracks with holes that one worker remembers: 65,536 × about 100 bytes = 6 MiB at worst.
const TRACKS_WITH_HOLES_MAX: usize = 65_536;

/// Deliveries judged, counted by kind. Sums of several workers and agents add up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Truth {
    /// Publications received by members, recovered ones included.
    pub received: u64,
    /// Of these: inside a recovery reply.
    pub recovered: u64,
    /// Positions jumped ahead (events, not messages).
    pub gaps: u64,
    /// Messages that a member should have and never got.
    pub missing: u64,
    /// The same position again.
    pub duplicates: u64,
    /// Came after a later position had come.
    pub reordered: u64,
    /// Body hash wrong.
    pub corrupt: u64,
    /// Body belongs to another chat than the one it was delivered for.
    pub misrouted: u64,
    /// Frames that could not be read, or publications for a chat that the member is not in.
    pub unexpected: u64,
    /// More positions in a chat than messages published: something was sequenced twice.
    pub extra: u64,
    /// Not violations: publications of somebody else in the same chat.
    pub foreign: u64,
    /// Not violations: the target said that a member's position is lost (unrecovered, new epoch).
    pub told_lost: u64,
    /// Not violations: the target cut a member's subscription and said so (unsubscribe 2500 and above).
    pub told_cut: u64,
}

impl Truth {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.recovered += other.recovered;
        self.gaps += other.gaps;
        self.missing += other.missing;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.misrouted += other.misrouted;
        self.unexpected += other.unexpected;
        self.extra += other.extra;
        self.foreign += other.foreign;
        self.told_lost += other.told_lost;
        self.told_cut += other.told_cut;
    }

    /// The kinds that fail a run, with their counts.
    pub fn violations(&self) -> [(&'static str, u64); 8] {
        [
            ("gaps", self.gaps),
            ("missing", self.missing),
            ("duplicates", self.duplicates),
            ("reordered", self.reordered),
            ("corrupt", self.corrupt),
            ("misrouted", self.misrouted),
            ("unexpected", self.unexpected),
            ("extra", self.extra),
        ]
    }

    /// Whether every member got exactly what it should.
    pub fn is_clean(&self) -> bool {
        self.violations().iter().all(|(_, count)| *count == 0)
    }
}

/// What one member knows of one chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Track {
    /// The only right next position; 0 = not known, the first one to come is taken.
    pub next: u64,
    pub chat: u32,
    /// Hash of the epoch's text; 0 for targets without epochs.
    pub epoch: u32,
    /// Whether the target has confirmed the subscription.
    pub joined: bool,
}

impl Track {
    pub(crate) fn new(chat: u32) -> Self {
        Self { next: 0, chat, epoch: 0, joined: false }
    }

    /// The target continues where the track stands.
    pub(crate) fn resumed(&mut self) {
        self.joined = true;
    }

    /// The member has got everything up to here.
    pub(crate) fn position(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// How a position relates to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Next,
    Gap,
    Duplicate,
    Reordered,
}

/// Judges one worker's deliveries.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub truth: Truth,
    /// Skipped positions by track, as half-open ranges. Empty as long as the target is right.
    holes: HashMap<u32, Vec<(u64, u64)>>,
}

impl Checker {
    /// A fresh subscription: what comes next is the position after `top`, or anything if that is not known.
    pub(crate) fn joined(&mut self, key: u32, track: &mut Track, epoch: u32, top: Option<u64>) {
        self.holes.remove(&key);
        track.next = top.map_or(0, |top| top + 1);
        track.epoch = epoch;
        track.joined = true;
    }

    /// The target says that it cannot continue: honest, counted, and everything starts anew.
    pub(crate) fn told_lost(&mut self, key: u32, track: &mut Track, epoch: u32, top: Option<u64>) {
        self.truth.told_lost += 1;
        self.joined(key, track, epoch, top);
    }

    /// A publication at `position` (from 1).
    pub(crate) fn arrived(&mut self, key: u32, track: &mut Track, position: u64) -> Order {
        self.truth.received += 1;
        if position == track.next || track.next == 0 {
            track.next = position + 1;
            return Order::Next;
        }
        self.out_of_order(key, track, position)
    }

    #[cold]
    fn out_of_order(&mut self, key: u32, track: &mut Track, position: u64) -> Order {
        if position > track.next {
            self.truth.gaps += 1;
            self.truth.missing += position - track.next;
            self.remember(key, track.next, position);
            track.next = position + 1;
            return Order::Gap;
        }
        if self.fill(key, position) {
            self.truth.missing -= 1;
            self.truth.reordered += 1;
            return Order::Reordered;
        }
        self.truth.duplicates += 1;
        Order::Duplicate
    }

    /// Keeps a hole. When the table is full the hole stays missing for good and a late arrival counts as a duplicate.
    fn remember(&mut self, key: u32, from: u64, to: u64) {
        let tracks = self.holes.len();
        match self.holes.entry(key) {
            Entry::Vacant(_) if tracks >= TRACKS_WITH_HOLES_MAX => {}
            entry => {
                let holes = entry.or_default();
                if holes.len() < HOLES_PER_TRACK_MAX {
                    holes.push((from, to));
                }
            }
        }
    }

    /// Takes a position out of the holes, if it is one.
    fn fill(&mut self, key: u32, position: u64) -> bool {
        let Some(holes) = self.holes.get_mut(&key) else { return false };
        let Some(at) = holes.iter().position(|(from, to)| (*from..*to).contains(&position)) else { return false };
        let (from, to) = holes.swap_remove(at);
        holes.extend([(from, position), (position + 1, to)].into_iter().filter(|(from, to)| from < to));
        true
    }

    /// After the last delivery: what the track should have and has not. Adds to `missing`.
    pub(crate) fn finish(&mut self, track: &Track, ledger: &Ledger) -> u64 {
        if track.next == 0 || !track.joined || ledger.epoch.load(Ordering::Relaxed) != track.epoch {
            return 0;
        }
        let missing = ledger.expected_top().saturating_sub(track.position());
        self.truth.missing += missing;
        missing
    }
}

/// What all workers of a process know of one chat: 40 bytes. Written with relaxed atomics: read only after the workers have
/// stopped, and on the way only as "at least".
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Highest position that any member saw or was told.
    top: AtomicU64,
    /// Position before the first message of this run; negative if the chat began a new life in mid-run.
    base: AtomicI64,
    /// Messages of ours that the target acknowledged (or that were sent, where it does not acknowledge).
    pub acked: AtomicU32,
    /// Messages of ours handed to the kernel; those neither acknowledged nor refused have an unknown outcome.
    pub sent: AtomicU32,
    /// Messages that the target refused.
    pub refused: AtomicU32,
    pub epoch: AtomicU32,
    /// Members of this process that are in the chat now.
    pub members: AtomicU32,
    /// The chat began a new life in mid-run.
    reborn: AtomicBool,
}

impl Ledger {
    /// A subscribe reply: `top` positions exist. `fresh` = before the first publish of the run.
    pub(crate) fn told(&self, epoch: u32, top: u64, fresh: bool) {
        if self.epoch.swap(epoch, Ordering::Relaxed) != epoch {
            // Another life of the chat: positions start anew, and what was acknowledged before cannot be expected.
            self.top.store(top, Ordering::Relaxed);
            let acked = if fresh { 0 } else { i64::from(self.acked.load(Ordering::Relaxed)) };
            self.base.store(top as i64 - acked, Ordering::Relaxed);
            self.reborn.store(!fresh, Ordering::Relaxed);
            return;
        }
        self.saw(top);
        if fresh {
            self.base.fetch_max(top as i64, Ordering::Relaxed);
        }
    }

    /// A publication at `position` came. Writes only when it is news: members of one chat share the line.
    pub(crate) fn saw(&self, position: u64) {
        if self.top.load(Ordering::Relaxed) < position {
            self.top.fetch_max(position, Ordering::Relaxed);
        }
    }

    /// What all agents together published. A chat that was reborn knows only what it was told since then.
    pub(crate) fn publishes(&self, acked: u32, sent: u32) {
        if !self.reborn.load(Ordering::Relaxed) {
            self.acked.store(acked, Ordering::Relaxed);
            self.sent.store(sent, Ordering::Relaxed);
        }
    }

    /// Where every member must have arrived in the end.
    pub(crate) fn expected_top(&self) -> u64 {
        let acked = self.base.load(Ordering::Relaxed) + i64::from(self.acked.load(Ordering::Relaxed));
        self.top.load(Ordering::Relaxed).max(acked.max(0) as u64)
    }

    /// Positions beyond what was published: the target sequenced something twice, or somebody else published.
    pub(crate) fn extra(&self) -> u64 {
        let published = self.base.load(Ordering::Relaxed) + i64::from(self.sent.load(Ordering::Relaxed));
        self.top.load(Ordering::Relaxed).saturating_sub(published.max(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(positions: &[u64]) -> (Truth, Track) {
        let mut checker = Checker::default();
        let mut track = Track::new(3);
        checker.joined(0, &mut track, 1, Some(0));
        for position in positions {
            checker.arrived(0, &mut track, *position);
        }
        (checker.truth, track)
    }

    #[test]
    fn a_track_is_small() {
        assert_eq!(size_of::<Track>(), 24);
        assert_eq!(size_of::<Ledger>(), 40);
    }

    #[test]
    fn each_kind_of_fault_is_told_apart() {
        let (truth, _) = run(&[1, 2, 3]);
        assert!(truth.is_clean());
        let (truth, _) = run(&[1, 2, 4, 5]);
        assert_eq!((truth.gaps, truth.missing, truth.duplicates, truth.reordered), (1, 1, 0, 0));
        let (truth, _) = run(&[1, 2, 2, 3]);
        assert_eq!((truth.gaps, truth.missing, truth.duplicates, truth.reordered), (0, 0, 1, 0));
        let (truth, _) = run(&[1, 3, 2, 4]);
        assert_eq!((truth.gaps, truth.missing, truth.duplicates, truth.reordered), (1, 0, 0, 1));
    }

    #[test]
    fn missing_at_the_end_is_found_even_if_nobody_got_the_last_message() {
        let mut checker = Checker::default();
        let ledger = Ledger::default();
        ledger.told(9, 100, true);
        let mut track = Track::new(0);
        checker.joined(0, &mut track, 9, Some(100));
        checker.arrived(0, &mut track, 101);
        ledger.saw(101);
        ledger.acked.store(3, Ordering::Relaxed);
        ledger.sent.store(3, Ordering::Relaxed);
        assert_eq!(checker.finish(&track, &ledger), 2);
        assert_eq!(ledger.extra(), 0);
        ledger.saw(104);
        assert_eq!(ledger.extra(), 1);
    }

    #[test]
    fn a_new_epoch_is_counted_and_does_not_count_as_missing() {
        let mut checker = Checker::default();
        let ledger = Ledger::default();
        ledger.told(1, 0, true);
        let mut track = Track::new(0);
        checker.joined(0, &mut track, 1, Some(0));
        for position in 1..=5 {
            checker.arrived(0, &mut track, position);
            ledger.saw(position);
        }
        ledger.acked.store(5, Ordering::Relaxed);
        ledger.told(2, 0, false);
        checker.told_lost(0, &mut track, 2, Some(0));
        assert_eq!(checker.arrived(0, &mut track, 1), Order::Next);
        ledger.saw(1);
        ledger.acked.store(6, Ordering::Relaxed);
        assert_eq!(checker.finish(&track, &ledger), 0);
        assert_eq!((checker.truth.told_lost, checker.truth.is_clean()), (1, true));
    }

    #[test]
    fn the_table_of_holes_is_bounded() {
        let mut checker = Checker::default();
        let mut track = Track::new(0);
        checker.joined(0, &mut track, 0, Some(0));
        for index in 1..=3 * HOLES_PER_TRACK_MAX as u64 {
            checker.arrived(0, &mut track, 2 * index);
        }
        assert_eq!(checker.holes[&0].len(), HOLES_PER_TRACK_MAX);
        assert_eq!(checker.truth.missing, 3 * HOLES_PER_TRACK_MAX as u64);
    }

    proptest! {
        /// Any sequence of positions: the counts describe exactly the difference between what came and 1..=top.
        #[test]
        fn counts_describe_the_difference(positions in prop::collection::vec(1_u64..60, 1..200)) {
            let (truth, track) = run(&positions);
            let top = *positions.iter().max().unwrap();
            let mut distinct = positions.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(truth.missing, top - distinct.len() as u64);
            prop_assert_eq!(truth.duplicates, (positions.len() - distinct.len()) as u64);
            prop_assert_eq!(track.next, top + 1);
            let clean = positions.windows(2).all(|pair| pair[1] == pair[0] + 1) && positions[0] == 1;
            prop_assert_eq!(truth.is_clean(), clean);
        }
    }
}

//! How many connections each core holds, and which core a new one goes to.
//!
//! Invariants worth naming:
//! * Looked at only when a connection was accepted. All accesses are relaxed: a count that is late costs balance for a
//!   moment, nothing else.
//! * A connection that was handed over counts for the core that it goes to from then on, so that several cores do not
//!   overwhelm one, and a core that does not move is given [`ARRIVING_MAX`] at most.
//! * Whether a connection is handed over never decides whether it is served: who accepted it keeps it otherwise.

use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;

use crate::link::CoreId;

/// Connections of a core below which its share does not matter. Where the kernel spreads `n` connections per core by
/// hash, their number scatters by √n; four times that is a quarter of n, the default imbalance, at n = 256. Below it
/// chance alone would be corrected.
const IMBALANCE_MIN: u32 = 256;
/// Handed-over connections that one core may have to admit yet: half of a mailbox of the default length, and about 5 ms
/// of admitting at 10 µs each. A core that is behind by more is not the one to help.
const ARRIVING_MAX: u32 = 512;

/// The counts of all cores.
pub(crate) struct Loads {
    cores: Box<[CachePadded<Load>]>,
    /// Percent of the mean that a core may hold; 0 = any.
    imbalance: u32,
}

#[derive(Debug, Default)]
struct Load {
    /// Connections with a session, as the core itself last said.
    held: AtomicU32,
    /// Handed over to it and not admitted yet.
    arriving: AtomicU32,
    /// Connections that its ring has slots for; 0 until it has started.
    capacity: AtomicU32,
}

impl Load {
    fn total(&self) -> u32 {
        self.held.load(Ordering::Relaxed).saturating_add(self.arriving.load(Ordering::Relaxed))
    }
}

impl Loads {
    /// Nobody has anything; `imbalance` in percent of the mean, 0 to ignore it.
    pub(crate) fn new(cores: u16, imbalance: u32) -> Self {
        Self { cores: (0..cores).map(|_| CachePadded::default()).collect(), imbalance }
    }

    /// Says how many connections a core can hold.
    pub(crate) fn open(&self, core: CoreId, capacity: u32) {
        self.of(core).capacity.store(capacity, Ordering::Relaxed);
    }

    /// Says how many connections a core holds.
    pub(crate) fn hold(&self, core: CoreId, connections: usize) {
        self.of(core).held.store(u32::try_from(connections).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A connection is about to be handed over to `core`.
    pub(crate) fn depart(&self, core: CoreId) {
        self.of(core).arriving.fetch_add(1, Ordering::Relaxed);
    }

    /// It has arrived, or was not taken.
    pub(crate) fn arrive(&self, core: CoreId) {
        self.of(core).arriving.fetch_sub(1, Ordering::Relaxed);
    }

    /// The core that a connection accepted by `own` should rather go to, if any: the one with the fewest, provided that
    /// `own` is full or holds more than its share.
    pub(crate) fn elsewhere(&self, own: CoreId, is_full: bool) -> Option<CoreId> {
        let mine = self.of(own).total();
        let may_be_skewed = self.imbalance > 0 && mine >= IMBALANCE_MIN;
        if self.cores.len() < 2 || !(is_full || may_be_skewed) {
            return None;
        }
        let totals = || self.cores.iter().map(|load| u64::from(load.total()));
        let (with_this, all) = (u64::from(mine) + 1, totals().sum::<u64>() + 1);
        // with_this / (all / cores) > imbalance / 100, without rounding.
        let is_skewed = may_be_skewed && with_this * self.cores.len() as u64 * 100 > u64::from(self.imbalance) * all;
        if !is_full && !is_skewed {
            return None;
        }
        let (least, target) = (0..).zip(&*self.cores).filter_map(|(core, load)| load.takes(core, own)).min()?;
        (is_full || least < mine).then_some(target)
    }

    fn of(&self, core: CoreId) -> &Load {
        &self.cores[usize::from(core)]
    }
}

impl Load {
    /// This core's connections and name, if it can take one from `own`.
    fn takes(&self, core: CoreId, own: CoreId) -> Option<(u32, CoreId)> {
        let total = self.total();
        let has_room = total < self.capacity.load(Ordering::Relaxed);
        let keeps_up = self.arriving.load(Ordering::Relaxed) < ARRIVING_MAX;
        (core != own && has_room && keeps_up).then_some((total, core))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(imbalance: u32, held: &[usize]) -> Loads {
        let loads = Loads::new(u16::try_from(held.len()).unwrap(), imbalance);
        for (core, held) in (0..).zip(held) {
            loads.open(core, 10_000);
            loads.hold(core, *held);
        }
        loads
    }

    #[test]
    fn a_core_with_too_many_gives_to_the_one_with_the_fewest() {
        let loads = loads(125, &[1_000, 700, 500, 600]);
        assert_eq!(loads.elsewhere(0, false), Some(2));
        assert_eq!(loads.elsewhere(1, false), None, "at the mean");
    }

    #[test]
    fn the_bound_itself_is_allowed() {
        // 624 with the newcomer 625 of a mean of 500 at a total of 1,000.
        assert_eq!(loads(125, &[624, 375]).elsewhere(0, false), None);
        assert_eq!(loads(125, &[625, 374]).elsewhere(0, false), Some(1));
    }

    #[test]
    fn few_connections_stay_where_they_are() {
        assert_eq!(loads(125, &[255, 0]).elsewhere(0, false), None);
        assert_eq!(loads(125, &[256, 0]).elsewhere(0, false), Some(1));
    }

    #[test]
    fn a_full_core_gives_whatever_the_setting_says() {
        let loads = loads(0, &[10, 20]);
        assert_eq!(loads.elsewhere(0, false), None);
        assert_eq!(loads.elsewhere(0, true), Some(1));
        loads.open(1, 20);
        assert_eq!(loads.elsewhere(0, true), None, "both are full");
    }

    #[test]
    fn connections_under_way_count_and_a_core_that_takes_none_is_given_no_more() {
        let loads = loads(125, &[9_000, 0, 400]);
        for _ in 0..400 {
            assert_eq!(loads.elsewhere(0, false), Some(1));
            loads.depart(1);
        }
        loads.depart(1);
        assert_eq!(loads.elsewhere(0, false), Some(2));
        for _ in 401..ARRIVING_MAX {
            loads.depart(1);
        }
        loads.hold(2, 5_000);
        assert_eq!(loads.elsewhere(0, false), Some(2), "core 1 does not keep up");
        loads.arrive(1);
        assert_eq!(loads.elsewhere(0, false), Some(1));
    }

    #[test]
    fn alone_there_is_nowhere_to_go() {
        assert_eq!(loads(125, &[9_999]).elsewhere(0, true), None);
    }
}

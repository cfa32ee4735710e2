//! What the workers of a process share: the plan, the control words, and one ledger per chat.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::check::Ledger;
use crate::clock::Clock;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::spread::Spreads;
use crate::target::{Adapter, Address};

/// Made once per run, before the workers start.
#[derive(Debug)]
pub(crate) struct Shared {
    pub clock: Clock,
    /// Written into every body.
    pub run: u32,
    pub seed: u64,
    pub scenario: Scenario,
    pub plan: Plan,
    pub adapter: Adapter,
    /// Members take turns over them.
    pub targets: Vec<Address>,
    /// Local addresses to connect from; empty = the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// This process among all that share the run.
    pub share: Share,
    pub control: Arc<Control>,
    pub ledgers: Arc<[Ledger]>,
    /// Its members stand aside: fan-outs do not wait for them, and they may be behind at the end (slow readers).
    pub aside: bool,
    pub spreads: Spreads,
    pub epochs: Epochs,
}

impl Shared {
    /// A member is no longer in that chat.
    pub(crate) fn left(&self, chat: u32) {
        if !self.aside {
            self.ledgers[chat as usize].members.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One of several equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub index: u32,
    pub of: u32,
}

impl Share {
    pub(crate) const WHOLE: Self = Self { index: 0, of: 1 };

    /// Part `index` of `of` equal parts of this part.
    pub(crate) fn part(self, index: u32, of: u32) -> Self {
        Self { index: index * self.of + self.index, of: self.of * of }
    }

    pub(crate) fn owns(self, item: u32) -> bool {
        item % self.of == self.index
    }

    /// How many of `0..total` it owns.
    pub(crate) fn count(self, total: u32) -> u32 {
        total.saturating_sub(self.index).div_ceil(self.of)
    }

    /// The `local`-th item it owns.
    pub(crate) fn item(self, local: u32) -> u32 {
        local * self.of + self.index
    }

    /// Where an owned item stands among those it owns.
    pub(crate) fn local(self, item: u32) -> u32 {
        item / self.of
    }
}

/// Written by the conductor, read by the workers each turn.
#[derive(Debug)]
pub(crate) struct Control {
    /// First intended publish; `u64::MAX` until everybody is connected.
    start_ns: AtomicU64,
    /// Connect no more, close everything and report.
    pub stop: AtomicBool,
    pub warmup_ns: u64,
    pub duration_ns: AtomicU64,
    /// Deliveries that workers still expect while draining, by worker.
    pub outstanding: Box<[AtomicU64]>,
}

/// The times of a run, known once it has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub start_ns: u64,
    /// Messages intended from here ..
    pub measure_from_ns: u64,
    /// .. up to here are measured; nothing is published afterwards.
    pub measure_to_ns: u64,
}

impl Times {
    /// Whether a message intended then is measured.
    pub(crate) fn measures(&self, intended_ns: u64) -> bool {
        (self.measure_from_ns..self.measure_to_ns).contains(&intended_ns)
    }
}

impl Control {
    pub(crate) fn new(warmup_ns: u64, duration_ns: u64, workers: usize) -> Self {
        Self {
            start_ns: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            warmup_ns,
            duration_ns: AtomicU64::new(duration_ns),
            outstanding: (0..workers).map(|_| AtomicU64::new(u64::MAX)).collect(),
        }
    }

    pub(crate) fn begin(&self, start_ns: u64) {
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// Ends publishing at once, as if the duration had been shorter.
    pub(crate) fn cut_short(&self, now_ns: u64) {
        if let Some(times) = self.times() {
            self.duration_ns.store(now_ns.saturating_sub(times.measure_from_ns), Ordering::Release);
        }
    }

    /// `None` while still connecting.
    pub(crate) fn times(&self) -> Option<Times> {
        let start_ns = self.start_ns.load(Ordering::Acquire);
        if start_ns == u64::MAX {
            return None;
        }
        let measure_from_ns = start_ns.saturating_add(self.warmup_ns);
        let measure_to_ns = measure_from_ns.saturating_add(self.duration_ns.load(Ordering::Acquire));
        Some(Times { start_ns, measure_from_ns, measure_to_ns })
    }
}

/// Texts of epochs by number, because a member keeps four bytes. One entry per chat and life of the chat.
#[derive(Debug, Default)]
pub(crate) struct Epochs(RwLock<EpochTable>);

#[derive(Debug, Default)]
struct EpochTable {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Epochs {
    /// Number of a text, from 1; 0 is "no epoch".
    pub(crate) fn number(&self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let known = |table: &EpochTable| table.numbers.get(text).copied();
        if let Some(number) = self.0.read().ok().and_then(|table| known(&table)) {
            return number;
        }
        let Ok(mut table) = self.0.write() else { return 0 };
        if let Some(number) = known(&table) {
            return number;
        }
        table.texts.push(text.into());
        let number = table.texts.len() as u32;
        table.numbers.insert(text.into(), number);
        number
    }

    pub(crate) fn text(&self, number: u32) -> String {
        let table = self.0.read().ok();
        let text = table.as_ref().and_then(|table| table.texts.get((number as usize).checked_sub(1)?));
        text.map(|text| text.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_of_parts_cover_everything_once(total in 0_u32..500, agents in 1_u32..5, workers in 1_u32..5) {
            let mut owners = vec![0; total as usize];
            for agent in 0..agents {
                for worker in 0..workers {
                    let share = Share { index: agent, of: agents }.part(worker, workers);
                    for local in 0..share.count(total) {
                        let item = share.item(local);
                        owners[item as usize] += 1;
                        prop_assert!(share.owns(item));
                        prop_assert_eq!(share.local(item), local);
                    }
                }
            }
            prop_assert!(owners.iter().all(|count| *count == 1));
        }
    }

    #[test]
    fn epochs_are_numbered_once() {
        let epochs = Epochs::default();
        let (a, b) = (epochs.number("abc"), epochs.number("xyz"));
        assert_eq!((a, b, epochs.number("abc"), epochs.number("")), (1, 2, 1, 0));
        assert_eq!(epochs.text(2), "xyz");
        assert_eq!(epochs.text(0), "");
    }

    #[test]
    fn nothing_is_measured_before_the_start_and_in_the_warm_up() {
        assert_eq!(Control::new(0, 10, 1).times(), None);
        let control = Control::new(5, 10, 1);
        assert_eq!(control.times(), None);
        control.begin(100);
        let times = control.times().unwrap();
        assert!(!times.measures(104) && times.measures(105) && times.measures(114) && !times.measures(115));
        control.cut_short(110);
        assert!(!control.times().unwrap().measures(110));
    }
}

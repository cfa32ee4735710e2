//! Latency histograms by tag: one set per worker, swapped out once a second, summed by the collector.
//!
//! Units are nanoseconds. Each histogram has 3 significant digits from 1 µs to 2 minutes (about 150 KB) and exists only once
//! something was recorded, so that an idle run pays nothing.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::threshold::Statistic;

/// Finer than the clock reads of a busy loop; a smaller value counts as this.
const LOWEST_NS: u64 = 1_000;
/// A member that waits longer has long been given up by any user; larger values count as this and show up as the maximum.
const HIGHEST_NS: u64 = 120_000_000_000;
const DIGITS: u8 = 3;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Intended publish time → a member has it. One value per delivery.
    Deliver,
    /// Intended publish time → the first member has it. One value per message.
    First,
    /// Intended publish time → half of the members have it. One value per message.
    Median,
    /// Intended publish time → the last member has it. One value per message.
    Last,
    /// First member → last member. One value per message.
    Spread,
    /// Intended publish time → acknowledgement.
    Publish,
    /// TCP connect → the upgrade is accepted.
    Connect,
    /// Subscribe request → reply.
    Subscribe,
    /// Decision to open another chat → reply to its subscription.
    Switch,
    /// Connection lost → back in all chats, with everything that was missed.
    Recover,
    /// Intended publish time → the generator hands the message to the kernel: its own lateness.
    Late,
    /// Time between two looks at the sockets: how much the generator may add to a latency by itself.
    Turn,
    /// Deliveries of warm-up messages: shown live, never part of a result.
    Warmup,
}

impl Metric {
    pub(crate) const ALL: [Self; 13] = [
        Self::Deliver,
        Self::First,
        Self::Median,
        Self::Last,
        Self::Spread,
        Self::Publish,
        Self::Connect,
        Self::Subscribe,
        Self::Switch,
        Self::Recover,
        Self::Late,
        Self::Turn,
        Self::Warmup,
    ];

    /// Tag in histogram logs, summaries and thresholds.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::First => "first",
            Self::Median => "median",
            Self::Last => "last",
            Self::Spread => "spread",
            Self::Publish => "publish",
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Switch => "switch",
            Self::Recover => "recover",
            Self::Late => "late",
            Self::Turn => "turn",
            Self::Warmup => "warmup",
        }
    }

    /// Recorded apart for each group of chats.
    pub(crate) fn by_group(self) -> bool {
        matches!(self, Self::Deliver | Self::First | Self::Median | Self::Last | Self::Spread)
    }

    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.tag() == tag)
    }
}

/// A histogram's place: metric and group of chats (0 where groups do not matter).
pub(crate) type Key = (Metric, u16);

/// What one worker recorded since the last swap.
pub(crate) type Recorded = Vec<(Key, Histogram<u64>)>;

/// The histograms of one worker.
#[derive(Debug)]
pub(crate) struct Recorder {
    groups: usize,
    slots: Vec<Option<Box<Histogram<u64>>>>,
}

impl Recorder {
    pub(crate) fn new(groups: usize) -> Self {
        let groups = groups.max(1);
        Self { groups, slots: vec![None; Metric::ALL.len() * groups] }
    }

    pub(crate) fn record(&mut self, metric: Metric, group: u16, nanos: u64) {
        let slot = &mut self.slots[metric as usize * self.groups + usize::from(group)];
        slot.get_or_insert_with(|| Box::new(empty())).saturating_record(nanos.max(LOWEST_NS));
    }

    /// Everything since the last call; the recorder is empty afterwards.
    pub(crate) fn take(&mut self) -> Recorded {
        let groups = self.groups;
        let taken = self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let key = (Metric::ALL[index / groups], (index % groups) as u16);
            slot.take().map(|histogram| (key, *histogram))
        });
        taken.collect()
    }
}

/// An empty histogram with the bounds used everywhere, so that any two can be added.
pub(crate) fn empty() -> Histogram<u64> {
    match Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

/// Adds `from` to `into`; both were made by [`empty`] or read from a log with the same bounds.
pub(crate) fn add(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    if into.add(from).is_err() {
        // Other bounds (a log of another version): value by value.
        for value in from.iter_recorded() {
            into.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
    }
}

/// The figures that are printed, compared and stored: nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Number of values.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// 99.99th percentile.
    pub p9999: u64,
    /// Largest.
    pub max: u64,
}

impl Percentiles {
    /// Reads them off a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percentile| histogram.value_at_percentile(percentile);
        Self {
            count: histogram.len(),
            // The finest unit starts below the smallest value that is told apart.
            min: if histogram.is_empty() { 0 } else { histogram.min().max(LOWEST_NS) },
            mean: histogram.mean(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            p9999: at(99.99),
            max: histogram.max(),
        }
    }
}

/// A statistic in ns (or a count); `None` for an empty histogram.
pub(crate) fn statistic(histogram: &Histogram<u64>, statistic: Statistic) -> Option<f64> {
    if histogram.is_empty() {
        return (statistic == Statistic::Count).then_some(0.0);
    }
    Some(match statistic {
        Statistic::Min => histogram.min() as f64,
        Statistic::Mean => histogram.mean(),
        Statistic::Max => histogram.max() as f64,
        Statistic::Count => histogram.len() as f64,
        Statistic::Percentile(percentile) => histogram.value_at_percentile(percentile) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_stands_at_its_own_index() {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric as usize, index);
            assert_eq!(Metric::from_tag(metric.tag()), Some(metric));
        }
    }

    #[test]
    fn a_taken_recorder_starts_anew() {
        let mut recorder = Recorder::new(2);
        recorder.record(Metric::Deliver, 1, 5_000_000);
        recorder.record(Metric::Late, 0, 0);
        let taken = recorder.take();
        let keys: Vec<Key> = taken.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [(Metric::Deliver, 1), (Metric::Late, 0)]);
        assert!(recorder.take().is_empty());
        assert_eq!(taken[1].1.max() / 1_000, 1, "below the finest unit counts as one unit");
    }

    #[test]
    fn histograms_of_two_workers_add_up_and_outliers_stay_visible() {
        let mut sum = empty();
        for value in [1_000_000, 2_000_000, 500_000_000_000] {
            let mut one = empty();
            one.saturating_record(value);
            add(&mut sum, &one);
        }
        let percentiles = Percentiles::of(&sum);
        assert_eq!(percentiles.count, 3);
        assert!(percentiles.max >= HIGHEST_NS);
    }
}

//! Puts the workers' seconds together: totals by tag, one row per second, the interval log.
//!
//! Pure but for the log file. Invariants: every histogram reported is in the totals exactly once; a row is closed when all
//! workers have reported its second or a later one, or the conductor gives up waiting.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;

use crate::hlog::IntervalLog;
use crate::latency::{self, Key, Metric};
use crate::summary::Row;
use crate::worker::counts::Counts;
use crate::worker::driver::Second;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Collector {
    groups: Vec<String>,
    totals: BTreeMap<Key, Histogram<u64>>,
    open: BTreeMap<u64, BTreeMap<Key, Histogram<u64>>>,
    /// Last report of each worker: second and counts.
    workers: Vec<(u64, Counts)>,
    /// Sum of the counts when the last row was closed.
    before: Counts,
    pub rows: Vec<Row>,
    log: Option<IntervalLog>,
    pub log_error: Option<String>,
}

impl Collector {
    pub(crate) fn new(groups: Vec<String>, workers: usize, log: Option<IntervalLog>) -> Self {
        Self {
            groups,
            totals: BTreeMap::new(),
            open: BTreeMap::new(),
            workers: vec![(0, Counts::default()); workers],
            before: Counts::default(),
            rows: Vec::new(),
            log,
            log_error: None,
        }
    }

    pub(crate) fn absorb(&mut self, report: Second) {
        let open = self.open.entry(report.second).or_default();
        for (key, histogram) in report.recorded {
            for into in [&mut self.totals, &mut *open] {
                latency::add(into.entry(key).or_insert_with(latency::empty), &histogram);
            }
        }
        if let Some(worker) = self.workers.get_mut(report.worker as usize) {
            *worker = (report.second, report.counts);
        }
    }

    /// Sum over all workers, as of their last reports.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.workers.iter().for_each(|(_, counts)| sum.add(counts));
        sum
    }

    /// The next second that all workers have reported (with `anyway`: that any has).
    pub(crate) fn complete(&self, anyway: bool) -> Option<u64> {
        let first = *self.open.keys().next()?;
        let all = self.workers.iter().all(|(second, _)| *second >= first);
        (all || anyway).then_some(first)
    }

    /// Closes that second: its row, without what the conductor alone knows.
    pub(crate) fn close(&mut self, second: u64) -> Row {
        let recorded = self.open.remove(&second).unwrap_or_default();
        let counts = self.counts();
        let before = std::mem::replace(&mut self.before, counts);
        let now = &self.before;
        let deliver = merged(&recorded, Metric::Deliver);
        let shown = if deliver.is_empty() { merged(&recorded, Metric::Warmup) } else { deliver };
        let (late, last) = (merged(&recorded, Metric::Late), merged(&recorded, Metric::Last));
        let by_group = |group: usize| recorded.get(&(Metric::Deliver, group as u16)).map_or(0, p99);
        let lost = |counts: &Counts| counts.cut + counts.disconnected();
        let row = Row {
            at: second as f64,
            live: now.live,
            upgrades: now.upgrades.saturating_sub(before.upgrades),
            published: now.published.saturating_sub(before.published),
            received: now.truth.received.saturating_sub(before.truth.received),
            bytes: now.bytes_received.saturating_sub(before.bytes_received),
            p50: shown.value_at_percentile(50.0),
            p99: p99(&shown),
            max: shown.max(),
            groups: (0..self.groups.len()).map(by_group).collect(),
            late_p99: p99(&late),
            late_max: late.max(),
            last_p99: p99(&last),
            lost: lost(now).saturating_sub(lost(&before)),
            ..Row::default()
        };
        if let Err(error) = self.write_log(second, &recorded) {
            self.log = None;
            self.log_error = Some(error.to_string());
        }
        row
    }

    fn write_log(&mut self, second: u64, recorded: &BTreeMap<Key, Histogram<u64>>) -> io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        for (tag, histogram) in by_tag(recorded, &self.groups) {
            log.append(&tag, second.saturating_sub(1) as f64, 1.0, &histogram)?;
        }
        log.flush()
    }

    /// Everything so far by tag.
    pub(crate) fn totals(&self) -> BTreeMap<String, Histogram<u64>> {
        by_tag(&self.totals, &self.groups)
    }
}

fn p99(histogram: &Histogram<u64>) -> u64 {
    histogram.value_at_percentile(99.0)
}

/// A metric over all groups.
fn merged(recorded: &BTreeMap<Key, Histogram<u64>>, metric: Metric) -> Histogram<u64> {
    let mut sum = latency::empty();
    for (_, histogram) in recorded.range((metric, 0)..=(metric, u16::MAX)) {
        latency::add(&mut sum, histogram);
    }
    sum
}

/// `deliver` for all groups together, and `deliver.<group>` where there are several.
fn by_tag(recorded: &BTreeMap<Key, Histogram<u64>>, groups: &[String]) -> BTreeMap<String, Histogram<u64>> {
    let mut tags = BTreeMap::new();
    for metric in Metric::ALL.into_iter().filter(|metric| *metric != Metric::Warmup) {
        let sum = merged(recorded, metric);
        if sum.is_empty() {
            continue;
        }
        tags.insert(metric.tag().to_owned(), sum);
        if !metric.by_group() || groups.len() < 2 {
            continue;
        }
        for (index, group) in groups.iter().enumerate() {
            if let Some(histogram) = recorded.get(&(metric, index as u16)) {
                tags.insert(format!("{}.{group}", metric.tag()), histogram.clone());
            }
        }
    }
    tags
}

/// Tags that a run of these groups can have: what thresholds may name.
pub(crate) fn known_tags(groups: &[String]) -> Vec<String> {
    let mut tags = Vec::new();
    for metric in Metric::ALL.into_iter().filter(|metric| *metric != Metric::Warmup) {
        tags.push(metric.tag().to_owned());
        if metric.by_group() && groups.len() > 1 {
            tags.extend(groups.iter().map(|group| format!("{}.{group}", metric.tag())));
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(worker: u32, second: u64, published: u64, nanos: u64) -> Second {
        let mut recorder = latency::Recorder::new(2);
        recorder.record(Metric::Deliver, worker as u16, nanos);
        let counts = Counts { published, live: 3, ..Counts::default() };
        Second { worker, second, recorded: recorder.take(), counts }
    }

    #[test]
    fn a_row_waits_for_all_workers_and_shows_differences() {
        let mut collector = Collector::new(vec!["a".to_owned(), "b".to_owned()], 2, None);
        collector.absorb(second(0, 1, 10, 1_000_000));
        assert_eq!(collector.complete(false), None);
        collector.absorb(second(1, 1, 5, 9_000_000));
        assert_eq!(collector.complete(false), Some(1));
        let row = collector.close(1);
        assert_eq!((row.published, row.live), (15, 6));
        assert!(row.max >= 9_000_000 && row.groups[0] < row.groups[1]);
        collector.absorb(second(0, 2, 30, 1_000_000));
        assert_eq!(collector.complete(false), None);
        assert_eq!(collector.complete(true), Some(2));
        assert_eq!(collector.close(2).published, 20);
        let totals = collector.totals();
        assert_eq!(totals["deliver"].len(), 3);
        assert_eq!((totals["deliver.a"].len(), totals["deliver.b"].len()), (2, 1));
        assert!(known_tags(&["a".to_owned(), "b".to_owned()]).contains(&"last.b".to_owned()));
    }
}

//! Step search: the highest message rate at which the conditions still hold.
//!
//! Doubles until they break, then halves the interval until it is narrow. Each step is a whole run with connections of its
//! own, so that what an overloaded step left behind does not spoil the next. Pure but for the runs, which the caller does.

use serde::Serialize;

use crate::summary::{Outcome, Summary};

/// Which rate to try next.
#[derive(Debug, Clone)]
pub struct Search {
    holds: Option<f64>,
    breaks: Option<f64>,
    next: f64,
    highest: f64,
    /// The interval is narrow enough when its ends differ by less than this share.
    resolution: f64,
    steps_left: u32,
}

/// One tried rate.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Messages per second asked for.
    pub rate: f64,
    /// Whether the conditions held.
    pub holds: bool,
    /// The run's outcome.
    pub outcome: Outcome,
    /// Messages per second that were published.
    pub messages_per_second: f64,
    /// Deliveries per second that arrived.
    pub deliveries_per_second: f64,
    /// Delivery latency, p99, ns.
    pub p99: u64,
    /// µs of the target's CPU per delivery.
    pub cpu_per_delivery_us: Option<f64>,
    /// Why not, if not.
    pub reasons: Vec<String>,
}

/// A target that publishes this much less than asked for is saturated, whatever its latency.
const SHORTFALL_MAX: f64 = 0.02;

impl Search {
    /// Starts at `first`, never goes beyond `highest`, and makes at most `steps` runs.
    pub fn new(first: f64, highest: f64, resolution: f64, steps: u32) -> Self {
        Self { holds: None, breaks: None, next: first.min(highest), highest, resolution, steps_left: steps }
    }

    /// The next rate to try.
    pub fn poll(&mut self) -> Option<f64> {
        if self.steps_left == 0 {
            return None;
        }
        match (self.holds, self.breaks) {
            (Some(holds), Some(breaks)) if breaks - holds <= holds * self.resolution => return None,
            (Some(holds), None) if holds >= self.highest => return None,
            (None, Some(breaks)) if breaks < 1.0 => return None,
            _ => {}
        }
        self.steps_left -= 1;
        Some(self.next)
    }

    /// What the last rate led to.
    pub fn tell(&mut self, rate: f64, holds: bool) {
        if holds {
            self.holds = Some(self.holds.map_or(rate, |best| best.max(rate)));
        } else {
            self.breaks = Some(self.breaks.map_or(rate, |worst| worst.min(rate)));
        }
        self.next = match (self.holds, self.breaks) {
            (Some(holds), Some(breaks)) => (holds + breaks) / 2.0,
            (Some(holds), None) => (holds * 2.0).min(self.highest),
            (None, Some(breaks)) => breaks / 2.0,
            (None, None) => self.next,
        };
    }

    /// The highest rate that held, and the lowest that did not.
    pub fn result(&self) -> (Option<f64>, Option<f64>) {
        (self.holds, self.breaks)
    }
}

impl Step {
    /// Judges a run at `rate`: it has to pass, conditions included, and to publish what was asked for.
    pub fn of(rate: f64, summary: &Summary) -> Self {
        let published = summary.measured.messages_per_second;
        let mut reasons = summary.verdict.reasons.clone();
        if published < rate * (1.0 - SHORTFALL_MAX) {
            reasons.push(format!("only {published:.0} of {rate:.0} messages per second were published"));
        }
        Self {
            rate,
            holds: reasons.is_empty() && summary.verdict.outcome == Outcome::Passed,
            outcome: summary.verdict.outcome,
            messages_per_second: published,
            deliveries_per_second: summary.measured.deliveries_per_second,
            p99: summary.latencies.get("deliver").map_or(0, |latency| latency.percentiles.p99),
            cpu_per_delivery_us: summary.server.as_ref().and_then(|server| server.cpu_per_delivery_us),
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(limit: f64, first: f64, highest: f64) -> (Option<f64>, Option<f64>, u32) {
        let mut search = Search::new(first, highest, 0.05, 40);
        let mut runs = 0;
        while let Some(rate) = search.poll() {
            runs += 1;
            search.tell(rate, rate <= limit);
        }
        let (holds, breaks) = search.result();
        (holds, breaks, runs)
    }

    proptest! {
        #[test]
        fn the_limit_is_found_from_any_start(limit in 10.0..1e6_f64, first in 1.0..1e6_f64) {
            let (holds, breaks, runs) = find(limit, first, 1e9);
            let (holds, breaks) = (holds.unwrap(), breaks.unwrap());
            prop_assert!(holds <= limit && limit <= breaks);
            prop_assert!(breaks <= holds * 1.051, "{} {}", holds, breaks);
            prop_assert!(runs < 35);
        }
    }

    #[test]
    fn a_search_ends_at_its_bound_and_at_nothing() {
        assert_eq!(find(1e9, 100.0, 1_000.0).0, Some(1_000.0));
        assert_eq!(find(0.0, 100.0, 1_000.0).0, None);
    }
}

//! Rates: how much may happen now.
//!
//! Invariants worth naming:
//! * Both kinds store a few bytes and take the time as an argument; a clock that stands still grants nothing, a long
//!   pause grants at most one burst.

use crate::time::Now;

/// Limits events per second of one connection or address: the generic cell rate algorithm, eight bytes of state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// When the budget is full again, in nanoseconds since the core's start.
    full_at: u64,
}

/// What a [`Gcra`] allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Nanoseconds that one unit takes to come back; 0 = no limit.
    unit: u64,
    /// Nanoseconds' worth of units that may be spent at once.
    burst: u64,
}

impl Rate {
    /// `per_second` units, with bursts of `seconds` seconds' worth; 0 units mean no limit.
    pub(crate) fn new(per_second: u32, seconds: u64) -> Self {
        let unit = 1_000_000_000_u64.checked_div(u64::from(per_second)).unwrap_or(0);
        // At least one unit must fit, however low the rate.
        Self { unit, burst: (seconds * 1_000_000_000).max(unit) }
    }
}

impl Gcra {
    /// Spends `units` if the budget has them.
    pub(crate) fn take(&mut self, units: u32, rate: Rate, now: Now) -> bool {
        if rate.unit == 0 {
            return true;
        }
        let full_at = self.full_at.max(now.nanos).saturating_add(rate.unit * u64::from(units));
        if full_at - now.nanos > rate.burst {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// Whether nothing is spent, so that the state can be forgotten.
    pub(crate) fn is_full(self, now: Now) -> bool {
        self.full_at <= now.nanos
    }
}

/// Spreads a lot of work evenly: so many items per millisecond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacer {
    per_ms: u32,
    /// Millisecond up to which items were granted.
    granted_until: u64,
}

/// Most milliseconds' worth that a [`Pacer`] grants at once, after a pause of the loop.
const PACER_BURST_MS: u64 = 5;

impl Pacer {
    /// Begins now.
    pub(crate) fn new(per_ms: u32, now: Now) -> Self {
        Self { per_ms, granted_until: now.millis().saturating_sub(1) }
    }

    /// How many items may be done now. They count as done.
    pub(crate) fn grant(&mut self, now: Now) -> usize {
        let millis = now.millis();
        let due = millis.saturating_sub(self.granted_until).min(PACER_BURST_MS);
        self.granted_until = self.granted_until.max(millis);
        usize::try_from(due * u64::from(self.per_ms)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(millis: u64) -> Now {
        Now { nanos: millis * 1_000_000, unix_s: 0 }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let rate = Rate::new(10, 2);
        let mut gcra = Gcra::default();
        assert_eq!((0..100).filter(|_| gcra.take(1, rate, at_ms(0))).count(), 20);
        assert!(!gcra.take(1, rate, at_ms(99)));
        assert!(gcra.take(1, rate, at_ms(100)));
        assert!(!gcra.take(5, rate, at_ms(200)));
        assert!(gcra.take(5, rate, at_ms(700)));
        assert!(!gcra.is_full(at_ms(700)));
        assert!(gcra.is_full(at_ms(60_000)));
        assert_eq!((0..100).filter(|_| gcra.take(1, rate, at_ms(60_000))).count(), 20);
    }

    #[test]
    fn zero_means_no_limit_and_a_slow_rate_still_lets_one_pass() {
        let mut gcra = Gcra::default();
        assert!((0..1_000).all(|_| gcra.take(u32::MAX, Rate::new(0, 2), at_ms(0))));
        assert!(gcra.take(1, Rate::new(1, 0), at_ms(0)));
        assert!(!gcra.take(1, Rate::new(1, 0), at_ms(0)));
    }

    #[test]
    fn a_pacer_grants_per_millisecond_and_no_more_than_a_burst() {
        let mut pacer = Pacer::new(20, at_ms(10));
        assert_eq!(pacer.grant(at_ms(10)), 20);
        assert_eq!(pacer.grant(at_ms(10)), 0);
        assert_eq!(pacer.grant(at_ms(12)), 40);
        assert_eq!(pacer.grant(at_ms(10_000)), 100);
        assert_eq!(pacer.grant(at_ms(9_000)), 0);
    }
}

//! Time as the pure modules see it: handed in, never read.

use std::time::{Duration, Instant};

/// Deadlines of sessions: tenths of a second since the core's start. Four bytes last 13 years, and no deadline towards
/// a client needs a finer grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(crate) struct Tick(pub(crate) u32);

/// Length of a [`Tick`].
pub(crate) const TICK: Duration = Duration::from_millis(100);

impl Tick {
    /// No deadline at all.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// The tick at least `delay` after this one.
    pub(crate) fn after(self, delay: Duration) -> Self {
        let ticks = delay.as_millis().div_ceil(TICK.as_millis());
        Self(self.0.saturating_add(u32::try_from(ticks).unwrap_or(u32::MAX)).min(u32::MAX - 1))
    }

    /// How long from `earlier` until this tick; zero if it is past.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        TICK * self.0.saturating_sub(earlier.0)
    }
}

/// The moment at which something is handled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Nanoseconds since the core's start, for rates.
    pub(crate) nanos: u64,
    /// Seconds since the Unix epoch, for token expiry only.
    pub(crate) unix_s: u64,
}

impl Now {
    /// The tick that has begun.
    pub(crate) fn tick(self) -> Tick {
        Tick(u32::try_from(self.nanos / 100_000_000).unwrap_or(u32::MAX - 1))
    }

    /// Whole milliseconds since the core's start.
    pub(crate) fn millis(self) -> u64 {
        self.nanos / 1_000_000
    }
}

/// Turns the two clocks into [`Now`] and ticks back into instants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    start: Instant,
    unix_ms: u64,
}

impl Epoch {
    /// `start` is when the core began, `unix_ms` what the wall clock said then.
    pub(crate) fn new(start: Instant, unix_ms: u64) -> Self {
        Self { start, unix_ms }
    }

    /// `unix_s` follows the monotonic clock from the start on, so that a step of the wall clock expires nobody; the
    /// driver renews the epoch now and then to follow slow corrections.
    pub(crate) fn now(&self, instant: Instant) -> Now {
        let elapsed = instant.saturating_duration_since(self.start);
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        Now { nanos, unix_s: (self.unix_ms + nanos / 1_000_000) / 1_000 }
    }

    /// When `tick` begins.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.start + TICK * tick.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_round_up_and_never_overflow() {
        let epoch = Epoch::new(Instant::now(), 5_500);
        let now = epoch.now(epoch.start + Duration::from_millis(1_250));
        assert_eq!((now.tick(), now.millis(), now.unix_s), (Tick(12), 1_250, 6));
        assert_eq!(now.tick().after(Duration::from_millis(1)), Tick(13));
        assert_eq!(now.tick().after(Duration::ZERO), Tick(12));
        assert!(now.tick().after(Duration::MAX) < Tick::NEVER);
        assert_eq!(epoch.instant(Tick(13)) - epoch.start, Duration::from_millis(1_300));
        assert_eq!(Tick(13).since(Tick(12)), TICK);
        assert_eq!(Tick(12).since(Tick(13)), Duration::ZERO);
    }
}

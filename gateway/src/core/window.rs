//! The batching window: how long a turn gathers events before it begins.
//!
//! A wake-up costs a few microseconds, so under load it pays to let several messages share one; when little happens it
//! only adds latency. The window is therefore shut while fewer than [`WORTH`] pieces of work are expected to arrive within
//! the longest one, judged by a moving average, and otherwise as long as [`ENOUGH`] of them take: a core with little to do
//! waits longer for company than a busy one, which finds it anyway.
//!
//! Cores that share a CPU each see only a part of what that CPU has to do; their windows are longer in proportion.

use std::time::{Duration, Instant};

/// Pieces of work (completions, commands, updates) expected within the window from which on it is used.
const WORTH: f64 = 3.0;
/// Pieces of work that a window gathers. More save hardly any CPU but cost latency: docs/BENCHMARKS.md has the sweep.
const ENOUGH: f64 = 4.0;
/// How much longer the window of cores that share a CPU may be.
const SHARERS_MAX: u32 = 3;
/// Time constant of the average.
const MEMORY: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    longest: Duration,
    /// Pieces of work per second.
    rate: f64,
    last: Option<Instant>,
}

impl Window {
    /// `longest` is the configured window of a core that has a CPU for itself; zero switches it off. `sharers` is how many
    /// have one together.
    pub(super) fn new(longest: Duration, sharers: usize) -> Self {
        let sharers = u32::try_from(sharers).unwrap_or(SHARERS_MAX).clamp(1, SHARERS_MAX);
        Self { longest: longest * sharers, rate: 0.0, last: None }
    }

    /// A turn handled `work` pieces.
    pub(super) fn note(&mut self, work: usize, now: Instant) {
        let Some(last) = self.last.replace(now) else { return };
        let elapsed = now.saturating_duration_since(last).as_secs_f64().max(1e-6);
        let weight = elapsed / (elapsed + MEMORY.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = work as f64 / elapsed;
        self.rate += weight * (rate - self.rate);
    }

    /// The window of the next turn.
    pub(super) fn current(&self) -> Duration {
        if self.longest.is_zero() || self.rate * self.longest.as_secs_f64() < WORTH {
            return Duration::ZERO;
        }
        self.longest.min(Duration::from_secs_f64(ENOUGH / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(200);

    fn after(per_second: u32, seconds: u32) -> Duration {
        let mut window = Window::new(LONGEST, 1);
        let start = Instant::now();
        let step = Duration::from_secs(1) / per_second;
        for n in 0..per_second * seconds {
            window.note(1, start + step * n);
        }
        window.current()
    }

    #[test]
    fn the_window_opens_under_load_only() {
        assert_eq!(after(10_000, 1), Duration::ZERO);
        assert_eq!(after(18_000, 1), LONGEST);
    }

    #[test]
    fn a_busy_core_waits_for_company_only_as_long_as_that_takes() {
        let window = after(40_000, 1);
        assert!((90..=110).contains(&window.as_micros()), "{window:?}");
    }

    #[test]
    fn cores_that_share_a_cpu_wait_longer_each() {
        for (sharers, longest) in [(0, LONGEST), (1, LONGEST), (2, LONGEST * 2), (50, LONGEST * SHARERS_MAX)] {
            assert_eq!(Window::new(LONGEST, sharers).longest, longest);
        }
    }

    #[test]
    fn it_shuts_when_the_load_is_over_and_can_be_switched_off() {
        let mut window = Window::new(LONGEST, 1);
        let start = Instant::now();
        for n in 0..1_000 {
            window.note(4, start + LONGEST * n);
        }
        assert_eq!(window.current(), LONGEST);
        window.note(1, start + LONGEST * 1_000 + Duration::from_secs(1));
        assert_eq!(window.current(), Duration::ZERO);
        let mut off = Window::new(Duration::ZERO, 3);
        off.note(1_000_000, start);
        off.note(1_000_000, start + LONGEST);
        assert_eq!(off.current(), Duration::ZERO);
    }
}

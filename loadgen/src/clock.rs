//! The run's clock: nanoseconds since an instant that all processes of a run agree on.
//!
//! Within a process it is the monotonic clock. Between processes only its zero is shared, as Unix time, so on one host two
//! clocks differ by the resolution of a clock read, and between hosts by whatever their clocks differ (the controller
//! measures and prints that).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Copied into every worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    origin_unix_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now(), origin_unix_ns: unix_ns() }
    }

    /// The clock of another process that started at that Unix time.
    pub(crate) fn shared(origin_unix_ns: u64) -> Self {
        let elapsed = Duration::from_nanos(unix_ns().saturating_sub(origin_unix_ns));
        let now = Instant::now();
        Self { origin: now.checked_sub(elapsed).unwrap_or(now), origin_unix_ns }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    pub(crate) fn instant(&self, at_ns: u64) -> Instant {
        self.origin + Duration::from_nanos(at_ns)
    }

    pub(crate) fn origin_unix_ns(&self) -> u64 {
        self.origin_unix_ns
    }
}

/// Unix time in nanoseconds.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_two_processes_agree() {
        let first = Clock::start();
        std::thread::sleep(Duration::from_millis(5));
        let second = Clock::shared(first.origin_unix_ns());
        let (a, b) = (first.now_ns(), second.now_ns());
        assert!(a.abs_diff(b) < 50_000_000, "{a} {b}");
        assert!(first.instant(a) <= Instant::now());
    }
}

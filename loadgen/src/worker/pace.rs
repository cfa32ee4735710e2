//! Who connects when: a steady ramp at first, later whoever has to come back. Pure.
//!
//! Invariant: a member is at most once in here, either waiting (fresh or retry) or in flight.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A connect that has not led to a joined member after this long is given up and tried again.
pub(crate) const CONNECT_DEADLINE_NS: u64 = 10_000_000_000;

/// First and longest pause before a failed member tries again; it doubles, with full jitter.
const BACKOFF_MIN_NS: u64 = 100_000_000;
const BACKOFF_MAX_NS: u64 = 5_000_000_000;

/// The connecting side of one worker.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Members that never connected yet: `next_fresh..total`.
    next_fresh: u32,
    total: u32,
    started_ns: u64,
    /// Fresh connects per ns.
    rate: f64,
    retry: BinaryHeap<Reverse<(u64, u32)>>,
    /// In order of their deadlines: deadline, member, attempt.
    deadlines: VecDeque<(u64, u32, u16)>,
    in_flight: u32,
    in_flight_max: u32,
}

impl Pace {
    pub(crate) fn new(total: u32, rate_per_second: f64, in_flight_max: u32, now_ns: u64) -> Self {
        Self {
            next_fresh: 0,
            total,
            started_ns: now_ns,
            rate: rate_per_second / 1e9,
            retry: BinaryHeap::new(),
            deadlines: VecDeque::new(),
            in_flight: 0,
            in_flight_max: in_flight_max.max(1),
        }
    }

    /// A member that is to connect now. The caller reports back by [`Pace::settled`].
    pub(crate) fn poll(&mut self, now_ns: u64) -> Option<u32> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        if let Some(Reverse((due_ns, member))) = self.retry.peek().copied()
            && due_ns <= now_ns
        {
            self.retry.pop();
            self.in_flight += 1;
            return Some(member);
        }
        if self.next_fresh < self.total && self.fresh_due_ns() <= now_ns {
            self.next_fresh += 1;
            self.in_flight += 1;
            return Some(self.next_fresh - 1);
        }
        None
    }

    /// The member's connect begins now, as its `attempt`-th.
    pub(crate) fn begun(&mut self, member: u32, attempt: u16, now_ns: u64) {
        self.deadlines.push_back((now_ns + CONNECT_DEADLINE_NS, member, attempt));
    }

    /// The member is joined, or failed: no more in flight.
    pub(crate) fn settled(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The member shall connect (again) at that time.
    pub(crate) fn retry_at(&mut self, member: u32, at_ns: u64) {
        self.retry.push(Reverse((at_ns, member)));
    }

    /// The pause after so many failures in a row; `unit` is random in [0, 1).
    pub(crate) fn backoff_ns(failures: u8, unit: f64) -> u64 {
        let longest = (BACKOFF_MIN_NS << failures.min(10)).min(BACKOFF_MAX_NS);
        (longest as f64 * unit) as u64
    }

    /// A member whose deadline is over, with the attempt that it was for.
    pub(crate) fn poll_deadline(&mut self, now_ns: u64) -> Option<(u32, u16)> {
        let (deadline_ns, member, attempt) = *self.deadlines.front()?;
        if deadline_ns > now_ns {
            return None;
        }
        self.deadlines.pop_front();
        Some((member, attempt))
    }

    /// When to look again; `None` = only after something has settled.
    pub(crate) fn next_at(&self) -> Option<u64> {
        let deadline = self.deadlines.front().map(|(deadline_ns, ..)| *deadline_ns);
        if self.in_flight >= self.in_flight_max {
            return deadline;
        }
        let retry = self.retry.peek().map(|Reverse((due_ns, _))| *due_ns);
        let fresh = (self.next_fresh < self.total).then(|| self.fresh_due_ns());
        [deadline, retry, fresh].into_iter().flatten().min()
    }

    fn fresh_due_ns(&self) -> u64 {
        self.started_ns + (f64::from(self.next_fresh) / self.rate) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_ramp_follows_its_rate_whoever_asks_when() {
        let mut pace = Pace::new(1_000, 100.0, u32::MAX, 5 * SECOND);
        let due: Vec<u32> = std::iter::from_fn(|| pace.poll(6 * SECOND)).collect();
        assert_eq!(due.len(), 101, "at 0, 10, .. 1,000 ms");
        assert_eq!(pace.next_at(), Some(6 * SECOND + 10_000_000));
    }

    #[test]
    fn only_so_many_are_on_their_way() {
        let mut pace = Pace::new(10, 1e9, 2, 0);
        assert_eq!((pace.poll(SECOND), pace.poll(SECOND), pace.poll(SECOND)), (Some(0), Some(1), None));
        assert_eq!(pace.next_at(), None);
        pace.settled();
        assert_eq!(pace.poll(SECOND), Some(2));
    }

    #[test]
    fn those_who_come_back_go_first_and_deadlines_are_kept() {
        let mut pace = Pace::new(10, 1e9, 5, 0);
        pace.retry_at(77, SECOND);
        assert_eq!(pace.poll(SECOND), Some(77));
        pace.begun(77, 3, SECOND);
        assert_eq!(pace.poll_deadline(SECOND + CONNECT_DEADLINE_NS - 1), None);
        assert_eq!(pace.poll_deadline(SECOND + CONNECT_DEADLINE_NS), Some((77, 3)));
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(Pace::backoff_ns(0, 0.999_999_999), 99_999_999);
        assert!(Pace::backoff_ns(200, 0.999) < BACKOFF_MAX_NS);
        assert_eq!(Pace::backoff_ns(3, 0.0), 0);
    }
}

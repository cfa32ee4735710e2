//! Per message: when the first, the median and the last member got it, with bounded memory.
//!
//! A fixed table of 32-byte records, keyed by the message's id and shared by all workers of the process. Arrivals of a message come in
//! the order of their counter, so the arrival that makes it half of the members *is* the median: nothing per member is kept.
//!
//! Invariants: a record belongs to the newest message that hashed to it; an older one that is pushed out is reported as
//! incomplete, never mixed with another; exactly one arrival is told `Complete`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Fan-outs in flight that are kept at least: 32 KiB.
const RECORDS_MIN: usize = 1 << 10;
/// At most: 2^20 × 32 B = 32 MiB. At 10,000 messages a second it is 2^17, 13 seconds' worth.
const RECORDS_MAX: usize = 1 << 20;

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// A count that no chat reaches (scenarios allow one member less): the record is being given to another message.
const SETTING_UP: u64 = COUNT_MASK;

/// All fan-outs in flight.
#[derive(Debug)]
pub(crate) struct Spreads {
    records: Box<[Record]>,
    /// Records that were pushed out or left over before all members had the message.
    incomplete: AtomicU64,
}

#[derive(Debug, Default)]
struct Record {
    /// (id + 1) in the upper 40 bits, number of arrivals in the lower 24.
    tag: AtomicU64,
    first_ns: AtomicU64,
    median_ns: AtomicU64,
    expected: AtomicU32,
}

/// A message that all members have. Nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Complete {
    pub first_ns: u64,
    pub median_ns: u64,
    pub last_ns: u64,
}

impl Spreads {
    /// `rate`: messages per second, to size the table for about 8 seconds of them.
    pub(crate) fn new(rate: f64) -> Self {
        let wanted = ((rate * 8.0) as usize).next_power_of_two().clamp(RECORDS_MIN, RECORDS_MAX);
        Self { records: (0..wanted).map(|_| Record::default()).collect(), incomplete: AtomicU64::new(0) }
    }

    /// A member got message `id` at `now_ns`. `expected`: members of the chat in this process.
    pub(crate) fn arrived(&self, id: u32, expected: u32, now_ns: u64) -> Option<Complete> {
        let record = &self.records[id as usize & (self.records.len() - 1)];
        let (count, expected) = self.count(record, id, expected.max(1), now_ns)?;
        if count == expected.div_ceil(2) {
            record.median_ns.store(now_ns, Ordering::Relaxed);
        }
        if count != expected {
            return None;
        }
        let at = |field: &AtomicU64| field.load(Ordering::Acquire).min(now_ns);
        let first_ns = at(&record.first_ns);
        Some(Complete { first_ns, median_ns: at(&record.median_ns).max(first_ns), last_ns: now_ns.max(first_ns) })
    }

    /// Counts the arrival: how many there are now, of how many. The first arrival sets the record up under a mark, so that
    /// no other thread reads half of it; the mark lasts some nanoseconds.
    fn count(&self, record: &Record, id: u32, expected: u32, now_ns: u64) -> Option<(u32, u32)> {
        let wanted = u64::from(id) + 1;
        let mut tag = record.tag.load(Ordering::Acquire);
        loop {
            let owner = tag >> COUNT_BITS;
            if tag & COUNT_MASK == SETTING_UP {
                std::thread::yield_now();
                tag = record.tag.load(Ordering::Acquire);
                continue;
            }
            if owner > wanted {
                // A straggler of a message whose record has been given away; it was counted as incomplete then.
                return None;
            }
            let news = if owner == wanted { tag + 1 } else { wanted << COUNT_BITS | SETTING_UP };
            match record.tag.compare_exchange_weak(tag, news, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if owner == wanted => {
                    return Some(((news & COUNT_MASK) as u32, record.expected.load(Ordering::Acquire)));
                }
                Ok(before) => {
                    self.set_up(record, before, expected, now_ns);
                    record.tag.store(wanted << COUNT_BITS | 1, Ordering::Release);
                    return Some((1, expected));
                }
                Err(actual) => tag = actual,
            }
        }
    }

    fn set_up(&self, record: &Record, before: u64, expected: u32, now_ns: u64) {
        if before != 0 && ((before & COUNT_MASK) as u32) < record.expected.load(Ordering::Relaxed) {
            self.incomplete.fetch_add(1, Ordering::Relaxed);
        }
        record.expected.store(expected, Ordering::Relaxed);
        record.first_ns.store(now_ns, Ordering::Relaxed);
        record.median_ns.store(now_ns, Ordering::Relaxed);
    }

    /// Fan-outs that did not complete, those still open included. For the end of a run.
    pub(crate) fn incomplete(&self) -> u64 {
        let open = self.records.iter().filter(|record| {
            let count = (record.tag.load(Ordering::Relaxed) & COUNT_MASK) as u32;
            count < record.expected.load(Ordering::Relaxed)
        });
        self.incomplete.load(Ordering::Relaxed) + open.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn first_median_and_last_of_five() {
        let spreads = Spreads::new(1.0);
        for now in [10, 20, 30, 40] {
            assert_eq!(spreads.arrived(7, 5, now), None);
        }
        assert_eq!(spreads.arrived(7, 5, 90), Some(Complete { first_ns: 10, median_ns: 30, last_ns: 90 }));
        assert_eq!(spreads.arrived(7, 5, 95), None, "a duplicate completes nothing");
        assert_eq!(spreads.incomplete(), 0);
    }

    #[test]
    fn a_single_member_is_first_median_and_last() {
        let spreads = Spreads::new(1.0);
        assert_eq!(spreads.arrived(0, 1, 5), Some(Complete { first_ns: 5, median_ns: 5, last_ns: 5 }));
    }

    #[test]
    fn a_message_that_is_pushed_out_counts_as_incomplete() {
        let spreads = Spreads::new(1.0);
        spreads.arrived(1, 2, 5);
        let later = 1 + RECORDS_MIN as u32;
        assert_eq!(spreads.arrived(later, 1, 9), Some(Complete { first_ns: 9, median_ns: 9, last_ns: 9 }));
        assert_eq!(spreads.arrived(1, 2, 10), None, "the straggler does not disturb the newer message");
        assert_eq!(spreads.incomplete(), 1);
        spreads.arrived(2, 3, 5);
        assert_eq!(spreads.incomplete(), 2);
    }

    #[test]
    fn threads_that_share_messages_complete_each_exactly_once() {
        const MESSAGES: u32 = 20_000;
        // Room for all of them: threads may be that far apart.
        let spreads = Arc::new(Spreads::new(f64::from(MESSAGES)));
        let member = |offset: u64| {
            let spreads = spreads.clone();
            std::thread::spawn(move || {
                (0..MESSAGES).filter_map(|id| spreads.arrived(id, 4, u64::from(id) + offset)).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..4).map(member).collect();
        let complete: Vec<Complete> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(complete.len(), MESSAGES as usize);
        assert!(complete.iter().all(|one| one.first_ns <= one.median_ns && one.median_ns <= one.last_ns));
    }
}

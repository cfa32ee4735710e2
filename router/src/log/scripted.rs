//! A log for tests that delays and fails on command; otherwise a [`MemoryLog`] that keeps its records.

use std::collections::{HashSet, VecDeque};

use corecast_wire::{ChatName, Position};

use super::{Bounds, Event, Log, LogError, MemoryLog, Outcome, Owner, Pos, Record, RecordRef, Rejected, Retention};

/// How the next append of any slot fails, and all behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) outcome: Outcome,
    /// With [`Outcome::Unknown`]: how many of the submitted records are in the log all the same.
    pub(crate) applied: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ScriptedLog {
    inner: MemoryLog,
    /// Appends that were taken and not told about.
    submitted: VecDeque<(u16, Pos, Record)>,
    /// While set, no append is told about.
    pub(crate) held: bool,
    /// Takes no appends.
    pub(crate) busy: bool,
    /// Fails the next append.
    pub(crate) fail: Option<Failure>,
    /// Answers the next open.
    pub(crate) fail_open: Option<LogError>,
    failed: HashSet<u16>,
    events: VecDeque<Event>,
}

impl ScriptedLog {
    pub(crate) fn new() -> Self {
        Self {
            inner: MemoryLog::keeping(Retention { records: 1_000 }),
            submitted: VecDeque::new(),
            held: false,
            busy: false,
            fail: None,
            fail_open: None,
            failed: HashSet::new(),
            events: VecDeque::new(),
        }
    }

    /// How many appends wait to be told about.
    pub(crate) fn waiting(&self) -> usize {
        self.submitted.len()
    }

    /// Decides about the oldest `count` submitted appends.
    pub(crate) fn settle(&mut self, count: usize) {
        for _ in 0..count {
            let Some((slot, expect, record)) = self.submitted.pop_front() else { break };
            if self.failed.contains(&slot) {
                continue;
            }
            match self.fail.take() {
                None => self.apply(slot, expect, &record),
                Some(failure) => self.fail_from(slot, expect, record, failure),
            }
        }
        self.inner.flush();
        while let Some(event) = self.inner.poll() {
            self.events.push_back(event);
        }
    }

    fn apply(&mut self, slot: u16, expect: Pos, record: &Record) {
        let Record { chat, epoch, offset, time_ms, key, payload } = record;
        let (epoch, offset, time_ms, key) = (*epoch, *offset, *time_ms, key.as_deref());
        let record = RecordRef { chat, epoch, offset, time_ms, key, payload };
        let _ = self.inner.append(slot, expect, record);
    }

    fn fail_from(&mut self, slot: u16, expect: Pos, record: Record, failure: Failure) {
        self.inner.flush();
        while let Some(event) = self.inner.poll() {
            self.events.push_back(event);
        }
        let behind = self.submitted.iter().filter(|(other, _, _)| *other == slot).cloned();
        let batch: Vec<(u16, Pos, Record)> = std::iter::once((slot, expect, record)).chain(behind).collect();
        for (slot, expect, record) in batch.iter().take(failure.applied) {
            assert_eq!(failure.outcome, Outcome::Unknown);
            self.apply(*slot, *expect, record);
        }
        self.inner.flush();
        while self.inner.poll().is_some() {}
        self.failed.insert(slot);
        self.events.push_back(Event::Failed { slot, from: expect.next(), outcome: failure.outcome });
    }
}

impl Log for ScriptedLog {
    fn open(&mut self, slot: u16, owner: Owner) {
        self.settle(self.submitted.len());
        if let Some(error) = self.fail_open.take() {
            self.events.push_back(Event::Opened { slot, tail: Err(error) });
            return;
        }
        self.failed.remove(&slot);
        self.inner.open(slot, owner);
        self.settle(0);
    }

    fn append(&mut self, slot: u16, expect: Pos, record: RecordRef<'_>) -> Result<Pos, Rejected> {
        if self.busy {
            return Err(Rejected::Busy);
        }
        if self.failed.contains(&slot) || !self.inner.is_open(slot) {
            return Err(Rejected::NotOpen);
        }
        self.submitted.push_back((slot, expect, record.to_record()));
        Ok(expect.next())
    }

    fn flush(&mut self) {}

    fn read(&mut self, read: u64, slot: u16, from: Pos, bounds: Bounds) {
        self.inner.read(read, slot, from, bounds);
    }

    fn chat_since(&mut self, read: u64, slot: u16, chat: &ChatName, since: Position, bounds: Bounds) {
        self.inner.chat_since(read, slot, chat, since, bounds);
    }

    fn retain(&mut self, slot: u16, retention: Retention) {
        self.inner.retain(slot, retention);
    }

    fn poll(&mut self) -> Option<Event> {
        if !self.held {
            self.settle(self.submitted.len());
        }
        self.events.pop_front().or_else(|| self.inner.poll())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::{self, Harness};

    struct Scripted(ScriptedLog);

    impl Harness for Scripted {
        fn log(&mut self) -> &mut dyn Log {
            &mut self.0
        }

        fn wait(&mut self) -> Option<Event> {
            self.0.poll()
        }
    }

    #[test]
    fn conforms() {
        conformance::run(|retention| {
            let mut log = ScriptedLog::new();
            log.inner = MemoryLog::keeping(retention);
            Box::new(Scripted(log))
        });
    }
}

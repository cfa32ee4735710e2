//! The log that keeps nothing safe: durable means "in this process's memory".
//!
//! By default it does not keep the records either, because the chats' recent messages are that memory; then a read of
//! anything but the tail answers [`LogError::Forgotten`]. With a [`Retention`] it keeps records, which makes it the
//! reference that the other engines are compared with.

use std::collections::VecDeque;

use corecast_wire::{ChatName, Position};
use foldhash::HashMap;

use super::{Bounds, Event, Log, LogError, Outcome, Owner, Pos, Record, RecordRef, Rejected, Retention};

/// A [`Log`] in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    slots: HashMap<u16, SlotLog>,
    /// Slots with appends since the last flush.
    dirty: Vec<u16>,
    events: VecDeque<Event>,
    retention: Option<Retention>,
}

#[derive(Debug, Default)]
struct SlotLog {
    owner: Option<Owner>,
    fence: u64,
    tail: Pos,
    dirty: bool,
    retention: Retention,
    records: VecDeque<Record>,
}

impl Default for Retention {
    /// Nothing.
    fn default() -> Self {
        Self { records: 0 }
    }
}

impl MemoryLog {
    /// A log that keeps no records.
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that keeps records, in every slot unless [`Log::retain`] says otherwise for it.
    pub fn keeping(retention: Retention) -> Self {
        Self { retention: Some(retention), ..Self::default() }
    }

    /// Whether the slot takes appends.
    #[cfg(test)]
    pub(crate) fn is_open(&self, slot: u16) -> bool {
        self.slots.get(&slot).is_some_and(|log| log.owner.is_some())
    }

    fn slot(&mut self, slot: u16) -> &mut SlotLog {
        let retention = self.retention.unwrap_or_default();
        self.slots.entry(slot).or_insert_with(|| SlotLog { retention, ..SlotLog::default() })
    }
}

impl SlotLog {
    /// Place of `records[0]`; behind the tail if none is kept.
    fn first(&self) -> Pos {
        Pos(self.tail.0 + 1 - self.records.len() as u64)
    }

    fn trim(&mut self) {
        let excess = self.records.len().saturating_sub(self.retention.records);
        self.records.drain(..excess);
    }

    fn numbered(&self) -> impl Iterator<Item = (Pos, &Record)> {
        let first = self.first().0;
        self.records.iter().enumerate().map(move |(index, record)| (Pos(first + index as u64), record))
    }
}

/// The records that `bounds` allows, at least one.
fn bounded<'a>(records: impl Iterator<Item = (Pos, &'a Record)>, bounds: Bounds) -> Vec<(Pos, Record)> {
    let mut bytes = 0_usize;
    let mut taken = Vec::new();
    for (pos, record) in records {
        bytes = bytes.saturating_add(record.payload.len());
        let full = taken.len() >= bounds.records || bytes > bounds.bytes;
        if full && !taken.is_empty() {
            break;
        }
        taken.push((pos, record.clone()));
    }
    taken
}

impl Log for MemoryLog {
    fn open(&mut self, slot: u16, owner: Owner) {
        let log = self.slot(slot);
        let tail = if owner.fence < log.fence {
            Err(LogError::Fenced)
        } else {
            log.fence = owner.fence;
            log.owner = Some(owner);
            Ok(log.tail)
        };
        self.flush();
        self.events.push_back(Event::Opened { slot, tail });
    }

    fn append(&mut self, slot: u16, expect: Pos, record: RecordRef<'_>) -> Result<Pos, Rejected> {
        let Some(log) = self.slots.get_mut(&slot).filter(|log| log.owner.is_some()) else {
            return Err(Rejected::NotOpen);
        };
        if expect != log.tail {
            log.owner = None;
            self.flush();
            self.events.push_back(Event::Failed { slot, from: expect.next(), outcome: Outcome::Fenced });
            return Ok(expect.next());
        }
        log.tail = log.tail.next();
        if log.retention.records > 0 {
            log.records.push_back(record.to_record());
            log.trim();
        }
        if !std::mem::replace(&mut log.dirty, true) {
            self.dirty.push(slot);
        }
        Ok(log.tail)
    }

    fn flush(&mut self) {
        for slot in self.dirty.drain(..) {
            if let Some(log) = self.slots.get_mut(&slot) {
                log.dirty = false;
                self.events.push_back(Event::Durable { slot, upto: log.tail });
            }
        }
    }

    fn read(&mut self, read: u64, slot: u16, from: Pos, bounds: Bounds) {
        let log = self.slot(slot);
        let records = if from < log.first() {
            Err(LogError::Forgotten)
        } else {
            Ok(bounded(log.numbered().filter(|(pos, _)| *pos >= from), bounds))
        };
        self.events.push_back(Event::Records { read, records });
    }

    fn chat_since(&mut self, read: u64, slot: u16, chat: &ChatName, since: Position, bounds: Bounds) {
        let log = self.slot(slot);
        let of_chat = log.numbered().filter(|(_, record)| record.chat == *chat && record.epoch == since.epoch);
        let found = bounded(of_chat.filter(|(_, record)| record.offset > since.offset), bounds);
        // A chat of which nothing newer is kept may have nothing newer, or have lost it: only a complete log tells.
        let complete = match found.first() {
            Some((_, record)) => record.offset == since.offset + 1,
            None => log.first() == Pos(1) || log.numbered().any(|(_, r)| r.chat == *chat && r.epoch == since.epoch),
        };
        let records = if complete { Ok(found) } else { Err(LogError::Forgotten) };
        self.events.push_back(Event::Records { read, records });
    }

    fn retain(&mut self, slot: u16, retention: Retention) {
        let log = self.slot(slot);
        log.retention = retention;
        log.trim();
    }

    fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::{self, Harness};

    struct InMemory(MemoryLog);

    impl Harness for InMemory {
        fn log(&mut self) -> &mut dyn Log {
            &mut self.0
        }

        fn wait(&mut self) -> Option<Event> {
            self.0.poll()
        }
    }

    #[test]
    fn conforms() {
        conformance::run(|retention| Box::new(InMemory(MemoryLog::keeping(retention))));
    }

    #[test]
    fn keeps_no_records_unless_told_to() {
        let mut log = MemoryLog::new();
        let chat = ChatName::new("a").expect("a name");
        log.open(3, Owner { incarnation: 1, fence: 0 });
        let payload = bytes::Bytes::from_static(b"x");
        let record = RecordRef { chat: &chat, epoch: 9, offset: 1, time_ms: 0, key: None, payload: &payload };
        assert_eq!(log.append(3, Pos(0), record), Ok(Pos(1)));
        log.flush();
        let bounds = Bounds { records: 10, bytes: 1_000 };
        log.read(1, 3, Pos(1), bounds);
        log.read(2, 3, Pos(2), bounds);
        let events: Vec<Event> = std::iter::from_fn(|| log.poll()).collect();
        assert_eq!(
            events,
            [
                Event::Opened { slot: 3, tail: Ok(Pos(0)) },
                Event::Durable { slot: 3, upto: Pos(1) },
                Event::Records { read: 1, records: Err(LogError::Forgotten) },
                Event::Records { read: 2, records: Ok(Vec::new()) },
            ]
        );
    }
}

//! What every engine must do, as tests that do not know the engine.
//!
//! An engine implements [`Harness`] in its own tests and calls [`run`] with a function that makes an empty one. Slots
//! are independent of each other, so each case uses its own slots of one fresh log.

use bytes::Bytes;
use corecast_wire::{ChatName, Position};

use super::{Bounds, Event, Log, LogError, Outcome, Owner, Pos, Record, RecordRef, Rejected, Retention};

/// An engine under test.
pub(crate) trait Harness {
    /// The log.
    fn log(&mut self) -> &mut dyn Log;
    /// The next event; waits for the engine as long as something is under way, `None` when nothing is.
    fn wait(&mut self) -> Option<Event>;
}

const PLENTY: Retention = Retention { records: 1_000 };
const ALL: Bounds = Bounds { records: 1_000, bytes: 1 << 20 };
const OWNER: Owner = Owner { incarnation: 1, fence: 0 };

/// Runs every case against a fresh log.
pub(crate) fn run(make: impl Fn(Retention) -> Box<dyn Harness>) {
    let cases: [fn(&mut Subject); 9] = [
        appends_become_durable_in_order,
        slots_are_independent,
        a_closed_slot_takes_nothing,
        a_wrong_tail_is_fenced_and_appends_nothing,
        a_failed_slot_can_be_opened_again,
        an_older_fence_does_not_open,
        reads_start_and_end_where_they_should,
        a_chat_is_read_from_its_position,
        opening_settles_what_was_submitted,
    ];
    for case in cases {
        case(&mut Subject(make(PLENTY)));
    }
    retention_forgets_the_oldest(&mut Subject(make(PLENTY)));
}

struct Subject(Box<dyn Harness>);

fn name(chat: &str) -> ChatName {
    ChatName::new(chat).expect("a valid name")
}

fn record(chat: &str, offset: u64) -> Record {
    Record {
        chat: name(chat),
        epoch: 77,
        offset,
        time_ms: 1_000 + offset,
        key: offset.is_multiple_of(2).then(|| Bytes::from(format!("key {offset}"))),
        payload: Bytes::from(format!("{chat} {offset}")),
    }
}

impl Subject {
    fn open(&mut self, slot: u16) -> Pos {
        self.0.log().open(slot, OWNER);
        match self.0.wait() {
            Some(Event::Opened { slot: opened, tail: Ok(tail) }) if opened == slot => tail,
            other => panic!("expected slot {slot} to open, got {other:?}"),
        }
    }

    fn append(&mut self, slot: u16, expect: Pos, record: &Record) -> Result<Pos, Rejected> {
        let key = record.key.as_deref();
        let Record { chat, epoch, offset, time_ms, payload, .. } = record;
        let (epoch, offset, time_ms) = (*epoch, *offset, *time_ms);
        self.0.log().append(slot, expect, RecordRef { chat, epoch, offset, time_ms, key, payload })
    }

    /// Appends and waits until all of it is durable.
    fn write(&mut self, slot: u16, mut tail: Pos, records: &[Record]) -> Pos {
        for record in records {
            let pos = self.append(slot, tail, record).expect("an open slot takes it");
            assert_eq!(pos, tail.next());
            tail = pos;
        }
        self.0.log().flush();
        self.durable(slot, tail);
        tail
    }

    fn durable(&mut self, slot: u16, tail: Pos) {
        let mut last = Pos(0);
        while last < tail {
            match self.0.wait() {
                Some(Event::Durable { slot: done, upto }) if done == slot => {
                    assert!(upto > last && upto <= tail);
                    last = upto;
                }
                other => panic!("expected slot {slot} to be durable up to {tail:?}, got {other:?}"),
            }
        }
    }

    fn records(&mut self) -> Result<Vec<(Pos, Record)>, LogError> {
        match self.0.wait() {
            Some(Event::Records { read: 5, records }) => records,
            other => panic!("expected the records of read 5, got {other:?}"),
        }
    }

    fn read(&mut self, slot: u16, from: u64, bounds: Bounds) -> Result<Vec<(Pos, Record)>, LogError> {
        self.0.log().read(5, slot, Pos(from), bounds);
        self.records()
    }

    fn chat(&mut self, slot: u16, chat: &str, since: u64, bounds: Bounds) -> Result<Vec<u64>, LogError> {
        self.0.log().chat_since(5, slot, &name(chat), Position { epoch: 77, offset: since }, bounds);
        Ok(self.records()?.into_iter().map(|(_, record)| record.offset).collect())
    }

    fn idle(&mut self) {
        assert_eq!(self.0.wait(), None);
    }
}

fn appends_become_durable_in_order(log: &mut Subject) {
    let tail = log.open(1);
    assert_eq!(tail, Pos(0));
    let records: Vec<Record> = (1..=20).map(|offset| record("a", offset)).collect();
    let tail = log.write(1, tail, &records);
    assert_eq!(tail, Pos(20));
    log.idle();
    let read = log.read(1, 1, ALL).expect("kept");
    let expected: Vec<(Pos, Record)> = (1..).map(Pos).zip(records).collect();
    assert_eq!(read, expected);
}

fn slots_are_independent(log: &mut Subject) {
    let (first, second) = (log.open(1), log.open(2));
    log.write(1, first, &[record("a", 1), record("a", 2)]);
    log.write(2, second, &[record("b", 1)]);
    assert_eq!(log.read(2, 1, ALL).expect("kept"), [(Pos(1), record("b", 1))]);
    assert_eq!(log.append(3, Pos(0), &record("c", 1)), Err(Rejected::NotOpen));
}

fn a_closed_slot_takes_nothing(log: &mut Subject) {
    assert_eq!(log.append(1, Pos(0), &record("a", 1)), Err(Rejected::NotOpen));
    log.idle();
    assert_eq!(log.open(1), Pos(0));
}

fn a_wrong_tail_is_fenced_and_appends_nothing(log: &mut Subject) {
    let tail = log.open(1);
    let tail = log.write(1, tail, &[record("a", 1), record("a", 2)]);
    assert_eq!(log.append(1, Pos(1), &record("a", 9)), Ok(Pos(2)));
    log.0.log().flush();
    assert_eq!(log.0.wait(), Some(Event::Failed { slot: 1, from: Pos(2), outcome: Outcome::Fenced }));
    assert_eq!(log.append(1, tail, &record("a", 3)), Err(Rejected::NotOpen));
    assert_eq!(log.open(1), Pos(2));
    assert_eq!(log.read(1, 2, ALL).expect("kept"), [(Pos(2), record("a", 2))]);
}

fn a_failed_slot_can_be_opened_again(log: &mut Subject) {
    let tail = log.open(1);
    log.append(1, tail, &record("a", 1)).expect("open");
    log.append(1, Pos(7), &record("a", 2)).expect("the failure is told later");
    log.0.log().flush();
    log.durable(1, Pos(1));
    assert_eq!(log.0.wait(), Some(Event::Failed { slot: 1, from: Pos(8), outcome: Outcome::Fenced }));
    let tail = log.open(1);
    assert_eq!(tail, Pos(1));
    log.write(1, tail, &[record("a", 2)]);
}

fn an_older_fence_does_not_open(log: &mut Subject) {
    log.0.log().open(1, Owner { incarnation: 1, fence: 5 });
    assert_eq!(log.0.wait(), Some(Event::Opened { slot: 1, tail: Ok(Pos(0)) }));
    log.0.log().open(1, Owner { incarnation: 2, fence: 4 });
    assert_eq!(log.0.wait(), Some(Event::Opened { slot: 1, tail: Err(LogError::Fenced) }));
    log.0.log().open(1, Owner { incarnation: 2, fence: 5 });
    assert_eq!(log.0.wait(), Some(Event::Opened { slot: 1, tail: Ok(Pos(0)) }));
}

fn reads_start_and_end_where_they_should(log: &mut Subject) {
    let tail = log.open(1);
    let records: Vec<Record> = (1..=9).map(|offset| record("a", offset)).collect();
    log.write(1, tail, &records);
    let places = |read: Result<Vec<(Pos, Record)>, LogError>| -> Vec<u64> {
        read.expect("kept").into_iter().map(|(pos, _)| pos.0).collect()
    };
    assert_eq!(places(log.read(1, 4, ALL)), [4, 5, 6, 7, 8, 9]);
    assert_eq!(places(log.read(1, 4, Bounds { records: 2, bytes: 1_000 })), [4, 5]);
    assert_eq!(places(log.read(1, 4, Bounds { records: 9, bytes: 9 })), [4, 5, 6], "three bytes each");
    assert_eq!(places(log.read(1, 4, Bounds { records: 9, bytes: 1 })), [4], "at least one");
    assert_eq!(places(log.read(1, 10, ALL)), []);
    assert_eq!(places(log.read(9, 1, ALL)), [], "a slot that was never opened is empty");
}

fn a_chat_is_read_from_its_position(log: &mut Subject) {
    let tail = log.open(1);
    let mixed = [record("a", 1), record("b", 1), record("a", 2), record("b", 2), record("a", 3)];
    log.write(1, tail, &mixed);
    assert_eq!(log.chat(1, "a", 0, ALL), Ok(vec![1, 2, 3]));
    assert_eq!(log.chat(1, "a", 1, ALL), Ok(vec![2, 3]));
    assert_eq!(log.chat(1, "a", 1, Bounds { records: 1, bytes: 1_000 }), Ok(vec![2]));
    assert_eq!(log.chat(1, "a", 3, ALL), Ok(vec![]));
    assert_eq!(log.chat(1, "b", 1, ALL), Ok(vec![2]));
    assert_eq!(log.chat(1, "c", 0, ALL), Ok(vec![]));
}

fn opening_settles_what_was_submitted(log: &mut Subject) {
    let tail = log.open(1);
    log.append(1, tail, &record("a", 1)).expect("open");
    log.append(1, Pos(1), &record("a", 2)).expect("open");
    log.0.log().open(1, Owner { incarnation: 2, fence: 1 });
    let mut durable = Pos(0);
    let tail = loop {
        match log.0.wait() {
            Some(Event::Durable { slot: 1, upto }) => durable = upto,
            Some(Event::Failed { slot: 1, from, outcome: Outcome::Fenced | Outcome::Unavailable }) => {
                assert_eq!(from, durable.next());
            }
            Some(Event::Opened { slot: 1, tail: Ok(tail) }) => break tail,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(tail, durable, "what was not told as durable is not in the log");
    log.idle();
}

fn retention_forgets_the_oldest(log: &mut Subject) {
    let tail = log.open(1);
    let records: Vec<Record> = (1..=9).map(|offset| record("a", offset)).collect();
    let tail = log.write(1, tail, &records);
    log.0.log().retain(1, Retention { records: 3 });
    assert_eq!(log.read(1, 6, ALL), Err(LogError::Forgotten));
    assert_eq!(log.read(1, 7, ALL).map(|records| records.len()), Ok(3));
    assert_eq!(log.chat(1, "a", 5, ALL), Err(LogError::Forgotten));
    assert_eq!(log.chat(1, "a", 6, ALL), Ok(vec![7, 8, 9]));
    log.write(1, tail, &[record("a", 10)]);
    assert_eq!(log.chat(1, "a", 6, ALL), Err(LogError::Forgotten));
    assert_eq!(log.chat(1, "a", 10, ALL), Ok(vec![]));
}

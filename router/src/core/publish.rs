//! From a publish to its acknowledgement: admission, duplicates, offset, log, fan-out, answer.
//!
//! Order of things for one message: it is admitted (limits, slot, key), accepted by its chat (offset), submitted to the
//! log, and, when the log says durable, committed: shown to history, queued for each subscribed gateway, acknowledged.
//! When the log refuses, the offset is free again. When the log does not know, the offset stays taken until the log has
//! been opened again and its tail read.

use corecast_wire::limits::{MAX_OFFSET, MAX_TIME_MS};
use corecast_wire::message::{Publish, RefusalReason, ToGateway, UnsubscribedReason};

use super::limits::{KEYS_PER_PUBLISH, RETRY_AFTER};
use super::slots::{Pending, State};
use super::{Now, RouterCore, millis};
use crate::chat::{MESSAGE_OVERHEAD, Message};
use crate::keys::{Full, KeyId, Seen};
use crate::log::{Bounds, Event, Log, LogError, Outcome, Owner, Pos, Record, RecordRef, Rejected};

/// How much of a tail is read at once to settle unknown outcomes.
const SETTLE_BOUNDS: Bounds = Bounds { records: 1_000, bytes: 1 << 20 };

/// A refusal and its advice in milliseconds.
type Refused = (RefusalReason, u32);

/// What a publisher is told of an append that failed: the only place that decides it.
fn reason_of(outcome: Outcome) -> RefusalReason {
    match outcome {
        Outcome::Fenced => RefusalReason::WrongSlot,
        Outcome::Unavailable => RefusalReason::StorageUnavailable,
        Outcome::Unknown => RefusalReason::OutcomeUnknown,
    }
}

impl<L: Log> RouterCore<L> {
    pub(super) fn publish(&mut self, link: u32, publish: &Publish, now: Now) {
        self.stats.publishes += 1;
        if let Err((reason, retry_after_ms)) = self.try_publish(link, publish, now) {
            self.refuse(link, publish.request, reason, retry_after_ms);
        }
    }

    fn try_publish(&mut self, link: u32, publish: &Publish, now: Now) -> Result<(), Refused> {
        let retry = millis(RETRY_AFTER);
        if self.links[link as usize].requests >= self.config.limits.requests_per_link {
            return Err((RefusalReason::TooManyRequests, retry));
        }
        let bytes = publish.payload.len();
        if bytes > self.config.limits.payload_bytes {
            return Err((RefusalReason::TooLarge, 0));
        }
        let chat = self.chats.find_or_begin(&publish.chat, now.instant);
        let chat = chat.map_err(|_| (RefusalReason::TooManyChats, retry))?;
        self.chats.watch(chat, now.instant, self.config.limits.idle_retention);
        let asker = Some((self.link_id(link), publish.request));
        let mut key = None;
        if let Some(name) = &publish.key {
            self.expire_keys(KEYS_PER_PUBLISH, now);
            match self.keys.seen(chat, name) {
                Seen::Never => {}
                Seen::Done { offset } => {
                    self.acknowledge_duplicate(link, publish.request, chat, offset);
                    return Ok(());
                }
                Seen::Pending(original) => {
                    self.admit(chat, 0, now)?;
                    let duplicate =
                        Pending { chat, bytes: 0, offset: 0, pos: Pos(0), asker, key: Some(original), duplicate: true };
                    self.enqueue(link, duplicate);
                    return Ok(());
                }
            }
        }
        self.admit(chat, bytes, now)?;
        if let Some(name) = &publish.key {
            let began = self.keys.begin(chat, name).map_err(|full| key_table_full(full, now))?;
            self.chats.get_mut(chat).keys += 1;
            key = Some(began);
        }
        // The payload is copied: a slice would keep the whole received frame in memory for as long as the message.
        let payload = bytes::Bytes::copy_from_slice(&publish.payload);
        let message = Message { time_ms: now.unix_ms.min(MAX_TIME_MS), payload };
        let offset = self.chats.get_mut(chat).chat.accept(message);
        self.kept_bytes += bytes + MESSAGE_OVERHEAD;
        self.enqueue(link, Pending { chat, bytes: bytes as u32, offset, pos: Pos(0), asker, key, duplicate: false });
        Ok(())
    }

    /// Whether the chat's slot and the core's limits take another message now. Opens the slot if need be.
    fn admit(&mut self, chat: u32, bytes: usize, now: Now) -> Result<(), Refused> {
        let retry = millis(RETRY_AFTER);
        let limits = &self.config.limits;
        if self.pending >= limits.pending || self.pending_bytes + bytes > limits.pending_bytes {
            return Err((RefusalReason::Overloaded, retry));
        }
        let entry = self.chats.get(chat);
        if entry.chat.assigned() >= MAX_OFFSET - 1 {
            return Err((RefusalReason::Exhausted, 0));
        }
        let slot = entry.slot;
        match self.slots[usize::from(slot)].state {
            State::Open | State::Opening => return Ok(()),
            State::Lost => return Err((RefusalReason::WrongSlot, 0)),
            State::Settling { .. } => return Err((RefusalReason::StorageUnavailable, retry)),
            State::Suspended { until } if now.instant < until => {
                return Err((RefusalReason::StorageUnavailable, millis(until - now.instant)));
            }
            State::Closed | State::Suspended { .. } => {}
        }
        self.slots[usize::from(slot)].state = State::Opening;
        self.log.open(slot, self.owner());
        Ok(())
    }

    fn enqueue(&mut self, link: u32, pending: Pending) {
        self.links[link as usize].requests += 1;
        self.pending += 1;
        self.pending_bytes += pending.bytes as usize;
        let number = self.chats.get(pending.chat).slot;
        let slot = &mut self.slots[usize::from(number)];
        slot.waiting.push_back(pending);
        if !std::mem::replace(&mut slot.listed, true) {
            self.to_submit.push(number);
        }
    }

    /// Moves everything forward that the log can move: submissions, then events, until neither has anything new.
    pub(super) fn pump(&mut self, now: Now) {
        loop {
            let mut busy = false;
            if !self.to_submit.is_empty() {
                let slots = std::mem::replace(&mut self.to_submit, std::mem::take(&mut self.spare));
                for &slot in &slots {
                    self.slots[usize::from(slot)].listed = false;
                    busy |= !self.submit(slot);
                }
                self.spare = slots;
                self.spare.clear();
                self.log.flush();
            }
            while let Some(event) = self.log.poll() {
                self.handle_log(event, now);
            }
            // A busy log gets what it did not take at the next pump: its events lead to one.
            if self.to_submit.is_empty() || busy {
                return;
            }
        }
    }

    /// Hands what waits in an open slot to the log; false if the log is busy.
    fn submit(&mut self, number: u16) -> bool {
        let slot = &mut self.slots[usize::from(number)];
        if slot.state != State::Open {
            return true;
        }
        while let Some(pending) = slot.waiting.get_mut(slot.submitted) {
            if !pending.duplicate {
                let entry = self.chats.get(pending.chat);
                let Some(message) = entry.chat.accepted(pending.offset) else {
                    debug_assert!(false, "a waiting publish is in its chat");
                    return true;
                };
                let record = RecordRef {
                    chat: &entry.name,
                    epoch: entry.chat.epoch(),
                    offset: pending.offset,
                    time_ms: message.time_ms,
                    key: pending.key.and_then(|id| self.keys.key(id)),
                    payload: &message.payload,
                };
                match self.log.append(number, slot.tail, record) {
                    Ok(pos) => slot.tail = pos,
                    Err(Rejected::Busy) => {
                        slot.listed = true;
                        self.to_submit.push(number);
                        return false;
                    }
                    // The failure that closed the slot is among the events.
                    Err(Rejected::NotOpen) => return true,
                }
            }
            pending.pos = slot.tail;
            slot.submitted += 1;
        }
        true
    }

    fn handle_log(&mut self, event: Event, now: Now) {
        match event {
            Event::Durable { slot, upto } => {
                let slot = usize::from(slot);
                while let Some(pending) = self.slots.get_mut(slot).and_then(|slot| slot.pop_durable(upto)) {
                    self.settled(pending, now);
                }
            }
            Event::Failed { slot, outcome, .. } => self.handle_failed(slot, outcome, now),
            Event::Opened { slot, tail } => self.handle_opened(slot, tail, now),
            Event::Records { read, records } => {
                if let Ok(slot) = u16::try_from(read) {
                    self.handle_records(slot, records, now);
                }
            }
        }
    }

    /// A message is durable, or a duplicate's original has its outcome.
    fn settled(&mut self, pending: Pending, now: Now) {
        self.pending -= 1;
        self.pending_bytes -= pending.bytes as usize;
        if pending.duplicate {
            let Some((link, request)) = pending.asker else { return };
            let Some(index) = self.answering(link) else { return };
            match pending.key.and_then(|id| self.keys.offset(id)) {
                Some(offset) => self.acknowledge_duplicate(index, request, pending.chat, offset),
                None => self.refuse(index, request, RefusalReason::StorageUnavailable, millis(RETRY_AFTER)),
            }
            return;
        }
        self.commit(&pending, now);
        if let Some(key) = pending.key {
            self.keys.done(key, pending.offset, now.instant);
        }
        let Some((link, request)) = pending.asker else { return };
        let epoch = self.chats.get(pending.chat).chat.epoch();
        if let Some(index) = self.answering(link) {
            self.send(index, &ToGateway::Ack { request, epoch, offset: pending.offset, duplicate: false });
        }
    }

    /// Shows a durable message to everyone: the only place where an update is made.
    fn commit(&mut self, pending: &Pending, now: Now) {
        let limits = &self.config.limits;
        let entry = self.chats.get_mut(pending.chat);
        entry.last_used = now.instant;
        let before = entry.chat.memory();
        let committed = entry.chat.commit(&limits.kept);
        debug_assert_eq!(committed, Some(pending.offset));
        self.kept_bytes -= before - entry.chat.memory();
        self.stats.committed += 1;
        self.stats.committed_bytes += u64::from(pending.bytes);
        let Some(message) = entry.chat.message(pending.offset) else { return };
        for subscriber in &mut entry.subscribers {
            if subscriber.behind {
                self.stats.withheld += 1;
                continue;
            }
            let link = &mut self.links[subscriber.link as usize];
            if link.queue.bytes() > limits.link_soft_bytes {
                subscriber.behind = true;
                link.behind.push_back(subscriber.handle);
                self.stats.lagged += 1;
                self.stats.withheld += 1;
                continue;
            }
            link.queue.push_update(subscriber.handle, pending.offset, message.time_ms, &message.payload);
            self.stats.updates += 1;
            if !std::mem::replace(&mut link.listed, true) {
                self.to_send.push(subscriber.link);
            }
        }
    }

    fn handle_failed(&mut self, slot: u16, outcome: Outcome, now: Now) {
        tracing::warn!(slot, ?outcome, "the log did not take messages");
        match outcome {
            Outcome::Fenced => self.lose(slot, now),
            Outcome::Unavailable => self.suspend(slot, now),
            Outcome::Unknown => self.settle_later(slot),
        }
    }

    fn handle_opened(&mut self, number: u16, tail: Result<Pos, LogError>, now: Now) {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        match (slot.state, tail) {
            (State::Opening, Ok(tail)) => {
                slot.state = State::Open;
                slot.tail = tail;
                if !std::mem::replace(&mut slot.listed, true) {
                    self.to_submit.push(number);
                }
            }
            (State::Settling { .. }, Ok(tail)) => {
                slot.tail = tail;
                self.read_tail(number);
            }
            (State::Opening | State::Settling { .. }, Err(LogError::Fenced)) => self.lose(number, now),
            (State::Opening, Err(_)) => self.suspend(number, now),
            (State::Settling { .. }, Err(_)) => {
                slot.state = State::Settling { retry: Some(now.instant + RETRY_AFTER) };
                self.check_by(now.instant + RETRY_AFTER);
            }
            (State::Closed | State::Open | State::Suspended { .. } | State::Lost, _) => {}
        }
    }

    /// The slot takes nothing for a while; everything that waits is refused, nothing of it is in the log.
    fn suspend(&mut self, slot: u16, now: Now) {
        self.abandon(slot, reason_of(Outcome::Unavailable), millis(RETRY_AFTER));
        self.slots[usize::from(slot)].state = State::Suspended { until: now.instant + RETRY_AFTER };
    }

    /// Another owner has the slot: its chats end here.
    fn lose(&mut self, slot: u16, now: Now) {
        tracing::error!(slot, "another owner has taken the slot");
        self.abandon(slot, reason_of(Outcome::Fenced), 0);
        self.slots[usize::from(slot)].state = State::Lost;
        self.stats.slots_lost += 1;
        for chat in self.chats.of_slot(slot) {
            for subscriber in std::mem::take(&mut self.chats.get_mut(chat).subscribers) {
                let handle = subscriber.handle;
                self.links[subscriber.link as usize].handles.remove(&handle);
                let reason = UnsubscribedReason::WrongSlot;
                self.send(subscriber.link, &ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 });
            }
            self.chats.watch(chat, now.instant, self.config.limits.idle_retention);
        }
    }

    /// Whether messages are in the log is unknown: their publishers are told so, their offsets stay taken, and the log
    /// is opened again to find out.
    fn settle_later(&mut self, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        slot.state = State::Settling { retry: None };
        let submitted = slot.submitted;
        let mut open = Vec::new();
        let (mut kept, mut kept_submitted) = (std::collections::VecDeque::new(), 0);
        for (index, mut pending) in slot.take_all().into_iter().enumerate() {
            let outcome = if index < submitted { Outcome::Unknown } else { Outcome::Unavailable };
            open.extend(pending.asker.take().map(|asker| (asker, outcome)));
            if pending.duplicate {
                self.pending -= 1;
            } else {
                kept_submitted += usize::from(index < submitted);
                kept.push_back(pending);
            }
        }
        (slot.waiting, slot.submitted) = (kept, kept_submitted);
        for ((link, request), outcome) in open {
            self.stats.unknown_outcomes += u64::from(outcome == Outcome::Unknown);
            if let Some(index) = self.answering(link) {
                let retry = if outcome == Outcome::Unknown { 0 } else { millis(RETRY_AFTER) };
                self.refuse(index, request, reason_of(outcome), retry);
            }
        }
        self.log.open(number, self.owner());
    }

    /// Asks again about unknown outcomes whose time has come.
    pub(super) fn retry_settling(&mut self, now: Now) {
        for number in 0..self.slots.len() {
            let State::Settling { retry: Some(retry) } = self.slots[number].state else { continue };
            if retry <= now.instant {
                self.slots[number].state = State::Settling { retry: None };
                self.log.open(number as u16, self.owner());
            } else {
                self.check_by(retry);
            }
        }
    }

    /// Reads what of the open outcomes is in the log; when nothing can be (any more), the slot is open.
    fn read_tail(&mut self, number: u16) {
        let slot = &mut self.slots[usize::from(number)];
        let first = slot.waiting.front().filter(|_| slot.submitted > 0).map(|pending| pending.pos);
        match first {
            Some(first) if first <= slot.tail => self.log.read(u64::from(number), number, first, SETTLE_BOUNDS),
            _ => {
                self.abandon(number, reason_of(Outcome::Unavailable), millis(RETRY_AFTER));
                self.slots[usize::from(number)].state = State::Open;
            }
        }
    }

    fn handle_records(&mut self, number: u16, records: Result<Vec<(Pos, Record)>, LogError>, now: Now) {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else { return };
        if !matches!(slot.state, State::Settling { .. }) {
            return;
        }
        let records = match records {
            Ok(records) if !records.is_empty() => records,
            _ => {
                slot.state = State::Settling { retry: Some(now.instant + RETRY_AFTER) };
                self.check_by(now.instant + RETRY_AFTER);
                return;
            }
        };
        for (pos, record) in records {
            let front = self.slots[usize::from(number)].waiting.front();
            let ours = front.is_some_and(|pending| {
                let entry = self.chats.get(pending.chat);
                (pending.pos, pending.offset) == (pos, record.offset)
                    && (entry.chat.epoch(), &entry.name) == (record.epoch, &record.chat)
            });
            if !ours {
                self.lose(number, now);
                return;
            }
            if let Some(pending) = self.slots[usize::from(number)].pop_durable(pos) {
                self.settled(pending, now);
            }
        }
        self.read_tail(number);
    }

    /// Refuses everything that waits in a slot and gives its offsets back. Only for what is not in the log.
    fn abandon(&mut self, slot: u16, reason: RefusalReason, retry_after_ms: u32) {
        let waiting = self.slots[usize::from(slot)].take_all();
        for pending in waiting {
            self.pending -= 1;
            self.pending_bytes -= pending.bytes as usize;
            if !pending.duplicate {
                let entry = self.chats.get_mut(pending.chat);
                let before = entry.chat.memory();
                entry.chat.abort();
                self.kept_bytes -= before - entry.chat.memory();
                if let Some(chat) = pending.key.and_then(|key: KeyId| self.keys.forget(key)) {
                    self.chats.get_mut(chat).keys -= 1;
                }
            }
            if let Some((link, request)) = pending.asker
                && let Some(index) = self.answering(link)
            {
                self.refuse(index, request, reason, retry_after_ms);
            }
        }
    }

    fn acknowledge_duplicate(&mut self, link: u32, request: u64, chat: u32, offset: u64) {
        self.stats.duplicates += 1;
        let epoch = self.chats.get(chat).chat.epoch();
        self.send(link, &ToGateway::Ack { request, epoch, offset, duplicate: true });
    }

    /// Takes up to `count` keys out whose window is over. A key that is forgotten late does no harm.
    pub(super) fn expire_keys(&mut self, count: usize, now: Now) {
        for _ in 0..count {
            let Some(chat) = self.keys.expire(now.instant) else { return };
            self.chats.get_mut(chat).keys -= 1;
        }
    }

    fn owner(&self) -> Owner {
        Owner { incarnation: self.config.incarnation, fence: 0 }
    }
}

fn key_table_full(full: Full, now: Now) -> Refused {
    let wait = full.next_end.map_or(RETRY_AFTER, |end| end.saturating_duration_since(now.instant));
    (RefusalReason::KeyTableFull, millis(wait))
}

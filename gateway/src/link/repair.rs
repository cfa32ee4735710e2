//! Gaps: what is missing is fetched by `History` while the updates that come meanwhile are kept.
//!
//! Invariants:
//! * During a repair the cores hold the position `last` as ever; they only see that updates come late.
//! * What is kept is bounded per chat and in total. Beyond that updates are dropped and fetched like the missing ones.
//! * Each answer brings a repair forward, or ends it: with a reset, if what is missing is lost.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use corecast_wire::message::{History, HistoryResult, Publication, Update};
use corecast_wire::{MessageError, ToRouter};

use super::chats::Repair;
use super::config::{
    LINGER_AFTER_RESET, REPAIR_BYTES, REPAIR_KEPT_BYTES, REPAIR_KEPT_BYTES_TOTAL, REPAIR_KEPT_UPDATES,
    REPAIR_PUBLICATIONS, REPAIR_ROUNDS_MAX, REPAIR_TIMEOUT, REPAIRS_UNANSWERED_MAX,
};
use super::inbound::deliver;
use super::requests::Asked;
use super::{ChatPhase, FromLink, Link, LinkError, ResetReason};

/// All repairs of a link.
#[derive(Default)]
pub(super) struct Repairs {
    /// Chats with a question to ask.
    queue: VecDeque<u32>,
    unanswered: usize,
    kept_bytes: usize,
}

impl Repairs {
    /// Forgets all repairs.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn keep(&mut self, repair: &mut Repair, update: &Update) {
        let bytes = update.payload.len();
        if repair.kept.len() < REPAIR_KEPT_UPDATES
            && repair.kept_bytes + bytes <= REPAIR_KEPT_BYTES
            && self.kept_bytes + bytes <= REPAIR_KEPT_BYTES_TOTAL
        {
            repair.kept_bytes += bytes;
            self.kept_bytes += bytes;
            // A copy: a slice would keep the whole batch, and the limits would count a fraction of it.
            let payload = Bytes::copy_from_slice(&update.payload);
            repair.kept.push_back(Publication { offset: update.offset, time_ms: update.time_ms, payload });
        } else {
            repair.target = repair.target.max(update.offset);
        }
    }

    fn release(&mut self, repair: &mut Repair) -> Option<Publication> {
        let update = repair.kept.pop_front()?;
        repair.kept_bytes -= update.payload.len();
        self.kept_bytes -= update.payload.len();
        Some(update)
    }
}

impl<O: Copy> Link<O> {
    /// Everything up to `target` has to be fetched.
    pub(super) fn begin_repair(&mut self, handle: u32, target: u64, now: Instant) {
        let Some((lane, detail)) = self.chats.both(handle) else { return };
        if lane.targets.is_empty() {
            lane.last = lane.last.max(target); // nobody misses anything
            return;
        }
        if let Some(repair) = &mut detail.repair {
            repair.target = repair.target.max(target);
            return;
        }
        lane.phase = ChatPhase::Repairing;
        detail.repair = Some(Box::new(Repair { target, ..Repair::default() }));
        self.stats.repairs += 1;
        self.repairs.queue.push_back(handle);
        self.ask_repairs(now);
    }

    /// An update of a chat that is being repaired.
    pub(super) fn keep_update(&mut self, update: &Update) {
        let Some((lane, detail)) = self.chats.both(update.handle) else { return };
        let Some(repair) = &mut detail.repair else { return };
        if update.offset <= lane.last.max(repair.kept.back().map_or(0, |kept| kept.offset)) {
            self.stats.duplicates += 1;
            return;
        }
        self.repairs.keep(repair, update);
    }

    /// Asks for what is missing, as far as the router may be asked now.
    pub(super) fn ask_repairs(&mut self, now: Instant) {
        while self.repairs.unanswered < REPAIRS_UNANSWERED_MAX
            && let Some(handle) = self.repairs.queue.pop_front()
        {
            let Some((chat, since)) = self.chats.position(handle) else { continue };
            let Some(repair) = self.chats.detail(handle).and_then(|detail| detail.repair.as_mut()) else { continue };
            if repair.asked.is_some() {
                continue; // the handle stands for another chat by now
            }
            let request = self.requests.insert(Asked::Repair { handle }, now + REPAIR_TIMEOUT);
            repair.asked = Some(request);
            repair.rounds += 1;
            self.repairs.unanswered += 1;
            self.push(&ToRouter::History(History {
                request,
                chat,
                since: Some(since),
                limit: REPAIR_PUBLICATIONS,
                max_bytes: REPAIR_BYTES,
                reverse: false,
            }));
        }
    }

    /// What was asked for has come.
    pub(super) fn continue_repair(
        &mut self,
        handle: u32,
        result: HistoryResult,
        now: Instant,
    ) -> Result<(), LinkError> {
        if !self.end_question(handle, result.request) {
            return Ok(());
        }
        let Some((lane, detail)) = self.chats.both(handle) else { return Ok(()) };
        let Some(repair) = &mut detail.repair else { return Ok(()) };
        if detail.epoch != Some(result.epoch) {
            // A router ends a subscription before it gives a chat another epoch.
            return Err(MessageError::Unexpected { message: "HistoryResult" }.into());
        }
        let before = lane.last;
        for update in result.publications {
            if update.offset == lane.last + 1 {
                lane.last = update.offset;
                deliver(lane, update, &mut self.events, &mut self.stats);
            } else if update.offset > lane.last {
                break; // what lies between is kept by nobody
            }
        }
        let progress = lane.last > before;
        while let Some(update) = repair.kept.front()
            && update.offset <= lane.last + 1
        {
            let next = update.offset == lane.last + 1;
            if let Some(update) = self.repairs.release(repair)
                && next
            {
                lane.last = update.offset;
                deliver(lane, update, &mut self.events, &mut self.stats);
            }
        }
        if repair.kept.is_empty() && lane.last >= repair.target {
            lane.phase = ChatPhase::Live;
            detail.repair = None;
        } else if progress && repair.rounds < REPAIR_ROUNDS_MAX {
            self.repairs.queue.push_back(handle);
        } else {
            self.fail_repair(handle, now);
        }
        self.ask_repairs(now);
        Ok(())
    }

    /// What was asked for will not come.
    pub(super) fn refuse_repair(&mut self, handle: u32, request: u64, now: Instant) {
        if self.end_question(handle, request) {
            self.fail_repair(handle, now);
        }
        self.ask_repairs(now);
    }

    /// Whether the question that ends is the one that this chat's repair waits for.
    fn end_question(&mut self, handle: u32, request: u64) -> bool {
        self.repairs.unanswered = self.repairs.unanswered.saturating_sub(1);
        match self.chats.detail(handle).and_then(|detail| detail.repair.as_mut()) {
            Some(repair) if repair.asked == Some(request) => {
                repair.asked = None;
                true
            }
            _ => false, // the chat was left, or the handle stands for another one
        }
    }

    fn fail_repair(&mut self, handle: u32, now: Instant) {
        self.stats.repairs_failed += 1;
        self.abandon_repair(handle);
        self.reset_targets(handle, ResetReason::Lost, now);
    }

    /// Nobody needs what is missing: the chat goes on behind everything that is known to exist.
    pub(super) fn abandon_repair(&mut self, handle: u32) {
        let Some((lane, detail)) = self.chats.both(handle) else { return };
        if let Some(mut repair) = detail.repair.take() {
            lane.last = lane.last.max(repair.highest());
            lane.phase = ChatPhase::Live;
            while self.repairs.release(&mut repair).is_some() {}
        }
    }

    /// Ends all joins of a chat.
    pub(super) fn reset_targets(&mut self, handle: u32, reason: ResetReason, now: Instant) {
        while let Some(target) = self.chats.lane(handle).and_then(|lane| lane.targets.last().copied()) {
            self.chats.unbind(target.core, target.local);
            self.stats.resets += 1;
            self.events.push_back((target.core, FromLink::Reset { local: target.local, reason }));
        }
        let linger = self.config.limits.linger.max(LINGER_AFTER_RESET);
        self.begin_linger(handle, linger, now);
    }
}

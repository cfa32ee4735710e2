//! Subscriptions: each chat once, written no faster than the router answers, ended when nobody wants it any more.
//!
//! Invariants:
//! * Whoever is joined holds the position that the subscription continues; whoever is not is told as soon as it stands.
//! * A subscription without an answer does not keep anybody waiting: after [`SUBSCRIBE_TIMEOUT`] its joins are reset.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use corecast_wire::message::{SubscribeOutcome, Subscribed, UnsubscribedReason};
use corecast_wire::{MessageError, Position, ToRouter};

use super::config::{MEMBERS_TICK, SUBSCRIBE_QUEUE_BYTES, SUBSCRIBE_TIMEOUT, SUBSCRIBES_UNANSWERED_MAX};
use super::lifecycle::Phase;
use super::{ChatPhase, FromLink, Link, LinkError, ResetReason};

fn unexpected(message: &'static str) -> LinkError {
    MessageError::Unexpected { message }.into()
}

impl<O: Copy> Link<O> {
    /// Notes that a chat is to be subscribed, once the link is up.
    pub(super) fn enqueue_subscribe(&mut self, handle: u32) {
        if !matches!(self.phase, Phase::Up(_)) {
            return; // all that wait are queued when it comes up
        }
        if let Some(detail) = self.chats.detail(handle)
            && !std::mem::replace(&mut detail.queued, true)
        {
            self.to_subscribe.push_back(handle);
        }
    }

    /// Writes subscriptions as long as the router keeps up with them.
    pub(super) fn write_subscribes(&mut self, now: Instant) {
        while self.subscribes_unanswered < SUBSCRIBES_UNANSWERED_MAX
            && self.encoder.queued_bytes() < SUBSCRIBE_QUEUE_BYTES
            && let Some(handle) = self.to_subscribe.pop_front()
        {
            let Some((lane, detail)) = self.chats.both(handle) else { continue };
            detail.queued = false;
            if lane.phase != ChatPhase::Waiting {
                continue; // left meanwhile
            }
            lane.phase = ChatPhase::Subscribing;
            let deadline = now + SUBSCRIBE_TIMEOUT;
            detail.unanswered = Some(deadline);
            self.subscribe_deadlines.push_back((deadline, handle));
            self.subscribes_unanswered += 1;
            if let Some(subscribe) = self.chats.subscribe(handle) {
                self.push(&ToRouter::Subscribe(subscribe));
            }
        }
    }

    /// A `Subscribe` has its answer.
    fn end_subscribe(&mut self) {
        self.subscribes_unanswered -= 1;
        while let Some(&(deadline, handle)) = self.subscribe_deadlines.front()
            && self.chats.detail(handle).is_none_or(|detail| detail.unanswered != Some(deadline))
        {
            self.subscribe_deadlines.pop_front();
        }
    }

    /// Resets the joins of subscriptions that the router leaves without an answer. The answer may still come.
    pub(super) fn reset_overdue(&mut self, now: Instant) {
        while let Some(&(deadline, handle)) = self.subscribe_deadlines.front()
            && deadline <= now
        {
            self.subscribe_deadlines.pop_front();
            let Some((lane, detail)) = self.chats.both(handle) else { continue };
            if detail.unanswered == Some(deadline) && lane.phase == ChatPhase::Subscribing {
                detail.is_overdue = true;
                self.reset_targets(handle, ResetReason::Unanswered, now);
            }
        }
    }

    /// The last core has left a chat: unsubscribes it now or later.
    pub(super) fn begin_linger(&mut self, handle: u32, linger: Duration, now: Instant) {
        self.abandon_repair(handle);
        let Some((lane, detail)) = self.chats.both(handle) else { return };
        debug_assert!(lane.targets.is_empty());
        match lane.phase {
            ChatPhase::Waiting => self.chats.free(handle),
            ChatPhase::Subscribing | ChatPhase::Live | ChatPhase::Repairing => {
                if linger.is_zero() {
                    self.unsubscribe(handle);
                } else {
                    detail.linger_until = Some(now + linger);
                    self.lingers.push(Reverse((now + linger, handle)));
                    self.note_members(handle, now);
                }
            }
            ChatPhase::Free | ChatPhase::Unsubscribing => {}
        }
    }

    /// Unsubscribes the chats whose time has come.
    pub(super) fn end_lingers(&mut self, now: Instant) {
        while let Some(&Reverse((at, handle))) = self.lingers.peek()
            && at <= now
        {
            self.lingers.pop();
            // Somebody may have joined meanwhile, or the handle may stand for another chat.
            if self.chats.detail(handle).is_some_and(|detail| detail.linger_until == Some(at)) {
                self.unsubscribe(handle);
            }
        }
    }

    fn unsubscribe(&mut self, handle: u32) {
        let Some((lane, detail)) = self.chats.both(handle) else { return };
        debug_assert!(lane.targets.is_empty());
        detail.linger_until = None;
        lane.phase = ChatPhase::Unsubscribing;
        self.chats.forget_name(handle);
        self.push(&ToRouter::Unsubscribe { handle });
    }

    /// Notes that a chat's member count may have changed.
    pub(super) fn note_members(&mut self, handle: u32, now: Instant) {
        if let Some(detail) = self.chats.detail(handle)
            && !std::mem::replace(&mut detail.dirty, true)
        {
            self.dirty_members.push(handle);
            self.members_due.get_or_insert(now + MEMBERS_TICK);
        }
    }

    /// Sends changed member counts, if it is time.
    pub(super) fn send_members(&mut self, now: Instant) {
        if self.members_due.is_none_or(|due| due > now) {
            return;
        }
        self.members_due = None;
        if self.encoder.queued_bytes() >= self.config.limits.outbound_bytes_max {
            self.members_due = Some(now + MEMBERS_TICK);
            return;
        }
        for handle in std::mem::take(&mut self.dirty_members) {
            if let Some(detail) = self.chats.detail(handle) {
                detail.dirty = false;
                self.send_members_of(handle);
            }
        }
    }

    /// Sends the member count of a chat, if the router was told another one. A chat that is not subscribed (any more) has
    /// it sent once it is.
    pub(super) fn send_members_of(&mut self, handle: u32) {
        let Some((lane, detail)) = self.chats.both(handle) else { return };
        if !matches!(lane.phase, ChatPhase::Live | ChatPhase::Repairing) {
            return;
        }
        let count = lane.targets.iter().fold(0_u32, |sum, target| sum.saturating_add(target.members));
        if count != detail.members_sent {
            detail.members_sent = count;
            self.push(&ToRouter::Members { handle, count });
        }
    }

    pub(super) fn on_subscribed(&mut self, subscribed: &Subscribed, now: Instant) -> Result<(), LinkError> {
        let Subscribed { handle, epoch, offset, start, oldest, outcome } = *subscribed;
        let asked = self.chats.subscribe(handle).and_then(|subscribe| subscribe.resume);
        let Some(detail) = self.chats.detail(handle) else { return Err(unexpected("Subscribed")) };
        if detail.unanswered.take().is_none() {
            return Err(unexpected("Subscribed"));
        }
        detail.is_overdue = false;
        self.end_subscribe();
        let Some((lane, detail)) = self.chats.both(handle) else { return Ok(()) };
        if lane.phase == ChatPhase::Unsubscribing {
            return Ok(());
        }
        let resumed = outcome == SubscribeOutcome::Resumed;
        if resumed && asked != Some(Position { epoch, offset: start }) {
            return Err(unexpected("Subscribed"));
        }
        lane.phase = ChatPhase::Live;
        lane.last = start;
        detail.epoch = Some(epoch);
        detail.top = offset;
        detail.oldest = oldest;
        if !resumed {
            // Whoever was joined holds a position that this subscription does not continue.
            let cut: Vec<_> = lane.targets.iter().filter(|target| target.joined).copied().collect();
            for target in cut {
                self.chats.unbind(target.core, target.local);
                self.stats.resets += 1;
                let reason = ResetReason::NotResumed;
                self.events.push_back((target.core, FromLink::Reset { local: target.local, reason }));
            }
        }
        let Some(lane) = self.chats.lane(handle) else { return Ok(()) };
        for target in lane.targets.iter_mut().filter(|target| !target.joined) {
            target.joined = true;
            let (local, position, top) = (target.local, Position { epoch, offset: start }, offset);
            self.events.push_back((target.core, FromLink::Joined { local, position, top, oldest, outcome }));
        }
        if !lane.targets.is_empty() {
            self.note_members(handle, now);
        } else if self.chats.detail(handle).is_some_and(|detail| detail.linger_until.is_none()) {
            // All were cut: they are about to come back.
            self.reset_targets(handle, ResetReason::NotResumed, now);
        }
        Ok(())
    }

    pub(super) fn on_unsubscribed(
        &mut self,
        handle: u32,
        reason: UnsubscribedReason,
        now: Instant,
    ) -> Result<(), LinkError> {
        let requested = reason == UnsubscribedReason::Requested;
        let phase = self.chats.phase(handle);
        let Some(detail) = self.chats.detail(handle) else { return Err(unexpected("Unsubscribed")) };
        if detail.unanswered.take().is_some() {
            self.end_subscribe();
        }
        match phase {
            ChatPhase::Unsubscribing if requested => self.chats.free(handle),
            // It crossed our `Unsubscribe`, whose answer is still to come.
            ChatPhase::Unsubscribing => {}
            ChatPhase::Subscribing | ChatPhase::Live | ChatPhase::Repairing if !requested => {
                self.abandon_repair(handle);
                // The router knows the handle no more: nothing is to be unsubscribed.
                if let Some(lane) = self.chats.lane(handle) {
                    lane.phase = ChatPhase::Waiting;
                }
                self.reset_targets(handle, ResetReason::Refused(reason), now);
            }
            _ => return Err(unexpected("Unsubscribed")),
        }
        Ok(())
    }
}

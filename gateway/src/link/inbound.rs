//! What the router says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast_wire::message::{HistoryResult, Publication, RefusalReason, Update};
use corecast_wire::{MessageError, Messages, Position, ToGateway, ToRouter};

use super::chats::Lane;
use super::config::OUTBOUND_SLACK_BYTES;
use super::lifecycle::Phase;
use super::requests::{Asked, Open};
use super::{
    Acked, ChatPhase, CoreId, FromLink, HistoryPage, Link, LinkError, LinkNotice, LinkStats, PresenceStats,
    PublishError, RequestError,
};

fn unexpected(message: &'static str) -> LinkError {
    MessageError::Unexpected { message }.into()
}

/// Passes an update on to all targets of its chat.
#[inline]
pub(super) fn deliver<O>(
    lane: &Lane,
    update: Publication,
    events: &mut VecDeque<(CoreId, FromLink<O>)>,
    stats: &mut LinkStats,
) {
    let Publication { offset, time_ms, payload } = update;
    stats.deliveries += lane.targets.len() as u64;
    let Some((last, others)) = lane.targets.split_last() else { return };
    for target in others {
        let (local, payload) = (target.local, payload.clone());
        events.push_back((target.core, FromLink::Update { local, offset, time_ms, payload }));
    }
    events.push_back((last.core, FromLink::Update { local: last.local, offset, time_ms, payload }));
}

impl<O: Copy> Link<O> {
    /// Bytes from the router. Ignored unless a connection is made.
    ///
    /// # Errors
    /// [`LinkError`], and the link has given the connection up: the driver closes it and does not report its end.
    pub fn handle_received(&mut self, chunk: &[u8], now: Instant) -> Result<(), LinkError> {
        match &mut self.phase {
            Phase::Up(link) => link.last_heard = now,
            Phase::Handshake { .. } => {}
            Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Stopped => return Ok(()),
        }
        self.stats.received_bytes += chunk.len() as u64;
        self.decoder.feed(chunk);
        self.process(now).inspect_err(|&error| self.abort(error, now))
    }

    fn process(&mut self, now: Instant) -> Result<(), LinkError> {
        while let Some(body) = self.decoder.next_body()? {
            for message in Messages::<ToGateway>::new(body) {
                match message? {
                    ToGateway::Update(update) => self.on_update(update, now)?,
                    other => self.on_message(other, now)?,
                }
            }
        }
        if self.encoder.queued_bytes() > self.config.limits.outbound_bytes_max + OUTBOUND_SLACK_BYTES {
            return Err(LinkError::Overflow);
        }
        Ok(())
    }

    #[inline]
    fn on_update(&mut self, update: Update, now: Instant) -> Result<(), LinkError> {
        self.stats.updates += 1;
        if let Some(lane) = self.chats.lane(update.handle)
            && lane.phase == ChatPhase::Live
            && update.offset == lane.last + 1
        {
            lane.last = update.offset;
            let Update { offset, time_ms, payload, .. } = update;
            deliver(lane, Publication { offset, time_ms, payload }, &mut self.events, &mut self.stats);
            return Ok(());
        }
        self.on_irregular_update(&update, now)
    }

    #[cold]
    fn on_irregular_update(&mut self, update: &Update, now: Instant) -> Result<(), LinkError> {
        let Some(lane) = self.chats.lane(update.handle) else { return Err(unexpected("Update")) };
        match lane.phase {
            ChatPhase::Live if update.offset <= lane.last => self.stats.duplicates += 1,
            ChatPhase::Live if lane.targets.is_empty() => lane.last = update.offset,
            ChatPhase::Live => {
                self.begin_repair(update.handle, update.offset - 1, now);
                self.keep_update(update);
            }
            ChatPhase::Repairing => self.keep_update(update),
            ChatPhase::Unsubscribing => {}
            ChatPhase::Free | ChatPhase::Waiting | ChatPhase::Subscribing => return Err(unexpected("Update")),
        }
        Ok(())
    }

    fn on_message(&mut self, message: ToGateway, now: Instant) -> Result<(), LinkError> {
        let Phase::Up(link) = &mut self.phase else { return self.on_handshake(message, now) };
        match message {
            ToGateway::Update(update) => self.on_update(update, now),
            ToGateway::Subscribed(subscribed) => self.on_subscribed(&subscribed, now),
            ToGateway::Unsubscribed { handle, reason, .. } => self.on_unsubscribed(handle, reason, now),
            ToGateway::Lagged { handle, epoch, offset } => self.on_lagged(handle, epoch, offset, now),
            ToGateway::Ack { .. }
            | ToGateway::Refusal { .. }
            | ToGateway::HistoryResult(_)
            | ToGateway::PresenceResult { .. }
            | ToGateway::SignalResult { .. }
            | ToGateway::NodesResult { .. } => self.on_answer(message, now),
            ToGateway::Signal(signal) => {
                let signal = Arc::new(signal);
                for core in 0..self.config.cores {
                    self.events.push_back((core, FromLink::Signal(Arc::clone(&signal))));
                }
                Ok(())
            }
            ToGateway::GoAway(away) => {
                link.draining = true;
                let drain = Duration::from_millis(u64::from(away.drain_ms));
                self.notice(LinkNotice::GoAway { reason: away.reason, drain });
                // With nothing to drain nothing follows: until the router closes, every publish would only be refused.
                if drain.is_zero() { Err(LinkError::Disconnected) } else { Ok(()) }
            }
            ToGateway::Ping { nonce } => {
                self.push(&ToRouter::Pong { nonce });
                Ok(())
            }
            ToGateway::Pong { nonce } => {
                if let Some(round_trip) = link.on_pong(nonce, now) {
                    self.stats.round_trip_us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                }
                Ok(())
            }
            // Nobody asked for slots that move.
            ToGateway::Moved { .. } => Err(unexpected("Moved")),
            ToGateway::Challenge { .. } => Err(unexpected("Challenge")),
            ToGateway::Welcome(_) => Err(unexpected("Welcome")),
            ToGateway::Refused(_) => Err(unexpected("Refused")),
        }
    }

    /// An answer to a request. One that comes too late finds nobody; one of the wrong kind is a bug of the router.
    fn on_answer(&mut self, message: ToGateway, now: Instant) -> Result<(), LinkError> {
        let (ToGateway::Ack { request, .. }
        | ToGateway::Refusal { request, .. }
        | ToGateway::HistoryResult(HistoryResult { request, .. })
        | ToGateway::PresenceResult { request, .. }
        | ToGateway::SignalResult { request, .. }
        | ToGateway::NodesResult { request, .. }) = message
        else {
            return Err(unexpected("answer"));
        };
        let open = self.requests.take(request);
        self.requests.tidy();
        let Some(Open { asked, .. }) = open else {
            self.stats.late_answers += 1;
            return Ok(());
        };
        let (core, event) = match (asked, message) {
            (Asked::Publish(core, origin), ToGateway::Ack { epoch, offset, duplicate, .. }) => {
                let acked = Acked { position: Position { epoch, offset }, duplicate };
                (core, FromLink::Published { origin, result: Ok(acked) })
            }
            (Asked::Repair { handle }, ToGateway::HistoryResult(result)) => {
                return self.continue_repair(handle, result, now);
            }
            (Asked::History(core, origin), ToGateway::HistoryResult(result)) => {
                let top = Position { epoch: result.epoch, offset: result.offset };
                (core, FromLink::History { origin, result: Ok(HistoryPage { top, publications: result.publications }) })
            }
            (Asked::PresenceStats(core, origin), ToGateway::PresenceResult { clients, users, .. }) => {
                (core, FromLink::PresenceStats { origin, result: Ok(PresenceStats { clients, users }) })
            }
            (Asked::Signal(core, origin), ToGateway::SignalResult { gateways, .. }) => {
                (core, FromLink::Signaled { origin, result: Ok(gateways) })
            }
            (Asked::Nodes(core, origin), ToGateway::NodesResult { nodes, .. }) => {
                (core, FromLink::Nodes { origin, result: Ok(nodes) })
            }
            (asked, ToGateway::Refusal { reason, retry_after_ms, .. }) => {
                self.refuse(asked, request, reason, retry_after_ms, now);
                return Ok(());
            }
            _ => return Err(unexpected("answer of another kind")),
        };
        self.events.push_back((core, event));
        Ok(())
    }

    fn on_lagged(&mut self, handle: u32, epoch: u64, offset: u64, now: Instant) -> Result<(), LinkError> {
        let Some((lane, detail)) = self.chats.both(handle) else { return Err(unexpected("Lagged")) };
        match lane.phase {
            ChatPhase::Unsubscribing => {}
            ChatPhase::Live | ChatPhase::Repairing if detail.epoch == Some(epoch) => {
                if offset > lane.last {
                    self.begin_repair(handle, offset, now);
                }
            }
            _ => return Err(unexpected("Lagged")),
        }
        Ok(())
    }

    fn refuse(&mut self, asked: Asked<O>, request: u64, reason: RefusalReason, retry_after_ms: u32, now: Instant) {
        match asked {
            Asked::Publish(core, origin) => {
                let result = Err(match reason {
                    RefusalReason::OutcomeUnknown => PublishError::Unknown,
                    reason => PublishError::Refused { reason, retry_after_ms },
                });
                self.events.push_back((core, FromLink::Published { origin, result }));
            }
            Asked::Repair { handle } => self.refuse_repair(handle, request, now),
            asked => self.fail_request(asked, RequestError::Refused { reason, retry_after_ms }),
        }
    }

    /// A request has not been answered in time.
    pub(super) fn expire(&mut self, open: Open<O>, now: Instant) {
        match open.asked {
            Asked::Publish(core, origin) => {
                // Even if it was not handed out yet, it will be.
                let result = Err(PublishError::Unknown);
                self.events.push_back((core, FromLink::Published { origin, result }));
            }
            Asked::Repair { handle } => self.refuse_repair(handle, open.id, now),
            asked => self.fail_request(asked, RequestError::TimedOut),
        }
    }

    /// The link is lost: what waits for an answer fails.
    pub(super) fn lose_requests(&mut self) {
        for Open { asked, end, .. } in self.requests.drain() {
            match asked {
                Asked::Publish(core, origin) => {
                    let sent = end <= self.handed_out;
                    let result = Err(if sent { PublishError::Unknown } else { PublishError::NotSent });
                    self.events.push_back((core, FromLink::Published { origin, result }));
                }
                Asked::Repair { .. } => {}
                asked => self.fail_request(asked, RequestError::LinkLost),
            }
        }
    }

    fn fail_request(&mut self, asked: Asked<O>, error: RequestError) {
        let (core, event) = match asked {
            Asked::History(core, origin) => (core, FromLink::History { origin, result: Err(error) }),
            Asked::PresenceStats(core, origin) => (core, FromLink::PresenceStats { origin, result: Err(error) }),
            Asked::Nodes(core, origin) => (core, FromLink::Nodes { origin, result: Err(error) }),
            Asked::Signal(core, origin) => (core, FromLink::Signaled { origin, result: Err(error) }),
            Asked::Publish(core, origin) => (core, FromLink::Published { origin, result: Err(PublishError::Unknown) }),
            Asked::Repair { .. } => return,
        };
        self.events.push_back((core, event));
    }
}

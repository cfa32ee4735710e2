//! Publishing what is due, and keeping what has not been answered.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::desk::{Desk, Intent};
use super::shared::Share;
use crate::body::{self, Stamp};
use crate::latency::Metric;
use crate::scenario::Publisher;
use crate::schedule::{Due, Schedule};
use crate::target::{Frames, PUBLISH_ID_MIN};

/// Publishes in one go before the sockets get their turn again.
const DUE_PER_TURN_MAX: usize = 2_048;
/// A target that is so far behind in reading gets no more of this connection's messages: they count as skipped.
const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Unanswered publishes that one worker remembers: 2^20 × 24 B = 24 MiB. The oldest beyond count as unknown.
const PENDING_MAX: usize = 1 << 20;

/// The publishing side of one worker.
#[derive(Debug)]
pub(crate) struct Publishing {
    share: Share,
    /// Present once the run has started.
    schedule: Option<Schedule>,
    next: u32,
    /// Last sequence number by chat.
    sequences: Vec<u32>,
    /// By chat, where members publish: the member (of all of the run).
    by_member: Option<Vec<Option<u32>>>,
    /// Messages of this turn by dedicated connection.
    batches: Vec<Frames>,
    body: Vec<u8>,
}

impl Publishing {
    pub(crate) fn new(desk: &Desk, share: Share) -> Self {
        let shared = &desk.shared;
        let by = shared.adapter.protocol.publishes_by(shared.scenario.publish.by);
        let mask = [0x5a, 0xc3, 0x96, 0x3c];
        Self {
            share,
            schedule: None,
            next: 0,
            sequences: vec![0; shared.plan.chats as usize],
            by_member: (by == Publisher::Member).then(|| shared.plan.publishing_members()),
            batches: (0..desk.duties.publishers).map(|_| Frames::new(shared.adapter.is_binary(), mask)).collect(),
            body: Vec::new(),
        }
    }

    /// When the next message is due.
    pub(crate) fn next_at(&self, desk: &Desk) -> Option<u64> {
        let end_ns = desk.times?.measure_to_ns;
        match &self.schedule {
            Some(schedule) => schedule.next_at().filter(|at_ns| *at_ns < end_ns),
            None => desk.times.map(|times| times.start_ns),
        }
    }

    /// Publishes what is due at `now_ns`.
    pub(crate) fn publish_due(&mut self, desk: &mut Desk, now_ns: u64) {
        let Some(times) = desk.times else { return };
        if self.schedule.is_none() {
            self.schedule = Some(self.plan(desk, times.start_ns));
        }
        let Some(mut schedule) = self.schedule.take() else { return };
        for _ in 0..DUE_PER_TURN_MAX {
            let Some(due) = schedule.pop(now_ns.min(times.measure_to_ns.saturating_sub(1))) else { break };
            self.publish(desk, &due, now_ns);
        }
        self.schedule = Some(schedule);
        for (index, batch) in self.batches.iter_mut().enumerate() {
            if !batch.is_empty() {
                desk.intents.push(Intent::Send(desk.members.members + index as u32, batch.take()));
            }
        }
    }

    fn plan(&self, desk: &Desk, start_ns: u64) -> Schedule {
        let shared = &desk.shared;
        let scenario = &shared.scenario;
        let owns = |chat: u32| match &self.by_member {
            None => self.share.owns(chat),
            Some(members) => {
                members[chat as usize].is_some_and(|member| desk.duties.members.is_some_and(|share| share.owns(member)))
            }
        };
        Schedule::new(&shared.plan, scenario.arrivals, &scenario.stages, start_ns, shared.seed, owns)
    }

    fn publish(&mut self, desk: &mut Desk, due: &Due, now_ns: u64) {
        let local = match &self.by_member {
            None => desk.members.members + self.share.local(due.chat) % desk.duties.publishers.max(1),
            Some(members) => match (members[due.chat as usize], desk.duties.members) {
                (Some(member), Some(share)) => share.local(member),
                _ => return,
            },
        };
        if desk.measures(due.at_ns) {
            desk.recorder.record(Metric::Late, 0, now_ns.saturating_sub(due.at_ns));
        }
        let backlog = if desk.backlog.is_empty() { 0 } else { desk.backlog.get(&local).copied().unwrap_or(0) };
        if !desk.members.all[local as usize].is_up() || backlog > BACKLOG_BYTES_MAX {
            desk.counts.skipped += 1;
            return;
        }
        desk.counts.blocked += u64::from(backlog > 0);
        self.write(desk, due, local);
    }

    fn write(&mut self, desk: &mut Desk, due: &Due, local: u32) {
        let shared = desk.shared.clone();
        let sequence = &mut self.sequences[due.chat as usize];
        *sequence += 1;
        let id = self.share.item(self.next);
        self.next = self.next.wrapping_add(1);
        let stamp = Stamp { run: shared.run, chat: due.chat, sequence: *sequence, id, intended_ns: due.at_ns };
        self.body.clear();
        body::encode(&stamp, shared.plan.groups[usize::from(due.group)].size, &mut self.body);
        let ledger = &shared.ledgers[due.chat as usize];
        ledger.sent.fetch_add(1, Ordering::Relaxed);
        desk.counts.published += 1;
        let command = if shared.adapter.protocol.acknowledges() {
            desk.pending.add(Publish { chat: due.chat, local, intended_ns: due.at_ns })
        } else {
            ledger.acked.fetch_add(1, Ordering::Relaxed);
            desk.counts.acked += 1;
            PUBLISH_ID_MIN
        };
        match self.batches.get_mut(local.wrapping_sub(desk.members.members) as usize) {
            Some(batch) if self.by_member.is_none() => shared.adapter.publish(command, due.chat, &self.body, batch),
            _ => {
                shared.adapter.publish(command, due.chat, &self.body, &mut desk.frames);
                desk.intents.push(Intent::Send(local, desk.frames.take()));
            }
        }
    }
}

/// Command ids of publishes: from [`PUBLISH_ID_MIN`]; after 4 billion they start over.
const ID_RANGE: u32 = u32::MAX - PUBLISH_ID_MIN + 1;

/// A publish that has not been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publish {
    pub chat: u32,
    /// The connection that sent it.
    pub local: u32,
    pub intended_ns: u64,
}

/// Unanswered publishes by command id: ids are consecutive, so a queue is the map.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    first: u32,
    queue: VecDeque<Option<Publish>>,
    open: usize,
}

impl Pending {
    /// Remembers it; returns the id for its command.
    pub(crate) fn add(&mut self, publish: Publish) -> u32 {
        if self.queue.len() >= PENDING_MAX {
            self.open -= usize::from(self.queue.pop_front().flatten().is_some());
            self.first = (self.first + 1) % ID_RANGE;
        }
        let id = PUBLISH_ID_MIN + ((u64::from(self.first) + self.queue.len() as u64) % u64::from(ID_RANGE)) as u32;
        self.queue.push_back(Some(publish));
        self.open += 1;
        id
    }

    /// The publish with that id, if its answer was still expected.
    pub(crate) fn settle(&mut self, id: u32) -> Option<Publish> {
        let number = u64::from(id.checked_sub(PUBLISH_ID_MIN)?) + u64::from(ID_RANGE);
        let at = (number - u64::from(self.first)) % u64::from(ID_RANGE);
        let publish = self.queue.get_mut(at as usize)?.take()?;
        self.open -= 1;
        while self.queue.front().is_some_and(Option::is_none) {
            self.queue.pop_front();
            self.first = (self.first + 1) % ID_RANGE;
        }
        Some(publish)
    }

    /// The connection is lost: its answers will not come. Returns how many there were.
    pub(crate) fn abandon(&mut self, local: u32) -> u64 {
        let mut abandoned = 0;
        for slot in &mut self.queue {
            if slot.is_some_and(|publish| publish.local == local) {
                *slot = None;
                abandoned += 1;
            }
        }
        self.open -= abandoned;
        abandoned as u64
    }

    /// How many answers are expected.
    pub(crate) fn len(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publish(chat: u32) -> Publish {
        Publish { chat, local: chat % 3, intended_ns: u64::from(chat) }
    }

    proptest! {
        #[test]
        fn answers_in_any_order_find_their_publishes(order in Just((0..200_u32).collect::<Vec<_>>()).prop_shuffle()) {
            let mut pending = Pending::default();
            let ids: Vec<u32> = (0..200).map(|chat| pending.add(publish(chat))).collect();
            for chat in order {
                prop_assert_eq!(pending.settle(ids[chat as usize]), Some(publish(chat)));
                prop_assert_eq!(pending.settle(ids[chat as usize]), None);
            }
            prop_assert_eq!((pending.len(), pending.queue.len()), (0, 0));
            let id = pending.add(publish(7));
            prop_assert_eq!(pending.settle(id), Some(publish(7)));
        }
    }

    #[test]
    fn a_lost_connection_leaves_nothing_pending() {
        let mut pending = Pending::default();
        let ids: Vec<u32> = (0..9).map(|chat| pending.add(publish(chat))).collect();
        assert_eq!(pending.abandon(1), 3);
        assert_eq!(pending.len(), 6);
        assert_eq!(pending.settle(ids[1]), None);
        assert_eq!(pending.settle(ids[2]), Some(publish(2)));
    }

    #[test]
    fn the_memory_of_unanswered_publishes_is_bounded() {
        let mut pending = Pending::default();
        let first = pending.add(publish(0));
        for chat in 1..=PENDING_MAX as u32 {
            pending.add(publish(chat));
        }
        assert_eq!(pending.len(), PENDING_MAX);
        assert_eq!(pending.settle(first), None);
    }

    #[test]
    fn strange_ids_are_nobodys() {
        let mut pending = Pending::default();
        pending.add(publish(0));
        for id in [0, 1, PUBLISH_ID_MIN + 1, u32::MAX] {
            assert_eq!(pending.settle(id), None);
        }
    }
}

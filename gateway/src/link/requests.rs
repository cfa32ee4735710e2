//! Requests that wait for an answer.
//!
//! Invariants:
//! * A request is answered exactly once: by the router, by its deadline, or by the loss of the link.
//! * An identifier is an index and a generation: finding an answer's request hashes nothing, and a late answer never
//!   meets the request that took its place.

use std::collections::VecDeque;
use std::time::Instant;

use super::types::CoreId;

/// What was asked, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<O> {
    Publish(CoreId, O),
    History(CoreId, O),
    PresenceStats(CoreId, O),
    Nodes(CoreId, O),
    Signal(CoreId, O),
    /// A `History` of the link's own.
    Repair {
        handle: u32,
    },
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open<O> {
    pub(super) id: u64,
    pub(super) asked: Asked<O>,
    /// Bytes of the outbound stream up to the end of the request: whether it was handed out follows from it.
    pub(super) end: u64,
}

struct Slot<O> {
    generation: u32,
    open: Option<Open<O>>,
}

/// The table.
pub(super) struct Requests<O> {
    slots: Vec<Slot<O>>,
    free: Vec<u32>,
    /// In the order of their deadlines, as each class has one timeout. Answered requests stay until their time.
    deadlines: VecDeque<(Instant, u64)>,
    repair_deadlines: VecDeque<(Instant, u64)>,
    open: usize,
}

impl<O: Copy> Requests<O> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            deadlines: VecDeque::new(),
            repair_deadlines: VecDeque::new(),
            open: 0,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Makes room for a request and gives its identifier. `deadline` must not lie before those of earlier requests of
    /// the same class (repairs, others).
    pub(super) fn insert(&mut self, asked: Asked<O>, deadline: Instant) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, open: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let mut id = 0;
        if let Some(slot) = self.slots.get_mut(index as usize) {
            id = u64::from(slot.generation) << 32 | u64::from(index);
            slot.open = Some(Open { id, asked, end: u64::MAX });
        }
        self.open += 1;
        match asked {
            Asked::Repair { .. } => self.repair_deadlines.push_back((deadline, id)),
            _ => self.deadlines.push_back((deadline, id)),
        }
        id
    }

    /// Notes where in the outbound stream the request ends.
    pub(super) fn set_end(&mut self, id: u64, end: u64) {
        if let Some(open) = self.slot(id).and_then(|slot| slot.open.as_mut()) {
            open.end = end;
        }
    }

    /// Takes a request out, if it still waits.
    pub(super) fn take(&mut self, id: u64) -> Option<Open<O>> {
        let slot = self.slot(id)?;
        let open = slot.open.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index(id));
        self.open -= 1;
        Some(open)
    }

    /// Takes out one request whose deadline has come.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Open<O>> {
        loop {
            let queue = if self.repair_deadlines.front().is_some_and(|&(deadline, _)| deadline <= now) {
                &mut self.repair_deadlines
            } else {
                &mut self.deadlines
            };
            let &(deadline, id) = queue.front()?;
            if deadline > now {
                return None;
            }
            queue.pop_front();
            if let Some(open) = self.take(id) {
                return Some(open);
            }
        }
    }

    /// The first deadline; may be one of an answered request.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let fronts = [self.deadlines.front(), self.repair_deadlines.front()];
        fronts.into_iter().flatten().map(|&(deadline, _)| deadline).min()
    }

    /// Takes all requests out, in the order in which they were made within each class.
    pub(super) fn drain(&mut self) -> Vec<Open<O>> {
        let ids: Vec<u64> = self.deadlines.drain(..).chain(self.repair_deadlines.drain(..)).map(|(_, id)| id).collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    /// Drops deadlines of answered requests at the front, so that they wake nobody and hold no memory.
    pub(super) fn tidy(&mut self) {
        while let Some(&(_, id)) = self.deadlines.front()
            && !self.is_open(id)
        {
            self.deadlines.pop_front();
        }
        while let Some(&(_, id)) = self.repair_deadlines.front()
            && !self.is_open(id)
        {
            self.repair_deadlines.pop_front();
        }
    }

    fn is_open(&self, id: u64) -> bool {
        let slot = self.slots.get(index(id) as usize);
        slot.is_some_and(|slot| slot.generation == generation(id) && slot.open.is_some())
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot<O>> {
        self.slots.get_mut(index(id) as usize).filter(|slot| slot.generation == generation(id))
    }
}

fn index(id: u64) -> u32 {
    (id & u64::from(u32::MAX)) as u32
}

fn generation(id: u64) -> u32 {
    (id >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_request_is_answered_once() {
        let start = Instant::now();
        let mut requests = Requests::new();
        let first = requests.insert(Asked::Publish(0, 'a'), start + Duration::from_secs(1));
        let second = requests.insert(Asked::History(1, 'b'), start + Duration::from_secs(2));
        assert_eq!(requests.take(first).map(|open| open.asked), Some(Asked::Publish(0, 'a')));
        assert!(requests.take(first).is_none());

        // The place is taken again; the old identifier does not reach it.
        let third = requests.insert(Asked::Nodes(2, 'c'), start + Duration::from_secs(3));
        assert_ne!(first, third);
        assert!(requests.take(first).is_none());

        let due = start + Duration::from_secs(2);
        assert_eq!(requests.expired(due).map(|open| open.asked), Some(Asked::History(1, 'b')));
        assert!(requests.expired(due).is_none() && requests.take(second).is_none());
        assert_eq!(requests.next_deadline(), Some(start + Duration::from_secs(3)));
        assert_eq!(requests.drain().len(), 1);
        assert_eq!((requests.len(), requests.next_deadline()), (0, None));
    }

    #[test]
    fn repairs_expire_in_their_own_order() {
        let start = Instant::now();
        let mut requests = Requests::new();
        requests.insert(Asked::Publish(0, 'a'), start + Duration::from_secs(4));
        requests.insert(Asked::Repair { handle: 9 }, start + Duration::from_secs(2));
        assert_eq!(requests.next_deadline(), Some(start + Duration::from_secs(2)));
        let expired = requests.expired(start + Duration::from_secs(3)).map(|open| open.asked);
        assert_eq!(expired, Some(Asked::Repair { handle: 9 }));
        assert!(requests.expired(start + Duration::from_secs(3)).is_none());
    }

    #[test]
    fn answered_requests_leave_no_deadline_behind() {
        let start = Instant::now();
        let mut requests = Requests::new();
        for _ in 0..100 {
            let id = requests.insert(Asked::Publish(0, 'a'), start);
            requests.take(id);
            requests.tidy();
        }
        assert_eq!((requests.slots.len(), requests.deadlines.len()), (1, 0));
    }
}

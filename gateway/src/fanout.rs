//! Who sends next: chats with something to send take turns.
//!
//! Invariants worth naming:
//! * In one turn of the loop every chat that was ready at its start is visited at most once, and a visit sends at most
//!   one slice. So a chat of 50,000 members delays a chat of 5 by one slice, not by 50,000 sends.
//! * A turn sends at most its budget; whoever was not reached comes first in the next turn.
//! * A chat is in the queue at most once; the caller marks it so (`Chat::scheduled`).

use std::collections::VecDeque;

/// The queue of chats that have something to send.
#[derive(Debug)]
pub(crate) struct Fanout {
    ready: VecDeque<u32>,
    slice: usize,
    turn: usize,
    /// Visits and sends left in this turn.
    visits: usize,
    sends: usize,
}

impl Fanout {
    /// `slice` and `turn` are the most sends of one visit and of one turn.
    pub(crate) fn new(slice: usize, turn: usize) -> Self {
        Self { ready: VecDeque::new(), slice, turn, visits: 0, sends: 0 }
    }

    /// Whether no chat waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// How many chats wait.
    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    /// Puts a chat at the end of the queue.
    pub(crate) fn push(&mut self, chat: u32) {
        self.ready.push_back(chat);
    }

    /// Begins a turn: everyone who is ready now may be visited once.
    pub(crate) fn begin_turn(&mut self) {
        self.visits = self.ready.len();
        self.sends = self.turn;
    }

    /// The next chat to visit and how many sends it may make; `None` ends the turn.
    pub(crate) fn next(&mut self) -> Option<(u32, usize)> {
        if self.visits == 0 || self.sends == 0 {
            return None;
        }
        self.visits -= 1;
        let chat = self.ready.pop_front()?;
        Some((chat, self.slice.min(self.sends)))
    }

    /// Ends a visit: `sends` were made, and `more` says whether something is left for the next turn.
    pub(crate) fn visited(&mut self, chat: u32, sends: usize, more: bool) {
        self.sends = self.sends.saturating_sub(sends);
        if more {
            self.ready.push_back(chat);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_large_chat_gets_one_slice_a_turn_and_small_ones_pass() {
        let mut fanout = Fanout::new(256, 2_048);
        let mut left = BTreeMap::from([(0, 50_000_usize), (1, 5), (2, 5)]);
        for chat in 0..3 {
            fanout.push(chat);
        }
        fanout.begin_turn();
        let mut order = Vec::new();
        while let Some((chat, allowance)) = fanout.next() {
            let waiting = left.get_mut(&chat).unwrap();
            let sends = allowance.min(*waiting);
            *waiting -= sends;
            order.push((chat, sends));
            fanout.visited(chat, sends, *waiting > 0);
        }
        assert_eq!(order, [(0, 256), (1, 5), (2, 5)]);
        assert_eq!(fanout.len(), 1);
    }

    #[test]
    fn an_exhausted_budget_leaves_the_rest_first_in_the_next_turn() {
        let mut fanout = Fanout::new(10, 15);
        for chat in 0..3 {
            fanout.push(chat);
        }
        fanout.begin_turn();
        assert_eq!(fanout.next(), Some((0, 10)));
        fanout.visited(0, 10, true);
        assert_eq!(fanout.next(), Some((1, 5)));
        fanout.visited(1, 5, true);
        assert_eq!(fanout.next(), None);
        fanout.begin_turn();
        assert_eq!(fanout.next(), Some((2, 10)));
    }

    proptest! {
        /// Whatever arrives, nothing is lost, no turn exceeds its budget, and between two visits of one chat every
        /// other waiting chat was visited.
        #[test]
        fn work_is_conserved_and_shared(work in prop::collection::vec((0_u32..20, 1_usize..400), 1..100)) {
            let mut fanout = Fanout::new(16, 64);
            let mut left: BTreeMap<u32, usize> = BTreeMap::new();
            let (mut given, mut sent) = (0, 0);
            let mut arrivals = work.into_iter();
            let mut last_visit: BTreeMap<u32, usize> = BTreeMap::new();
            let mut clock = 0;
            for turn in 0.. {
                if let Some((chat, amount)) = arrivals.next() {
                    let waiting = left.entry(chat).or_default();
                    if *waiting == 0 {
                        fanout.push(chat);
                        last_visit.insert(chat, clock);
                    }
                    *waiting += amount;
                    given += amount;
                } else if fanout.is_idle() {
                    break;
                }
                prop_assert!(turn < 100_000);
                fanout.begin_turn();
                let mut in_turn = 0;
                while let Some((chat, allowance)) = fanout.next() {
                    clock += 1;
                    let waiting = left.get_mut(&chat).unwrap();
                    prop_assert!(*waiting > 0);
                    prop_assert!(clock - last_visit[&chat] <= 21, "chat {} starved", chat);
                    last_visit.insert(chat, clock);
                    let sends = allowance.min(*waiting);
                    *waiting -= sends;
                    in_turn += sends;
                    fanout.visited(chat, sends, *waiting > 0);
                }
                prop_assert!(in_turn <= 64);
                sent += in_turn;
            }
            prop_assert_eq!(sent, given);
        }
    }
}

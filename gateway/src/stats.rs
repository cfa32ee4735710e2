//! What a core counts, and how others get to see it.
//!
//! Invariants worth naming:
//! * A core counts in plain integers of its own. Several times a second it copies them out under a lock that it never
//!   waits for: if somebody is reading, the next time will do.
//! * Counters only grow; gauges say how it is now. Neither carries the name of a chat or a user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use corecast_ring::RingStats;
use crossbeam::utils::CachePadded;

use crate::link::{LinkState, LinkStats};

macro_rules! figures {
    ($(#[$meta:meta])* pub struct $name:ident { $(#[doc = $help:literal] $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $(#[doc = $help] pub $field: u64,)*
        }

        impl $name {
            /// Name, help text and value of each figure, in a fixed order.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($field), $help.trim_ascii(), self.$field),)*].into_iter()
            }

            /// Adds those of another core.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

figures! {
    /// What a core has done since its start.
    pub struct Counters {
        /// Connections accepted.
        accepted,
        /// Connections handed to another core on their arrival, since this one held too many.
        connections_moved,
        /// Connections closed at once: too many from their address, or stopping.
        turned_away,
        /// Upgrades completed.
        upgraded,
        /// Upgrade requests refused with an HTTP status.
        upgrades_refused,
        /// Connect commands answered with success.
        connects,
        /// Connect commands refused.
        connects_refused,
        /// Connections gone.
        closed,
        /// Data messages received.
        messages,
        /// Commands handled.
        commands,
        /// Publish commands accepted and handed to a router link.
        publishes,
        /// Publish commands answered with an error after that.
        publishes_failed,
        /// Subscriptions made.
        subscribes,
        /// Subscriptions ended by the client.
        unsubscribes,
        /// Subscribe commands answered with an error.
        subscribes_failed,
        /// Recoveries that returned all that was missed.
        recovered,
        /// Recoveries answered with "not recovered".
        not_recovered,
        /// History requests to routers on behalf of recoveries.
        recovery_histories,
        /// Updates received from router links.
        updates,
        /// Bytes of payload of these updates.
        update_bytes,
        /// Deliveries: updates times the members they went to.
        deliveries,
        /// Sends made for deliveries, each with one or more updates.
        fanout_sends,
        /// Sends that had to go through an outbox.
        fanout_busy,
        /// Sends to members who were gone already.
        fanout_gone,
        /// Sends that the socket did not take completely.
        unsent,
        /// Members who fell behind in a chat.
        fell_behind,
        /// Subscriptions ended with code 2500 because the member fell behind.
        cut_behind,
        /// Subscriptions ended with code 2500 because the chat was reset.
        cut_reset,
        /// Chats reset.
        resets,
        /// Chats whose members were cut because too many updates waited for them.
        overloads,
        /// Connections closed because their reader was too slow.
        slow,
        /// Connections cut because all outboxes together held too much.
        shed,
        /// Messages for another core that had to wait because its mailbox was full.
        mailbox_full,
        /// Chats given up because another core did not take their updates.
        mailbox_lost,
        /// Turns of the loop.
        turns,
    }
}

figures! {
    /// How a core stands now.
    pub struct Gauges {
        /// Open connections, in any phase.
        connections,
        /// Connections whose connect succeeded.
        clients,
        /// Subscriptions of all connections.
        subscriptions,
        /// Chats with members or lingering.
        chats,
        /// Chats that wait for their turn to send.
        fanout_queue,
        /// Bytes held by readers whose socket is full, shared frames counted once.
        outbox_bytes,
        /// Readers whose socket is full.
        outboxes_stuck,
        /// Bytes of recent publications kept for recovery.
        recent_bytes,
        /// Bytes of input held for connections that are not authenticated.
        unauthenticated_bytes,
        /// Members who are still to be told that their chat was reset.
        cuts_pending,
    }
}

/// Most connections of a core over the mean of all cores; 1 is even, and what no connections are.
#[must_use]
pub fn imbalance(cores: &[CoreSnapshot]) -> f64 {
    let connections = || cores.iter().map(|core| core.gauges.connections);
    let (most, all) = (connections().max().unwrap_or(0), connections().sum::<u64>());
    if all == 0 { 1.0 } else { most as f64 * cores.len() as f64 / all as f64 }
}

/// Figures of one core at one moment.
#[derive(Debug, Clone, Default)]
pub struct CoreSnapshot {
    /// What it has done.
    pub counters: Counters,
    /// How it stands.
    pub gauges: Gauges,
    /// What its ring has done.
    pub ring: RingStats,
    /// Close frames sent, by code.
    pub closes: BTreeMap<u16, u64>,
    /// Links that this core owns.
    pub links: Vec<LinkSnapshot>,
    /// Nanoseconds of CPU that the thread has used; 0 where the kernel does not say.
    pub cpu_ns: u64,
    /// Nanoseconds since the core's start.
    pub uptime_ns: u64,
    /// The batching window of the last turn, in microseconds.
    pub window_us: u64,
}

/// One router link.
#[derive(Debug, Clone)]
pub struct LinkSnapshot {
    /// Name of the router endpoint.
    pub endpoint: String,
    /// Where the link stands.
    pub state: LinkState,
    /// What it has done.
    pub stats: LinkStats,
    /// Requests that wait for an answer.
    pub open_requests: usize,
}

impl LinkSnapshot {
    /// Whether the link is authenticated and answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == LinkState::Up
    }
}

/// One core's figures, as last copied out.
pub(crate) type Slots = Arc<[CachePadded<Mutex<CoreSnapshot>>]>;

/// Empty figures for `cores` cores.
pub(crate) fn slots(cores: usize) -> Slots {
    (0..cores).map(|_| CachePadded::new(Mutex::default())).collect()
}

/// Reads the figures of a running gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct StatsHandle {
    slots: Slots,
}

impl StatsHandle {
    pub(crate) fn new(slots: Slots) -> Self {
        Self { slots }
    }

    /// The figures of each core, at most a fraction of a second old.
    #[must_use]
    pub fn snapshot(&self) -> Vec<CoreSnapshot> {
        self.slots.iter().map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_most_over_mean() {
        let core = |connections| CoreSnapshot {
            gauges: Gauges { connections, ..Gauges::default() },
            ..CoreSnapshot::default()
        };
        assert_eq!(imbalance(&[]), 1.0);
        assert_eq!(imbalance(&[core(0), core(0)]), 1.0);
        assert_eq!(imbalance(&[core(5), core(5)]), 1.0);
        assert_eq!(imbalance(&[core(9), core(3), core(0)]), 2.25);
    }

    #[test]
    fn figures_have_names_help_and_values_and_add_up() {
        let mut sum = Counters { accepted: 2, turns: 1, ..Counters::default() };
        sum.add(&Counters { accepted: 3, ..Counters::default() });
        let figures: Vec<_> = sum.figures().collect();
        assert!(figures.contains(&("accepted", "Connections accepted.", 5)));
        assert!(figures.contains(&("turns", "Turns of the loop.", 1)));
    }
}

//! Plain counters of one worker; sums of workers and agents add up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::Truth;

/// Different texts kept per kind of trouble; what comes beyond is counted as "other".
const KINDS_MAX: usize = 24;

/// Cumulated since the start of the process, except `live`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Connects begun, reconnects included.
    pub connects: u64,
    /// Upgrades accepted.
    pub upgrades: u64,
    /// Members in all their chats, now.
    pub live: u64,
    /// Publisher connections ready, now.
    pub publishers: u64,
    /// Members that were cut by the scenario (churn, storm).
    pub cut: u64,
    /// Members that came back.
    pub back: u64,
    /// Opened another chat.
    pub switches: u64,
    /// Publishes handed to the kernel.
    pub published: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Refused by the target.
    pub refused: u64,
    /// Outcome unknown: the connection was lost before the answer came.
    pub unknown: u64,
    /// Due, but the publishing connection was down or hopelessly behind: not published.
    pub skipped: u64,
    /// Handed over while the target was not taking what the same connection had sent before.
    pub blocked: u64,
    /// Bytes received, WebSocket headers included.
    pub bytes_received: u64,
    /// Pings of the target answered.
    pub pings: u64,
    /// Publications that arrived for a chat just left.
    pub stale: u64,
    /// Failed connects, upgrades and joins by reason.
    pub failures: BTreeMap<String, u64>,
    /// Connections ended by the target, by code or error.
    pub disconnects: BTreeMap<String, u64>,
    /// What could not be read: the first few, for people.
    pub unreadable: BTreeMap<String, u64>,
    /// Judged deliveries.
    pub truth: Truth,
}

impl Counts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.upgrades += other.upgrades;
        self.live += other.live;
        self.publishers += other.publishers;
        self.cut += other.cut;
        self.back += other.back;
        self.switches += other.switches;
        self.published += other.published;
        self.acked += other.acked;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.skipped += other.skipped;
        self.blocked += other.blocked;
        self.bytes_received += other.bytes_received;
        self.pings += other.pings;
        self.stale += other.stale;
        for (into, from) in [
            (&mut self.failures, &other.failures),
            (&mut self.disconnects, &other.disconnects),
            (&mut self.unreadable, &other.unreadable),
        ] {
            for (kind, count) in from {
                *into.entry(kind.clone()).or_default() += count;
            }
        }
        self.truth.add(&other.truth);
    }

    /// Connections that the target ended.
    pub fn disconnected(&self) -> u64 {
        self.disconnects.values().sum()
    }

    /// Connects, upgrades and joins that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// Counts one more of a kind, within the bound on different kinds.
pub(crate) fn note(kinds: &mut BTreeMap<String, u64>, kind: String) {
    let known = kinds.len() < KINDS_MAX || kinds.contains_key(&kind);
    *kinds.entry(if known { kind } else { "other".to_owned() }).or_default() += 1;
}

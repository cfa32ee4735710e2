//! Connections and handshakes per client address, over all cores.
//!
//! Touched when a connection comes and goes, never per message, and not at all unless a limit is configured: so plain
//! locks, spread over shards, do.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::config::Limits;
use crate::pace::{Gcra, Rate};
use crate::time::Now;

/// Locks; a power of two, far more than cores.
const SHARDS: usize = 64;
/// Entries of a shard from which idle addresses are cleaned out before another is added.
const SHARD_CLEAN: usize = 1_024;

/// Counts per address.
#[derive(Debug)]
pub(crate) struct Addresses {
    shards: Vec<Mutex<HashMap<IpAddr, Entry, RandomState>>>,
    hasher: RandomState,
    connections_max: u32,
    handshakes: Rate,
    limit_loopback: bool,
    enabled: bool,
}

#[derive(Debug, Default)]
struct Entry {
    connections: u32,
    handshakes: Gcra,
}

/// Too many connections or handshakes from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Addresses {
    /// With the configured limits.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            connections_max: if limits.connections_per_address == 0 {
                u32::MAX
            } else {
                limits.connections_per_address
            },
            handshakes: Rate::new(limits.handshakes_per_second_per_address, 1),
            limit_loopback: limits.limit_loopback,
            enabled: limits.connections_per_address > 0 || limits.handshakes_per_second_per_address > 0,
        }
    }

    /// Whether connections from this address are counted at all.
    pub(crate) fn counts(&self, address: IpAddr) -> bool {
        self.enabled && (self.limit_loopback || !address.to_canonical().is_loopback())
    }

    /// One more connection; to be balanced by [`Self::leave`].
    pub(crate) fn enter(&self, address: IpAddr, now: Now) -> Result<(), TooMany> {
        let mut shard = self.shard(address);
        if shard.len() >= SHARD_CLEAN && shard.len() == shard.capacity() {
            shard.retain(|_, entry| entry.connections > 0 || !entry.handshakes.is_full(now));
        }
        let entry = shard.entry(key(address)).or_default();
        if entry.connections >= self.connections_max || !entry.handshakes.take(1, self.handshakes, now) {
            return Err(TooMany);
        }
        entry.connections += 1;
        Ok(())
    }

    /// One connection less.
    pub(crate) fn leave(&self, address: IpAddr, now: Now) {
        let mut shard = self.shard(address);
        if let Some(entry) = shard.get_mut(&key(address)) {
            entry.connections = entry.connections.saturating_sub(1);
            if entry.connections == 0 && entry.handshakes.is_full(now) {
                shard.remove(&key(address));
            }
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Entry, RandomState>> {
        let hash = self.hasher.hash_one(key(address));
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 subscriber gets.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6((six.to_bits() >> 64 << 64).into()),
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(millis: u64) -> Now {
        Now { nanos: millis * 1_000_000, unix_s: 0 }
    }

    fn limits(connections: u32, handshakes: u32) -> Limits {
        Limits {
            connections_per_address: connections,
            handshakes_per_second_per_address: handshakes,
            ..Limits::default()
        }
    }

    #[test]
    fn connections_are_counted_per_address_and_given_back() {
        let addresses = Addresses::new(&limits(2, 0));
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!(addresses.enter(one, at_ms(0)), Ok(()));
        assert_eq!(addresses.enter("::ffff:10.0.0.1".parse().unwrap(), at_ms(0)), Ok(()));
        assert_eq!(addresses.enter(one, at_ms(0)), Err(TooMany));
        assert_eq!(addresses.enter(other, at_ms(0)), Ok(()));
        addresses.leave(one, at_ms(0));
        assert_eq!(addresses.enter(one, at_ms(0)), Ok(()));
        for address in [one, one, other] {
            addresses.leave(address, at_ms(0));
        }
        assert!(addresses.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn handshakes_are_limited_per_second_and_forgotten_later() {
        let addresses = Addresses::new(&limits(0, 10));
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let passed = (0..30).filter(|n| addresses.enter(if n % 2 == 0 { six } else { neighbour }, at_ms(0)).is_ok());
        assert_eq!(passed.count(), 10, "one /64 is one address");
        assert_eq!(addresses.enter(six, at_ms(100)), Ok(()));
        for _ in 0..11 {
            addresses.leave(six, at_ms(60_000));
        }
        assert!(addresses.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn loopback_and_unlimited_gateways_count_nothing() {
        let loopback = "127.0.0.9".parse().unwrap();
        assert!(!Addresses::new(&limits(1, 1)).counts(loopback));
        assert!(Addresses::new(&Limits { limit_loopback: true, ..limits(1, 1) }).counts(loopback));
        assert!(!Addresses::new(&limits(0, 0)).counts("10.0.0.1".parse().unwrap()));
    }
}

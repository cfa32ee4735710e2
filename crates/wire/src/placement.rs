//! Which router endpoint owns a chat: chat → slot by hash, slot → endpoint by rendezvous hashing.
//!
//! Every node computes this for itself from the same list of endpoint names, so the answers must never change between
//! builds. The hash is XXH3 (64 bits, no seed), whose output is fixed by its specification.
use xxhash_rust::xxh3::xxh3_64;

/// Slots of a placement unless configured otherwise.
pub const DEFAULT_SLOTS: u16 = 1_024;

/// The slot of a chat: XXH3 of its name modulo `slots`. With `slots` 0 (a configuration error) everything is slot 0.
#[must_use]
pub fn slot_of(chat: &[u8], slots: u16) -> u16 {
    let slot = xxh3_64(chat) % u64::from(slots.max(1));
    u16::try_from(slot).unwrap_or(0)
}

/// The hash of an endpoint's name, as [`endpoint_of`] takes it.
#[must_use]
pub fn endpoint_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// The index of the endpoint that owns `slot`: the one with the highest score, where the score is XXH3 of the
/// endpoint's hash (8 bytes LE) followed by the slot (2 bytes LE). Equal scores go to the lower endpoint hash, so the
/// owner does not depend on the order of the list. 0 for an empty list.
#[must_use]
pub fn endpoint_of(slot: u16, endpoints: &[u64]) -> usize {
    let [low, high] = slot.to_le_bytes();
    let mut best: Option<(u64, u64, usize)> = None;
    for (index, &endpoint) in endpoints.iter().enumerate() {
        let [a, b, c, d, e, f, g, h] = endpoint.to_le_bytes();
        let score = xxh3_64(&[a, b, c, d, e, f, g, h, low, high]);
        let better = match best {
            None => true,
            Some((top, holder, _)) => score > top || (score == top && endpoint < holder),
        };
        if better {
            best = Some((score, endpoint, index));
        }
    }
    best.map_or(0, |(_, _, index)| index)
}

/// Identity of an endpoint list, whatever its order: XXH3 over each name's length (4 bytes LE) and bytes, the names
/// sorted by their bytes.
#[must_use]
pub fn fingerprint(endpoints: &[&str]) -> u64 {
    let mut sorted = endpoints.to_vec();
    sorted.sort_unstable();
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for name in sorted {
        hasher.update(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.digest()
}

/// The number of `endpoint` in the list sorted by bytes, which is how links name it: the same on all nodes, whatever
/// the order in their configurations. A name that is not in the list gets the number at which it would stand.
#[must_use]
pub fn rank(endpoint: &str, endpoints: &[&str]) -> u16 {
    let before = endpoints.iter().filter(|&&name| name < endpoint).count();
    u16::try_from(before).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn endpoints(count: usize) -> Vec<u64> {
        (0..count).map(|index| endpoint_hash(&std::format!("10.0.0.{index}:9000"))).collect()
    }

    #[test]
    fn chats_spread_evenly_over_slots() {
        let mut counts = vec![0_u32; 1_024];
        for chat in 0..102_400 {
            counts[usize::from(slot_of(std::format!("chat:{chat}").as_bytes(), 1_024))] += 1;
        }
        // Mean 100, standard deviation 10: six of them on either side.
        assert!(counts.iter().all(|&count| (40..=160).contains(&count)));
    }

    #[test]
    fn slots_spread_evenly_over_endpoints() {
        let endpoints = endpoints(8);
        let mut counts = [0_u32; 8];
        for slot in 0..16_384 {
            counts[endpoint_of(slot, &endpoints)] += 1;
        }
        assert!(counts.iter().all(|&count| (1_800..=2_300).contains(&count)), "{counts:?}");
    }

    #[test]
    fn a_new_endpoint_takes_slots_but_moves_none_between_the_others() {
        let before = endpoints(5);
        let after = endpoints(6);
        let mut moved = 0;
        for slot in 0..1_024 {
            let (old, new) = (endpoint_of(slot, &before), endpoint_of(slot, &after));
            assert!(old == new || new == 5);
            moved += u32::from(old != new);
        }
        assert!((100..=250).contains(&moved), "{moved} of 1,024 moved to the sixth");
    }

    #[test]
    fn the_owner_does_not_depend_on_the_order_of_the_list() {
        let forward = endpoints(7);
        let backward: Vec<u64> = forward.iter().rev().copied().collect();
        for slot in 0..1_024 {
            assert_eq!(forward[endpoint_of(slot, &forward)], backward[endpoint_of(slot, &backward)]);
        }
    }

    #[test]
    fn degenerate_arguments_answer_zero() {
        assert_eq!(slot_of(b"chat", 0), 0);
        assert_eq!(endpoint_of(7, &[]), 0);
    }

    #[test]
    fn ranks_do_not_depend_on_the_order_of_the_list() {
        for list in [["c", "a", "b"], ["a", "b", "c"]] {
            assert_eq!(["a", "b", "c"].map(|name| rank(name, &list)), [0, 1, 2]);
        }
    }

    #[test]
    fn fingerprints_tell_lists_apart() {
        assert_eq!(fingerprint(&["a:1", "b:1"]), fingerprint(&["a:1", "b:1"]));
        assert_eq!(fingerprint(&["a:1", "b:1"]), fingerprint(&["b:1", "a:1"]));
        assert_ne!(fingerprint(&["a:1", "b:1"]), fingerprint(&["a:1", "b:2"]));
        assert_ne!(fingerprint(&["ab"]), fingerprint(&["a", "b"]));
        assert_ne!(fingerprint(&[]), fingerprint(&[""]));
    }
}

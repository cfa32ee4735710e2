//! Randomness from a seed: the wait before a reconnect and the nonces of handshakes.

use std::time::Duration;

use corecast_wire::auth::{MAC_BYTES, Mac, NONCE_BYTES, Nonce, challenge_parts, proof_parts};
use hmac::digest::InvalidLength;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::config::{BACKOFF_BASE, BACKOFF_CAP, BACKOFF_PERMANENT_MIN};

/// Draws from HMAC-SHA256(seed, counter): the same seed gives the same draws, and no draw tells the next.
pub(super) struct Random {
    seed: [u8; 32],
    counter: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    pub(super) fn nonce(&mut self) -> Nonce {
        let block = self.block();
        std::array::from_fn::<u8, NONCE_BYTES, _>(|index| block[index])
    }

    /// Uniform between zero and the bound of the `failures`-th failure in a row (full jitter); not below
    /// [`BACKOFF_PERMANENT_MIN`] if trying again is unlikely to help.
    pub(super) fn backoff(&mut self, failures: u32, permanent: bool) -> Duration {
        let bound = BACKOFF_BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_CAP);
        let [a, b, c, d, ..] = self.block();
        let wait = bound.mul_f64(f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX));
        if permanent { BACKOFF_PERMANENT_MIN + wait.min(BACKOFF_CAP - BACKOFF_PERMANENT_MIN) } else { wait }
    }

    fn block(&mut self) -> [u8; MAC_BYTES] {
        self.counter += 1;
        mac(&self.seed, &[b"draw", &self.counter.to_le_bytes()])
    }
}

/// The gateway's proof of the secret.
pub(super) fn proof(secret: &[u8], gateway: &Nonce, router: &Nonce) -> Mac {
    mac(secret, &proof_parts(gateway, router))
}

/// Whether the router has proved the secret. Takes the same time for every wrong proof.
pub(super) fn is_proved(secret: &[u8], gateway: &Nonce, router: &Nonce, proof: &Mac) -> bool {
    keyed(secret, &challenge_parts(gateway, router)).is_ok_and(|hmac| hmac.verify_slice(proof).is_ok())
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Mac {
    // HMAC takes keys of any length; the error type belongs to other constructions.
    keyed(key, parts).map_or([0; MAC_BYTES], |hmac| hmac.finalize().into_bytes().into())
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Result<Hmac<Sha256>, InvalidLength> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key)?;
    for part in parts {
        hmac.update(part);
    }
    Ok(hmac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

    fn documented(name: &str) -> Mac {
        let prefix = format!("{name} = ");
        let line = PROTOCOL.lines().find_map(|line| line.strip_prefix(&prefix)).expect("the vector");
        std::array::from_fn(|index| u8::from_str_radix(&line[2 * index..2 * index + 2], 16).expect("hex"))
    }

    #[test]
    fn the_macs_are_those_of_the_protocol_document() {
        let secret = b"correct horse battery staple";
        let gateway: Nonce = std::array::from_fn(|index| index as u8);
        let router: Nonce = std::array::from_fn(|index| 0xf0 + index as u8);
        assert_eq!(proof(secret, &gateway, &router), documented("proof"));
        assert!(is_proved(secret, &gateway, &router, &documented("challenge")));
        assert!(!is_proved(secret, &gateway, &router, &documented("proof")), "a reflected proof");
        assert!(!is_proved(b"another", &gateway, &router, &documented("challenge")));
    }

    #[test]
    fn waits_grow_to_the_cap_and_use_all_of_their_range() {
        let mut random = Random::new([7; 32]);
        for (failures, bound_ms) in [(1, 50), (2, 100), (3, 200), (6, 1_600), (7, 2_000), (100, 2_000)] {
            let waits: Vec<u128> = (0..400).map(|_| random.backoff(failures, false).as_millis()).collect();
            assert!(waits.iter().all(|&wait| wait <= bound_ms));
            assert!(waits.iter().any(|&wait| wait < bound_ms / 10), "low waits after {failures} failures");
            assert!(waits.iter().any(|&wait| wait > bound_ms * 9 / 10), "high waits after {failures} failures");
        }
        assert!((0..100).all(|_| random.backoff(1, true) >= BACKOFF_PERMANENT_MIN));
    }

    #[test]
    fn seeds_decide_and_nonces_never_repeat() {
        let mut random = Random::new([1; 32]);
        let nonces: std::collections::HashSet<Nonce> = (0..1_000).map(|_| random.nonce()).collect();
        assert_eq!(nonces.len(), 1_000);
        assert_eq!(Random::new([1; 32]).nonce(), Random::new([1; 32]).nonce());
        assert_ne!(Random::new([1; 32]).nonce(), Random::new([2; 32]).nonce());
    }
}

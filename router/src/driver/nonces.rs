//! Unpredictable numbers for handshakes and incarnations, from the kernel's random source at start.

use std::fs::File;
use std::io::{self, Read};

use corecast_wire::auth::{NONCE_BYTES, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A sequence of nonces: HMAC-SHA256 of a counter under a key that only this core has, so that no handshake costs a
/// system call and none can be foreseen from others.
#[derive(Debug)]
pub(super) struct Nonces {
    key: Hmac<Sha256>,
    count: u64,
}

impl Nonces {
    pub(super) fn new() -> io::Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        let key = Hmac::new_from_slice(&seed).map_err(io::Error::other)?;
        Ok(Self { key, count: 0 })
    }

    pub(super) fn next(&mut self) -> Nonce {
        self.count += 1;
        let mut mac = self.key.clone();
        mac.update(&self.count.to_le_bytes());
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&mac.finalize().into_bytes()[..NONCE_BYTES]);
        nonce
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.next().iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nonces_differ_within_and_between_sequences() {
        let (mut first, mut second) =
            (Nonces::new().expect("a random source"), Nonces::new().expect("a random source"));
        let all: HashSet<Nonce> = (0..1_000).flat_map(|_| [first.next(), second.next()]).collect();
        assert_eq!(all.len(), 2_000);
        assert_ne!(first.next_u64(), second.next_u64());
    }
}

//! What is authenticated in the handshake: the bytes under each HMAC-SHA256. The HMAC itself is the caller's.
//!
//! Each side proves the shared secret over both nonces, under a label of its own role, so that a proof can be
//! neither replayed on another link nor reflected to its sender. The router proves itself first.

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 16;
/// Bytes of an HMAC-SHA256.
pub const MAC_BYTES: usize = 32;

/// A nonce, unpredictable and never used twice.
pub type Nonce = [u8; NONCE_BYTES];
/// An HMAC-SHA256. Compare in constant time only.
pub type Mac = [u8; MAC_BYTES];

/// The parts whose concatenation the router's `Challenge.mac` covers: `"router" ‖ nonce_g ‖ nonce_r`.
#[must_use]
pub fn challenge_parts<'a>(gateway: &'a Nonce, router: &'a Nonce) -> [&'a [u8]; 3] {
    [b"router", gateway, router]
}

/// The parts whose concatenation the gateway's `Proof.mac` covers: `"gateway" ‖ nonce_g ‖ nonce_r`.
#[must_use]
pub fn proof_parts<'a>(gateway: &'a Nonce, router: &'a Nonce) -> [&'a [u8]; 3] {
    [b"gateway", gateway, router]
}

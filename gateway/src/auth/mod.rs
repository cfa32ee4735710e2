//! Who may connect, subscribe, publish and read: JWT as Centrifugo defines it, lists of chats, and the `Origin` of
//! browsers.
//!
//! ```text
//! AuthConfig ──▶ Authenticator ── connect, refresh ──────────▶ Identity | Refusal
//!                              ── subscribe, sub_refresh ────▶ Grant    | Refusal
//!                              ── allows(action, chat, who) ─▶ bool
//!                              ── origins().allow(origin) ───▶ bool      (before the upgrade)
//! ```
//!
//! Invariants worth naming:
//! * A key verifies one algorithm, chosen in the configuration. The token's header only says which key it wants; it
//!   never says how to verify (RFC 8725, 3.1).
//! * No claim is looked at before the signature is verified.
//! * Everything is denied unless the configuration allows it. [`AuthConfig::standalone`] is the one preset that opens
//!   all doors.
//! * No clock: `now` is Unix time in seconds. The wall clock decides about tokens and nothing else.
//! * One place turns a failed check into what the client sees: [`Refusal`].
//!
//! Not supported: tokens' `override` (every chat is positioned and recoverable here), key sets fetched from the network,
//! single-use `jti` (SDKs present the same token on every reconnect).

mod authenticator;
mod claims;
mod config;
mod keys;
mod mint;
mod origin;
mod permission;
mod token;

pub use authenticator::{Answer, Authenticator, Grant, Identity, Refusal, Subscription, ttl};
pub use claims::ServerSubscription;
pub use config::{AuthConfig, AuthConfigError};
pub use keys::{Algorithm, KeyConfig, KeyError, KeyMaterial};
pub use mint::{NewToken, TokenSigner};
pub use origin::{BadOrigin, OriginPolicy};
pub use permission::{Action, BadPattern, ChatPattern, Permissions, Who};
pub use token::{InvalidToken, TokenError};

#[cfg(test)]
mod tests;

//! WebSocket edge: sessions, chats, fan-out, router links.
//!
//! Every core is one pinned thread with its own ring and its own share of the connections; cores share nothing but
//! mailboxes and a few atomics. The state machines (`session`, `chat`, `fanout`, `outbox`, `link`) take time and
//! randomness as arguments and do no I/O; the driver (`core`) is the only module that names the ring.
//!
//! | Module | What it is |
//! |---|---|
//! | [`auth`] | tokens, permissions, `Origin` |
//! | [`config`] | everything that can be configured, each limit a documented constant |
//! | [`control`] | what the admin thread may ask of a running gateway |
//! | [`link`] | the connection to one router: subscriptions, order, repair, requests |

pub mod auth;
#[allow(dead_code, reason = "the driver that uses it follows")]
mod calendar;
#[allow(dead_code, unused_imports, reason = "the driver that uses it follows")]
mod chat;
pub mod config;
#[allow(dead_code, reason = "the driver that uses it follows")]
pub mod control;
#[allow(dead_code, reason = "the driver that uses it follows")]
mod fanout;
pub mod link;
#[allow(dead_code, reason = "the driver that uses it follows")]
mod outbox;
#[allow(dead_code, reason = "the driver that uses it follows")]
mod pace;
#[allow(dead_code, reason = "the driver that uses it follows")]
mod placement;
#[allow(dead_code, unused_imports, reason = "the driver that uses it follows")]
mod session;
#[allow(dead_code, reason = "the driver that uses it follows")]
mod time;

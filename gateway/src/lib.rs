//! WebSocket edge: sessions, chats, fan-out, router links.
//!
//! Every core is one pinned thread with its own ring and its own share of the connections; cores share nothing but
//! mailboxes and a few atomics. The state machines (`session`, `chat`, `fanout`, `outbox`, `link`) take time and
//! randomness as arguments and do no I/O; the driver (`core`) is the only module that names the ring.
//!
//! ```text
//! socket ─ core/inbound ─ session ─ core/effects ─▶ link ─▶ router
//!                                                              │
//! sockets ◀─ core/delivery ◀─ fanout ◀─ chat ◀─ core/membership ◀┘
//! ```
//!
//! | Module | What it is |
//! |---|---|
//! | [`auth`] | tokens, permissions, Origin |
//! | [`config`] | everything that can be configured, each limit a documented constant |
//! | [`control`] | what the admin thread may ask of a running gateway |
//! | [`stats`] | what cores count |
//! | `session` | one connection: upgrade, commands, deadlines, ends |
//! | `chat` | one chat on one core: position, members, recent publications, recovery |
//! | `fanout`, `outbox` | who sends next; what waits for a slow reader |
//! | [`link`] | the connection to one router |
//! | `core` | the driver: reactor loop, mailboxes, timers |

mod address;
pub mod auth;
mod calendar;
mod chat;
pub mod config;
pub mod control;
mod core;
mod fanout;
mod gateway;
pub mod link;
#[doc(hidden)]
pub mod measured;
mod outbox;
mod pace;
mod placement;
mod session;
pub mod stats;
mod steering;
mod time;

pub use gateway::{Gateway, StartError};

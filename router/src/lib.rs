//! Chat sequencing, history, links to gateways.
//!
//! A router endpoint is one router core: one thread, one listener, its own chats. Cores share nothing; gateways spread
//! the chats over the endpoints by hashing.
//!
//! Where to look: [`chat`] (one chat: epoch, offsets, recent messages) · [`keys`] (the idempotency window) · [`log`]
//! (the storage seam and the log in memory) · [`core`] (everything of one core as a state machine without I/O: links,
//! publish → log → fan-out, subscriptions, limits).

pub mod chat;
pub mod core;
pub mod keys;
pub mod log;

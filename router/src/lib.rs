//! Chat sequencing, history, links to gateways.
//!
//! A router endpoint is one router core: one thread, one listener, its own chats. Cores share nothing; gateways spread
//! the chats over the endpoints by hashing.
//!
//! Where to look: [`chat`] (one chat: epoch, offsets, recent messages) · [`keys`] (the idempotency window) · [`log`]
//! (the storage seam and the log in memory) · [`core`] (everything of one core as a state machine without I/O: links,
//! publish → log → fan-out, subscriptions, limits) · [`driver`] (the threads with their rings) · [`config`].

pub mod chat;
pub mod config;
pub mod core;
pub mod driver;
pub mod keys;
pub mod log;

pub use config::{Listen, RouterConfig, StartError};
pub use corecast_ring::{ListenAddr, RingStats, SetupError, UnixAddr};
pub use driver::{CoreFailure, CoreSnapshot, Router, RouterHandle, StatsHandle};

//! Per-core io_uring reactor: the data plane's only contact with the kernel.
//!
//! One pinned thread owns one [`Reactor`] and drives it in pull style: it queues work (`listen`, `connect`, `send`,
//! `close`), calls [`Reactor::turn`], which makes one `io_uring_enter` to submit, wait and reap, and dispatches the
//! [`Event`]s that the turn returned. There are no callbacks, futures or allocations per operation.
//!
//! Where to look: `setup` (ring creation, what a refused start says) · `reactor` (the turn) · `send` (the send recipe
//! and its traps) · `receive`, `accept`, `connect`, `close` (one operation each) · `table` (16 bytes per connection) ·
//! `user_data` (who a completion belongs to) · `timer`, `mailbox`, `waker` (time and other cores) · [`net`],
//! [`affinity`], [`limits`] (the host).
//!
//! This is the only crate of the workspace with `unsafe` code.
#![allow(unsafe_code)] // the only crate that may: see ARCHITECTURE.md

mod accept;
pub mod affinity;
mod buffers;
mod close;
mod connect;
mod event;
pub mod limits;
pub mod mailbox;
pub mod net;
mod reactor;
mod receive;
mod ring;
mod send;
mod setup;
mod socket;
mod stage;
mod stats;
mod table;
mod timer;
mod user_data;
mod waker;

pub use accept::{Arrival, NotAdmitted};
pub use event::{Chunk, CloseReason, ConnId, Event, ListenerId, SendOutcome, Staged, Unsent, WINDOW_MAX, Wait};
pub use net::{ListenAddr, Listener, PeerAddr, Target, TcpOptions, UnixAddr};
pub use reactor::Reactor;
pub use setup::{CONNECTIONS_MAX, Features, RECEIVE_BUFFERS_MAX, ReactorConfig, SetupError};
pub use stats::RingStats;
pub use timer::{TICK, TimerId, TimerWheel};
pub use waker::Waker;

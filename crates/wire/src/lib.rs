//! The protocol between gateways and routers, without I/O.
//!
//! A link is one ordered byte stream. On it travel frames (`len | crc32c | body`, [`frame`]); a body holds one or
//! more messages ([`message`]), all that one turn of the sender produced. `docs/PROTOCOL.md` has the byte tables
//! and golden vectors; a test reads that file, so that the two cannot drift apart.
//!
//! Invariants that a change here would break:
//! * Nothing is allocated from a declared length, and no input makes this crate panic.
//! * One encoding per message: varints are minimal, flags are 0 or 1, a body holds nothing behind its last message.
//!   What decodes re-encodes to the same bytes.
//! * A message is delivered only out of a body whose CRC-32C matched; after the first error a decoder stays failed.
//! * No clock, no randomness, no secret: the caller computes the HMACs over the bytes that [`auth`] lays out.
//! * [`placement`] never changes its answers: two nodes that disagree would split a chat.
#![no_std]
#![cfg_attr(not(test), deny(clippy::cast_possible_truncation, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod auth;
mod codec;
mod decode;
mod encode;
pub mod epoch;
pub mod error;
pub mod frame;
pub mod limits;
pub mod message;
pub mod placement;
pub mod text;
pub mod version;

pub use error::{Blame, EncodeError, FrameError, MessageError, WireError};
pub use frame::{FrameDecoder, FrameEncoder, Messages};
pub use message::{Message, Position, ToGateway, ToRouter};
pub use text::{ChatName, Text};
pub use version::{Features, VersionRange};

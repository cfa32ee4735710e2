//! RFC 6455 without I/O: what a server and a test client need of the WebSocket protocol, as pure state machines.
//!
//! Bytes come in as the transport delivered them, in chunks of any size; events and bytes to send go out. Nothing here
//! opens a socket, reads a clock or draws random numbers (keys and masks are arguments), and the crate is `no_std`, which
//! proves it.
//!
//! | Module | Role |
//! |---|---|
//! | [`handshake`] | the HTTP/1.1 upgrade, server and client side |
//! | [`decoder`] | received bytes → messages and control frames |
//! | [`frame`] | messages → frames; a server frame is built once and shared by all receivers |
//!
//! # Invariants
//! * **The outcome depends on the bytes, never on how they were cut into chunks.** The one exception is the limit on the
//!   number of reads of a handshake, which exists to refuse just that.
//! * **Each received byte is looked at once**: the handshake resumes where it stopped, the UTF-8 check too.
//! * **No allocation follows from a declared length**: buffers grow by bytes that have arrived, at most to twice as many.
//! * **No input panics.** What a peer may not send is a value: [`handshake::Refusal`] or [`Violation`].
//! * **A frame that arrives whole is never copied**: it is unmasked where it lies and lent to the caller.
//!
//! Extensions are never negotiated, so a set reserved bit is always a violation.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::indexing_slicing))]

extern crate alloc;

mod assembly;
pub mod decoder;
pub mod frame;
pub mod handshake;
mod header;
mod mask;
mod violation;

pub use decoder::{Decoder, Message};
pub use frame::{FrameBuilder, Kind, Opcode, client_frame, close_frame, header_into, server_frame};
pub use violation::Violation;

//! What a turn reports, and the small types of the interface.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::net::PeerAddr;

/// Names a connection of one reactor. Stale names are recognised by their generation and answered with
/// [`SendOutcome::Gone`] or ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// A dense index below [`ReactorConfig::connections`](crate::ReactorConfig::connections), for the caller's tables.
    /// It is used again after the connection was closed.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// Tells apart the connections that use one slot after the other.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// Names a listener of one reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// How long a turn may wait for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until something happens.
    Until {
        /// Return at this time even without events; `None` = wait for an event however long it takes.
        deadline: Option<Instant>,
        /// Gather events for this long before returning with fewer than a batch; ZERO = return with the first one.
        /// Measured from the start of the wait: after an idle time longer than the window, the first event returns
        /// at once. Adds up to its length of latency, so keep it well below a millisecond (at most
        /// [`WINDOW_MAX`]).
        window: Duration,
    },
}

/// Longest useful batching window.
pub const WINDOW_MAX: Duration = Duration::from_millis(10);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer will send no more. What was queued for it can still be sent.
    Eof,
    /// The connection is lost; the error number, for example `ECONNRESET`. Nothing can be sent any more.
    Error(i32),
}

impl CloseReason {
    /// The reason as an `io::Error`, for logs.
    pub fn to_error(self) -> io::Error {
        match self {
            Self::Eof => io::ErrorKind::UnexpectedEof.into(),
            Self::Error(code) => io::Error::from_raw_os_error(code),
        }
    }
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Handed to the kernel with the current submission. What it does not take comes back as [`Event::Unsent`].
    Queued,
    /// Not sent, the caller keeps it: the connection is blocked, awaits writability, or has a send in this submission
    /// already. It is blocked from now on.
    Busy,
    /// Not sent: the connection is closed or lost.
    Gone,
}

/// Frames staged for sending, shared by any number of sends until the next [`turn`](crate::Reactor::turn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "staging alone sends nothing"]
pub struct Staged {
    pub(crate) index: u32,
    pub(crate) turn: u32,
}

/// Received bytes in one of the reactor's buffers; read it with [`received`](crate::Reactor::received) before the next
/// turn.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    pub(crate) length: u32,
    pub(crate) turn: u32,
    pub(crate) buffer: u16,
}

impl Chunk {
    /// Number of bytes, at least 1.
    #[allow(clippy::len_without_is_empty)] // never empty: the end of a stream is an event of its own
    pub fn len(&self) -> usize {
        self.length as usize
    }
}

/// Frames that the kernel did not take, in order; the first one is advanced to the first byte not sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsent {
    /// No frame in it is empty.
    pub frames: Vec<Bytes>,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A peer connected to a listener. Receiving is armed already.
    Accepted {
        /// Where it connected to.
        listener: ListenerId,
        /// The new connection.
        conn: ConnId,
        /// Who it is.
        peer: PeerAddr,
    },
    /// A connect succeeded. Receiving is armed already.
    Connected {
        /// The connection that [`connect`](crate::Reactor::connect) returned.
        conn: ConnId,
    },
    /// A connect failed. The connection is closed already.
    ConnectFailed {
        /// The connection that [`connect`](crate::Reactor::connect) returned.
        conn: ConnId,
        /// Why.
        error: io::Error,
    },
    /// Bytes arrived.
    Received {
        /// From whom.
        conn: ConnId,
        /// The bytes.
        chunk: Chunk,
    },
    /// A send was taken in part or not at all. The rest belongs at the *head* of the connection's outbox. The
    /// connection is blocked, and [`Event::Writable`] follows.
    Unsent {
        /// Whose send.
        conn: ConnId,
        /// What is left of it.
        rest: Unsent,
    },
    /// There is room again after an [`Event::Unsent`]. The connection stays blocked until the caller has sent its
    /// outbox and unblocks it.
    Writable {
        /// Whose socket.
        conn: ConnId,
    },
    /// The peer's side ended, once per connection; no bytes follow. The owner still calls [`close`](crate::Reactor::close).
    Closed {
        /// Which connection.
        conn: ConnId,
        /// How it ended.
        reason: CloseReason,
    },
    /// Somebody used the waker, or another core left a message while this one slept.
    Woken,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events are moved in bulk; a large variant would cost every one of them.
    #[test]
    fn events_are_small() {
        assert!(size_of::<Event>() <= 56, "{}", size_of::<Event>());
        assert_eq!(size_of::<ConnId>(), 8);
    }
}

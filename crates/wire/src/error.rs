//! What can be wrong, sorted by who is to blame, and the one place that says what the peer is told.
use crate::message::GoAwayReason;

/// Who is to blame for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The path between the nodes, or a peer that does not speak this protocol at all.
    Path,
    /// The peer: it sent an intact frame with something in it that the protocol does not allow.
    Peer,
    /// The caller of this crate.
    Caller,
}

/// The byte stream is not, or no longer, a sequence of intact frames. The link cannot go on: where the next frame
/// begins is unknown. Blame: [`Blame::Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame without a body.
    #[error("frame with an empty body")]
    Empty,
    /// A declared length over the limit.
    #[error("frame declares a body of {declared} bytes, over the limit of {limit}")]
    TooLarge {
        /// Length in the header, in bytes.
        declared: u32,
        /// Limit of this decoder, in bytes.
        limit: u32,
    },
    /// The body is not what its sender wrote.
    #[error("checksum {computed:08x} of the body, {declared:08x} in the header")]
    Checksum {
        /// CRC-32C in the header.
        declared: u32,
        /// CRC-32C of the body as received.
        computed: u32,
    },
}

/// A body that arrived intact is not a sequence of valid messages. Blame: [`Blame::Peer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The body ends inside a message.
    #[error("body ends inside a message")]
    Truncated,
    /// A varint of more than ten bytes or more than 64 bits.
    #[error("varint over 64 bits")]
    VarintTooLong,
    /// A varint with bytes that add nothing.
    #[error("varint not minimal")]
    VarintNotMinimal,
    /// A message type that this version does not have, and that may not be skipped.
    #[error("unknown message type {0:#04x}")]
    UnknownType(u8),
    /// A field outside its documented range.
    #[error("{field} out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
    },
    /// A text field that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A message that is valid in itself, but not now: before the handshake is done, or without its feature.
    #[error("{message} not allowed in this state")]
    Unexpected {
        /// The message.
        message: &'static str,
    },
}

/// The caller asked for something that the format cannot carry; nothing was written. Blame: [`Blame::Caller`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A chat name that is empty or too long.
    #[error("chat name of {bytes} bytes; allowed are 1 to 255")]
    ChatName {
        /// Its length.
        bytes: usize,
    },
    /// A text that is too long.
    #[error("text of {bytes} bytes; allowed are 255")]
    Text {
        /// Its length.
        bytes: usize,
    },
    /// A field outside its documented range.
    #[error("{field} out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
    },
    /// A message that does not fit a frame.
    #[error("message of {bytes} bytes does not fit a frame")]
    TooLarge {
        /// Its encoded length.
        bytes: usize,
    },
}

/// Anything that ends a link because of what came in on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The stream is damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message is not allowed.
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl WireError {
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Frame(_) => Blame::Path,
            Self::Message(_) => Blame::Peer,
        }
    }
}

/// What the peer is told before the link is closed: the only place that decides it.
impl From<&WireError> for GoAwayReason {
    fn from(error: &WireError) -> Self {
        match error.blame() {
            Blame::Path => Self::Corrupt,
            Blame::Peer | Blame::Caller => Self::Protocol,
        }
    }
}

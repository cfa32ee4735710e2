//! What a peer may not send after the handshake, and the close code each violation earns.

use thiserror::Error;

/// A violation of RFC 6455, or of our size limit, by the peer. The connection is over: send
/// [`close_frame`](crate::close_frame) with [`close_code`](Self::close_code), then close.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum Violation {
    /// A close frame that carries a code which may not be sent (RFC 6455 section 7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// A close frame with a payload of one byte: too short for a code (section 5.5.1).
    #[error("close frame with half a code")]
    CloseLength,
    /// The reason of a close frame is not UTF-8 (section 5.5.1).
    #[error("close reason is not UTF-8")]
    CloseReason,
    /// A control frame without FIN (section 5.5).
    #[error("fragmented control frame")]
    ControlFragmented,
    /// A control frame with more than 125 bytes (section 5.5).
    #[error("control frame longer than 125 bytes")]
    ControlTooLong,
    /// A text or binary frame while the previous message still lacks its end (section 5.4).
    #[error("new message within a fragmented one")]
    Interleaved,
    /// A 64-bit length with the top bit set (section 5.2).
    #[error("frame length with the top bit set")]
    LengthTopBit,
    /// A length that would have fitted into a shorter form (section 5.2).
    #[error("frame length not in its shortest form")]
    LengthNotMinimal,
    /// A masked frame from a server (section 5.1).
    #[error("masked frame from a server")]
    Masked,
    /// A continuation frame without a message to continue (section 5.4).
    #[error("continuation of no message")]
    OrphanContinuation,
    /// Opcodes 3–7 and 11–15 have no meaning (section 5.2).
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// RSV1–3 without a negotiated extension (section 5.2).
    #[error("reserved bit set")]
    ReservedBit,
    /// The message exceeds the limit given to the decoder; known from the header, before anything is stored.
    #[error("message too large")]
    TooLarge,
    /// An unmasked frame from a client (section 5.1).
    #[error("unmasked frame from a client")]
    Unmasked,
    /// A text message that is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    Utf8,
}

impl Violation {
    /// The close code to answer with (section 7.4.1): 1007 for text that is not UTF-8, 1009 for size, 1002 for the rest.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        match self {
            Self::CloseReason | Self::Utf8 => 1007,
            Self::TooLarge => 1009,
            Self::CloseCode(_)
            | Self::CloseLength
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::Interleaved
            | Self::LengthTopBit
            | Self::LengthNotMinimal
            | Self::Masked
            | Self::OrphanContinuation
            | Self::ReservedOpcode(_)
            | Self::ReservedBit
            | Self::Unmasked => 1002,
        }
    }
}

//! Why a connection ends, and the one place that says what its client gets to see.

use bytes::Bytes;
use corecast_centrifuge::codes::{CloseAdvice, CloseCode};
use corecast_websocket::{Opcode, Violation, close_frame, server_frame};

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// One of the protocol's reasons.
    Close(CloseCode),
    /// An application's own reason, through the server API.
    Advice(CloseAdvice),
    /// The client broke RFC 6455 or a size limit.
    Violation(Violation),
    /// Too many frames before authentication: no protocol reason applies yet.
    Flood,
    /// The client closes; the code is echoed.
    Peer(Option<u16>),
    /// The upgrade was refused; the answer is in the outbox.
    Refused,
    /// Nothing can or need be said: the peer is gone, or did not answer our close.
    Drop,
}

/// RFC 6455 section 7.4.1: the message violates a policy.
const POLICY_VIOLATION: u16 = 1008;

impl End {
    /// The close frame to send, if any.
    pub(crate) fn frame(&self) -> Option<Bytes> {
        match self {
            Self::Close(code) => Some(close_frame(code.code(), code.reason())),
            Self::Advice(advice) => Some(close_frame(advice.code(), advice.reason())),
            Self::Violation(violation) => Some(close_frame(violation.close_code(), "")),
            Self::Flood => Some(close_frame(POLICY_VIOLATION, "too many frames")),
            Self::Peer(Some(code)) => Some(close_frame(*code, "")),
            Self::Peer(None) => Some(server_frame(Opcode::Close, &[])),
            Self::Refused | Self::Drop => None,
        }
    }

    /// The close code, for counters; 0 if none is sent.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Close(code) => code.code(),
            Self::Advice(advice) => advice.code(),
            Self::Violation(violation) => violation.close_code(),
            Self::Flood => POLICY_VIOLATION,
            Self::Peer(_) | Self::Refused | Self::Drop => 0,
        }
    }
}

impl From<CloseCode> for End {
    fn from(code: CloseCode) -> Self {
        Self::Close(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_frame() {
        assert_eq!(End::from(CloseCode::Slow).frame().unwrap(), &b"\x88\x06\x0b\xc0slow"[..]);
        assert_eq!(End::Violation(Violation::Utf8).frame().unwrap(), &b"\x88\x02\x03\xef"[..]);
        assert_eq!(End::Peer(Some(1000)).frame().unwrap(), &b"\x88\x02\x03\xe8"[..]);
        assert_eq!(End::Peer(None).frame().unwrap(), &b"\x88\x00"[..]);
        assert_eq!(End::Drop.frame(), None);
        assert_eq!((End::Flood.code(), End::Violation(Violation::TooLarge).code()), (1008, 1009));
    }
}

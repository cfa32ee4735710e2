//! Who waits for an answer of a router, and what failures look like to them: the one place that maps them.

use corecast_centrifuge::ProtocolError;
use corecast_centrifuge::codes::ErrorCode;
use corecast_ring::ConnId;
use corecast_wire::message::RefusalReason;

use crate::control::ControlError;
use crate::link::{PublishError, RequestError, RequestRefused};

/// Who asked a link something; comes back with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A command of a client.
    Client { conn: ConnId, command: u32 },
    /// A request of the server API: index of its callback on the core that asked.
    Control(u32),
    /// The recovery of waiting subscribers of this chat of the core that asked.
    Recovery(u32),
    /// Nobody cares.
    Nobody,
}

/// Custom error code for a publish whose outcome nobody knows: repeating it may publish it twice.
pub(crate) const OUTCOME_UNKNOWN: u32 = 1_000;

/// Why something that needed a router failed, whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The router cannot be reached or cannot do it now. Temporary.
    NotAvailable,
    /// A queue is full. Temporary.
    Busy,
    /// Too large.
    TooLarge,
    /// A value that the router does not allow.
    BadRequest,
    /// The position is not kept.
    UnrecoverablePosition,
    /// It may have happened or not.
    Unknown,
}

impl From<RequestRefused> for Failure {
    fn from(refused: RequestRefused) -> Self {
        match refused {
            RequestRefused::LinkDown => Self::NotAvailable,
            RequestRefused::QueueFull => Self::Busy,
            RequestRefused::TooLarge => Self::TooLarge,
            RequestRefused::Invalid => Self::BadRequest,
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::NotSent => Self::NotAvailable,
            PublishError::Unknown => Self::Unknown,
            PublishError::Refused { reason, .. } => reason.into(),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::LinkLost | RequestError::TimedOut => Self::NotAvailable,
            RequestError::Refused { reason, .. } => reason.into(),
        }
    }
}

impl From<RefusalReason> for Failure {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::Overloaded | RefusalReason::TooManyRequests | RefusalReason::KeyTableFull => Self::Busy,
            RefusalReason::TooLarge => Self::TooLarge,
            RefusalReason::UnrecoverablePosition => Self::UnrecoverablePosition,
            RefusalReason::BadRequest => Self::BadRequest,
            RefusalReason::OutcomeUnknown => Self::Unknown,
            // Draining, storage, a slot that moves, room for chats, exhausted offsets, and reasons of newer routers.
            _ => Self::NotAvailable,
        }
    }
}

impl From<Failure> for ProtocolError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotAvailable => ErrorCode::Internal.into(),
            Failure::Busy => ErrorCode::TooManyRequests.into(),
            Failure::TooLarge => ErrorCode::LimitExceeded.into(),
            Failure::BadRequest => ErrorCode::BadRequest.into(),
            Failure::UnrecoverablePosition => ErrorCode::UnrecoverablePosition.into(),
            Failure::Unknown => {
                Self { code: OUTCOME_UNKNOWN, message: "publish outcome unknown".to_owned(), temporary: false }
            }
        }
    }
}

impl From<Failure> for ControlError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotAvailable => Self::NotAvailable,
            Failure::Busy => Self::Busy,
            Failure::TooLarge => Self::LimitExceeded,
            Failure::BadRequest => Self::BadRequest("refused by the router"),
            Failure::UnrecoverablePosition => Self::UnrecoverablePosition,
            Failure::Unknown => Self::Unknown,
        }
    }
}

//! Why an upgrade is refused, and the status that says so.

use thiserror::Error;

/// Why a request is not an acceptable opening handshake. The connection is over: send [`refuse`](super::refuse) with
/// [`status`](Self::status), then close.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// A line feed without a carriage return before it.
    #[error("line does not end in CRLF")]
    BareLineFeed,
    /// Content-Length other than 0, or Transfer-Encoding: an upgrade has no body, and what follows it are frames.
    #[error("an upgrade has no body")]
    Body,
    /// A header that must appear once appears twice.
    #[error("more than one {0} header")]
    Duplicate(&'static str),
    /// HTTP/1.0, or a version that does not exist.
    #[error("not HTTP/1.1")]
    HttpVersion,
    /// A header whose value is not what its definition permits.
    #[error("bad {0} header")]
    InvalidHeader(&'static str),
    /// Not HTTP at all, or a folded line, or a byte that no header may contain.
    #[error("malformed HTTP")]
    Malformed,
    /// Another method than GET.
    #[error("only GET upgrades")]
    Method,
    /// A header that an upgrade needs is missing.
    #[error("no {0} header")]
    Missing(&'static str),
    /// A plain HTTP request: it asks for no upgrade to WebSocket.
    #[error("this port speaks only WebSocket")]
    NotAnUpgrade,
    /// A Sec-WebSocket-Version other than 13.
    #[error("only WebSocket version 13")]
    ProtocolVersion,
    /// A request target that is neither a path nor a URI with one.
    #[error("bad request target")]
    Target,
    /// The head exceeds the limit in bytes.
    #[error("request head too large")]
    TooLarge,
    /// More header fields than the limit.
    #[error("too many headers")]
    TooManyHeaders,
    /// The head came in more pieces than the limit.
    #[error("request head in too many pieces")]
    TooManyReads,
}

impl Refusal {
    /// The status to answer with.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::BareLineFeed
            | Self::Body
            | Self::Duplicate(_)
            | Self::InvalidHeader(_)
            | Self::Malformed
            | Self::Missing(_)
            | Self::Target => Status::BadRequest,
            Self::HttpVersion => Status::HttpVersionNotSupported,
            Self::Method => Status::MethodNotAllowed,
            Self::NotAnUpgrade | Self::ProtocolVersion => Status::UpgradeRequired,
            Self::TooLarge | Self::TooManyHeaders => Status::HeaderFieldsTooLarge,
            Self::TooManyReads => Status::RequestTimeout,
        }
    }
}

/// The HTTP statuses of refused upgrades: those of [`Refusal`], and those that the caller's own rules need.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// 400
    BadRequest,
    /// 403: the Origin is not on the list.
    Forbidden,
    /// 404: nothing is served under this path.
    NotFound,
    /// 405, with `Allow: GET`.
    MethodNotAllowed,
    /// 408: the head took too long.
    RequestTimeout,
    /// 426, with `Upgrade: websocket` and `Sec-WebSocket-Version: 13`.
    UpgradeRequired,
    /// 429: too many connections from one address.
    TooManyRequests,
    /// 431
    HeaderFieldsTooLarge,
    /// 503: full, or about to stop.
    ServiceUnavailable,
    /// 505
    HttpVersionNotSupported,
}

impl Status {
    /// The status code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::UpgradeRequired => 426,
            Self::TooManyRequests => 429,
            Self::HeaderFieldsTooLarge => 431,
            Self::ServiceUnavailable => 503,
            Self::HttpVersionNotSupported => 505,
        }
    }

    /// The reason phrase.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::UpgradeRequired => "Upgrade Required",
            Self::TooManyRequests => "Too Many Requests",
            Self::HeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::HttpVersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

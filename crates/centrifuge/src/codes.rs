//! The protocol's codes, each with its text and what the client does about it.

use std::borrow::Cow;
use std::fmt;

use crate::messages::ProtocolError;

/// Longest reason of a close frame: 125 bytes of a control frame's payload less 2 for the code (RFC 6455, 5.5 and 5.5.1).
pub const MAX_REASON_BYTES: usize = 123;

macro_rules! codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $number:ty {
            $($(#[$variant_meta:meta])* $variant:ident = $code:literal $text:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// All of them, ascending.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub const fn code(self) -> $number {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// The text on the wire.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The code with this number, if the protocol defines it.
            pub const fn from_code(code: $number) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{} {}", self.code(), self.reason())
            }
        }
    };
}

codes! {
    /// Why the server closes a connection: code and reason of the WebSocket close frame.
    pub enum CloseCode: u16 {
        /// Closed without advice.
        ConnectionClosed = 3000 "connection closed",
        /// The server stops; another one takes over.
        Shutdown = 3001 "shutdown",
        /// A bug or a broken dependency on our side.
        ServerError = 3004 "internal server error",
        /// The connection's token ran out and was not refreshed.
        Expired = 3005 "connection expired",
        /// A subscription's token ran out and was not refreshed.
        SubscriptionExpired = 3006 "subscription expired",
        /// The client does not read fast enough.
        Slow = 3008 "slow",
        /// Writing failed.
        WriteError = 3009 "write error",
        /// The server lost track of what the client has.
        InsufficientState = 3010 "insufficient state",
        /// The operator wants a new connection.
        ForceReconnect = 3011 "force reconnect",
        /// No answer to a ping.
        NoPong = 3012 "no pong",
        /// More requests than the configured rate.
        TooManyRequests = 3013 "too many requests",
        /// The client must drop its token and its positions before it comes back.
        StateInvalidated = 3014 "state invalidated",
        /// The token is wrong.
        InvalidToken = 3500 "invalid token",
        /// The client broke the protocol.
        BadRequest = 3501 "bad request",
        /// Not authenticated in time.
        Stale = 3502 "stale",
        /// The operator wants the client gone.
        ForceDisconnect = 3503 "force disconnect",
        /// Too many connections, of this user for example.
        ConnectionLimit = 3504 "connection limit",
        /// Too many server-side subscriptions.
        ChannelLimit = 3505 "channel limit",
        /// What has to be delivered does not fit the client's encoding, or a frame's kind does not.
        InappropriateProtocol = 3506 "inappropriate protocol",
        /// Not allowed to be here.
        PermissionDenied = 3507 "permission denied",
        /// A command without reply asks for what is not enabled.
        NotAvailable = 3508 "not available",
        /// Too many failed requests.
        TooManyErrors = 3509 "too many errors",
    }
}

impl CloseCode {
    /// Whether SDKs come back.
    pub const fn reconnects(self) -> bool {
        reconnects(self.code())
    }
}

/// Whether SDKs come back after a close frame with `code`.
pub const fn reconnects(code: u16) -> bool {
    !matches!(code, 1009 | 3500..=3999 | 4500..=4999)
}

codes! {
    /// Why the server ends a subscription by a push.
    pub enum UnsubscribeCode: u32 {
        /// By the server's will; final.
        Server = 2000 "server unsubscribe",
        /// The stream cannot be continued; the client resubscribes at once with its position.
        InsufficientState = 2500 "insufficient state",
        /// The subscription's token ran out; the client resubscribes with a fresh one.
        Expired = 2501 "subscription expired",
        /// The client drops token and position and resubscribes.
        StateInvalidated = 2502 "state invalidated",
    }
}

impl UnsubscribeCode {
    /// Whether SDKs subscribe again.
    pub const fn resubscribes(self) -> bool {
        self.code() >= 2500
    }
}

codes! {
    /// Why a command failed.
    pub enum ErrorCode: u32 {
        /// A bug or a broken dependency on our side.
        Internal = 100 "internal server error",
        /// Not authenticated.
        Unauthorized = 101 "unauthorized",
        /// No chat of that name can exist.
        UnknownChannel = 102 "unknown channel",
        /// Not allowed.
        PermissionDenied = 103 "permission denied",
        /// No such command.
        MethodNotFound = 104 "method not found",
        /// Subscribed already; final for the SDK.
        AlreadySubscribed = 105 "already subscribed",
        /// Too many chats on this connection.
        LimitExceeded = 106 "limit exceeded",
        /// The request's content is wrong.
        BadRequest = 107 "bad request",
        /// Not enabled here.
        NotAvailable = 108 "not available",
        /// The client fetches a new token and tries again.
        TokenExpired = 109 "token expired",
        /// Expired where no token is involved.
        Expired = 110 "expired",
        /// More requests than the configured rate.
        TooManyRequests = 111 "too many requests",
        /// The position asked for is not kept.
        UnrecoverablePosition = 112 "unrecoverable position",
        /// Two paginated requests for one chat at once.
        ConcurrentPagination = 113 "concurrent pagination",
    }
}

impl ErrorCode {
    /// Whether SDKs try again by themselves because the reply says so.
    pub const fn temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests | Self::ConcurrentPagination)
    }
}

impl From<ErrorCode> for ProtocolError {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code(), message: code.reason().to_owned(), temporary: code.temporary() }
    }
}

/// What a close frame says: one of the protocol's codes or an application's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseAdvice {
    code: u16,
    reason: Cow<'static, str>,
}

impl CloseAdvice {
    /// An application's own code and reason, for example from the server API. The reason is made safe by
    /// [`safe_reason`].
    ///
    /// # Errors
    /// [`InvalidCloseCode`] outside 3000 to 4999, the range that applications may use.
    pub fn new(code: u32, reason: &str) -> Result<Self, InvalidCloseCode> {
        match u16::try_from(code) {
            Ok(code @ 3000..=4999) => Ok(Self { code, reason: Cow::Owned(safe_reason(reason).into_owned()) }),
            _ => Err(InvalidCloseCode(code)),
        }
    }

    /// The number on the wire.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The text on the wire.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether SDKs come back.
    pub const fn reconnects(&self) -> bool {
        reconnects(self.code)
    }
}

impl From<CloseCode> for CloseAdvice {
    fn from(code: CloseCode) -> Self {
        Self { code: code.code(), reason: Cow::Borrowed(code.reason()) }
    }
}

/// A close code that SDKs would misread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("close code {0} is not within 3000 to 4999")]
pub struct InvalidCloseCode(pub u32);

/// Makes any text usable as the reason of a close frame: cut to [`MAX_REASON_BYTES`] at a character, and marked if it
/// would parse as JSON, since `centrifuge-js` 5.8 takes a reason such as `503` as advice not to reconnect.
pub fn safe_reason(reason: &str) -> Cow<'_, str> {
    const MARK: &str = "reason: ";
    if serde_json::from_str::<serde::de::IgnoredAny>(reason).is_ok() {
        return Cow::Owned(format!("{MARK}{}", cut(reason, MAX_REASON_BYTES - MARK.len())));
    }
    let short = cut(reason, MAX_REASON_BYTES);
    // Cutting may leave JSON behind: 123 digits of a longer text.
    if short.len() < reason.len() && serde_json::from_str::<serde::de::IgnoredAny>(short).is_ok() {
        return Cow::Owned(format!("{MARK}{}", cut(reason, MAX_REASON_BYTES - MARK.len())));
    }
    Cow::Borrowed(short)
}

fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn safe(reason: &str) -> bool {
        reason.len() <= MAX_REASON_BYTES && serde_json::from_str::<serde::de::IgnoredAny>(reason).is_err()
    }

    proptest! {
        #[test]
        fn any_reason_becomes_safe(reason in "\\PC{0,80}|[0-9]{0,300}|[\"\\[{} 1]{0,10}|.{0,200}") {
            let made = safe_reason(&reason);
            prop_assert!(safe(&made), "{reason:?} became {made:?}");
        }
    }

    #[test]
    fn reasons_that_clients_take_as_advice_are_marked() {
        assert_eq!(safe_reason("going down"), "going down");
        assert_eq!(safe_reason(""), "");
        assert_eq!(safe_reason("503"), "reason: 503");
        assert_eq!(safe_reason(" true "), "reason:  true ");
        assert_eq!(safe_reason(r#"{"reconnect":true}"#), r#"reason: {"reconnect":true}"#);
        assert_eq!(safe_reason(&"é".repeat(100)).len(), 122, "cut at a character");
        assert!(safe(&safe_reason(&format!("{}x", "1".repeat(123)))));
    }

    #[test]
    fn built_in_codes_are_safe_and_ascending() {
        for code in CloseCode::ALL {
            assert!(safe(code.reason()));
            assert_eq!(CloseCode::from_code(code.code()), Some(*code));
            assert_eq!(code.reconnects(), code.code() < 3500, "{code}");
            assert_eq!(CloseAdvice::from(*code).code(), code.code());
        }
        assert!(CloseCode::ALL.is_sorted_by_key(|code| code.code()));
        for code in UnsubscribeCode::ALL {
            assert!(safe(code.reason()));
            assert_eq!(code.resubscribes(), *code != UnsubscribeCode::Server);
        }
        for code in ErrorCode::ALL {
            let error = ProtocolError::from(*code);
            assert_eq!(error.temporary, [100, 111, 113].contains(&error.code), "{code}");
        }
        assert_eq!(CloseCode::Shutdown.to_string(), "3001 shutdown");
    }

    #[test]
    fn ranges_of_reconnecting_codes() {
        for code in [1000, 1001, 1006, 1011, 1012, 1013, 3000, 3499, 4000, 4499] {
            assert!(reconnects(code), "{code}");
        }
        for code in [1009, 3500, 3999, 4500, 4999] {
            assert!(!reconnects(code), "{code}");
        }
    }

    #[test]
    fn an_application_closes_with_its_own_codes() {
        let advice = CloseAdvice::new(4500, "banned").unwrap();
        assert_eq!((advice.code(), advice.reason(), advice.reconnects()), (4500, "banned", false));
        assert_eq!(CloseAdvice::new(4001, "1").unwrap().reason(), "reason: 1");
        for code in [0, 1000, 2999, 5000, 65_536 + 3000] {
            assert_eq!(CloseAdvice::new(code, ""), Err(InvalidCloseCode(code)));
        }
    }
}

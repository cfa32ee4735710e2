//! The questions that a session asks, and what its client gets to hear.

use std::fmt;

use bytes::Bytes;
use corecast_centrifuge::codes::{CloseCode, ErrorCode};

use super::claims::{Claims, ServerSubscription};
use super::config::{AuthConfig, AuthConfigError};
use super::origin::OriginPolicy;
use super::permission::{Action, Permissions, Who};
use super::token::{InvalidToken, TokenError, Verifier};

/// Longest time that a client is told, in seconds (a year), whatever the token says, as in the reference
/// implementation: SDKs compute in milliseconds.
const TTL_MAX: u64 = 365 * 24 * 60 * 60;

/// Decides who may do what. Immutable; shared by all cores.
pub struct Authenticator {
    verifier: Verifier,
    anonymous: bool,
    ignore_tokens: bool,
    users: Permissions,
    anonymous_users: Permissions,
    origins: OriginPolicy,
}

/// Who a connection is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id; empty = anonymous.
    pub user: String,
    /// When the connection must have been refreshed, in Unix seconds; `None` = never.
    pub expires_at: Option<u64>,
    /// Shown to others. JSON, or any bytes if the token had `b64info`.
    pub info: Bytes,
    /// For the server side only. JSON.
    pub meta: Bytes,
    /// To subscribe at connect.
    pub subscriptions: Vec<ServerSubscription>,
}

/// What a subscription was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// When the subscription must have been refreshed, in Unix seconds; `None` = never.
    pub expires_at: Option<u64>,
    /// Shown to others in this chat. JSON, or any bytes if the token had `b64info`.
    pub info: Bytes,
    /// Sent to the client with the reply. JSON, or any bytes if the token had `b64data`.
    pub data: Bytes,
}

/// Who asks for which chat.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    /// The chat of the request.
    pub channel: &'a str,
    /// User of the connection.
    pub user: &'a str,
    /// Id of the connection.
    pub client: &'a str,
    /// Token of the request; empty if none.
    pub token: &'a str,
}

/// A refused request: what to answer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the client.
    pub answer: Answer,
    /// For the log; `None` if the request had no token.
    pub cause: Option<TokenError>,
}

/// What a refused client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection ends.
    Close(CloseCode),
    /// An error reply.
    Reply(ErrorCode),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.answer {
            Answer::Close(code) => write!(formatter, "close {code}")?,
            Answer::Reply(code) => write!(formatter, "error {code}")?,
        }
        self.cause.map_or(Ok(()), |cause| write!(formatter, " ({cause})"))
    }
}

/// Which request a token came with. Decides what a bad one leads to.
#[derive(Clone, Copy)]
enum Request {
    Connect,
    Refresh,
    Subscribe,
    SubRefresh,
}

impl Refusal {
    /// The one place that maps a token's failure to what the client sees, as the reference implementation does.
    fn of_token(request: Request, cause: TokenError) -> Self {
        let answer = match (request, cause) {
            (Request::Refresh, TokenError::Expired) => Answer::Close(CloseCode::Expired),
            (_, TokenError::Expired) => Answer::Reply(ErrorCode::TokenExpired),
            (
                _,
                TokenError::Invalid(InvalidToken::OtherChannel | InvalidToken::OtherUser | InvalidToken::OtherClient),
            ) => Answer::Close(CloseCode::InvalidToken),
            (Request::Subscribe, TokenError::Invalid(_)) => Answer::Reply(ErrorCode::PermissionDenied),
            (_, TokenError::Invalid(_)) => Answer::Close(CloseCode::InvalidToken),
        };
        Self { answer, cause: Some(cause) }
    }

    const fn without_token(answer: Answer) -> Self {
        Self { answer, cause: None }
    }
}

impl Authenticator {
    /// Reads and checks the keys; files are read here and never again.
    ///
    /// # Errors
    /// [`AuthConfigError`] if a key cannot be used.
    pub fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        let verifier = Verifier::new(config)?;
        Ok(Self {
            ignore_tokens: config.ignore_tokens_without_keys && !verifier.has_keys(),
            verifier,
            anonymous: config.anonymous,
            users: config.users.clone(),
            anonymous_users: config.anonymous_users.clone(),
            origins: config.origins.clone(),
        })
    }

    /// Which web pages may connect; to be asked before the upgrade.
    pub const fn origins(&self) -> &OriginPolicy {
        &self.origins
    }

    /// Answers `connect`. An empty token is a client without one. `now` in Unix seconds.
    ///
    /// # Errors
    /// Expired → error 109. Invalid → close 3500. No token where one is needed → error 101.
    pub fn connect(&self, token: &str, now: u64) -> Result<Identity, Refusal> {
        if token.is_empty() || self.ignore_tokens {
            let denied = Refusal::without_token(Answer::Reply(ErrorCode::Unauthorized));
            return if self.anonymous { Ok(Identity::default()) } else { Err(denied) };
        }
        self.identity(token, now).map_err(|cause| Refusal::of_token(Request::Connect, cause))
    }

    /// Answers `refresh` of a connection of `user`. Only `expires_at` and `info` of the result are news.
    ///
    /// # Errors
    /// Expired → close 3005. Invalid or of another user → close 3500. No token → close 3501.
    pub fn refresh(&self, token: &str, user: &str, now: u64) -> Result<Identity, Refusal> {
        if token.is_empty() {
            return Err(Refusal::without_token(Answer::Close(CloseCode::BadRequest)));
        }
        let identity = self.identity(token, now).and_then(|identity| {
            if identity.user == user { Ok(identity) } else { Err(InvalidToken::OtherUser.into()) }
        });
        identity.map_err(|cause| Refusal::of_token(Request::Refresh, cause))
    }

    /// Answers `subscribe`: by its token if there is one, else by the permissions.
    ///
    /// # Errors
    /// Token expired → error 109, invalid → error 103, of another chat, user or connection → close 3500. No token and
    /// no permission → error 103.
    pub fn subscribe(&self, request: Subscription<'_>, now: u64) -> Result<Grant, Refusal> {
        if request.token.is_empty() || self.ignore_tokens {
            let denied = Refusal::without_token(Answer::Reply(ErrorCode::PermissionDenied));
            let who = Who { user: request.user, member: false };
            return if self.allows(Action::Subscribe, request.channel, who) {
                Ok(Grant::default())
            } else {
                Err(denied)
            };
        }
        self.grant(request, now).map_err(|cause| Refusal::of_token(Request::Subscribe, cause))
    }

    /// Answers `sub_refresh`.
    ///
    /// # Errors
    /// Expired → error 109. Invalid, or of another chat, user or connection → close 3500. No token → error 107.
    pub fn sub_refresh(&self, request: Subscription<'_>, now: u64) -> Result<Grant, Refusal> {
        if request.token.is_empty() {
            return Err(Refusal::without_token(Answer::Reply(ErrorCode::BadRequest)));
        }
        self.grant(request, now).map_err(|cause| Refusal::of_token(Request::SubRefresh, cause))
    }

    /// Whether the configured permissions allow this without a token.
    pub fn allows(&self, action: Action, channel: &str, who: Who<'_>) -> bool {
        let permissions = if who.user.is_empty() { &self.anonymous_users } else { &self.users };
        permissions.allow(action, channel, who.member)
    }

    fn identity(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let claims = self.verifier.verify(token, now)?;
        if claims.channel.as_ref().is_some_and(|channel| !channel.is_empty()) {
            return Err(InvalidToken::UnexpectedChannel.into());
        }
        Ok(Identity {
            expires_at: expires_at(&claims, now)?,
            info: claims.info().map_err(|_| InvalidToken::Claims)?,
            meta: claims.meta.as_ref().map(|meta| Bytes::copy_from_slice(meta.get().as_bytes())).unwrap_or_default(),
            subscriptions: claims.subscriptions().map_err(|_| InvalidToken::Claims)?,
            user: claims.sub.unwrap_or_default(),
        })
    }

    fn grant(&self, request: Subscription<'_>, now: u64) -> Result<Grant, TokenError> {
        let claims = self.verifier.verify(request.token, now)?;
        match claims.channel.as_deref() {
            None | Some("") => return Err(InvalidToken::NoChannel.into()),
            Some(channel) if channel != request.channel => return Err(InvalidToken::OtherChannel.into()),
            Some(_) => {}
        }
        if claims.sub.as_deref().unwrap_or_default() != request.user {
            return Err(InvalidToken::OtherUser.into());
        }
        if claims.client.as_deref().is_some_and(|client| !client.is_empty() && client != request.client) {
            return Err(InvalidToken::OtherClient.into());
        }
        Ok(Grant {
            expires_at: expires_at(&claims, now)?,
            info: claims.info().map_err(|_| InvalidToken::Claims)?,
            data: claims.data().map_err(|_| InvalidToken::Claims)?,
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authenticator").field("anonymous", &self.anonymous).finish_non_exhaustive()
    }
}

/// Seconds from `now` to `expires_at`, for `ttl` in replies: at least 1, at most a year.
#[must_use]
pub fn ttl(expires_at: u64, now: u64) -> u32 {
    u32::try_from(expires_at.saturating_sub(now).clamp(1, TTL_MAX)).unwrap_or(u32::MAX)
}

/// `expire_at` in the past is an expired token too, although its `exp` may be in the future.
fn expires_at(claims: &Claims, now: u64) -> Result<Option<u64>, TokenError> {
    match claims.expires_at() {
        None => Ok(None),
        Some(at) => match u64::try_from(at) {
            Ok(at) if at > now => Ok(Some(at)),
            _ => Err(TokenError::Expired),
        },
    }
}

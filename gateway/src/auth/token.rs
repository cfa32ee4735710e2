//! Verification: from the text of a token to claims that can be believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::de::DeserializeOwned;

use super::claims::{Claims, Header};
use super::config::{AuthConfig, AuthConfigError};
use super::keys::Algorithm;

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once, or will be: the client should come with another one.
    #[error("token expired")]
    Expired,
    /// It was never good.
    #[error("invalid token: {0}")]
    Invalid(#[from] InvalidToken),
}

/// Why a token was never good. For logs; clients are not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Not three parts of base64url with JSON objects in the first two.
    #[error("not a signed JWT")]
    Malformed,
    /// `typ` is there and is not `JWT`, or `crit` asks for an extension.
    #[error("not of a kind that is accepted here")]
    Kind,
    /// No key of the configuration has this `alg` and `kid`.
    #[error("no key for its algorithm and id")]
    NoKey,
    /// The signature is wrong.
    #[error("wrong signature")]
    Signature,
    /// A claim has the wrong type.
    #[error("claims of a wrong type")]
    Claims,
    /// `aud` is missing or another.
    #[error("wrong audience")]
    Audience,
    /// `iss` is missing or another.
    #[error("wrong issuer")]
    Issuer,
    /// A subscription token where a connection token belongs.
    #[error("subscription token used to connect")]
    UnexpectedChannel,
    /// A connection token where a subscription token belongs.
    #[error("no channel in a subscription token")]
    NoChannel,
    /// For another chat.
    #[error("token of another chat")]
    OtherChannel,
    /// Of another user.
    #[error("token of another user")]
    OtherUser,
    /// For another connection.
    #[error("token of another connection")]
    OtherClient,
}

/// Verifies signatures and the claims that both kinds of token share.
pub(super) struct Verifier {
    keys: Vec<Key>,
    audience: Option<String>,
    issuer: Option<String>,
    not_before_leeway: u64,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier {
    pub(super) fn new(config: &AuthConfig) -> Result<Self, AuthConfigError> {
        let mut keys: Vec<Key> = Vec::with_capacity(config.keys.len());
        for (index, key) in config.keys.iter().enumerate() {
            let wrong = |error| AuthConfigError::Key { position: index + 1, id: key.id.clone(), error };
            if let Some(id) = &key.id
                && keys.iter().any(|known| known.id.as_ref() == Some(id) && known.algorithm == key.algorithm)
            {
                return Err(AuthConfigError::DuplicateKey(id.clone()));
            }
            let decoding_key = key.decoding_key().map_err(wrong)?;
            keys.push(Key { id: key.id.clone(), algorithm: key.algorithm, key: decoding_key });
        }
        Ok(Self {
            keys,
            audience: config.audience.clone(),
            issuer: config.issuer.clone(),
            not_before_leeway: config.not_before_leeway,
        })
    }

    pub(super) const fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Signature first, then audience and issuer, then time.
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(InvalidToken::Malformed)?;
        let header: Header = decode_part(header).ok_or(InvalidToken::Malformed)?;
        let typ_is_jwt = header.typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if !typ_is_jwt || header.crit.is_some() {
            return Err(InvalidToken::Kind.into());
        }
        self.verify_signature(&header, message, signature)?;
        let claims: Claims = decode_part(payload).ok_or(InvalidToken::Claims)?;
        self.check_claims(&claims, now)?;
        Ok(claims)
    }

    fn verify_signature(&self, header: &Header, message: &str, signature: &str) -> Result<(), InvalidToken> {
        let mut refusal = InvalidToken::NoKey;
        for key in self.candidates(header) {
            let algorithm = key.algorithm.library();
            match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm) {
                Ok(true) => return Ok(()),
                Ok(false) | Err(_) => refusal = InvalidToken::Signature,
            }
        }
        Err(refusal)
    }

    /// Keys that may have signed it. `alg` can only narrow the choice: each key keeps its own algorithm.
    fn candidates<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(|key| {
            let id_fits = match (&key.id, &header.kid) {
                (Some(id), Some(kid)) => id == kid,
                _ => true,
            };
            id_fits && key.algorithm.name() == header.alg
        })
    }

    fn check_claims(&self, claims: &Claims, now: u64) -> Result<(), TokenError> {
        if let Some(audience) = &self.audience
            && !claims.aud.as_ref().is_some_and(|given| given.contains(audience))
        {
            return Err(InvalidToken::Audience.into());
        }
        if self.issuer.is_some() && claims.iss != self.issuer {
            return Err(InvalidToken::Issuer.into());
        }
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let leeway = i64::try_from(self.not_before_leeway).unwrap_or(i64::MAX);
        let expired = claims.exp.is_some_and(|exp| exp.0 <= now);
        // Too early is answered like too late: the next token of a server whose clock is ahead will do.
        let too_early = claims.nbf.is_some_and(|nbf| nbf.0 > now.saturating_add(leeway));
        if expired || too_early { Err(TokenError::Expired) } else { Ok(()) }
    }
}

fn decode_part<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

//! What tokens say, as Centrifugo names it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A subscription that a connection token grants: the server subscribes the client at connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSubscription {
    /// The chat. Not checked against the limits for names and counts.
    pub channel: String,
    /// Shown to others in this chat. JSON, or any bytes if the token had `b64info`.
    pub info: Bytes,
    /// Sent to the client with the subscription. JSON, or any bytes if the token had `b64data`.
    pub data: Bytes,
}

/// The part of a token's header that decides how it is verified. Duplicate members are errors.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) typ: Option<String>,
    pub(super) kid: Option<String>,
    /// Extensions that the issuer calls critical. We implement none (RFC 7515, 4.1.11).
    pub(super) crit: Option<serde::de::IgnoredAny>,
}

/// Claims of both kinds of token. Duplicate members are errors, unknown ones are skipped.
#[derive(Default, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: Option<String>,
    pub(super) exp: Option<NumericDate>,
    pub(super) nbf: Option<NumericDate>,
    pub(super) aud: Option<Audience>,
    pub(super) iss: Option<String>,
    pub(super) expire_at: Option<NumericDate>,
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: Option<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: Option<String>,
    pub(super) meta: Option<Box<RawValue>>,
    pub(super) channels: Option<Vec<String>>,
    pub(super) subs: Option<BTreeMap<String, SubscriptionOptions>>,
    /// Only in subscription tokens.
    pub(super) channel: Option<String>,
    /// Only in subscription tokens: the one connection that may use it.
    pub(super) client: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SubscriptionOptions {
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
}

/// Seconds since the epoch; may have a fraction (RFC 7519, 2), which is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumericDate(pub(super) i64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let whole = number.as_i64().or_else(|| number.as_u64().map(|_| i64::MAX));
        // `as` saturates, and JSON has no NaN.
        #[allow(clippy::cast_possible_truncation)]
        Ok(Self(whole.unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    pub(super) fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

impl Claims {
    /// When what the token grants ends, in Unix seconds: `expire_at`, where 0 means never, else `exp`.
    pub(super) fn expires_at(&self) -> Option<i64> {
        match self.expire_at {
            Some(NumericDate(at)) => (at > 0).then_some(at),
            None => self.exp.map(|NumericDate(at)| at),
        }
    }

    pub(super) fn info(&self) -> Result<Bytes, base64::DecodeError> {
        body(self.info.as_deref(), self.b64info.as_deref())
    }

    pub(super) fn data(&self) -> Result<Bytes, base64::DecodeError> {
        body(self.data.as_deref(), self.b64data.as_deref())
    }

    /// `subs`, or without it `channels`; empty names are skipped.
    pub(super) fn subscriptions(&self) -> Result<Vec<ServerSubscription>, base64::DecodeError> {
        if let Some(subs) = self.subs.as_ref().filter(|subs| !subs.is_empty()) {
            let named = subs.iter().filter(|(channel, _)| !channel.is_empty());
            return named.map(|(channel, options)| options.subscription(channel)).collect();
        }
        let mut channels: Vec<_> = self.channels.iter().flatten().filter(|channel| !channel.is_empty()).collect();
        channels.sort_unstable();
        channels.dedup();
        channels.into_iter().map(|channel| SubscriptionOptions::default().subscription(channel)).collect()
    }
}

impl SubscriptionOptions {
    fn subscription(&self, channel: &str) -> Result<ServerSubscription, base64::DecodeError> {
        Ok(ServerSubscription {
            channel: channel.to_owned(),
            info: body(self.info.as_deref(), self.b64info.as_deref())?,
            data: body(self.data.as_deref(), self.b64data.as_deref())?,
        })
    }
}

/// The base64 form wins, as in the reference implementation.
fn body(json: Option<&RawValue>, base64: Option<&str>) -> Result<Bytes, base64::DecodeError> {
    match (base64, json) {
        (Some(text), _) if !text.is_empty() => STANDARD.decode(text).map(Bytes::from),
        (_, Some(json)) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        _ => Ok(Bytes::new()),
    }
}

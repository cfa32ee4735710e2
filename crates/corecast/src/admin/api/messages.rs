//! Requests, results and errors of the server API in Centrifugo's shapes (its `internal/apiproto/api.proto`, v6).
//!
//! Fields that Corecast does not support are declared all the same, so that a request that uses one is refused instead of
//! being half obeyed. Fields that nobody knows are skipped, as Centrifugo skips them.
//!
//! Whatever is read as an object is read through [`Object`].

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// An error inside an answer with HTTP status 200.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct ApiError {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The request is to blame.
    pub(crate) fn bad_request(why: &str) -> Self {
        Self::new(107, format!("bad request: {why}"))
    }

    /// What is asked for does not exist here.
    pub(crate) fn not_available(what: &str) -> Self {
        Self::new(108, format!("not available: {what}"))
    }

    /// HTTP status in Centrifugo's transport error mode.
    pub(crate) fn http_status(&self) -> u16 {
        match self.code {
            102 | 104 => 404,
            106..=108 => 400,
            111 => 429,
            112 => 416,
            113 => 409,
            _ => 500,
        }
    }
}

/// What has to be an object. By itself serde takes a list for a struct, too: the values of its fields in their order.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A request of `publish` (which reads `channel`) or `broadcast` (which reads `channels`). One type for both, because
/// `serde(flatten)` cannot carry a [`RawValue`].
#[derive(Debug, Deserialize)]
pub(crate) struct Publish {
    #[serde(default)]
    pub(crate) channel: String,
    #[serde(default)]
    pub(crate) channels: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    pub(crate) data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) b64data: String,
    #[serde(default)]
    pub(crate) idempotency_key: String,
    #[serde(default)]
    pub(crate) skip_history: bool,
    #[serde(default)]
    pub(crate) tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) delta: bool,
    #[serde(default)]
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) version_epoch: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct History {
    #[serde(default)]
    pub(crate) channel: String,
    #[serde(default)]
    pub(crate) limit: i64,
    #[serde(default)]
    pub(crate) since: Option<Object<Position>>,
    #[serde(default)]
    pub(crate) reverse: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Position {
    #[serde(default)]
    pub(crate) offset: u64,
    #[serde(default)]
    pub(crate) epoch: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PresenceStats {
    #[serde(default)]
    pub(crate) channel: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Disconnect {
    #[serde(default)]
    pub(crate) user: String,
    #[serde(default)]
    pub(crate) client: String,
    #[serde(default)]
    pub(crate) session: String,
    #[serde(default)]
    pub(crate) whitelist: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) disconnect: Option<Object<DisconnectCode>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DisconnectCode {
    #[serde(default)]
    pub(crate) code: u32,
    #[serde(default)]
    pub(crate) reason: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Empty {}

/// Several commands in one request.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    #[serde(default)]
    pub(crate) commands: Vec<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    pub(crate) parallel: bool,
}

/// A command of the older API with one endpoint.
#[derive(Debug, Deserialize)]
pub(crate) struct OldCommand {
    #[serde(default)]
    pub(crate) id: u32,
    #[serde(default)]
    pub(crate) method: OldMethod,
    #[serde(default)]
    pub(crate) params: Option<Box<RawValue>>,
}

/// The method of an [`OldCommand`]: a name, or its number in Centrifugo's list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OldMethod {
    Name(String),
    Number(u32),
}

impl Default for OldMethod {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl OldMethod {
    /// The name as the paths of the API have it; empty for numbers of methods that are not offered.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Name(name) => name.to_ascii_lowercase(),
            Self::Number(number) => match number {
                0 => "publish",
                1 => "broadcast",
                3 => "disconnect",
                5 => "presence_stats",
                6 => "history",
                9 => "info",
                _ => "",
            }
            .to_owned(),
        }
    }
}

/// The result of a method; encoded without a wrapper of its own.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Publish(PublishResult),
    Broadcast { responses: Vec<PublishResponse> },
    History(HistoryResult),
    PresenceStats { num_clients: u32, num_users: u32 },
    Disconnect {},
    Info { nodes: Vec<Node> },
}

#[derive(Debug, Serialize)]
pub(crate) struct PublishResult {
    pub(crate) offset: u64,
    pub(crate) epoch: String,
}

/// One channel's outcome within a broadcast.
#[derive(Debug, Serialize)]
pub(crate) struct PublishResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ApiError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<PublishResult>,
}

#[derive(Debug, Serialize)]
pub(crate) struct HistoryResult {
    pub(crate) publications: Vec<Publication>,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Publication {
    pub(crate) data: Box<RawValue>,
    pub(crate) offset: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) num_clients: u32,
    pub(crate) num_users: u32,
    pub(crate) num_channels: u32,
    pub(crate) num_subs: u32,
    pub(crate) uptime: u32,
}

/// An answer as it is sent: `{"result":…}` or `{"error":…}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Response {
    Result(Answer),
    Error(ApiError),
}

impl From<Result<Answer, ApiError>> for Response {
    fn from(outcome: Result<Answer, ApiError>) -> Self {
        match outcome {
            Ok(answer) => Self::Result(answer),
            Err(error) => Self::Error(error),
        }
    }
}

/// Reads a value that may be `null`: with plain `Option`, `"data":null` would look like no data.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

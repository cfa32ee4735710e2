//! The server API over HTTP: `POST /api/<method>`, `POST /api/batch` and the older `POST /api`, as Centrifugo has them.
//!
//! Answers have HTTP status 200 and carry `result` or `error`. Other statuses: 401 without the key (before the body is read),
//! 400 for a body that is not what the method takes, 404 for an unknown method, 413 and 408 for a body too large or too slow.

mod executor;
mod messages;
mod metrics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prometheus_client::registry::Registry;
use serde_json::value::RawValue;

use self::executor::{Executor, Wrong};
use self::messages::{Answer, ApiError, Batch, Object, OldCommand};
use self::metrics::ApiMetrics;
use super::upstream::Upstream;
use crate::config::values::Secret;

/// Commands of one batch at most; each may be a broadcast.
const BATCH_MAX: usize = 10_000;

/// What bounds the server API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiLimits {
    /// Bytes of a request's body.
    pub(crate) body_max: usize,
    /// Channels of a broadcast.
    pub(crate) broadcast_max: usize,
    /// For a body to arrive, and then for the answer.
    pub(crate) timeout: Duration,
}

struct Api {
    key: Option<Secret>,
    executor: Executor,
    limits: ApiLimits,
    metrics: ApiMetrics,
}

/// The routes of the server API. Without a key everybody is refused.
pub(crate) fn routes(
    upstream: Arc<dyn Upstream>,
    key: Option<Secret>,
    limits: ApiLimits,
    registry: &mut Registry,
) -> Router {
    let executor = Executor::new(upstream, limits.broadcast_max, limits.timeout);
    let api = Arc::new(Api { key, executor, limits, metrics: ApiMetrics::register(registry) });
    Router::new()
        .route("/api", post(old))
        .route("/api/", post(old))
        .route("/api/{method}", post(method))
        .with_state(api)
}

async fn method(State(api): State<Arc<Api>>, Path(method): Path<String>, request: Request) -> Response {
    let transport_errors = transport_error_mode(request.headers());
    let body = match api.body(request).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    if method == "batch" {
        return api.batch(&body).await;
    }
    match api.run(&method, &body).await {
        Ok(answer) => json(StatusCode::OK, &messages::Response::Result(answer)),
        Err(Wrong::Method) => plain(StatusCode::NOT_FOUND, "no such method"),
        Err(Wrong::Body(error)) => plain(StatusCode::BAD_REQUEST, &format!("bad request: {error}")),
        Err(Wrong::Api(error)) if transport_errors => {
            json(StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error)
        }
        Err(Wrong::Api(error)) => json(StatusCode::OK, &messages::Response::Error(error)),
    }
}

/// The older API: one endpoint, one or more commands in the body, one line of answer for each.
async fn old(State(api): State<Arc<Api>>, request: Request) -> Response {
    let body = match api.body(request).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    // All are read before the first is carried out: a request that is wrong somewhere does nothing.
    let commands = serde_json::Deserializer::from_str(&body).into_iter::<Object<OldCommand>>();
    let commands = match commands.take(BATCH_MAX + 1).collect::<Result<Vec<_>, _>>() {
        Ok(commands) if commands.is_empty() => return plain(StatusCode::BAD_REQUEST, "bad request: no command"),
        Ok(commands) if commands.len() > BATCH_MAX => {
            return plain(StatusCode::BAD_REQUEST, &format!("at most {BATCH_MAX} commands in one request"));
        }
        Ok(commands) => commands,
        Err(error) => return plain(StatusCode::BAD_REQUEST, &format!("bad request: {error}")),
    };
    let mut lines = Vec::new();
    for Object(command) in commands {
        lines.push(api.old_command(command).await);
    }
    let content_type = (header::CONTENT_TYPE, "application/json");
    (StatusCode::OK, [content_type], lines.join("\n")).into_response()
}

impl Api {
    /// The body, if the request carries the key and the body is text within the limits.
    async fn body(&self, request: Request) -> Result<String, Box<Response>> {
        if !self.admits(request.headers(), request.uri()) {
            self.metrics.count_stranger();
            let hint = "send the API key as the header X-API-Key";
            return Err(Box::new(plain(StatusCode::UNAUTHORIZED, hint)));
        }
        let read = axum::body::to_bytes(request.into_body(), self.limits.body_max);
        match tokio::time::timeout(self.limits.timeout, read).await {
            Err(_) => Err(Box::new(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))),
            Ok(Err(error)) => Err(Box::new(self.unread(&error))),
            Ok(Ok(body)) => String::from_utf8(body.into())
                .map_err(|_| Box::new(plain(StatusCode::BAD_REQUEST, "bad request: the body is not UTF-8"))),
        }
    }

    fn unread(&self, error: &axum::Error) -> Response {
        let too_large =
            std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if too_large {
            let why = format!("the body is larger than {} bytes (admin.body_max)", self.limits.body_max);
            plain(StatusCode::PAYLOAD_TOO_LARGE, &why)
        } else {
            plain(StatusCode::BAD_REQUEST, "bad request: the body ended early")
        }
    }

    /// The key as `X-API-Key`, `Authorization: apikey KEY` or `?api_key=KEY`, as in Centrifugo.
    fn admits(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(key) = &self.key else { return false };
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let of_authorization = |value: &str| {
            let (scheme, given) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("apikey").then(|| given.trim().to_owned())
        };
        let given = text("x-api-key")
            .map(str::to_owned)
            .or_else(|| text("authorization").and_then(of_authorization))
            .or_else(|| api_key_of_query(uri));
        given.is_some_and(|given| equal(given.as_bytes(), key.expose().as_bytes()))
    }

    /// Runs a method and counts it.
    async fn run(&self, method: &str, params: &str) -> Result<Answer, Wrong> {
        let begin = Instant::now();
        let outcome = self.executor.run(method, params).await;
        self.metrics.count(method, &outcome, begin.elapsed());
        outcome
    }

    async fn batch(&self, body: &str) -> Response {
        let Object(batch): Object<Batch> = match serde_json::from_str(body) {
            Ok(batch) => batch,
            Err(error) => return plain(StatusCode::BAD_REQUEST, &format!("bad request: {error}")),
        };
        if batch.commands.len() > BATCH_MAX {
            return plain(StatusCode::BAD_REQUEST, &format!("at most {BATCH_MAX} commands in one batch"));
        }
        // `parallel` asks for speed, not for another outcome: commands run one after the other here.
        let _ = batch.parallel;
        let mut replies = Vec::with_capacity(batch.commands.len());
        for command in &batch.commands {
            let outcome = match command.iter().next() {
                Some((method, params)) => self.one(method, params.get()).await.map(|answer| (method.clone(), answer)),
                None => Err(ApiError::bad_request("a command without a method")),
            };
            replies.push(match outcome {
                Ok(answer) => BatchReply::Answer(BTreeMap::from([answer])),
                Err(error) => BatchReply::Error { error },
            });
        }
        json(StatusCode::OK, &BatchReplies { replies })
    }

    async fn old_command(&self, command: OldCommand) -> String {
        let params = command.params.as_deref().map_or("{}", RawValue::get);
        let outcome = self.one(&command.method.name(), params).await;
        let reply = OldReply { id: command.id, response: outcome.into() };
        serde_json::to_string(&reply).unwrap_or_default()
    }

    /// A command inside a larger request, where every failure is an error object.
    async fn one(&self, method: &str, params: &str) -> Result<Answer, ApiError> {
        self.run(method, params).await.map_err(|wrong| match wrong {
            Wrong::Method => ApiError::new(104, "method not found"),
            Wrong::Body(error) => ApiError::bad_request(&error.to_string()),
            Wrong::Api(error) => error,
        })
    }
}

#[derive(serde::Serialize)]
struct BatchReplies {
    replies: Vec<BatchReply>,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum BatchReply {
    Answer(BTreeMap<String, Answer>),
    Error { error: ApiError },
}

#[derive(serde::Serialize)]
struct OldReply {
    #[serde(skip_serializing_if = "is_zero")]
    id: u32,
    #[serde(flatten)]
    response: messages::Response,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(id: &u32) -> bool {
    *id == 0
}

/// Centrifugo's way of asking for errors as HTTP statuses.
fn transport_error_mode(headers: &HeaderMap) -> bool {
    headers.get("x-centrifugo-error-mode").is_some_and(|mode| mode == "transport")
}

fn api_key_of_query(uri: &Uri) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == "api_key").map(|(_, value)| percent_decoded(value)).next()
}

/// Percent-decodes a query value; what is not valid stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, digits.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                out.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Compares in a time that does not depend on where the first difference is.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (one, other)| sum | (one ^ other)) == 0
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], Body::from(text)).into_response(),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

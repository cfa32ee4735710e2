//! Runs the methods of the server API against the gateway. Knows no HTTP.
//!
//! Invariants worth naming:
//! - A publish that was not confirmed is never reported as done, nor as failed when it may have happened.
//! - What Corecast does not support is refused with error 108, never ignored.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use corecast_gateway::control::{
    ControlError, DisconnectRequest, HistoryRequest, PublishRequest, Published, Reply, StreamPosition,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::messages::{
    Answer, ApiError, Disconnect, Empty, History, HistoryResult, Node, Object, PresenceStats, Publication, Publish,
    PublishResponse, PublishResult,
};
use crate::admin::upstream::Upstream;

/// Close code of a disconnect that names none: final, as in Centrifugo.
const FORCE_DISCONNECT: u16 = 3503;
const FORCE_DISCONNECT_REASON: &str = "force disconnect";

/// The methods that are offered.
pub(super) const METHODS: [&str; 6] = ["publish", "broadcast", "history", "presence_stats", "disconnect", "info"];

/// Methods of Centrifugo's API that are not offered: refused with 108 rather than 404, so that the caller learns why.
const NOT_OFFERED: [&str; 15] = [
    "subscribe",
    "unsubscribe",
    "refresh",
    "presence",
    "history_remove",
    "channels",
    "connections",
    "rpc",
    "map_publish",
    "map_remove",
    "map_read_state",
    "map_read_stream",
    "map_stats",
    "map_clear",
    "shared_poll_publish",
];

/// Why a request did not become an answer.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// There is no such method.
    Method,
    /// The body is not what the method takes.
    Body(serde_json::Error),
    /// The method ran and failed.
    Api(ApiError),
}

impl From<ApiError> for Wrong {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// The methods of the server API.
#[derive(Clone)]
pub(crate) struct Executor {
    upstream: Arc<dyn Upstream>,
    broadcast_max: usize,
    timeout: Duration,
}

impl Executor {
    pub(crate) fn new(upstream: Arc<dyn Upstream>, broadcast_max: usize, timeout: Duration) -> Self {
        Self { upstream, broadcast_max, timeout }
    }

    /// Runs a method on its parameters.
    pub(crate) async fn run(&self, method: &str, params: &str) -> Result<Answer, Wrong> {
        Ok(match method {
            "publish" => self.publish(read(params)?).await?,
            "broadcast" => self.broadcast(read(params)?).await?,
            "history" => self.history(read(params)?).await?,
            "presence_stats" => self.presence_stats(read(params)?).await?,
            "disconnect" => self.disconnect(read(params)?)?,
            "info" => {
                let Empty {} = read(params)?;
                self.info().await?
            }
            other if NOT_OFFERED.contains(&other) => {
                return Err(ApiError::not_available(&format!("Corecast has no {other}")).into());
            }
            _ => return Err(Wrong::Method),
        })
    }

    async fn publish(&self, request: Publish) -> Result<Answer, ApiError> {
        let data = content(&request)?;
        if request.channel.is_empty() {
            return Err(ApiError::bad_request("channel is required"));
        }
        let answer = self.send(request.channel, data, request.idempotency_key);
        self.answer(answer).await.map(|published| Answer::Publish(result(published)))
    }

    /// All publications are under way before the first answer is awaited.
    async fn broadcast(&self, request: Publish) -> Result<Answer, ApiError> {
        let data = content(&request)?;
        if request.channels.is_empty() {
            return Err(ApiError::bad_request("channels are required"));
        }
        if request.channels.len() > self.broadcast_max {
            let why = format!("at most {} channels in one broadcast (admin.broadcast_max)", self.broadcast_max);
            return Err(ApiError::bad_request(&why));
        }
        let send = |channel| self.send(channel, data.clone(), request.idempotency_key.clone());
        let answers: Vec<_> = request.channels.into_iter().map(send).collect();
        let deadline = tokio::time::Instant::now() + self.timeout;
        let mut responses = Vec::with_capacity(answers.len());
        for answer in answers {
            responses.push(match awaited(answer, deadline).await {
                Ok(published) => PublishResponse { error: None, result: Some(result(published)) },
                Err(error) => PublishResponse { error: Some(error), result: None },
            });
        }
        Ok(Answer::Broadcast { responses })
    }

    async fn history(&self, request: History) -> Result<Answer, ApiError> {
        if request.channel.is_empty() {
            return Err(ApiError::bad_request("channel is required"));
        }
        // Centrifugo: a negative limit means all of it; what that is, is bounded here.
        let limit = u32::try_from(request.limit).unwrap_or(u32::MAX);
        let since = request.since.map(|Object(since)| StreamPosition { offset: since.offset, epoch: since.epoch });
        let request = HistoryRequest { chat: request.channel, limit, since, reverse: request.reverse };
        let history = self.answer(self.ask(|upstream, reply| upstream.history(request, reply))).await?;
        let publications = history.publications.into_iter().map(|publication| {
            let data = raw(&publication.data)?;
            Ok(Publication { data, offset: publication.offset })
        });
        Ok(Answer::History(HistoryResult {
            publications: publications.collect::<Result<_, ApiError>>()?,
            epoch: history.epoch,
            offset: history.offset,
        }))
    }

    async fn presence_stats(&self, request: PresenceStats) -> Result<Answer, ApiError> {
        if request.channel.is_empty() {
            return Err(ApiError::bad_request("channel is required"));
        }
        let asked = self.ask(|upstream, reply| upstream.presence_stats(request.channel, reply));
        let stats = self.answer(asked).await?;
        Ok(Answer::PresenceStats { num_clients: stats.clients, num_users: stats.users })
    }

    fn disconnect(&self, request: Disconnect) -> Result<Answer, ApiError> {
        if !request.session.is_empty() {
            return Err(ApiError::not_available("disconnect by session; use client"));
        }
        let (code, reason) = match request.disconnect {
            Some(Object(given)) => (
                u16::try_from(given.code).map_err(|_| ApiError::bad_request("code must be 3000 to 4999"))?,
                given.reason,
            ),
            None => (FORCE_DISCONNECT, FORCE_DISCONNECT_REASON.to_owned()),
        };
        let client = Some(request.client).filter(|client| !client.is_empty());
        let whitelist = request.whitelist.unwrap_or_default();
        let request = DisconnectRequest { user: request.user, client, code, reason, whitelist };
        self.upstream.disconnect(request).map_err(refused)?;
        Ok(Answer::Disconnect {})
    }

    async fn info(&self) -> Result<Answer, ApiError> {
        let nodes = self.answer(self.ask(|upstream, reply| upstream.nodes(reply))).await?;
        let nodes = nodes.into_iter().map(|node| Node {
            uid: node.uid,
            name: node.name,
            version: node.version,
            num_clients: node.clients,
            num_users: node.users,
            num_channels: node.chats,
            num_subs: node.subscriptions,
            uptime: node.uptime_s,
        });
        Ok(Answer::Info { nodes: nodes.collect() })
    }

    fn send(&self, chat: String, data: Bytes, key: String) -> Asked<Published> {
        let idempotency_key = Some(key).filter(|key| !key.is_empty());
        self.ask(|upstream, reply| upstream.publish(PublishRequest { chat, data, idempotency_key }, reply))
    }

    fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Upstream, Reply<T>)) -> Asked<T> {
        let (sender, receiver) = oneshot::channel();
        // Runs on a core's thread: only hands the value over. Nobody may be listening any more.
        let reply = Box::new(move |outcome| drop(sender.send(outcome)));
        ask(&*self.upstream, reply);
        receiver
    }

    async fn answer<T>(&self, asked: Asked<T>) -> Result<T, ApiError> {
        awaited(asked, tokio::time::Instant::now() + self.timeout).await
    }
}

type Asked<T> = oneshot::Receiver<Result<T, ControlError>>;

async fn awaited<T>(asked: Asked<T>, deadline: tokio::time::Instant) -> Result<T, ApiError> {
    match tokio::time::timeout_at(deadline, asked).await {
        Ok(Ok(outcome)) => outcome.map_err(refused),
        Ok(Err(_)) => Err(ApiError::new(100, "internal server error: the gateway is stopping, the outcome is unknown")),
        Err(_) => Err(ApiError::new(100, "internal server error: no answer in time, the outcome is unknown")),
    }
}

fn refused(error: ControlError) -> ApiError {
    ApiError::new(error.code(), error.to_string())
}

fn result(published: Published) -> PublishResult {
    PublishResult { offset: published.offset, epoch: published.epoch }
}

/// The payload of a publish or broadcast, after everything that is not supported was refused.
fn content(request: &Publish) -> Result<Bytes, ApiError> {
    let unsupported = [
        (request.skip_history, "skip_history: every message of a chat has an offset and is kept"),
        (request.tags.as_ref().is_some_and(|tags| !tags.is_empty()), "tags"),
        (request.delta, "delta"),
        (request.version != 0 || !request.version_epoch.is_empty(), "version"),
    ];
    if let Some((_, what)) = unsupported.iter().find(|(used, _)| *used) {
        return Err(ApiError::not_available(what));
    }
    if !request.b64data.is_empty() {
        let data = STANDARD.decode(&request.b64data).map_err(|_| ApiError::bad_request("b64data is not base64"))?;
        return Ok(data.into());
    }
    let data = request.data.as_ref().ok_or_else(|| ApiError::bad_request("data is required"))?;
    Ok(Bytes::copy_from_slice(data.get().as_bytes()))
}

fn raw(data: &Bytes) -> Result<Box<RawValue>, ApiError> {
    let text = String::from_utf8(data.to_vec()).ok();
    text.and_then(|text| RawValue::from_string(text).ok())
        .ok_or_else(|| ApiError::new(100, "internal server error: a kept message is not JSON"))
}

/// Reads the parameters of a method. Nothing at all counts as `{}`.
fn read<'a, T: Deserialize<'a>>(params: &'a str) -> Result<T, Wrong> {
    let params = if params.trim().is_empty() { "{}" } else { params };
    serde_json::from_str(params).map(|Object(params)| params).map_err(Wrong::Body)
}

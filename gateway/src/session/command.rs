//! What each command of a client does.

use bytes::Bytes;
use corecast_centrifuge::codes::{CloseCode, ErrorCode};
use corecast_centrifuge::{
    Command, ConnectRequest, ConnectResult, HistoryRequest, PublishRequest, RefreshRequest, RefreshResult, ReplyBody,
    Request, SubRefreshRequest, SubRefreshResult, SubscribeRequest, sanitize_json,
};

use super::{Connecting, End, Phase, Profile, Rates, Session};
use crate::auth::{Action, Answer, Authenticator, Identity, Refusal, Subscription, Who, ttl};
use crate::chat::{EpochWish, Wish};
use crate::config::{Limits, Timing};
use crate::time::{Now, Tick};

/// Finds chats of the core by name.
pub(crate) trait Names {
    /// The index of the chat, if the core has it.
    fn find(&self, name: &str) -> Option<u32>;
}

/// What a session needs to know to handle a command.
pub(crate) struct Cx<'a> {
    pub(crate) auth: &'a Authenticator,
    pub(crate) limits: &'a Limits,
    pub(crate) timing: &'a Timing,
    pub(crate) rates: &'a Rates,
    pub(crate) now: Now,
    /// Fresh randomness, for the time of the first ping.
    pub(crate) random: u64,
    /// Makes the id of this connection.
    pub(crate) client: &'a dyn Fn() -> String,
    pub(crate) names: &'a dyn Names,
}

/// What the driver does after a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing: the reply, if any, is in the outbox.
    Done,
    /// `connect` succeeded: the message limit of the decoder changes.
    Connected,
    /// `connect` failed with an error reply: the rest of the frame is void.
    Refused,
    /// Something that concerns others.
    Do(Effect),
    /// The connection ends.
    End(End),
}

/// What concerns others than the session itself. Everything in it is checked and permitted.
#[derive(Debug)]
pub(crate) enum Effect {
    Subscribe(SubscribeWish),
    Unsubscribe {
        id: u32,
        chat: String,
    },
    Publish {
        id: u32,
        chat: String,
        data: Bytes,
    },
    History(HistoryWish),
    PresenceStats {
        id: u32,
        chat: String,
    },
    /// Subscriptions that the connection token grants; `connect` is answered when all are made.
    ServerJoins(Vec<ServerJoin>),
}

/// A permitted subscribe request.
#[derive(Debug)]
pub(crate) struct SubscribeWish {
    pub(crate) id: u32,
    pub(crate) chat: String,
    pub(crate) wish: Wish,
    pub(crate) error_if_lost: bool,
    /// When the subscription's token and its grace run out.
    pub(crate) expires: Tick,
    pub(crate) data: Bytes,
}

/// A permitted history request.
#[derive(Debug)]
pub(crate) struct HistoryWish {
    pub(crate) id: u32,
    pub(crate) chat: String,
    /// Most publications; 0 asks for the position only.
    pub(crate) limit: u32,
    /// Epoch, unless any will do, and offset.
    pub(crate) since: Option<(Option<u64>, u64)>,
    pub(crate) reverse: bool,
}

/// One server-side subscription.
#[derive(Debug)]
pub(crate) struct ServerJoin {
    /// Id of the `connect` command.
    pub(crate) id: u32,
    pub(crate) chat: String,
    pub(crate) wish: Wish,
    pub(crate) data: Bytes,
}

/// Commands that may wait while `connect` makes its server-side subscriptions.
const BACKLOG_COMMANDS: usize = 256;

impl Session {
    /// Handles one command. The caller made sure that there is an outbox.
    pub(crate) fn handle_command(&mut self, command: Command, cx: &Cx<'_>) -> Outcome {
        let Command { id, request } = command;
        match (&mut self.phase, request) {
            (Phase::Greeted, Request::Connect(request)) => self.connect(id, request, cx),
            (Phase::Connecting(connecting), request) => match request {
                Request::Connect(_) | Request::Pong => CloseCode::BadRequest.into(),
                _ if connecting.backlog.len() >= BACKLOG_COMMANDS => CloseCode::TooManyRequests.into(),
                request => {
                    connecting.backlog.push(Command { id, request });
                    Outcome::Done
                }
            },
            (Phase::Live(_), request) => self.live(id, request, cx),
            (Phase::Greeted | Phase::Refused, _) => CloseCode::BadRequest.into(),
            (Phase::Upgrade(_) | Phase::Closing, _) => Outcome::Done,
        }
    }

    fn live(&mut self, id: u32, request: Request, cx: &Cx<'_>) -> Outcome {
        match request {
            Request::Pong if self.flags.awaiting_pong && !self.flags.native_ping => {
                self.handle_pong(cx.timing);
                Outcome::Done
            }
            Request::Connect(_) | Request::Pong => CloseCode::BadRequest.into(),
            Request::Send(_) => CloseCode::NotAvailable.into(),
            Request::Ping(_) | Request::Presence(_) | Request::Rpc(_) => self.refuse(id, ErrorCode::NotAvailable),
            Request::Subscribe(request) => self.subscribe(id, request, cx),
            Request::Unsubscribe(request) => Outcome::Do(Effect::Unsubscribe { id, chat: request.channel }),
            Request::Publish(request) => self.publish(id, request, cx),
            Request::History(request) => self.history(id, request, cx),
            Request::PresenceStats(request) => match self.check(Action::Presence, &request.channel, cx) {
                Ok(()) => Outcome::Do(Effect::PresenceStats { id, chat: request.channel }),
                Err(code) => self.refuse(id, code),
            },
            Request::Refresh(request) => self.refresh(id, &request, cx),
            Request::SubRefresh(request) => self.sub_refresh(id, &request, cx),
        }
    }

    fn connect(&mut self, id: u32, request: ConnectRequest, cx: &Cx<'_>) -> Outcome {
        let identity = match cx.auth.connect(&request.token, cx.now.unix_s) {
            Ok(identity) => identity,
            Err(Refusal { answer: Answer::Close(code), .. }) => return code.into(),
            Err(Refusal { answer: Answer::Reply(code), .. }) => {
                self.refuse_connect(id, code, cx.timing, cx.now);
                return Outcome::Refused;
            }
        };
        if identity.subscriptions.len() > cx.limits.chats_per_connection {
            return CloseCode::ChannelLimit.into();
        }
        if identity.subscriptions.iter().any(|granted| check_name(&granted.channel, cx.limits).is_err()) {
            // The client would come back with the same token for ever, unless the error is final.
            self.refuse_connect(id, ErrorCode::UnknownChannel, cx.timing, cx.now);
            return Outcome::Refused;
        }
        let result = self.connect_result(&identity, cx);
        let profile = (!identity.user.is_empty()).then(|| Box::new(Profile { user: identity.user.into() }));
        let joins: Vec<ServerJoin> = identity
            .subscriptions
            .into_iter()
            .map(|granted| {
                let wish = request.subs.get(&granted.channel).map_or(Wish::Now, wish);
                ServerJoin { id, chat: granted.channel, wish, data: granted.data }
            })
            .collect();
        if joins.is_empty() {
            self.finish_connect(id, result, profile, cx.timing, cx.random, cx.now);
            return Outcome::Connected;
        }
        // The caller's own deadline for the joins is shorter; this one only makes sure.
        self.next = cx.now.tick().after(cx.timing.connect);
        let connecting = Connecting { id, result, left: joins.len(), profile, backlog: Vec::new() };
        self.phase = Phase::Connecting(Box::new(connecting));
        Outcome::Do(Effect::ServerJoins(joins))
    }

    fn connect_result(&mut self, identity: &Identity, cx: &Cx<'_>) -> ConnectResult {
        let mut result = ConnectResult { client: (cx.client)(), ..ConnectResult::default() };
        if !self.flags.native_ping {
            result.ping = u32::try_from(cx.timing.ping.as_secs()).unwrap_or(u32::MAX);
            result.pong = true;
        }
        (result.expires, result.ttl, self.expiry) = expiry(identity.expires_at, cx);
        result
    }

    fn refresh(&mut self, id: u32, request: &RefreshRequest, cx: &Cx<'_>) -> Outcome {
        let identity = match cx.auth.refresh(&request.token, self.user(), cx.now.unix_s) {
            Ok(identity) => identity,
            Err(refusal) => return self.refused(id, refusal),
        };
        let (expires, ttl, at) = expiry(identity.expires_at, cx);
        self.expiry = at;
        self.reply(
            id,
            ReplyBody::Refresh(RefreshResult { client: (cx.client)(), version: String::new(), expires, ttl }),
        )
    }

    fn subscribe(&mut self, id: u32, request: SubscribeRequest, cx: &Cx<'_>) -> Outcome {
        if let Err(code) = check_name(&request.channel, cx.limits) {
            return self.refuse(id, code);
        }
        if request.r#type != 0 {
            return self.refuse(id, ErrorCode::NotAvailable);
        }
        let client = if request.token.is_empty() { String::new() } else { (cx.client)() };
        let asked =
            Subscription { channel: &request.channel, user: self.user(), client: &client, token: &request.token };
        let grant = match cx.auth.subscribe(asked, cx.now.unix_s) {
            Ok(grant) => grant,
            Err(refusal) => return self.refused(id, refusal),
        };
        Outcome::Do(Effect::Subscribe(SubscribeWish {
            id,
            wish: wish(&request),
            error_if_lost: request.flag & SubscribeRequest::FLAG_ERROR_IF_UNRECOVERABLE != 0,
            chat: request.channel,
            expires: expiry(grant.expires_at, cx).2,
            data: grant.data,
        }))
    }

    fn sub_refresh(&mut self, id: u32, request: &SubRefreshRequest, cx: &Cx<'_>) -> Outcome {
        let chat = cx.names.find(&request.channel).filter(|chat| self.subs.get(*chat).is_some());
        let Some(chat) = chat else { return self.refuse(id, ErrorCode::PermissionDenied) };
        let client = (cx.client)();
        let asked =
            Subscription { channel: &request.channel, user: self.user(), client: &client, token: &request.token };
        let grant = match cx.auth.sub_refresh(asked, cx.now.unix_s) {
            Ok(grant) => grant,
            Err(refusal) => return self.refused(id, refusal),
        };
        let (expires, ttl, at) = expiry(grant.expires_at, cx);
        if let Some(sub) = self.subs.get_mut(chat) {
            sub.expires = at;
        }
        self.reply(id, ReplyBody::SubRefresh(SubRefreshResult { expires, ttl }))
    }

    fn publish(&mut self, id: u32, request: PublishRequest, cx: &Cx<'_>) -> Outcome {
        if let Err(code) = self.check(Action::Publish, &request.channel, cx) {
            return self.refuse(id, code);
        }
        if !self.publishes.take(1, cx.rates.publishes, cx.now) {
            return self.refuse(id, ErrorCode::TooManyRequests);
        }
        // JSON members get it as it is, whatever the encoding of the sender.
        match sanitize_json(request.data) {
            Ok(data) if request.r#type == 0 => Outcome::Do(Effect::Publish { id, chat: request.channel, data }),
            Ok(_) => self.refuse(id, ErrorCode::NotAvailable),
            Err(_) => self.refuse(id, ErrorCode::BadRequest),
        }
    }

    fn history(&mut self, id: u32, request: HistoryRequest, cx: &Cx<'_>) -> Outcome {
        if let Err(code) = self.check(Action::History, &request.channel, cx) {
            return self.refuse(id, code);
        }
        let since = match request.since {
            None => None,
            Some(since) => match EpochWish::parse(&since.epoch) {
                // From the very beginning, as clients write it: that is what no position means.
                EpochWish::Any if since.offset == 0 && !request.reverse => None,
                EpochWish::Any => Some((None, since.offset)),
                EpochWish::Known(epoch) => Some((Some(epoch), since.offset)),
                EpochWish::Foreign => return self.refuse(id, ErrorCode::UnrecoverablePosition),
            },
        };
        let most = u32::try_from(cx.limits.history_messages).unwrap_or(u32::MAX);
        let limit = u32::try_from(request.limit).unwrap_or(most).min(most);
        let reverse = request.reverse;
        Outcome::Do(Effect::History(HistoryWish { id, chat: request.channel, limit, since, reverse }))
    }

    /// Whether this connection may do this in that chat.
    fn check(&self, action: Action, chat: &str, cx: &Cx<'_>) -> Result<(), ErrorCode> {
        check_name(chat, cx.limits)?;
        let member = cx.names.find(chat).is_some_and(|chat| self.subs.is_member(chat));
        if cx.auth.allows(action, chat, Who { user: self.user(), member }) {
            Ok(())
        } else {
            Err(ErrorCode::PermissionDenied)
        }
    }

    fn refused(&mut self, id: u32, refusal: Refusal) -> Outcome {
        match refusal.answer {
            Answer::Close(code) => code.into(),
            Answer::Reply(code) => self.refuse(id, code),
        }
    }

    fn refuse(&mut self, id: u32, code: ErrorCode) -> Outcome {
        self.reply_error(id, code);
        Outcome::Done
    }

    fn reply(&mut self, id: u32, body: ReplyBody) -> Outcome {
        self.reply_with(id, &body);
        Outcome::Done
    }
}

impl From<CloseCode> for Outcome {
    fn from(code: CloseCode) -> Self {
        Self::End(code.into())
    }
}

/// The limits on names, which hold for every command that names a chat.
fn check_name(chat: &str, limits: &Limits) -> Result<(), ErrorCode> {
    if chat.is_empty() || chat.len() > limits.chat_name { Err(ErrorCode::BadRequest) } else { Ok(()) }
}

fn wish(request: &SubscribeRequest) -> Wish {
    if request.recover {
        Wish::Recover { epoch: EpochWish::parse(&request.epoch), offset: request.offset }
    } else {
        Wish::Now
    }
}

/// `expires` and `ttl` of a reply, and when the grace is over.
fn expiry(expires_at: Option<u64>, cx: &Cx<'_>) -> (bool, u32, Tick) {
    let Some(at) = expires_at else { return (false, 0, Tick::NEVER) };
    let ttl = ttl(at, cx.now.unix_s);
    let left = std::time::Duration::from_secs(at.saturating_sub(cx.now.unix_s));
    (true, ttl, cx.now.tick().after(left.saturating_add(cx.timing.expiry_grace)))
}

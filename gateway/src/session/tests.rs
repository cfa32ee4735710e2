//! The claim: whatever a client sends, in whatever order, each command gets one reply or the connection ends with the
//! code that the protocol names.

use std::collections::BTreeMap;
use std::time::Duration;

use corecast_centrifuge::client::{Incoming, Reply, decode_replies, encode_command};
use corecast_centrifuge::{
    ConnectRequest, DecodeLimits, HistoryRequest, PresenceRequest, PresenceStatsRequest, PublishRequest,
    RefreshRequest, ReplyBody, Request, RpcRequest, SendRequest, StreamPosition, SubRefreshRequest, SubscribeRequest,
    UnsubscribeRequest, decode_commands,
};
use corecast_wire::Position;
use proptest::prelude::*;

use super::upgrade::Upgraded;
use super::*;
use crate::auth::{Algorithm, AuthConfig, Authenticator, KeyConfig, KeyMaterial, NewToken, TokenSigner};
use crate::chat::{Admission, EpochWish, Wish};
use crate::outbox::Held;

struct Chats(BTreeMap<String, u32>);

impl Names for Chats {
    fn find(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }
}

/// A session with everything around it, and a clock.
struct Bench {
    session: Session,
    auth: Authenticator,
    limits: Limits,
    timing: Timing,
    chats: Chats,
    millis: u64,
}

const UNIX: u64 = 1_700_000_000;

impl Bench {
    fn new(auth: &AuthConfig) -> Self {
        let (limits, timing) = (Limits::default(), Timing::default());
        let now = Now { nanos: 0, unix_s: UNIX };
        let mut session = Session::new(0, &limits, &timing, now);
        let upgraded = Upgraded { response: Vec::new(), encoding: Encoding::Json, native_ping: false };
        session.handle_upgraded(&upgraded, &timing, now);
        let auth = Authenticator::new(auth).unwrap();
        Self { session, auth, limits, timing, chats: Chats(BTreeMap::new()), millis: 0 }
    }

    fn open() -> Self {
        Self::new(&AuthConfig::standalone())
    }

    fn connected() -> Self {
        let mut bench = Self::open();
        assert!(matches!(bench.command(1, connect("")), Outcome::Connected));
        bench.replies();
        bench
    }

    fn now(&self) -> Now {
        Now { nanos: self.millis * 1_000_000, unix_s: UNIX + self.millis / 1_000 }
    }

    fn command(&mut self, id: u32, request: Request) -> Outcome {
        let rates = Rates::new(&self.limits);
        let cx = Cx {
            auth: &self.auth,
            limits: &self.limits,
            timing: &self.timing,
            rates: &rates,
            now: Now { nanos: self.millis * 1_000_000, unix_s: UNIX + self.millis / 1_000 },
            random: 7,
            client: &|| "client-1".into(),
            names: &self.chats,
        };
        self.session.handle_command(Command { id, request }, &cx)
    }

    fn replies(&mut self) -> Vec<Reply> {
        let Some(outbox) = &mut self.session.outbox else { return Vec::new() };
        let payload = std::mem::take(outbox.replies());
        if payload.is_empty() {
            return Vec::new();
        }
        decode_replies(Encoding::Json, &payload)
            .map(|reply| match reply.unwrap() {
                Incoming::Reply(reply) => *reply,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn error(&mut self, id: u32, request: Request) -> u32 {
        assert!(matches!(self.command(id, request), Outcome::Done));
        let replies = self.replies();
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].id, id);
        replies[0].error.as_ref().expect("an error").code
    }

    fn due(&mut self) -> Due {
        let now = self.now();
        self.session.handle_timeout(&self.limits, &self.timing, now)
    }
}

fn connect(token: &str) -> Request {
    Request::Connect(ConnectRequest { token: token.into(), ..ConnectRequest::default() })
}

fn subscribe(chat: &str) -> Request {
    Request::Subscribe(SubscribeRequest { channel: chat.into(), ..SubscribeRequest::default() })
}

fn publish(chat: &str, data: &'static str) -> Request {
    Request::Publish(PublishRequest { channel: chat.into(), data: Bytes::from_static(data.as_bytes()), r#type: 0 })
}

#[track_caller]
fn closes(outcome: Outcome, code: CloseCode) {
    match outcome {
        Outcome::End(End::Close(got)) => assert_eq!(got, code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connect_answers_with_the_ping_interval_and_opens_the_session() {
    let mut bench = Bench::open();
    assert!(matches!(bench.command(1, connect("")), Outcome::Connected));
    assert!(bench.session.is_live());
    let replies = bench.replies();
    let Some(ReplyBody::Connect(result)) = &replies[0].body else { panic!("{replies:?}") };
    assert_eq!((result.client.as_str(), result.ping, result.pong, result.expires), ("client-1", 25, true, false));
}

#[test]
fn anything_before_connect_and_a_second_connect_are_bad_requests() {
    for request in [subscribe("c"), Request::Pong, publish("c", "1"), Request::Send(SendRequest::default())] {
        closes(Bench::open().command(1, request), CloseCode::BadRequest);
    }
    let mut bench = Bench::connected();
    closes(bench.command(2, connect("")), CloseCode::BadRequest);
}

#[test]
fn a_failed_connect_is_answered_and_what_follows_is_a_bad_request() {
    let mut bench = Bench::new(&AuthConfig::default());
    assert!(matches!(bench.command(1, connect("")), Outcome::Refused));
    assert_eq!(bench.replies()[0].error.as_ref().unwrap().code, 101);
    closes(bench.command(2, subscribe("c")), CloseCode::BadRequest);
    bench.millis += 3_000;
    assert_eq!(bench.due(), Due::End(CloseCode::Stale.into()));
}

#[test]
fn no_connect_in_time_is_stale() {
    let mut bench = Bench::open();
    bench.millis = 9_999;
    assert_eq!(bench.due(), Due::Nothing);
    bench.millis = 10_000;
    assert_eq!(bench.due(), Due::End(CloseCode::Stale.into()));
}

#[test]
fn pings_come_at_a_random_time_first_and_then_every_interval_and_need_a_pong() {
    let mut bench = Bench::connected();
    closes(bench.command(0, Request::Pong), CloseCode::BadRequest);

    let mut bench = Bench::connected();
    let first = u64::from(bench.session.deadline().0) * 100;
    assert!((12_500..=25_000).contains(&first), "{first}");
    bench.millis = first;
    assert_eq!(bench.due(), Due::Ping);
    assert_eq!(bench.due(), Due::Nothing);
    bench.millis += 500;
    assert!(matches!(bench.command(0, Request::Pong), Outcome::Done));
    bench.millis = first + 24_900;
    assert_eq!(bench.due(), Due::Nothing);
    bench.millis = first + 25_000;
    assert_eq!(bench.due(), Due::Ping);
    bench.millis += 8_000;
    assert_eq!(bench.due(), Due::End(CloseCode::NoPong.into()));
}

#[test]
fn native_pings_are_answered_by_native_pongs_only() {
    let mut bench = Bench::open();
    bench.session.flags.native_ping = true;
    assert!(matches!(bench.command(1, connect("")), Outcome::Connected));
    let replies = bench.replies();
    let Some(ReplyBody::Connect(result)) = &replies[0].body else { panic!("{replies:?}") };
    assert_eq!((result.ping, result.pong), (0, false), "a client with a watchdog would not see these pings");
    bench.millis = 25_000;
    assert_eq!(bench.due(), Due::Ping);
    bench.session.handle_native_pong(&bench.timing);
    bench.millis = 33_000;
    assert_eq!(bench.due(), Due::Nothing);
    closes(bench.command(0, Request::Pong), CloseCode::BadRequest);
}

#[test]
fn commands_that_are_not_served_are_refused_by_name() {
    let mut bench = Bench::connected();
    assert_eq!(bench.error(2, Request::Presence(PresenceRequest { channel: "c".into() })), 108);
    assert_eq!(bench.error(3, Request::Rpc(RpcRequest::default())), 108);
    closes(bench.command(0, Request::Send(SendRequest::default())), CloseCode::NotAvailable);
}

#[test]
fn names_and_payloads_are_checked() {
    let mut bench = Bench::connected();
    assert_eq!(bench.error(2, subscribe("")), 107);
    assert_eq!(bench.error(3, subscribe(&"x".repeat(256))), 107);
    assert_eq!(bench.error(4, publish("c", "")), 107);
    assert_eq!(bench.error(5, publish("c", "not json")), 107);
    let Outcome::Do(Effect::Publish { id: 6, chat, data }) = bench.command(6, publish("c", "{\"a\":\n1}")) else {
        panic!("refused")
    };
    assert_eq!((chat.as_str(), data.as_ref()), ("c", &b"{\"a\": 1}"[..]));
}

#[test]
fn permissions_deny_by_default_and_members_may_have_more() {
    let mut auth = AuthConfig { anonymous: true, ..AuthConfig::default() };
    auth.anonymous_users.publish_for_member = vec!["c".parse().unwrap()];
    let mut bench = Bench::new(&auth);
    assert!(matches!(bench.command(1, connect("")), Outcome::Connected));
    bench.replies();
    assert_eq!(bench.error(2, subscribe("c")), 103);
    assert_eq!(bench.error(3, publish("c", "1")), 103);
    let stats = Request::PresenceStats(PresenceStatsRequest { channel: "c".into() });
    assert_eq!(bench.error(4, stats), 103);
    bench.chats.0.insert("c".into(), 9);
    bench.session.subs.begin(9, 5, false, 1).unwrap();
    assert_eq!(bench.error(6, publish("c", "1")), 103, "joining is not being a member yet");
    bench.session.subs.set_live(9, 0);
    assert!(matches!(bench.command(7, publish("c", "1")), Outcome::Do(Effect::Publish { .. })));
}

#[test]
fn publications_over_the_rate_are_refused_for_now() {
    let mut bench = Bench::connected();
    bench.limits.publish_rate = 10;
    let passed = (0..100).filter(|_| matches!(bench.command(2, publish("c", "1")), Outcome::Do(_))).count();
    assert_eq!(passed, 20);
    let error = bench.replies().pop().unwrap().error.unwrap();
    assert_eq!((error.code, error.temporary), (111, true));
    bench.millis += 100;
    assert!(matches!(bench.command(2, publish("c", "1")), Outcome::Do(_)));
}

#[test]
fn a_flood_of_frames_ends_the_connection() {
    let rates = Rates::new(&Limits::default());
    let mut bench = Bench::open();
    assert_eq!(bench.session.charge_input(400, 0, 400, &rates, bench.now()), Ok(()));
    assert_eq!(bench.session.charge_input(1, 0, 1, &rates, bench.now()), Err(End::Flood));
    let mut bench = Bench::connected();
    assert_eq!(bench.session.charge_input(90_000, 90_000, 0, &rates, bench.now()), Ok(()));
    let flood = bench.session.charge_input(501, 1, 0, &rates, bench.now());
    assert_eq!(flood, Err(CloseCode::TooManyRequests.into()), "empty fragments cost more than messages");
}

#[test]
fn history_and_subscribe_carry_positions() {
    let mut bench = Bench::connected();
    let history = |epoch: &str, offset, limit, reverse| {
        let since = Some(StreamPosition { epoch: epoch.into(), offset });
        Request::History(HistoryRequest { channel: "c".into(), limit, since, reverse })
    };
    let mut ask = |request| match bench.command(2, request) {
        Outcome::Do(Effect::History(wish)) => (wish.limit, wish.since, wish.reverse),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(history("10", 5, 7, true)), (7, Some((Some(36), 5)), true));
    assert_eq!(ask(history("", 0, -1, false)), (300, None, false));
    assert_eq!(ask(history("", 3, 100_000, false)), (300, Some((None, 3)), false));
    assert_eq!(bench.error(3, history("NOT-OURS", 5, 7, false)), 112);

    let request = SubscribeRequest {
        channel: "c".into(),
        recover: true,
        epoch: "10".into(),
        offset: 4,
        flag: 3,
        ..SubscribeRequest::default()
    };
    let Outcome::Do(Effect::Subscribe(wish)) = bench.command(4, Request::Subscribe(request)) else { panic!() };
    assert_eq!(wish.wish, Wish::Recover { epoch: EpochWish::Known(36), offset: 4 });
    assert!(wish.error_if_lost);
}

fn keyed() -> (AuthConfig, TokenSigner) {
    let secret = "a secret that is long enough for HS256";
    let key = KeyConfig { id: None, algorithm: Algorithm::Hs256, material: KeyMaterial::Secret(secret.into()) };
    let signer = TokenSigner::new(&key).unwrap();
    (AuthConfig { keys: vec![key], ..AuthConfig::standalone() }, signer)
}

fn token(signer: &TokenSigner, user: &str, channel: Option<&str>, expires_at: Option<u64>) -> String {
    let channel = channel.map(Into::into);
    signer.sign(&NewToken { user: user.into(), channel, expires_at, ..NewToken::default() }).unwrap()
}

#[test]
fn tokens_expire_with_grace_and_are_refreshed() {
    let (auth, signer) = keyed();
    let mut bench = Bench::new(&auth);
    let short = token(&signer, "alice", None, Some(UNIX + 10));
    assert!(matches!(bench.command(1, connect(&short)), Outcome::Connected));
    let replies = bench.replies();
    let Some(ReplyBody::Connect(result)) = &replies[0].body else { panic!("{replies:?}") };
    assert_eq!((result.expires, result.ttl), (true, 10));
    assert_eq!(bench.session.user(), "alice");
    bench.millis = 34_900;
    assert_ne!(bench.due(), Due::End(CloseCode::Expired.into()));
    // The client refreshes when the time to live has run out.
    let fresh = token(&signer, "alice", None, Some(UNIX + 100));
    assert!(matches!(bench.command(2, Request::Refresh(RefreshRequest { token: fresh })), Outcome::Done));
    let replies = bench.replies();
    let Some(ReplyBody::Refresh(result)) = &replies[0].body else { panic!("{replies:?}") };
    assert_eq!((result.expires, result.ttl), (true, 66));
    let foreign = token(&signer, "bob", None, Some(UNIX + 100));
    closes(bench.command(3, Request::Refresh(RefreshRequest { token: foreign })), CloseCode::InvalidToken);
    bench.session.next = Tick::NEVER;
    // Unix time has whole seconds: up to one more.
    bench.millis = 126_000;
    assert_eq!(bench.due(), Due::End(CloseCode::Expired.into()));
}

#[test]
fn subscription_tokens_expire_alone() {
    let (auth, signer) = keyed();
    let mut bench = Bench::new(&auth);
    assert!(matches!(bench.command(1, connect(&token(&signer, "alice", None, None))), Outcome::Connected));
    bench.replies();
    let ticket = token(&signer, "alice", Some("c"), Some(UNIX + 10));
    let request = SubscribeRequest { channel: "c".into(), token: ticket, ..SubscribeRequest::default() };
    let Outcome::Do(Effect::Subscribe(wish)) = bench.command(2, Request::Subscribe(request)) else { panic!() };
    bench.chats.0.insert("c".into(), 3);
    bench.session.subs.begin(3, 2, false, 9).unwrap();
    bench.session.subs.set_live(3, 0);
    bench.session.subs.get_mut(3).unwrap().expires = wish.expires;
    bench.session.next = Tick::NEVER;
    bench.millis = 34_900;
    assert_eq!(bench.due(), Due::Nothing);
    let fresh = token(&signer, "alice", Some("c"), Some(UNIX + 50));
    let refresh =
        |token: &str| Request::SubRefresh(SubRefreshRequest { channel: "c".into(), token: token.into(), r#type: 0 });
    assert!(matches!(bench.command(3, refresh(&fresh)), Outcome::Done));
    bench.millis = 74_900;
    assert_eq!(bench.due(), Due::Nothing);
    bench.millis = 76_000;
    assert_eq!(bench.due(), Due::Expired(3));
    bench.session.subs.remove(3);
    bench.replies();
    assert_eq!(bench.error(4, refresh(&fresh)), 103);
}

#[test]
fn invalid_and_expired_tokens_of_connect() {
    let (auth, signer) = keyed();
    closes(Bench::new(&auth).command(1, connect("garbage")), CloseCode::InvalidToken);
    let mut bench = Bench::new(&auth);
    let expired = token(&signer, "alice", None, Some(UNIX - 1));
    assert!(matches!(bench.command(1, connect(&expired)), Outcome::Refused));
    assert_eq!(bench.replies()[0].error.as_ref().unwrap().code, 109);
}

#[test]
fn connect_waits_for_server_side_subscriptions_and_commands_wait_behind_it() {
    let (auth, signer) = keyed();
    let mut bench = Bench::new(&auth);
    let channels = vec!["a".to_owned(), "b".to_owned()];
    let granted = signer.sign(&NewToken { user: "alice".into(), channels, ..NewToken::default() }).unwrap();
    let Outcome::Do(Effect::ServerJoins(joins)) = bench.command(1, connect(&granted)) else { panic!() };
    assert_eq!(joins.iter().map(|join| join.chat.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(matches!(bench.command(2, subscribe("c")), Outcome::Done));
    assert!(bench.replies().is_empty());
    let admitted = Admitted {
        position: Position { epoch: 1, offset: 2 },
        admission: Admission::Fresh,
        wish: Wish::Now,
        publications: Vec::new(),
        data: Bytes::new(),
        expires: Tick::NEVER,
    };
    let now = bench.now();
    let result = subscribe_result(admitted, Encoding::Json, &bench.timing, now);
    assert!(bench.session.handle_server_joined("a".into(), result.clone(), &bench.timing, 0, now).is_none());
    let backlog = bench.session.handle_server_joined("b".into(), result, &bench.timing, 0, now).unwrap();
    assert_eq!(backlog.len(), 1);
    assert!(bench.session.is_live());
    let replies = bench.replies();
    let Some(ReplyBody::Connect(result)) = &replies[0].body else { panic!("{replies:?}") };
    assert_eq!(result.subs.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(result.subs["a"].offset, 2);
}

#[test]
fn a_token_that_grants_an_impossible_chat_is_refused_for_good() {
    let (auth, signer) = keyed();
    let mut bench = Bench::new(&auth);
    let channels = vec!["x".repeat(256)];
    let granted = signer.sign(&NewToken { user: "alice".into(), channels, ..NewToken::default() }).unwrap();
    assert!(matches!(bench.command(1, connect(&granted)), Outcome::Refused));
    let error = bench.replies().pop().unwrap().error.unwrap();
    assert_eq!((error.code, error.temporary), (102, false));
}

#[test]
fn a_failed_server_side_subscription_fails_connect_for_now() {
    let (auth, signer) = keyed();
    let mut bench = Bench::new(&auth);
    let channels = vec!["a".to_owned()];
    let granted = signer.sign(&NewToken { user: "alice".into(), channels, ..NewToken::default() }).unwrap();
    assert!(matches!(bench.command(1, connect(&granted)), Outcome::Do(Effect::ServerJoins(_))));
    let now = bench.now();
    bench.session.handle_server_join_failed(&bench.timing, now);
    let error = bench.replies().pop().unwrap().error.unwrap();
    assert_eq!((error.code, error.temporary), (100, true));
    assert!(!bench.session.is_live());
}

#[test]
fn too_many_rounds_of_falling_behind_are_noticed() {
    let mut bench = Bench::connected();
    let limits = bench.limits.clone();
    let rounds =
        |bench: &mut Bench| bench.session.count_behind(&limits, Now { nanos: bench.millis * 1_000_000, unix_s: 0 });
    for _ in 0..4 {
        assert!(rounds(&mut bench));
    }
    assert!(!rounds(&mut bench));
    bench.millis += 61_000;
    assert!(rounds(&mut bench));
}

#[test]
fn a_closing_session_ignores_input_and_is_dropped_in_the_end() {
    let mut bench = Bench::connected();
    let now = bench.now();
    bench.session.begin_closing(&bench.timing, now);
    assert!(matches!(bench.command(2, subscribe("c")), Outcome::Done));
    assert!(bench.replies().is_empty());
    assert_eq!(bench.due(), Due::Nothing);
    bench.millis += 3_000;
    assert_eq!(bench.due(), Due::End(End::Drop));
}

fn requests() -> impl Strategy<Value = Request> {
    let name = prop_oneof![Just(String::new()), Just("c".to_owned()), Just("x".repeat(300)), "[a-z]{1,4}"];
    let data = prop_oneof![Just(""), Just("1"), Just("{}"), Just("{bad"), Just("[\n1\n]")];
    (0..12, name, data, any::<u64>(), any::<i32>(), any::<bool>()).prop_map(
        |(kind, channel, data, offset, limit, flag)| {
            let data = Bytes::from_static(data.as_bytes());
            match kind {
                0 => Request::Pong,
                1 => Request::Connect(ConnectRequest { token: channel, ..ConnectRequest::default() }),
                2 => Request::Subscribe(SubscribeRequest {
                    channel,
                    recover: flag,
                    offset,
                    ..SubscribeRequest::default()
                }),
                3 => Request::Unsubscribe(UnsubscribeRequest { channel }),
                4 => Request::Publish(PublishRequest { channel, data, r#type: i32::from(flag) }),
                5 => Request::Presence(PresenceRequest { channel }),
                6 => Request::PresenceStats(PresenceStatsRequest { channel }),
                7 => {
                    let since = flag.then(|| StreamPosition { offset, epoch: String::new() });
                    Request::History(HistoryRequest { channel, limit, since, reverse: offset % 2 == 0 })
                }
                8 => Request::Rpc(RpcRequest { data, method: channel }),
                9 => Request::Refresh(RefreshRequest { token: channel }),
                10 => Request::SubRefresh(SubRefreshRequest { channel, token: String::new(), r#type: 0 }),
                _ => Request::Send(SendRequest { data }),
            }
        },
    )
}

proptest! {
    /// Any sequence of commands in any frame: one reply or one effect per command until the connection ends, and the
    /// session's deadline always lies ahead.
    #[test]
    fn one_answer_per_command(commands in prop::collection::vec((1_u32..1_000, requests()), 1..40), connects: bool) {
        let mut bench = if connects { Bench::connected() } else { Bench::open() };
        let mut frame = Vec::new();
        for (id, request) in commands {
            let id = if request == Request::Pong { 0 } else { id };
            encode_command(Encoding::Json, &Command { id, request }, &mut frame);
        }
        for command in decode_commands(Encoding::Json, &frame, DecodeLimits::default()) {
            let Ok(command) = command else { break };
            bench.millis += 10;
            let (id, is_pong) = (command.id, command.request == Request::Pong);
            match bench.command(id, command.request) {
                Outcome::Done if is_pong => prop_assert!(bench.replies().is_empty()),
                Outcome::Done | Outcome::Connected | Outcome::Refused => {
                    let replies = bench.replies();
                    prop_assert_eq!(replies.len(), 1);
                    prop_assert_eq!(replies[0].id, id);
                }
                Outcome::Do(_) => prop_assert!(bench.replies().is_empty()),
                Outcome::End(end) => {
                    prop_assert!(end.frame().is_some());
                    return Ok(());
                }
            }
            prop_assert!(bench.session.deadline() > bench.now().tick());
            let mut held = Held::new(1_000_000);
            let opcode = bench.session.opcode();
            if let Some(outbox) = &mut bench.session.outbox {
                prop_assert!(outbox.frames(opcode, &mut held).is_empty());
            }
        }
    }
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= SESSION_BYTES, "{}", size_of::<Session>());
    let mut bench = Bench::connected();
    bench.session.outbox = None;
    bench.session.subs.begin(1, 2, false, 1).unwrap();
    bench.session.subs.set_live(1, 0);
    assert_eq!(bench.session.decoder.buffered(), 0);
    let _: Duration = bench.timing.ping;
}

//! A link whose clock, connection and router are in the test's hands.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_gateway::link::{
    CoreId, FromLink, Link, LinkAction, LinkConfig, LinkError, LinkLimits, LinkNotice, LinkState, LocalChat,
};
use corecast_wire::auth::{Mac, Nonce, challenge_parts, proof_parts};
use corecast_wire::message::{Hello, SubscribeOutcome, Subscribed, ToGateway, ToRouter, Update, Welcome};
use corecast_wire::version::Features;
use corecast_wire::{ChatName, FrameDecoder, FrameEncoder, Messages, Text};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

pub(crate) const SECRET: &[u8] = b"between us";
pub(crate) const ROUTER_NONCE: Nonce = [9; 16];
pub(crate) const CORES: CoreId = 3;
pub(crate) const BEAT: Duration = Duration::from_secs(1);

pub(crate) type Event = FromLink<u32>;

pub(crate) struct Harness {
    pub(crate) link: Link<u32>,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    inbound: FrameDecoder,
    /// Frames that the link handed out and the router has not seen.
    pub(crate) on_the_way: Vec<Bytes>,
    pub(crate) actions: Vec<LinkAction>,
    pub(crate) notices: Vec<LinkNotice>,
    pub(crate) welcome: Welcome,
    /// Whether the driver takes frames from the link.
    pub(crate) socket_is_full: bool,
}

pub(crate) fn config(limits: LinkLimits) -> LinkConfig {
    LinkConfig {
        node: Text::from_static("gateway-1"),
        node_incarnation: 77,
        secret: SECRET.to_vec(),
        slots: 1_024,
        topology: 0xfeed,
        endpoint_index: 1,
        cores: CORES,
        limits,
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        features: Features::NONE,
        router_incarnation: 1,
        heartbeat_ms: 1_000,
        payload_bytes_max: 1_000,
        requests_max: 100,
    }
}

pub(crate) fn hmac(parts: &[&[u8]]) -> Mac {
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length will do");
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().into()
}

pub(crate) fn chat(name: &str) -> ChatName {
    ChatName::new(name).expect("a valid name")
}

pub(crate) fn update(handle: u32, offset: u64) -> ToGateway {
    let payload = Bytes::from(format!("payload {offset}"));
    ToGateway::Update(Update { handle, offset, time_ms: 1_000 + offset, payload })
}

pub(crate) fn subscribed(handle: u32, epoch: u64, start: u64, offset: u64, outcome: SubscribeOutcome) -> ToGateway {
    ToGateway::Subscribed(Subscribed { handle, epoch, offset, start, oldest: 1, outcome })
}

pub(crate) fn encode(messages: &[ToGateway]) -> Bytes {
    let mut encoder = FrameEncoder::new();
    for message in messages {
        encoder.push(message).expect("a valid message");
    }
    let mut bytes = Vec::new();
    while let Some(frame) = encoder.take() {
        bytes.extend_from_slice(&frame);
    }
    bytes.into()
}

impl Harness {
    /// A link that has asked to be connected.
    pub(crate) fn new() -> Self {
        Self::with_limits(LinkLimits::default())
    }

    pub(crate) fn with_limits(limits: LinkLimits) -> Self {
        let now = Instant::now();
        let mut harness = Self {
            link: Link::new(config(limits), now, [5; 32]),
            now,
            start: now,
            inbound: FrameDecoder::new(),
            on_the_way: Vec::new(),
            actions: Vec::new(),
            notices: Vec::new(),
            welcome: welcome(),
            socket_is_full: false,
        };
        harness.drain();
        harness
    }

    /// A link that is up.
    pub(crate) fn up() -> Self {
        let mut harness = Self::new();
        harness.come_up();
        harness
    }

    pub(crate) fn up_with_limits(limits: LinkLimits) -> Self {
        let mut harness = Self::with_limits(limits);
        harness.come_up();
        harness
    }

    /// Moves everything but events out of the link.
    pub(crate) fn drain(&mut self) {
        while !self.socket_is_full
            && let Some(frame) = self.link.poll_transmit(self.now)
        {
            self.on_the_way.push(frame);
        }
        while let Some(action) = self.link.poll_action() {
            self.actions.push(action);
        }
        while let Some(notice) = self.link.poll_notice() {
            self.notices.push(notice);
        }
    }

    pub(crate) fn events(&mut self) -> Vec<(CoreId, Event)> {
        self.drain();
        std::iter::from_fn(|| self.link.poll_event()).collect()
    }

    /// The events of the only core that has some, in short form.
    pub(crate) fn seen(&mut self) -> Vec<String> {
        self.events().into_iter().map(|(core, event)| short(core, &event)).collect()
    }

    /// What the router has been sent since the last call.
    pub(crate) fn sent(&mut self) -> Vec<ToRouter> {
        self.drain();
        let mut messages = Vec::new();
        for frame in std::mem::take(&mut self.on_the_way) {
            self.inbound.feed_shared(frame);
            while let Some(body) = self.inbound.next_body().expect("intact") {
                messages.extend(Messages::new(body).map(|message| message.expect("valid")));
            }
        }
        messages
    }

    /// What the router has been sent, without heartbeats and member counts.
    pub(crate) fn asked(&mut self) -> Vec<ToRouter> {
        let mut sent = self.sent();
        sent.retain(|message| {
            !matches!(message, ToRouter::Ping { .. } | ToRouter::Pong { .. } | ToRouter::Members { .. })
        });
        sent
    }

    pub(crate) fn try_say(&mut self, messages: &[ToGateway]) -> Result<(), LinkError> {
        self.link.handle_received(&encode(messages), self.now)
    }

    pub(crate) fn say(&mut self, messages: &[ToGateway]) {
        self.try_say(messages).expect("a router that keeps the protocol");
    }

    pub(crate) fn expect_hello(&mut self) -> Hello {
        let mut sent = self.sent();
        let Some(ToRouter::Hello(hello)) = sent.pop() else { panic!("no hello: {sent:?}") };
        assert_eq!(sent, []);
        hello
    }

    pub(crate) fn challenge(&self, hello: &Hello) -> ToGateway {
        let mac = hmac(&challenge_parts(&hello.nonce, &ROUTER_NONCE));
        ToGateway::Challenge { nonce: ROUTER_NONCE, mac }
    }

    /// Waits for the link to want a connection, and makes one.
    pub(crate) fn connect(&mut self) {
        self.wait_until(|harness| harness.actions.last() == Some(&LinkAction::Connect));
        self.actions.clear();
        self.inbound = FrameDecoder::new();
        self.on_the_way.clear();
        self.link.handle_connected(self.now);
        self.drain();
    }

    pub(crate) fn come_up(&mut self) {
        self.connect();
        let hello = self.expect_hello();
        let challenge = self.challenge(&hello);
        self.say(&[challenge]);
        let mac = hmac(&proof_parts(&hello.nonce, &ROUTER_NONCE));
        assert_eq!(self.sent(), [ToRouter::Proof { mac }]);
        self.say(&[ToGateway::Welcome(self.welcome)]);
        assert_eq!(self.link.state(), LinkState::Up);
        self.drain();
    }

    /// The connection ends; what was on its way is lost.
    pub(crate) fn cut(&mut self) {
        self.drain();
        self.on_the_way.clear();
        self.link.handle_disconnected(self.now);
        self.drain();
    }

    /// Lets time pass, with every timer at its time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.link.next_timeout()
            && next <= end
        {
            self.now = self.now.max(next);
            self.link.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Lets time pass on a link that is up, with a router that answers its heartbeats.
    pub(crate) fn pass_in_health(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(BEAT.min(end - self.now));
            let nonces: Vec<_> = self
                .on_the_way
                .iter()
                .flat_map(|frame| Messages::<ToRouter>::new(frame.slice(8..)))
                .filter_map(|message| match message {
                    Ok(ToRouter::Ping { nonce }) => Some(ToGateway::Pong { nonce }),
                    _ => None,
                })
                .collect();
            self.say(&nonces);
        }
    }

    pub(crate) fn wait_until(&mut self, condition: impl Fn(&Self) -> bool) {
        self.drain();
        while !condition(self) {
            self.now = self.link.next_timeout().expect("something to wait for").max(self.now);
            self.link.handle_timeout(self.now);
            self.drain();
            assert!(self.now - self.start < Duration::from_secs(3_600), "an hour without it");
        }
    }

    pub(crate) fn join(&mut self, name: &str, core: CoreId, local: u32) {
        self.link.join(&chat(name), core, LocalChat(local), None, 10, self.now);
    }

    /// A chat that is live on core 0 as local 0, with handle 0, at `(epoch, offset)`.
    pub(crate) fn live(&mut self, name: &str, epoch: u64, offset: u64) {
        self.join(name, 0, 0);
        assert!(matches!(self.asked().as_slice(), [ToRouter::Subscribe(subscribe)] if subscribe.handle == 0));
        self.say(&[subscribed(0, epoch, offset, offset, SubscribeOutcome::Fresh)]);
        assert_eq!(self.seen(), [format!("0/0 joined {epoch}:{offset}")]);
    }
}

/// An event in a line.
pub(crate) fn short(core: CoreId, event: &Event) -> String {
    match event {
        FromLink::Joined { local, position, .. } => {
            format!("{core}/{} joined {}:{}", local.0, position.epoch, position.offset)
        }
        FromLink::Update { local, offset, time_ms, payload } => {
            assert_eq!(*time_ms, 1_000 + offset);
            assert_eq!(payload, format!("payload {offset}").as_bytes());
            format!("{core}/{} update {offset}", local.0)
        }
        FromLink::Reset { local, reason } => format!("{core}/{} reset {reason:?}", local.0),
        FromLink::Left { local } => format!("{core}/{} left", local.0),
        FromLink::Published { origin, result } => format!("{core} published {origin} {result:?}"),
        FromLink::History { origin, result } => format!("{core} history {origin} {result:?}"),
        FromLink::PresenceStats { origin, result } => format!("{core} presence {origin} {result:?}"),
        FromLink::Nodes { origin, result } => format!("{core} nodes {origin} {result:?}"),
        FromLink::Signaled { origin, result } => format!("{core} signaled {origin} {result:?}"),
        FromLink::Signal(signal) => format!("{core} signal {signal:?}"),
    }
}

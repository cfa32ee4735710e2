//! The core against gateways that live in the same test, under a clock that the test moves.

mod durability;
mod handshake;
mod hostile;
mod links;
mod model;
mod publish;
mod subscribe;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use corecast_wire::auth::{challenge_parts, proof_parts};
use corecast_wire::frame::Messages;
use corecast_wire::message::{
    Hello, History, HistoryResult, Publish, RefusalReason, Subscribe, Subscribed, ToGateway, ToRouter,
};
use corecast_wire::version::SUPPORTED;
use corecast_wire::{ChatName, Features, FrameDecoder, FrameEncoder, Position, Text};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{CoreConfig, LinkId, Now, RouterCore};
use crate::log::scripted::ScriptedLog;

const SECRET: &[u8] = b"a secret of the tests";
const TOPOLOGY: u64 = 0x70_70;

fn name(text: &str) -> ChatName {
    ChatName::new(text).expect("a valid name")
}

fn hello(node: &str) -> Hello {
    Hello {
        versions: SUPPORTED,
        features: Features::NONE,
        node: Text::truncated(node),
        node_incarnation: 1,
        slots: 16,
        topology: TOPOLOGY,
        endpoint_index: 2,
        nonce: [7; 16],
    }
}

fn mac(secret: &[u8], parts: [&[u8]; 3]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// A gateway's end of a link.
struct Gateway {
    link: LinkId,
    decoder: FrameDecoder,
    inbox: VecDeque<ToGateway>,
    /// Takes no bytes: sends come back after a few bytes.
    stalled: bool,
    /// A send came back and the socket has not become writable since.
    blocked: bool,
    gone: bool,
}

/// A router core and its gateways.
struct World {
    core: RouterCore<ScriptedLog>,
    now: Now,
    gateways: Vec<Gateway>,
    nonces: u8,
    requests: u64,
}

impl World {
    fn new(change: impl FnOnce(&mut CoreConfig)) -> Self {
        let mut config = CoreConfig::new(0xc0ffee);
        config.secret = SECRET.to_vec();
        config.slots = 16;
        change(&mut config);
        Self {
            core: RouterCore::new(config, ScriptedLog::new()).expect("a valid configuration"),
            now: Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 },
            gateways: Vec::new(),
            nonces: 0,
            requests: 0,
        }
    }

    fn plain() -> Self {
        Self::new(|_| {})
    }

    /// A connection without a word; its number.
    fn accept(&mut self) -> usize {
        self.nonces = self.nonces.wrapping_add(1);
        let link = self.core.handle_accepted([self.nonces; 16], self.now).expect("room for a link");
        let decoder = FrameDecoder::new();
        self.gateways.push(Gateway {
            link,
            decoder,
            inbox: VecDeque::new(),
            stalled: false,
            blocked: false,
            gone: false,
        });
        self.gateways.len() - 1
    }

    /// A gateway that is linked; its number.
    fn link(&mut self, node: &str) -> usize {
        let gateway = self.accept();
        assert!(matches!(self.greet(gateway, hello(node), SECRET), ToGateway::Welcome(_)));
        gateway
    }

    /// The handshake with this hello and secret, to its last message.
    fn greet(&mut self, gateway: usize, hello: Hello, secret: &[u8]) -> ToGateway {
        let nonce = hello.nonce;
        self.send(gateway, ToRouter::Hello(hello));
        match self.answer(gateway) {
            ToGateway::Challenge { nonce: theirs, mac: proof } => {
                assert_eq!(proof, mac(SECRET, challenge_parts(&nonce, &theirs)));
                self.send(gateway, ToRouter::Proof { mac: mac(secret, proof_parts(&nonce, &theirs)) });
                self.answer(gateway)
            }
            other => other,
        }
    }

    fn advance(&mut self, duration: Duration) {
        self.now.instant += duration;
        self.now.unix_ms += duration.as_millis() as u64;
        self.turn();
    }

    /// Advances in steps, with signs of life from both sides that leave no trace.
    fn live(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        while self.now.instant < end {
            for gateway in 0..self.gateways.len() {
                self.post(gateway, ToRouter::Pong { nonce: 0 });
            }
            self.advance((end - self.now.instant).min(Duration::from_secs(1)));
        }
        for gateway in &mut self.gateways {
            gateway.inbox.retain(|message| !matches!(message, ToGateway::Ping { .. }));
        }
    }

    /// Hands a message to the core, without a turn.
    fn post(&mut self, gateway: usize, message: ToRouter) {
        let mut encoder = FrameEncoder::new();
        encoder.push(&message).expect("encodable");
        let frame = encoder.take().expect("a frame");
        self.core.handle_received(self.gateways[gateway].link, &frame, self.now);
    }

    fn send(&mut self, gateway: usize, message: ToRouter) {
        self.post(gateway, message);
        self.turn();
    }

    /// One turn of a driver.
    fn turn(&mut self) {
        self.core.handle_timeout(self.now);
        self.core.flush(self.now);
        let mut unsent = Vec::new();
        while let Some(link) = self.core.poll_transmit() {
            let mut frames = Vec::new();
            self.core.take_frames(link, &mut frames, self.now);
            assert!(!frames.is_empty());
            let gateway = self.gateways.iter_mut().find(|gateway| gateway.link == link).expect("a known link");
            assert!(!gateway.blocked, "a blocked link is not sent to");
            if gateway.stalled {
                gateway.blocked = true;
                // The socket took a few bytes of the first frame.
                let count = frames[0].len().min(5);
                let taken = frames[0].split_to(count);
                gateway.receive(taken);
                frames.retain(Buf::has_remaining);
                unsent.push((link, frames));
            } else {
                frames.into_iter().for_each(|frame| gateway.receive(frame));
            }
        }
        for (link, rest) in unsent {
            self.core.handle_unsent(link, rest);
        }
        while let Some(link) = self.core.poll_gone() {
            self.gateways.iter_mut().filter(|gateway| gateway.link == link).for_each(|gateway| gateway.gone = true);
        }
        self.audit();
    }

    /// The gateway reads again; turns until nothing is left to say.
    fn unstall(&mut self, gateway: usize) {
        self.gateways[gateway].stalled = false;
        self.gateways[gateway].blocked = false;
        self.core.handle_writable(self.gateways[gateway].link);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.turn();
        }
    }

    /// The oldest message not read yet.
    fn answer(&mut self, gateway: usize) -> ToGateway {
        self.gateways[gateway].inbox.pop_front().expect("an answer")
    }

    /// All messages not read yet.
    fn inbox(&mut self, gateway: usize) -> Vec<ToGateway> {
        self.gateways[gateway].inbox.drain(..).collect()
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn publish(&mut self, gateway: usize, chat: &str, key: Option<&str>, payload: &str) -> u64 {
        let request = self.request();
        let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.send(gateway, ToRouter::Publish(Publish { request, chat: name(chat), key, payload }));
        request
    }

    /// Publishes from a gateway without subscriptions; what it is told.
    fn published(
        &mut self,
        gateway: usize,
        chat: &str,
        key: Option<&str>,
        payload: &str,
    ) -> Result<Told, RefusalReason> {
        let request = self.publish(gateway, chat, key, payload);
        match self.answer(gateway) {
            ToGateway::Ack { request: answered, epoch, offset, duplicate } if answered == request => {
                Ok(Told { epoch, offset, duplicate })
            }
            ToGateway::Refusal { request: answered, reason, .. } if answered == request => Err(reason),
            other => panic!("expected the outcome of a publish, got {other:?}"),
        }
    }

    fn subscribe(
        &mut self,
        gateway: usize,
        handle: u32,
        chat: &str,
        resume: Option<Position>,
        want: u16,
    ) -> Subscribed {
        self.send(gateway, ToRouter::Subscribe(Subscribe { handle, chat: name(chat), resume, want }));
        match self.answer(gateway) {
            ToGateway::Subscribed(subscribed) => subscribed,
            other => panic!("expected a subscription, got {other:?}"),
        }
    }

    fn ask(&mut self, gateway: usize, chat: &str, since: Option<Position>, limit: u32, reverse: bool) -> ToGateway {
        let request = self.request();
        let (chat, max_bytes) = (name(chat), 1 << 20);
        self.send(gateway, ToRouter::History(History { request, chat, since, limit, max_bytes, reverse }));
        self.answer(gateway)
    }

    fn history(
        &mut self,
        gateway: usize,
        chat: &str,
        since: Option<Position>,
        limit: u32,
        reverse: bool,
    ) -> HistoryResult {
        match self.ask(gateway, chat, since, limit, reverse) {
            ToGateway::HistoryResult(result) => result,
            other => panic!("expected a history, got {other:?}"),
        }
    }

    fn presence(&mut self, gateway: usize, chat: &str) -> u32 {
        let request = self.request();
        self.send(gateway, ToRouter::PresenceStats { request, chat: name(chat) });
        match self.answer(gateway) {
            ToGateway::PresenceResult { clients, .. } => clients,
            other => panic!("expected a presence, got {other:?}"),
        }
    }

    /// Sums that the core keeps up to date, counted again.
    fn audit(&self) {
        assert_eq!(self.core.kept_bytes, self.core.chats.memory());
        let waiting = self.core.slots.iter().flat_map(|slot| &slot.waiting);
        let (count, bytes) = waiting.fold((0, 0), |sum, pending| (sum.0 + 1, sum.1 + pending.bytes as usize));
        assert_eq!((self.core.pending, self.core.pending_bytes), (count, bytes));
        let up = self.core.links.iter().filter(|(_, link)| link.is_up()).count();
        assert_eq!(self.core.up, up);
    }

    fn log(&mut self) -> &mut ScriptedLog {
        self.core.log_mut()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    epoch: u64,
    offset: u64,
    duplicate: bool,
}

impl Gateway {
    fn receive(&mut self, bytes: Bytes) {
        self.decoder.feed(&bytes);
        while let Some(body) = self.decoder.next_body().expect("intact frames") {
            self.inbox.extend(Messages::<ToGateway>::new(body).map(|message| message.expect("valid messages")));
        }
    }
}

/// Handle, offset and payload of the updates among these messages.
fn updates(messages: &[ToGateway]) -> Vec<(u32, u64, String)> {
    let text = |payload: &Bytes| String::from_utf8(payload.to_vec()).expect("text");
    messages
        .iter()
        .filter_map(|message| match message {
            ToGateway::Update(update) => Some((update.handle, update.offset, text(&update.payload))),
            _ => None,
        })
        .collect()
}

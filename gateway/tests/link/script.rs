//! A router that keeps the protocol, with the faults that a test gives it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corecast_wire::auth::{Nonce, challenge_parts, proof_parts};
use corecast_wire::message::{
    History, HistoryResult, Publication, RefusalReason, Subscribe, SubscribeOutcome, Subscribed, ToGateway, ToRouter,
    UnsubscribedReason, Update,
};
use corecast_wire::{ChatName, FrameDecoder, FrameEncoder, Messages};

use crate::harness::{ROUTER_NONCE, hmac, welcome};

/// What a chat's message says, so that a wrong one is recognised.
pub(crate) fn payload(chat: &str, epoch: u64, offset: u64) -> Bytes {
    format!("{chat}/{epoch}/{offset}").into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The update is lost without a word: what the protocol does not allow, and the link copes with.
    Drop,
    /// The update comes twice.
    Repeat,
    /// The queue is full: a `Lagged` follows later.
    Withhold,
}

#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) epoch: u64,
    pub(crate) top: u64,
    pub(crate) oldest: u64,
}

struct Session {
    decoder: FrameDecoder,
    nonce: Nonce,
    welcomed: bool,
    /// By handle: the chat, and whether updates have been withheld.
    subscriptions: BTreeMap<u32, (ChatName, bool)>,
    encoder: FrameEncoder,
    /// Bytes on their way to the gateway.
    bytes: Vec<u8>,
    /// Messages that it has not read.
    unread: Vec<ToRouter>,
}

#[derive(Default)]
pub(crate) struct Router {
    chats: BTreeMap<String, Chat>,
    epochs: u64,
    session: Option<Session>,
    /// Payloads of all publishes that took effect.
    pub(crate) published: BTreeSet<Bytes>,
    /// Is stopped: reads and answers nothing until it goes on.
    is_mute: bool,
    pub(crate) refuses_history: bool,
    pub(crate) refuses_publishes: bool,
    /// Publications in one history result.
    pub(crate) page: usize,
}

impl Router {
    /// A router that answers histories with this many publications at a time.
    pub(crate) fn new(page: usize) -> Self {
        Self { page, ..Self::default() }
    }

    pub(crate) fn chat(&mut self, name: &str) -> &mut Chat {
        if !self.chats.contains_key(name) {
            self.epochs += 1;
            self.chats.insert(name.to_owned(), Chat { epoch: self.epochs, top: 0, oldest: 1 });
        }
        self.chats.get_mut(name).expect("just made")
    }

    pub(crate) fn connect(&mut self) {
        self.session = Some(Session {
            decoder: FrameDecoder::new(),
            nonce: [0; 16],
            welcomed: false,
            subscriptions: BTreeMap::new(),
            encoder: FrameEncoder::with_target(200),
            bytes: Vec::new(),
            unread: Vec::new(),
        });
    }

    pub(crate) fn cut(&mut self) {
        self.session = None;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// Everything in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.cut();
        self.chats.clear();
    }

    /// Sequences a message and sends it to the gateway if it has subscribed.
    pub(crate) fn publish(&mut self, name: &str, fault: Fault) {
        let chat = self.chat(name);
        chat.top += 1;
        let (epoch, offset) = (chat.epoch, chat.top);
        let Some(session) = &mut self.session else { return };
        for (&handle, (subscribed, lagging)) in &mut session.subscriptions {
            if subscribed.as_str() != name {
                continue;
            }
            *lagging |= fault == Fault::Withhold;
            if *lagging || fault == Fault::Drop {
                continue;
            }
            for _ in 0..if fault == Fault::Repeat { 2 } else { 1 } {
                push(&mut session.encoder, &update(handle, name, epoch, offset));
            }
        }
    }

    /// The queue has room again.
    pub(crate) fn drain_lag(&mut self) {
        let Some(session) = &mut self.session else { return };
        for (&handle, (name, lagging)) in &mut session.subscriptions {
            if std::mem::take(lagging) {
                let Some(chat) = self.chats.get(name.as_str()) else { continue };
                push(&mut session.encoder, &ToGateway::Lagged { handle, epoch: chat.epoch, offset: chat.top });
            }
        }
    }

    pub(crate) fn trim(&mut self, name: &str, keep: u64) {
        let chat = self.chat(name);
        chat.oldest = chat.oldest.max((chat.top + 1).saturating_sub(keep));
    }

    /// Ends the subscription of a chat.
    pub(crate) fn end(&mut self, name: &str) {
        let Some(session) = &mut self.session else { return };
        let handle =
            session.subscriptions.iter().find(|(_, (chat, _))| chat.as_str() == name).map(|(&handle, _)| handle);
        if let Some(handle) = handle {
            session.subscriptions.remove(&handle);
            let reason = UnsubscribedReason::WrongSlot;
            push(&mut session.encoder, &ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 });
        }
    }

    /// The next bytes for the gateway, at most `max`.
    pub(crate) fn bytes(&mut self, max: usize) -> Vec<u8> {
        let Some(session) = &mut self.session else { return Vec::new() };
        while let Some(frame) = session.encoder.take() {
            session.bytes.extend_from_slice(&frame);
        }
        let rest = session.bytes.split_off(max.min(session.bytes.len()));
        std::mem::replace(&mut session.bytes, rest)
    }

    pub(crate) fn receive(&mut self, frame: Bytes) {
        let Some(session) = &mut self.session else { return };
        session.decoder.feed_shared(frame);
        while let Some(body) = session.decoder.next_body().expect("the link sends intact frames") {
            session.unread.extend(Messages::new(body).map(|message| message.expect("the link sends valid messages")));
        }
        self.read();
    }

    fn read(&mut self) {
        if self.is_mute {
            return;
        }
        for message in self.session.as_mut().map(|session| std::mem::take(&mut session.unread)).unwrap_or_default() {
            self.handle(message);
        }
    }

    pub(crate) fn mute(&mut self, on: bool) {
        self.is_mute = on;
        self.read();
    }

    fn handle(&mut self, message: ToRouter) {
        match message {
            ToRouter::Subscribe(subscribe) => return self.subscribe(&subscribe),
            ToRouter::History(history) => return self.history(&history),
            ToRouter::Publish(publish) => {
                if self.refuses_publishes {
                    let (request, reason) = (publish.request, RefusalReason::Overloaded);
                    return self.answer(&ToGateway::Refusal { request, reason, retry_after_ms: 0 });
                }
                assert!(self.published.insert(publish.payload), "a publish came twice");
                let chat = self.chat(publish.chat.as_str());
                let (epoch, offset) = (chat.epoch, chat.top + 1);
                self.publish(publish.chat.as_str(), Fault::None);
                return self.answer(&ToGateway::Ack { request: publish.request, epoch, offset, duplicate: false });
            }
            _ => {}
        }
        let Some(session) = &mut self.session else { return };
        match message {
            ToRouter::Hello(hello) => {
                session.nonce = hello.nonce;
                let mac = hmac(&challenge_parts(&hello.nonce, &ROUTER_NONCE));
                push(&mut session.encoder, &ToGateway::Challenge { nonce: ROUTER_NONCE, mac });
            }
            ToRouter::Proof { mac } => {
                assert_eq!(mac, hmac(&proof_parts(&session.nonce, &ROUTER_NONCE)));
                session.welcomed = true;
                push(&mut session.encoder, &ToGateway::Welcome(welcome()));
            }
            ToRouter::Unsubscribe { handle } => {
                session.subscriptions.remove(&handle);
                let reason = UnsubscribedReason::Requested;
                push(&mut session.encoder, &ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 });
            }
            ToRouter::Ping { nonce } => push(&mut session.encoder, &ToGateway::Pong { nonce }),
            ToRouter::Members { .. } | ToRouter::Pong { .. } | ToRouter::GoAway(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let Subscribe { handle, ref chat, resume, want } = *subscribe;
        let name = chat.as_str().to_owned();
        let Chat { epoch, top, oldest } = *self.chat(&name);
        let Some(session) = &mut self.session else { return };
        assert!(session.welcomed);
        assert!(session.subscriptions.values().all(|(other, _)| other != chat), "{name} has two handles");
        assert!(session.subscriptions.insert(handle, (chat.clone(), false)).is_none(), "handle {handle} is in use");
        let resumed = resume.filter(|at| at.epoch == epoch && at.offset <= top && at.offset + 1 >= oldest);
        let (start, outcome) = match (resumed, resume) {
            (Some(position), _) => (position.offset, SubscribeOutcome::Resumed),
            (None, Some(_)) => (warm(top, oldest, want), SubscribeOutcome::Reset),
            (None, None) => (warm(top, oldest, want), SubscribeOutcome::Fresh),
        };
        let answer = Subscribed { handle, epoch, offset: top, start, oldest, outcome };
        push(&mut session.encoder, &ToGateway::Subscribed(answer));
        for offset in start + 1..=top {
            push(&mut session.encoder, &update(handle, &name, epoch, offset));
        }
    }

    fn history(&mut self, history: &History) {
        let History { request, ref chat, since, limit, .. } = *history;
        let Chat { epoch, top, oldest } = *self.chat(chat.as_str());
        let since = since.expect("a repair says since when");
        if self.refuses_history || since.epoch != epoch || since.offset > top {
            let reason = RefusalReason::UnrecoverablePosition;
            return self.answer(&ToGateway::Refusal { request, reason, retry_after_ms: 0 });
        }
        let first = oldest.max(since.offset + 1);
        let publications = (first..=top)
            .take(self.page.max(1).min(limit as usize))
            .map(|offset| Publication { offset, time_ms: offset, payload: payload(chat.as_str(), epoch, offset) })
            .collect();
        self.answer(&ToGateway::HistoryResult(HistoryResult { request, epoch, offset: top, publications }));
    }

    fn answer(&mut self, message: &ToGateway) {
        if let Some(session) = &mut self.session {
            push(&mut session.encoder, message);
        }
    }
}

fn warm(top: u64, oldest: u64, want: u16) -> u64 {
    top.saturating_sub(u64::from(want)).max(oldest - 1)
}

fn update(handle: u32, name: &str, epoch: u64, offset: u64) -> ToGateway {
    ToGateway::Update(Update { handle, offset, time_ms: offset, payload: payload(name, epoch, offset) })
}

fn push(encoder: &mut FrameEncoder, message: &ToGateway) {
    encoder.push(message).expect("a valid message");
}

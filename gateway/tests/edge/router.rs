//! A router by script: sequences messages in memory, and does to its links what a test tells it.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use corecast_wire::auth::{challenge_parts, proof_parts};
use corecast_wire::frame::Messages;
use corecast_wire::message::{
    HistoryResult, NodeInfo, NodeStats, Publication, RefusalReason, SubscribeOutcome, Subscribed, UnsubscribedReason,
    Update, Welcome,
};
use corecast_wire::{Features, FrameDecoder, FrameEncoder, Position, Text, ToGateway, ToRouter};
use hmac::Mac as _;

pub(crate) const SECRET: &[u8] = b"shared by gateway and router";

/// Messages that a chat keeps.
const KEPT: usize = 1_000;

/// A running router; its threads end with the process.
pub(crate) struct Router {
    name: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    chats: HashMap<String, Chat>,
    links: Vec<Link>,
    next_epoch: u64,
    incarnation: u64,
    /// What gateways asked for, for tests to look at.
    seen: Seen,
    /// Publishes are swallowed.
    mute: bool,
    /// New links are cut at once.
    closed: bool,
    /// History requests that are not answered yet, while held.
    held_histories: Option<Vec<(usize, ToGateway)>>,
}

/// What gateways have asked for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) subscribes: usize,
    pub(crate) unsubscribes: usize,
    pub(crate) histories: usize,
    pub(crate) publishes: usize,
    pub(crate) members: HashMap<String, u32>,
    pub(crate) stats: Vec<NodeStats>,
}

struct Chat {
    epoch: u64,
    /// Offset of the last message.
    top: u64,
    kept: Vec<Bytes>,
    keys: HashMap<Bytes, u64>,
}

struct Link {
    stream: Option<UnixStream>,
    encoder: FrameEncoder,
    handles: HashMap<u32, String>,
    node: Text,
    incarnation: u64,
}

static NAMES: AtomicU64 = AtomicU64::new(0);

impl Router {
    pub(crate) fn start() -> Self {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("corecast-test-{}-{number}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        let shared = Arc::new(Mutex::new(Shared { next_epoch: 1_000, incarnation: 1, ..Shared::default() }));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        Self { name, shared }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn seen(&self) -> Seen {
        self.shared.lock().unwrap().seen.clone()
    }

    /// Publishes as some other gateway would.
    pub(crate) fn publish(&self, chat: &str, payload: &str) -> Position {
        let mut shared = self.shared.lock().unwrap();
        let position = shared.append(chat, Bytes::copy_from_slice(payload.as_bytes()));
        shared.flush();
        position
    }

    /// Many messages in one batch.
    pub(crate) fn publish_all(&self, chat: &str, payloads: impl Iterator<Item = String>) {
        let mut shared = self.shared.lock().unwrap();
        for payload in payloads {
            shared.append(chat, Bytes::from(payload));
        }
        shared.flush();
    }

    pub(crate) fn position(&self, chat: &str) -> Position {
        let mut shared = self.shared.lock().unwrap();
        let chat = shared.chat(chat);
        Position { epoch: chat.epoch, offset: chat.top }
    }

    /// Cuts all links; new ones are accepted.
    pub(crate) fn cut_links(&self) {
        for link in &mut self.shared.lock().unwrap().links {
            link.close();
        }
    }

    /// Cuts all links and accepts none until [`Self::open`].
    pub(crate) fn close(&self) {
        self.shared.lock().unwrap().closed = true;
        self.cut_links();
    }

    pub(crate) fn open(&self) {
        self.shared.lock().unwrap().closed = false;
    }

    /// Forgets all chats and cuts the links, as a router that was killed and started again.
    pub(crate) fn restart(&self) {
        {
            let mut shared = self.shared.lock().unwrap();
            shared.chats.clear();
            shared.incarnation += 1;
        }
        self.cut_links();
    }

    /// Lets publishes without an answer.
    pub(crate) fn mute(&self) {
        self.shared.lock().unwrap().mute = true;
    }

    /// Keeps history answers back until [`Self::release_histories`].
    pub(crate) fn hold_histories(&self) {
        self.shared.lock().unwrap().held_histories = Some(Vec::new());
    }

    pub(crate) fn release_histories(&self) {
        let mut shared = self.shared.lock().unwrap();
        for (link, answer) in shared.held_histories.take().unwrap_or_default() {
            shared.links[link].push(&answer);
        }
        shared.flush();
    }

    /// Ends the subscription of a chat on all links.
    pub(crate) fn drop_chat(&self, name: &str) {
        let mut shared = self.shared.lock().unwrap();
        shared.chats.remove(name);
        for link in &mut shared.links {
            let handle = link.handles.iter().find(|(_, chat)| *chat == name).map(|(handle, _)| *handle);
            if let Some(handle) = handle {
                link.handles.remove(&handle);
                link.push(&ToGateway::Unsubscribed {
                    handle,
                    reason: UnsubscribedReason::StorageUnavailable,
                    retry_after_ms: 0,
                });
            }
        }
        shared.flush();
    }
}

impl Shared {
    fn chat(&mut self, name: &str) -> &mut Chat {
        self.chats.entry(name.to_owned()).or_insert_with(|| {
            self.next_epoch += 1;
            Chat { epoch: self.next_epoch, top: 0, kept: Vec::new(), keys: HashMap::new() }
        })
    }

    fn append(&mut self, name: &str, payload: Bytes) -> Position {
        let chat = self.chat(name);
        chat.top += 1;
        chat.kept.push(payload.clone());
        if chat.kept.len() > KEPT {
            chat.kept.remove(0);
        }
        let position = Position { epoch: chat.epoch, offset: chat.top };
        for link in &mut self.links {
            let handle = link.handles.iter().find(|(_, chat)| *chat == name).map(|(handle, _)| *handle);
            if let Some(handle) = handle {
                let payload = payload.clone();
                link.push(&ToGateway::Update(Update { handle, offset: position.offset, time_ms: 1, payload }));
            }
        }
        position
    }

    fn flush(&mut self) {
        for link in &mut self.links {
            link.flush();
        }
    }
}

impl Chat {
    fn oldest(&self) -> u64 {
        self.top + 1 - self.kept.len() as u64
    }

    fn after(&self, since: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let oldest = self.oldest();
        self.kept.iter().zip(oldest..).map(|(payload, offset)| (offset, payload)).filter(move |(o, _)| *o > since)
    }
}

impl Link {
    fn push(&mut self, message: &ToGateway) {
        self.encoder.push(message).unwrap();
    }

    fn flush(&mut self) {
        while let Some(frame) = self.encoder.take() {
            if self.stream.as_mut().is_some_and(|stream| stream.write_all(&frame).is_err()) {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.handles.clear();
    }
}

/// Serves one link until it ends.
fn serve(stream: &UnixStream, shared: &Mutex<Shared>) {
    let mut decoder = FrameDecoder::new();
    let mut encoder = FrameEncoder::new();
    let mut nonces = ([0; 16], [9; 16]);
    let mut index = None;
    let mut buffer = vec![0; 65_536];
    loop {
        let count = match (&*stream).read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        decoder.feed(&buffer[..count]);
        while let Some(body) = decoder.next_body().unwrap() {
            for message in Messages::<ToRouter>::new(body) {
                let message = message.unwrap();
                if let Some(index) = index {
                    shared.lock().unwrap().answer(index, message);
                    continue;
                }
                match message {
                    ToRouter::Hello(hello) => {
                        if shared.lock().unwrap().closed {
                            return;
                        }
                        nonces.0 = hello.nonce;
                        let mac = mac(challenge_parts(&nonces.0, &nonces.1));
                        encoder.push(&ToGateway::Challenge { nonce: nonces.1, mac }).unwrap();
                        let mut shared = shared.lock().unwrap();
                        shared.links.push(Link {
                            stream: Some(stream.try_clone().unwrap()),
                            encoder: FrameEncoder::new(),
                            handles: HashMap::new(),
                            node: hello.node,
                            incarnation: hello.node_incarnation,
                        });
                    }
                    ToRouter::Proof { mac: proof } => {
                        assert_eq!(proof, mac(proof_parts(&nonces.0, &nonces.1)));
                        let shared = shared.lock().unwrap();
                        encoder
                            .push(&ToGateway::Welcome(Welcome {
                                version: 1,
                                features: Features::default(),
                                router_incarnation: shared.incarnation,
                                heartbeat_ms: 1_000,
                                payload_bytes_max: 256 * 1024,
                                requests_max: 10_000,
                            }))
                            .unwrap();
                        index = Some(shared.links.len() - 1);
                    }
                    other => panic!("{other:?} before the handshake"),
                }
                while let Some(frame) = encoder.take() {
                    let _ = (&*stream).write_all(&frame);
                }
            }
        }
        if let Some(index) = index {
            shared.lock().unwrap().links[index].flush();
        }
    }
    if let Some(index) = index {
        shared.lock().unwrap().links[index].close();
    }
}

impl Shared {
    fn answer(&mut self, index: usize, message: ToRouter) {
        match message {
            ToRouter::Subscribe(subscribe) => {
                self.seen.subscribes += 1;
                let name = subscribe.chat.as_str().to_owned();
                let chat = self.chat(&name);
                let (outcome, start) = match subscribe.resume {
                    Some(resume)
                        if resume.epoch == chat.epoch
                            && resume.offset <= chat.top
                            && resume.offset + 1 >= chat.oldest() =>
                    {
                        (SubscribeOutcome::Resumed, resume.offset)
                    }
                    resume => {
                        let warm = (chat.kept.len() as u64).min(u64::from(subscribe.want));
                        let outcome = if resume.is_some() { SubscribeOutcome::Reset } else { SubscribeOutcome::Fresh };
                        (outcome, chat.top - warm)
                    }
                };
                let handle = subscribe.handle;
                let (epoch, offset, oldest) = (chat.epoch, chat.top, chat.oldest());
                let updates: Vec<ToGateway> = chat
                    .after(start)
                    .map(|(offset, payload)| {
                        ToGateway::Update(Update { handle, offset, time_ms: 1, payload: payload.clone() })
                    })
                    .collect();
                let link = &mut self.links[index];
                link.push(&ToGateway::Subscribed(Subscribed { handle, epoch, offset, start, oldest, outcome }));
                updates.iter().for_each(|update| link.push(update));
                link.handles.insert(handle, name);
            }
            ToRouter::Unsubscribe { handle } => {
                self.seen.unsubscribes += 1;
                self.links[index].handles.remove(&handle);
                let reason = UnsubscribedReason::Requested;
                self.links[index].push(&ToGateway::Unsubscribed { handle, reason, retry_after_ms: 0 });
            }
            ToRouter::Publish(publish) => self.publish(index, publish),
            ToRouter::History(history) => {
                self.seen.histories += 1;
                let answer = self.history(&history);
                match &mut self.held_histories {
                    Some(held) => held.push((index, answer)),
                    None => self.links[index].push(&answer),
                }
            }
            ToRouter::PresenceStats { request, chat } => {
                let clients = self.seen.members.get(chat.as_str()).copied().unwrap_or(0);
                self.links[index].push(&ToGateway::PresenceResult { request, clients, users: clients });
            }
            ToRouter::Members { handle, count } => {
                if let Some(name) = self.links[index].handles.get(&handle) {
                    self.seen.members.insert(name.clone(), count);
                }
            }
            ToRouter::Signal { request, signal } => {
                for link in &mut self.links {
                    link.push(&ToGateway::Signal(signal.clone()));
                }
                self.links[index].push(&ToGateway::SignalResult { request, gateways: 1 });
                self.flush();
            }
            ToRouter::NodeStats(stats) => self.seen.stats.push(stats),
            ToRouter::Nodes { request } => {
                let link = &self.links[index];
                let stats = self.seen.stats.last().cloned().unwrap_or_default();
                let node = NodeInfo { node: link.node.clone(), node_incarnation: link.incarnation, stats };
                self.links[index].push(&ToGateway::NodesResult { request, nodes: vec![node] });
            }
            ToRouter::Ping { nonce } => self.links[index].push(&ToGateway::Pong { nonce }),
            ToRouter::Pong { .. } | ToRouter::GoAway(_) => {}
            other @ (ToRouter::Hello(_) | ToRouter::Proof { .. }) => panic!("{other:?} again"),
        }
    }

    fn publish(&mut self, index: usize, publish: corecast_wire::message::Publish) {
        self.seen.publishes += 1;
        if self.mute {
            return;
        }
        let name = publish.chat.as_str().to_owned();
        let epoch = self.chat(&name).epoch;
        let known = publish.key.as_ref().and_then(|key| self.chat(&name).keys.get(key).copied());
        let (offset, duplicate) = match known {
            Some(offset) => (offset, true),
            None => {
                let offset = self.append(&name, publish.payload).offset;
                if let Some(key) = publish.key {
                    self.chat(&name).keys.insert(key, offset);
                }
                (offset, false)
            }
        };
        self.links[index].push(&ToGateway::Ack { request: publish.request, epoch, offset, duplicate });
        self.flush();
    }

    fn history(&mut self, history: &corecast_wire::message::History) -> ToGateway {
        let request = history.request;
        let chat = self.chat(history.chat.as_str());
        let since = match history.since {
            Some(since) if since.epoch != chat.epoch || since.offset > chat.top => {
                let reason = RefusalReason::UnrecoverablePosition;
                return ToGateway::Refusal { request, reason, retry_after_ms: 0 };
            }
            Some(since) => since.offset,
            None => 0,
        };
        let publication =
            |(offset, payload): (u64, &Bytes)| Publication { offset, time_ms: 1, payload: payload.clone() };
        let mut publications: Vec<Publication> = if history.reverse {
            let mut all: Vec<_> = chat.after(0).map(publication).collect();
            all.reverse();
            all.retain(|publication| history.since.is_none() || publication.offset < since);
            all
        } else {
            chat.after(since).map(publication).collect()
        };
        publications.truncate(history.limit as usize);
        ToGateway::HistoryResult(HistoryResult { request, epoch: chat.epoch, offset: chat.top, publications })
    }
}

fn mac(parts: [&[u8]; 3]) -> [u8; 32] {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(SECRET).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

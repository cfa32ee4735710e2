//! A small gateway for tests: one blocking link, spoken with `corecast-wire`.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_router::{Listen, ListenAddr, RouterConfig, UnixAddr};
use corecast_wire::auth::{challenge_parts, proof_parts};
use corecast_wire::frame::Messages;
use corecast_wire::message::{Hello, History, Publish, Subscribe, Subscribed, ToGateway, ToRouter};
use corecast_wire::version::SUPPORTED;
use corecast_wire::{ChatName, Features, FrameDecoder, FrameEncoder, Position, Text};
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub const SECRET: &[u8] = b"the secret of the driver tests";

/// Longest wait for anything: far beyond what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration on an abstract Unix socket that no other test uses.
pub fn unix_config() -> RouterConfig {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("corecast-router-test-{}-{number}", std::process::id());
    RouterConfig::new(Listen::Unix(UnixAddr::Abstract(name.into_bytes())), SECRET.to_vec())
}

pub fn name(text: &str) -> ChatName {
    ChatName::new(text).expect("a valid name")
}

pub fn text(payload: &Bytes) -> &str {
    std::str::from_utf8(payload).expect("text")
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Gateway {
    socket: Socket,
    decoder: FrameDecoder,
    inbox: VecDeque<ToGateway>,
    requests: u64,
}

impl Gateway {
    /// A connection without a word.
    pub fn connect(endpoint: &ListenAddr) -> Self {
        let socket = match endpoint {
            ListenAddr::Tcp(address) => Socket::Tcp(TcpStream::connect(address).expect("a listener")),
            ListenAddr::Unix(UnixAddr::Abstract(name)) => {
                let address = SocketAddr::from_abstract_name(name).expect("a valid name");
                Socket::Unix(UnixStream::connect_addr(&address).expect("a listener"))
            }
            ListenAddr::Unix(UnixAddr::Path(path)) => Socket::Unix(UnixStream::connect(path).expect("a listener")),
        };
        match &socket {
            Socket::Tcp(socket) => socket.set_read_timeout(Some(PATIENCE)),
            Socket::Unix(socket) => socket.set_read_timeout(Some(PATIENCE)),
        }
        .expect("a timeout");
        Self { socket, decoder: FrameDecoder::new(), inbox: VecDeque::new(), requests: 0 }
    }

    /// A link that is up.
    pub fn link(endpoint: &ListenAddr, node: &str) -> Self {
        let mut gateway = Self::connect(endpoint);
        assert!(matches!(gateway.greet(node, SECRET), ToGateway::Welcome(_)));
        gateway
    }

    /// The handshake, to its last message.
    pub fn greet(&mut self, node: &str, secret: &[u8]) -> ToGateway {
        let nonce = [9; 16];
        self.send(&[ToRouter::Hello(Hello {
            versions: SUPPORTED,
            features: Features::NONE,
            node: Text::truncated(node),
            node_incarnation: 1,
            slots: 1_024,
            topology: 1,
            endpoint_index: 0,
            nonce,
        })]);
        match self.next() {
            ToGateway::Challenge { nonce: theirs, mac: proof } => {
                assert_eq!(proof, mac(SECRET, challenge_parts(&nonce, &theirs)));
                self.send(&[ToRouter::Proof { mac: mac(secret, proof_parts(&nonce, &theirs)) }]);
                self.next()
            }
            other => other,
        }
    }

    /// Sends messages in as few frames as possible.
    pub fn send(&mut self, messages: &[ToRouter]) {
        let mut encoder = FrameEncoder::new();
        messages.iter().for_each(|message| encoder.push(message).expect("encodable"));
        while let Some(frame) = encoder.take() {
            self.write(&frame).expect("an open link");
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// The next message that is not a heartbeat; heartbeats are answered.
    pub fn next(&mut self) -> ToGateway {
        self.try_next().expect("the link is open")
    }

    /// As [`Gateway::next`]; `None` at the end of the stream.
    pub fn try_next(&mut self) -> Option<ToGateway> {
        loop {
            match self.inbox.pop_front() {
                Some(ToGateway::Ping { nonce }) => self.pong(nonce),
                Some(message) => return Some(message),
                None => self.read()?,
            }
        }
    }

    fn pong(&mut self, nonce: u64) {
        let mut encoder = FrameEncoder::new();
        encoder.push(&ToRouter::Pong { nonce }).expect("encodable");
        // A router that is gone needs no answer.
        let _ = self.write(&encoder.take().expect("a frame"));
    }

    fn read(&mut self) -> Option<()> {
        let mut chunk = [0; 64 << 10];
        let read = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(&mut chunk),
            Socket::Unix(socket) => socket.read(&mut chunk),
        };
        match read {
            Ok(0) => return None,
            Ok(count) => self.decoder.feed(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("nothing came for {PATIENCE:?}: {error}"),
        }
        while let Some(body) = self.decoder.next_body().expect("intact frames") {
            self.inbox.extend(Messages::<ToGateway>::new(body).map(|message| message.expect("valid messages")));
        }
        Some(())
    }

    pub fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    pub fn publication(&mut self, chat: &str, key: Option<&str>, payload: &str) -> ToRouter {
        let key = key.map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        ToRouter::Publish(Publish { request: self.request(), chat: name(chat), key, payload })
    }

    /// Publishes and waits for the acknowledgement: offset, duplicate. Updates that come before it stay unread.
    pub fn publish(&mut self, chat: &str, key: Option<&str>, payload: &str) -> (u64, bool) {
        let message = self.publication(chat, key, payload);
        self.send(&[message]);
        let wanted = self.requests;
        let mut others = Vec::new();
        let told = loop {
            match self.next() {
                ToGateway::Ack { request, offset, duplicate, .. } if request == wanted => break (offset, duplicate),
                other => others.push(other),
            }
        };
        others.into_iter().rev().for_each(|message| self.inbox.push_front(message));
        told
    }

    pub fn subscribe(&mut self, handle: u32, chat: &str, resume: Option<Position>) -> Subscribed {
        self.send(&[ToRouter::Subscribe(Subscribe { handle, chat: name(chat), resume, want: 0 })]);
        match self.next() {
            ToGateway::Subscribed(subscribed) => subscribed,
            other => panic!("expected a subscription, got {other:?}"),
        }
    }

    /// Offsets and texts of a history.
    pub fn history(&mut self, chat: &str, since: Option<Position>) -> Vec<(u64, String)> {
        let (request, chat) = (self.request(), name(chat));
        self.send(&[ToRouter::History(History {
            request,
            chat,
            since,
            limit: 5_000,
            max_bytes: 1 << 20,
            reverse: false,
        })]);
        match self.next() {
            ToGateway::HistoryResult(result) => {
                result.publications.iter().map(|found| (found.offset, text(&found.payload).to_owned())).collect()
            }
            other => panic!("expected a history, got {other:?}"),
        }
    }

    /// The next message as an update: handle, offset, text.
    pub fn update(&mut self) -> (u32, u64, String) {
        match self.next() {
            ToGateway::Update(update) => (update.handle, update.offset, text(&update.payload).to_owned()),
            other => panic!("expected an update, got {other:?}"),
        }
    }
}

fn mac(secret: &[u8], parts: [&[u8]; 3]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any key length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! The null server's loop.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_centrifuge::codes::ErrorCode;
use corecast_centrifuge::{
    Command, ConnectResult, DecodeLimits, Encoding, ProtocolError, Publication, PublishResult, ReplyBody, Request,
    SubscribeRequest, SubscribeResult, UnsubscribeResult, decode_commands, encode_error, encode_reply,
};
use corecast_ring::{ConnId, Event, Listener, Reactor, Wait, affinity};
use corecast_websocket::handshake::{self, HandshakeLimits, Progress, RequestParser, Status};
use corecast_websocket::{Decoder, Message, Opcode, server_frame};

use super::chats::{Chats, SPEECHES, Speech};
use super::{DeliveryFault, NullConfig};
use crate::outboxes::Outboxes;

const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Recoveries larger than this are refused, as Corecast does.
const RECOVERY_MAX: usize = 300;
const EPOCH: &str = "null";

/// One accepted connection.
struct Peer {
    conn: ConnId,
    handshake: Option<Box<RequestParser>>,
    decoder: Decoder,
    speech: Speech,
    chats: Vec<u32>,
}

struct Server<'a> {
    config: &'a NullConfig,
    reactor: Reactor,
    outboxes: Outboxes,
    peers: Vec<Option<Peer>>,
    chats: Chats,
    deliveries: u64,
    publishes: u64,
    /// A frame that a fault holds back, by member.
    held: HashMap<ConnId, Bytes>,
    dead: bool,
}

pub(super) fn run(
    listener: Listener,
    config: &NullConfig,
    stop: &AtomicBool,
    ready: &Sender<io::Result<u64>>,
) -> io::Result<()> {
    if let Some(cpu) = config.cpu {
        affinity::pin(cpu)?;
    }
    let mut reactor = Reactor::new(&super::ring(config.connections)).map_err(io::Error::other)?;
    reactor.listen(listener)?;
    let task = std::fs::read_link("/proc/thread-self")?;
    let task = task.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
    let _ = ready.send(Ok(task));
    let mut server = Server {
        config,
        reactor,
        outboxes: Outboxes::default(),
        peers: (0..config.connections).map(|_| None).collect(),
        chats: Chats::default(),
        deliveries: 0,
        publishes: 0,
        held: HashMap::new(),
        dead: false,
    };
    let mut events = Vec::new();
    while !stop.load(Ordering::Acquire) && !server.dead {
        let wait = if server.outboxes.wants_turn() {
            Wait::Poll
        } else {
            let deadline = Some(Instant::now() + Duration::from_millis(50));
            Wait::Until { deadline, window: Duration::ZERO }
        };
        server.reactor.turn(wait, &mut events, || true)?;
        server.outboxes.flush(&mut server.reactor);
        for event in events.drain(..) {
            server.handle(event);
        }
    }
    Ok(())
}

impl Server<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { conn, .. } => {
                self.peers[conn.slot() as usize] = Some(Peer {
                    conn,
                    handshake: Some(Box::new(RequestParser::new(HandshakeLimits::default()))),
                    decoder: Decoder::server(MESSAGE_BYTES_MAX),
                    speech: Speech::Raw,
                    chats: Vec::new(),
                });
            }
            Event::Received { conn, chunk } => {
                let Some(mut peer) = self.take(conn) else { return };
                // Copied, so that the server may send while it reads; commands are few compared with deliveries.
                let mut bytes = self.reactor.received(&chunk).to_vec();
                if self.received(&mut peer, &mut bytes) {
                    self.peers[conn.slot() as usize] = Some(peer);
                } else {
                    self.drop_peer(&peer);
                }
            }
            Event::Closed { conn, .. } => {
                if let Some(peer) = self.take(conn) {
                    self.drop_peer(&peer);
                }
            }
            Event::Unsent { conn, rest } => self.outboxes.unsent(conn, rest),
            Event::Writable { conn } => self.outboxes.writable(conn),
            Event::Connected { .. } | Event::ConnectFailed { .. } | Event::Woken => {}
        }
    }

    fn take(&mut self, conn: ConnId) -> Option<Peer> {
        let slot = self.peers.get_mut(conn.slot() as usize)?;
        if slot.as_ref()?.conn != conn {
            return None;
        }
        slot.take()
    }

    fn drop_peer(&mut self, peer: &Peer) {
        for chat in &peer.chats {
            self.chats.all[*chat as usize].leave(peer.conn, peer.speech);
        }
        self.outboxes.closed(peer.conn);
        self.reactor.close(peer.conn);
    }

    /// `false` = the connection is over.
    fn received(&mut self, peer: &mut Peer, bytes: &mut [u8]) -> bool {
        let mut at = 0;
        if let Some(handshake) = &mut peer.handshake {
            match handshake.feed(bytes) {
                Ok(Progress::Incomplete) => return true,
                Ok(Progress::Complete { request, consumed }) => {
                    if self.config.faults.refuse_upgrades {
                        let answer = handshake::refuse(Status::ServiceUnavailable, "refused on purpose\n");
                        self.outboxes.send(&mut self.reactor, peer.conn, &Bytes::from(answer));
                        return true;
                    }
                    let protobuf = request.choose_protocol(&["centrifuge-protobuf"]);
                    peer.speech = match (protobuf, request.path().starts_with("/connection")) {
                        (Some(_), _) => Speech::Protobuf,
                        (None, true) => Speech::Json,
                        (None, false) => Speech::Raw,
                    };
                    let answer = Bytes::from(handshake::accept(&request, protobuf));
                    self.outboxes.send(&mut self.reactor, peer.conn, &answer);
                    peer.handshake = None;
                    at = consumed;
                }
                Err(_) => return false,
            }
        }
        loop {
            let mut decoder = std::mem::replace(&mut peer.decoder, Decoder::server(0));
            let (used, goes_on) = match decoder.decode(&mut bytes[at..]) {
                Ok((used, Some(Message::Data { payload, .. }))) => {
                    self.message(peer, payload);
                    (Some(used), true)
                }
                Ok((used, Some(Message::Close { .. }))) => (Some(used), false),
                Ok((used, Some(Message::Ping(_) | Message::Pong(_)))) => (Some(used), true),
                Ok((_, None)) => (None, true),
                Err(_) => (None, false),
            };
            peer.decoder = decoder;
            match (used, goes_on) {
                (_, false) => return false,
                (None, true) => return true,
                (Some(used), true) => at += used,
            }
        }
    }

    fn message(&mut self, peer: &mut Peer, payload: &[u8]) {
        match peer.speech {
            Speech::Json => self.commands(peer, Encoding::Json, payload),
            Speech::Protobuf => self.commands(peer, Encoding::Protobuf, payload),
            Speech::Raw => self.raw(peer, payload),
        }
    }

    fn raw(&mut self, peer: &mut Peer, payload: &[u8]) {
        let Some((command, rest)) = payload.split_first() else { return };
        let name_end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let Ok(name) = std::str::from_utf8(&rest[..name_end]) else { return };
        let chat = self.chats.number(name);
        match command {
            b's' => {
                self.join(peer, chat);
                let answer = server_frame(Opcode::Text, format!("k{name}").as_bytes());
                self.outboxes.send(&mut self.reactor, peer.conn, &answer);
            }
            b'u' => self.leave(peer, chat),
            b'p' => self.publish(chat, Bytes::copy_from_slice(rest.get(name_end + 1..).unwrap_or_default())),
            _ => {}
        }
    }

    fn commands(&mut self, peer: &mut Peer, encoding: Encoding, payload: &[u8]) {
        let mut answer = Vec::new();
        let mut publishes = Vec::new();
        for command in decode_commands(encoding, payload, DecodeLimits::default()) {
            let Ok(Command { id, request }) = command else { break };
            let body = match request {
                Request::Connect(_) => {
                    ReplyBody::Connect(ConnectResult { client: "null".to_owned(), ..ConnectResult::default() })
                }
                Request::Subscribe(request) => ReplyBody::Subscribe(self.subscribe(peer, &request)),
                Request::Unsubscribe(request) => {
                    let chat = self.chats.number(&request.channel);
                    self.leave(peer, chat);
                    ReplyBody::Unsubscribe(UnsubscribeResult {})
                }
                Request::Publish(request) => {
                    publishes.push((self.chats.number(&request.channel), request.data));
                    ReplyBody::Publish(PublishResult {})
                }
                Request::Pong => continue,
                _ => {
                    let code = ErrorCode::MethodNotFound;
                    let error =
                        ProtocolError { code: code.code(), message: code.reason().to_owned(), temporary: false };
                    encode_error(encoding, id, &error, &mut answer);
                    continue;
                }
            };
            encode_reply(encoding, id, &body, &mut answer);
        }
        if !answer.is_empty() {
            let opcode = if encoding == Encoding::Json { Opcode::Text } else { Opcode::Binary };
            self.outboxes.send(&mut self.reactor, peer.conn, &server_frame(opcode, &answer));
        }
        for (chat, data) in publishes {
            self.publish(chat, data);
        }
    }

    fn subscribe(&mut self, peer: &mut Peer, request: &SubscribeRequest) -> SubscribeResult {
        let number = self.chats.number(&request.channel);
        self.join(peer, number);
        let chat = &self.chats.all[number as usize];
        let mut result = SubscribeResult {
            recoverable: true,
            positioned: true,
            epoch: EPOCH.to_owned(),
            offset: chat.offset,
            was_recovering: request.recover,
            ..SubscribeResult::default()
        };
        let missed = chat.since(request.offset).filter(|missed| missed.len() <= RECOVERY_MAX);
        if let Some(missed) = missed.filter(|_| request.recover && request.epoch == EPOCH) {
            result.recovered = true;
            result.offset = request.offset;
            let publication = |(offset, data)| Publication { offset, data, ..Publication::default() };
            result.publications = missed.into_iter().map(publication).collect();
        }
        result
    }

    fn join(&mut self, peer: &mut Peer, chat: u32) {
        if !peer.chats.contains(&chat) {
            peer.chats.push(chat);
            self.chats.all[chat as usize].join(peer.conn, peer.speech);
        }
    }

    fn leave(&mut self, peer: &mut Peer, chat: u32) {
        peer.chats.retain(|joined| *joined != chat);
        self.chats.all[chat as usize].leave(peer.conn, peer.speech);
    }

    fn publish(&mut self, chat: u32, data: Bytes) {
        self.publishes += 1;
        let faults = &self.config.faults;
        if let Some((_, pause)) = faults.stall.filter(|(at, _)| *at == self.publishes) {
            std::thread::sleep(pause);
        }
        if faults.die.is_some_and(|at| at <= self.publishes) {
            self.dead = true;
            return;
        }
        self.chats.all[chat as usize].append(data.clone());
        for speech in SPEECHES {
            let count = self.chats.all[chat as usize].members[speech as usize].len();
            if count == 0 {
                continue;
            }
            let frame = self.chats.all[chat as usize].frame(speech, &data);
            let staged = self.reactor.stage(std::slice::from_ref(&frame));
            for index in 0..count {
                let member = self.chats.all[chat as usize].members[speech as usize][index];
                self.deliveries += 1;
                let fault = self.config.faults.delivery;
                if fault.is_none_or(|(at, _)| at > self.deliveries) && self.held.is_empty() {
                    self.outboxes.send_staged(&mut self.reactor, member, staged, &frame);
                } else {
                    self.deliver_wrongly(member, &frame, &data, (chat, speech));
                }
            }
        }
    }

    /// From the faulty delivery on, everything goes this slow way.
    fn deliver_wrongly(&mut self, member: ConnId, frame: &Bytes, data: &Bytes, (chat, speech): (u32, Speech)) {
        let fault = self.config.faults.delivery.filter(|(at, _)| *at == self.deliveries).map(|(_, fault)| fault);
        let mut send = |bytes: &Bytes| self.outboxes.send(&mut self.reactor, member, bytes);
        match fault {
            None => send(frame),
            Some(DeliveryFault::Drop) => {}
            Some(DeliveryFault::Duplicate) => {
                send(frame);
                send(frame);
            }
            Some(DeliveryFault::Swap) => {
                self.held.insert(member, frame.clone());
                return;
            }
            Some(DeliveryFault::Corrupt) => {
                let mut wrong = frame.to_vec();
                // A letter of the body, wherever the encoding puts it.
                if let Some(at) = wrong.windows(4).position(|window| window == b"abcd") {
                    wrong[at] = b'z';
                }
                send(&Bytes::from(wrong));
            }
            Some(DeliveryFault::Misroute) => {
                let mut stamp = crate::body::verify(data).unwrap_or(crate::body::Stamp {
                    run: 0,
                    chat: 0,
                    sequence: 0,
                    id: 0,
                    intended_ns: 0,
                });
                stamp.chat += 1;
                let mut other = Vec::new();
                crate::body::encode(&stamp, data.len(), &mut other);
                let frame = self.chats.all[chat as usize].frame(speech, &other);
                self.outboxes.send(&mut self.reactor, member, &frame);
            }
        }
        if let Some(held) = self.held.remove(&member) {
            self.outboxes.send(&mut self.reactor, member, &held);
        }
    }
}

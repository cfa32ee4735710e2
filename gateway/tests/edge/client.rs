//! A client on a real socket that checks what every member may rely on: per chat, offsets go up by one from the
//! position of the reply.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use bytes::Bytes;
use corecast_centrifuge::client::{Incoming, Reply, decode_replies, encode_command};
use corecast_centrifuge::{
    Command, ConnectRequest, ConnectResult, Encoding, HistoryRequest, HistoryResult, PresenceStatsRequest,
    ProtocolError, PublishRequest, ReplyBody, Request, SubscribeRequest, SubscribeResult, UnsubscribeRequest,
};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::PATIENCE;

/// Something that came from the gateway.
#[derive(Debug)]
pub(crate) enum In {
    /// A publication: chat, offset, body.
    Push(String, u64, String),
    /// The server ended a subscription: chat, code.
    Unsubscribed(String, u32),
    /// The answer to a command.
    Reply(Box<Reply>),
    /// A close frame: code, reason.
    Close(u16, String),
    /// The connection ended without one.
    Lost(ErrorKind),
}

pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    encoding: Encoding,
    next_id: u32,
    waiting: VecDeque<In>,
    /// Chats of subscribe and unsubscribe commands that are not answered yet.
    asked: HashMap<u32, String>,
    /// Last offset of each chat that is subscribed.
    pub(crate) positions: HashMap<String, u64>,
    /// All publications, in order.
    pub(crate) received: Vec<(String, u64, String)>,
    /// Whether pings are answered.
    pub(crate) answers_pings: bool,
    /// What `connect` returned.
    pub(crate) connected: ConnectResult,
}

/// What a recovering subscribe starts from.
pub(crate) fn recover(chat: &str, epoch: &str, offset: u64) -> SubscribeRequest {
    SubscribeRequest { recover: true, epoch: epoch.into(), offset, ..fresh(chat) }
}

pub(crate) fn fresh(chat: &str) -> SubscribeRequest {
    SubscribeRequest { channel: chat.into(), flag: 1, ..SubscribeRequest::default() }
}

impl Client {
    /// Connected and ready, with JSON.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "", None);
        client.connected = client.connect_with("").unwrap();
        client
    }

    /// Connected and ready, with Protobuf.
    pub(crate) fn connect_protobuf(address: SocketAddr) -> Self {
        let mut client = Self::open(address, "", Some("centrifuge-protobuf"));
        client.connected = client.connect_with("").unwrap();
        client
    }

    /// Upgraded, nothing said yet.
    pub(crate) fn open(address: SocketAddr, query: &str, protocol: Option<&str>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        Self::over(stream, query, protocol)
    }

    pub(crate) fn over(stream: TcpStream, query: &str, protocol: Option<&str>) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = stream.peer_addr().unwrap();
        let mut request = tungstenite::ClientRequestBuilder::new(
            format!("ws://{address}/connection/websocket{query}").parse().unwrap(),
        );
        if let Some(protocol) = protocol {
            request = request.with_sub_protocol(protocol);
        }
        let (socket, _) = tungstenite::client(request, stream).unwrap();
        let binary = protocol == Some("centrifuge-protobuf") || query.contains("protobuf");
        Self {
            socket,
            encoding: if binary { Encoding::Protobuf } else { Encoding::Json },
            next_id: 1,
            waiting: VecDeque::new(),
            asked: HashMap::new(),
            positions: HashMap::new(),
            received: Vec::new(),
            answers_pings: true,
            connected: ConnectResult::default(),
        }
    }

    /// Says connect.
    pub(crate) fn connect_with(&mut self, token: &str) -> Result<ConnectResult, ProtocolError> {
        let request = ConnectRequest { token: token.into(), name: "test".into(), ..ConnectRequest::default() };
        match self.call(Request::Connect(request))? {
            ReplyBody::Connect(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    /// Sends commands in one frame; returns their ids.
    pub(crate) fn send(&mut self, requests: impl IntoIterator<Item = Request>) -> Vec<u32> {
        let (mut frame, mut ids) = (Vec::new(), Vec::new());
        for request in requests {
            let id = self.next_id;
            self.next_id += 1;
            ids.push(id);
            match &request {
                Request::Subscribe(request) => drop(self.asked.insert(id, request.channel.clone())),
                Request::Unsubscribe(request) => drop(self.asked.insert(id, request.channel.clone())),
                _ => {}
            }
            encode_command(self.encoding, &Command { id, request }, &mut frame);
        }
        self.send_raw(frame);
        ids
    }

    /// Sends a frame as it is. A connection that the gateway has closed meanwhile is found out by reading.
    pub(crate) fn send_raw(&mut self, frame: Vec<u8>) {
        let message = match self.encoding {
            Encoding::Json => Message::text(String::from_utf8(frame).unwrap()),
            Encoding::Protobuf => Message::binary(frame),
        };
        let _ = self.socket.send(message);
    }

    pub(crate) fn send_message(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        self.socket.send(message)
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// Sends a command and waits for its reply; what comes before it is kept for later.
    pub(crate) fn call(&mut self, request: Request) -> Result<ReplyBody, ProtocolError> {
        let id = self.send([request])[0];
        self.reply_to(id)
    }

    /// The reply to a command that was sent.
    pub(crate) fn reply_to(&mut self, id: u32) -> Result<ReplyBody, ProtocolError> {
        let mut kept = VecDeque::new();
        let reply = loop {
            match self.next() {
                In::Reply(reply) if reply.id == id => break *reply,
                end @ (In::Close(..) | In::Lost(_)) => panic!("{end:?} instead of a reply to {id}"),
                other => kept.push_back(other),
            }
        };
        kept.append(&mut self.waiting);
        self.waiting = kept;
        match reply {
            Reply { error: Some(error), .. } => Err(error),
            Reply { body: Some(body), .. } => Ok(body),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn subscribe(&mut self, chat: &str) -> SubscribeResult {
        self.subscribe_with(fresh(chat)).unwrap()
    }

    /// Subscribes; what was missed counts as received.
    pub(crate) fn subscribe_with(&mut self, request: SubscribeRequest) -> Result<SubscribeResult, ProtocolError> {
        let id = self.send([Request::Subscribe(request)])[0];
        self.subscribed(id)
    }

    /// The result of a subscribe that was sent.
    pub(crate) fn subscribed(&mut self, id: u32) -> Result<SubscribeResult, ProtocolError> {
        match self.reply_to(id)? {
            ReplyBody::Subscribe(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn unsubscribe(&mut self, chat: &str) {
        let body = self.call(Request::Unsubscribe(UnsubscribeRequest { channel: chat.into() })).unwrap();
        assert!(matches!(body, ReplyBody::Unsubscribe(_)));
    }

    pub(crate) fn publish(&mut self, chat: &str, data: &str) -> Result<(), ProtocolError> {
        let body = self.call(publication(chat, data))?;
        assert!(matches!(body, ReplyBody::Publish(_)));
        Ok(())
    }

    pub(crate) fn history(&mut self, request: HistoryRequest) -> Result<HistoryResult, ProtocolError> {
        match self.call(Request::History(request))? {
            ReplyBody::History(result) => Ok(result),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn member_count(&mut self, chat: &str) -> u32 {
        match self.call(Request::PresenceStats(PresenceStatsRequest { channel: chat.into() })).unwrap() {
            ReplyBody::PresenceStats(stats) => stats.num_clients,
            other => panic!("{other:?}"),
        }
    }

    /// The next publication, which must be of this chat.
    pub(crate) fn expect(&mut self, chat: &str) -> (u64, String) {
        match self.next() {
            In::Push(got, offset, data) if got == chat => (offset, data),
            other => panic!("{other:?} instead of a publication in {chat}"),
        }
    }

    /// Reads publications of this chat up to an offset.
    pub(crate) fn read_to(&mut self, chat: &str, offset: u64) {
        while self.positions.get(chat).copied().unwrap_or(0) < offset {
            match self.next() {
                In::Push(..) => {}
                other => panic!("{other:?} while reading {chat} to {offset}"),
            }
        }
    }

    /// Reads until the connection ends; returns the close code, 0 if there was none.
    pub(crate) fn closed(&mut self) -> u16 {
        loop {
            match self.next() {
                In::Close(code, _) => return code,
                In::Lost(ErrorKind::WouldBlock) => panic!("nothing came, nor was the connection closed"),
                In::Lost(_) => return 0,
                _ => {}
            }
        }
    }

    /// Whatever comes next; pings are answered along the way.
    pub(crate) fn next(&mut self) -> In {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return next;
            }
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) => return In::Lost(error.kind()),
                Err(_) => return In::Lost(ErrorKind::UnexpectedEof),
            };
            let payload = match message {
                Message::Text(text) => Bytes::from(text),
                Message::Binary(bytes) => bytes,
                Message::Close(frame) => {
                    let (code, reason) = frame
                        .map_or((CloseCode::Status, String::new()), |frame| (frame.code, frame.reason.to_string()));
                    return In::Close(code.into(), reason);
                }
                _ => continue,
            };
            self.take(&payload);
        }
    }

    /// Whether nothing comes for a while. For claims that something does not happen.
    pub(crate) fn is_quiet(&mut self, time: std::time::Duration) -> bool {
        let deadline = Instant::now() + time;
        self.stream().set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let mut quiet = true;
        while quiet && Instant::now() < deadline {
            match self.next() {
                In::Lost(ErrorKind::WouldBlock) => {}
                other => {
                    self.waiting.push_front(other);
                    quiet = false;
                }
            }
        }
        self.stream().set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }

    fn take(&mut self, payload: &[u8]) {
        let encoding = self.encoding;
        let mut pongs = 0;
        for incoming in decode_replies(encoding, payload) {
            match incoming.unwrap() {
                Incoming::Publication(publication) => {
                    let (chat, offset) = (publication.channel.to_owned(), publication.offset);
                    let data = String::from_utf8(publication.data.to_vec()).unwrap();
                    self.advance(&chat, offset, &data);
                    self.waiting.push_back(In::Push(chat, offset, data));
                }
                Incoming::Ping => pongs += 1,
                Incoming::Reply(reply) => self.take_reply(reply),
            }
        }
        if self.answers_pings {
            for _ in 0..pongs {
                self.send_raw(encoding.ping().to_vec());
            }
        }
    }

    fn take_reply(&mut self, reply: Box<Reply>) {
        if let Some(push) = &reply.push {
            let unsubscribe = push.unsubscribe.as_ref().expect("no other push is sent");
            let known = self.positions.remove(&push.channel);
            assert!(known.is_some(), "unsubscribed from {} without being subscribed", push.channel);
            self.waiting.push_back(In::Unsubscribed(push.channel.clone(), unsubscribe.code));
            return;
        }
        match (&reply.body, self.asked.remove(&reply.id)) {
            (Some(ReplyBody::Subscribe(result)), Some(chat)) => self.note(&chat, result),
            (Some(ReplyBody::Unsubscribe(_)), Some(chat)) => drop(self.positions.remove(&chat)),
            _ => {}
        }
        self.waiting.push_back(In::Reply(reply));
    }

    /// One publication: exactly the next one of a chat that is subscribed.
    fn advance(&mut self, chat: &str, offset: u64, data: &str) {
        let position = self.positions.get_mut(chat).unwrap_or_else(|| panic!("{chat} is not subscribed"));
        assert_eq!(offset, *position + 1, "in {chat}");
        *position = offset;
        self.received.push((chat.to_owned(), offset, data.to_owned()));
    }

    /// Begins at the position of a subscribe result; what was missed counts as received, and must be contiguous.
    fn note(&mut self, chat: &str, result: &SubscribeResult) {
        assert!(result.recoverable && result.positioned && !result.epoch.is_empty(), "{result:?}");
        let mut offset = result.offset;
        for publication in &result.publications {
            offset += 1;
            assert_eq!(publication.offset, offset, "recovered in {chat}");
            let data = String::from_utf8(publication.data.to_vec()).unwrap();
            self.received.push((chat.to_owned(), offset, data));
        }
        assert!(self.positions.insert(chat.to_owned(), offset).is_none(), "{chat} was subscribed already");
    }
}

pub(crate) fn publication(chat: &str, data: &str) -> Request {
    Request::Publish(PublishRequest { channel: chat.into(), data: Bytes::copy_from_slice(data.as_bytes()), r#type: 0 })
}

/// Sends raw bytes and returns everything that comes back until the connection ends.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

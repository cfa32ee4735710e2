//! A member: an independent client of the JSON protocol that follows chats, checks every publication and recovers.
//!
//! It behaves as the published SDKs do where that matters: connect and all subscribes in one frame, pong on an empty reply,
//! an immediate resubscribe with recovery after an unsubscribe push of 2500 and above, reconnect with recovery after a close.
//! Unlike them it treats every gap, duplicate and stray push as a violation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::ledger::Ledger;

/// Pause before each attempt to reconnect; members are spread over it by their number.
const RECONNECT_SPREAD: Duration = Duration::from_millis(300);

/// What a member does.
#[derive(Clone)]
pub struct Options {
    /// WebSocket addresses; each reconnect takes the next.
    pub gateways: Vec<SocketAddr>,
    /// Chats to follow from the start.
    pub chats: Vec<String>,
    /// Receive buffer of the socket in bytes, for a member that is to fall behind soon.
    pub receive_buffer: Option<u32>,
    /// Number of the member in its test.
    pub number: usize,
}

/// What a member knows of a chat.
#[derive(Clone, Debug)]
pub struct View {
    /// Identity of the sequence that it follows.
    pub epoch: String,
    /// Offset of the last publication that it has.
    pub offset: u64,
    /// Whether the last thing it heard was a confirmed subscription (or a publication in one).
    pub live: bool,
    /// When it last heard anything of the chat.
    pub heard: Instant,
    /// Subscribed at least once.
    known: bool,
}

enum Order {
    Publish(String, String),
    Cut,
    Pause(Duration),
}

/// A running member; dropping it closes its socket.
pub struct Member {
    orders: mpsc::UnboundedSender<Order>,
    chats: Arc<Mutex<BTreeMap<String, View>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Member {
    /// Connects in the background and follows the chats of `options`.
    pub fn start(options: Options, ledger: Arc<Ledger>) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let now = Instant::now();
        let view = View { epoch: String::new(), offset: 0, live: false, heard: now, known: false };
        let chats = Arc::new(Mutex::new(options.chats.iter().map(|chat| (chat.clone(), view.clone())).collect()));
        let session = Session { options, ledger, chats: Arc::clone(&chats), ids: 0, pending: BTreeMap::new() };
        Self { orders, chats, task: tokio::spawn(session.run(receiver)) }
    }

    /// Publishes; the ledger counts the acknowledgement. An error reply or a lost connection is an unknown outcome.
    pub fn publish(&self, chat: &str, data: String) {
        let _ = self.orders.send(Order::Publish(chat.to_owned(), data));
    }

    /// Drops the socket without a word; the member reconnects and recovers.
    pub fn cut(&self) {
        let _ = self.orders.send(Order::Cut);
    }

    /// Stops reading for a while.
    pub fn pause(&self, time: Duration) {
        let _ = self.orders.send(Order::Pause(time));
    }

    /// What it knows of a chat that it follows.
    pub fn view(&self, chat: &str) -> View {
        lock(&self.chats).get(chat).cloned().expect("a chat that the member follows")
    }

    /// Subscribed to everything that it follows.
    pub fn is_live(&self) -> bool {
        lock(&self.chats).values().all(|view| view.live)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Request {
    Connect,
    Subscribe { chat: String, recovering: bool },
    Publish { chat: String, data: String },
}

struct Session {
    options: Options,
    ledger: Arc<Ledger>,
    chats: Arc<Mutex<BTreeMap<String, View>>>,
    ids: u32,
    pending: BTreeMap<u32, Request>,
}

/// Why one connection ended.
struct Ended;

impl Session {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        for attempt in 0_usize.. {
            let gateway = self.options.gateways[(self.options.number + attempt) % self.options.gateways.len()];
            if let Ok(mut socket) = self.connect(gateway).await {
                while self.step(&mut socket, &mut orders).await.is_ok() {}
                self.ledger.cut();
            }
            self.lost();
            let share = u32::try_from(self.options.number % 16).unwrap_or(0);
            tokio::time::sleep(RECONNECT_SPREAD * (1 + share) / 16).await;
        }
    }

    async fn connect(&mut self, gateway: SocketAddr) -> Result<WebSocketStream<TcpStream>, Ended> {
        let socket = TcpSocket::new_v4().map_err(|_| Ended)?;
        if let Some(bytes) = self.options.receive_buffer {
            socket.set_recv_buffer_size(bytes).map_err(|_| Ended)?;
        }
        let stream = socket.connect(gateway).await.map_err(|_| Ended)?;
        let url = format!("ws://{gateway}/connection/websocket");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.map_err(|_| Ended)?;
        let mut frame = vec![self.command(Request::Connect)];
        let chats: Vec<String> = lock(&self.chats).keys().cloned().collect();
        for chat in chats {
            frame.push(self.subscribe(chat));
        }
        socket.send(Message::text(frame.join("\n"))).await.map_err(|_| Ended)?;
        Ok(socket)
    }

    async fn step(
        &mut self,
        socket: &mut WebSocketStream<TcpStream>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<(), Ended> {
        tokio::select! {
            order = orders.recv() => match order.ok_or(Ended)? {
                Order::Cut => Err(Ended),
                Order::Pause(time) => {
                    tokio::time::sleep(time).await;
                    Ok(())
                }
                Order::Publish(chat, data) => {
                    let command = self.command(Request::Publish { chat, data });
                    socket.send(Message::text(command)).await.map_err(|_| Ended)
                }
            },
            message = socket.next() => {
                let Some(Ok(Message::Text(text))) = message else { return Err(Ended) };
                let mut answers = Vec::new();
                for line in text.lines() {
                    match serde_json::from_str(line) {
                        Ok(reply) => self.reply(&reply, &mut answers)?,
                        Err(error) => self.ledger.violation(format!("not JSON: {error}: {line}")),
                    }
                }
                if answers.is_empty() {
                    return Ok(());
                }
                socket.send(Message::text(answers.join("\n"))).await.map_err(|_| Ended)
            }
        }
    }

    fn reply(&mut self, reply: &Value, answers: &mut Vec<String>) -> Result<(), Ended> {
        if let Some(push) = reply.get("push") {
            self.push(push, answers);
        } else if let Some(id) = reply.get("id").and_then(Value::as_u64) {
            let Some(request) = u32::try_from(id).ok().and_then(|id| self.pending.remove(&id)) else {
                self.ledger.violation(format!("a reply to nothing: {reply}"));
                return Ok(());
            };
            match (request, reply.get("error")) {
                // Temporary by the tests' design: the router is away. The SDKs retry with back-off; a reconnect does the same.
                (Request::Connect | Request::Subscribe { .. }, Some(_)) => return Err(Ended),
                (Request::Connect, None) => {}
                (Request::Subscribe { chat, recovering }, None) => {
                    self.subscribed(&chat, recovering, &reply["subscribe"])
                }
                (Request::Publish { chat, data }, None) => self.ledger.acknowledged(&chat, &data),
                (Request::Publish { .. }, Some(_)) => {}
            }
        } else {
            answers.push("{}".to_owned());
        }
        Ok(())
    }

    fn subscribed(&self, chat: &str, recovering: bool, result: &Value) {
        let offset = result["offset"].as_u64().unwrap_or(0);
        let epoch = result["epoch"].as_str().unwrap_or_default().to_owned();
        let recovered = result["recovered"].as_bool().unwrap_or(false);
        let publications = result["publications"].as_array().cloned().unwrap_or_default();
        if epoch.is_empty() || result["recoverable"] != true {
            self.ledger.violation(format!("{chat}: a subscribe reply that cannot be recovered from: {result}"));
        }
        if recovering && result["was_recovering"] != true {
            self.ledger.violation(format!("{chat}: recovery asked for, was_recovering not set: {result}"));
        }
        let mut chats = lock(&self.chats);
        let Some(view) = chats.get_mut(chat) else { return };
        if recovered && (epoch != view.epoch || offset != view.offset) {
            self.ledger.violation(format!(
                "{chat}: recovered from {epoch}/{offset}, asked from {}/{}",
                view.epoch, view.offset
            ));
        }
        if recovering && !recovered {
            self.ledger.reset();
            if !publications.is_empty() {
                self.ledger.violation(format!("{chat}: a partial replay"));
            }
        }
        self.ledger.silence(view.heard);
        *view = View { epoch, offset, live: true, heard: Instant::now(), known: true };
        for publication in &publications {
            self.publication(chat, view, publication);
        }
    }

    fn push(&mut self, push: &Value, answers: &mut Vec<String>) {
        let chat = push["channel"].as_str().unwrap_or_default().to_owned();
        let chats = Arc::clone(&self.chats);
        let mut chats = lock(&chats);
        let Some(view) = chats.get_mut(&chat) else {
            self.ledger.violation(format!("a push of a chat that was not asked for: {push}"));
            return;
        };
        if !view.live {
            self.ledger
                .violation(format!("{chat}: a push before the reply to subscribe, or after unsubscribe: {push}"));
            return;
        }
        self.ledger.silence(view.heard);
        view.heard = Instant::now();
        if let Some(publication) = push.get("pub") {
            self.publication(&chat, view, publication);
        } else if let Some(code) = push["unsubscribe"]["code"].as_u64() {
            view.live = false;
            self.ledger.cut();
            drop(chats);
            if code >= 2500 {
                answers.push(self.subscribe(chat));
            }
        } else {
            self.ledger.violation(format!("{chat}: an unknown push: {push}"));
        }
    }

    fn publication(&self, chat: &str, view: &mut View, publication: &Value) {
        let offset = publication["offset"].as_u64().unwrap_or(0);
        if offset != view.offset + 1 {
            self.ledger.violation(format!("{chat} {}: {offset} after {}", view.epoch, view.offset));
        }
        view.offset = offset;
        // As it was sent: keys keep their order (`preserve_order`), and the tests publish without white space.
        self.ledger.delivered(chat, &view.epoch, offset, &publication["data"].to_string());
    }

    fn subscribe(&mut self, chat: String) -> String {
        let recovering = lock(&self.chats).get(&chat).is_some_and(|view| view.known);
        self.command(Request::Subscribe { chat, recovering })
    }

    fn command(&mut self, request: Request) -> String {
        self.ids += 1;
        let id = self.ids;
        let text = match &request {
            Request::Connect => json!({"id": id, "connect": {"name": "faults"}}).to_string(),
            Request::Subscribe { chat, recovering: false } => {
                json!({"id": id, "subscribe": {"channel": chat}}).to_string()
            }
            Request::Subscribe { chat, recovering: true } => {
                let view = lock(&self.chats).get(chat).cloned();
                let (epoch, offset) = view.map(|view| (view.epoch, view.offset)).unwrap_or_default();
                json!({"id": id, "subscribe": {"channel": chat, "recover": true, "epoch": epoch, "offset": offset}})
                    .to_string()
            }
            Request::Publish { chat, data } => {
                format!(r#"{{"id":{id},"publish":{{"channel":{},"data":{data}}}}}"#, json!(chat))
            }
        };
        self.pending.insert(id, request);
        text
    }

    fn lost(&mut self) {
        self.pending.clear();
        for view in lock(&self.chats).values_mut() {
            view.live = false;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while a member's chats are held")
}

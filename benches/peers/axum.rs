//! The ordinary Rust design: axum, tokio-tungstenite, a `tokio::sync::broadcast` channel per chat, a task per subscription.
//! The task is that of all raw peers: see servers/bun.js.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

/// Messages that a slow member may be behind before it loses some, which the checker would see.
const BEHIND_MAX: usize = 1_024;
/// Frames on their way to one socket.
const OUTGOING_MAX: usize = 256;

type Chats = Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>;

/// Serves for ever, with tokio's ordinary multi-threaded runtime.
pub(crate) fn serve(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let app = Router::new().fallback(any(upgrade)).with_state(Chats::default());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        println!("listening 127.0.0.1:{port} axum");
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Nagle off, as everywhere in the comparison. A socket that refuses is served all the same.
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, app).await?)
    })
}

async fn upgrade(upgrade: WebSocketUpgrade, State(chats): State<Chats>) -> Response {
    upgrade.on_upgrade(|socket| member(socket, chats))
}

async fn member(mut socket: WebSocket, chats: Chats) {
    let (outgoing, mut frames) = mpsc::channel::<Utf8Bytes>(OUTGOING_MAX);
    let mut joined: HashMap<String, JoinHandle<()>> = HashMap::new();
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                if socket.send(Message::Text(frame)).await.is_err() {
                    break;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => command(&text, &chats, &outgoing, &mut joined).await,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
    }
    joined.values().for_each(JoinHandle::abort);
}

async fn command(
    text: &str,
    chats: &Chats,
    outgoing: &mpsc::Sender<Utf8Bytes>,
    joined: &mut HashMap<String, JoinHandle<()>>,
) {
    let Some((command, rest)) = text.split_at_checked(1) else { return };
    match command {
        "p" => {
            if let Some((chat, body)) = rest.split_once(' ') {
                // Without members nobody hears it.
                let _ = channel(chats, chat).send(Utf8Bytes::from(body));
            }
        }
        "s" => {
            let mut messages = channel(chats, rest).subscribe();
            let sender = outgoing.clone();
            let _ = sender.send(Utf8Bytes::from(format!("k{rest}"))).await;
            let task = tokio::spawn(async move {
                loop {
                    match messages.recv().await {
                        Ok(message) => {
                            if sender.send(message).await.is_err() {
                                break;
                            }
                        }
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => break,
                    }
                }
            });
            if let Some(before) = joined.insert(rest.to_owned(), task) {
                before.abort();
            }
        }
        "u" => {
            if let Some(task) = joined.remove(rest) {
                task.abort();
            }
        }
        _ => {}
    }
}

fn channel(chats: &Chats, chat: &str) -> broadcast::Sender<Utf8Bytes> {
    let mut chats = chats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match chats.get(chat) {
        Some(sender) => sender.clone(),
        None => chats.entry(chat.to_owned()).or_insert_with(|| broadcast::channel(BEHIND_MAX).0).clone(),
    }
}

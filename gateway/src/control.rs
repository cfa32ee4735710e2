//! What the admin thread may ask of a running gateway, and how it gets its answer.
//!
//! Invariants worth naming:
//! * Asking never blocks: a request goes into a bounded queue of the core that owns what is asked about and that core
//!   is woken. A full queue is answered at once with [`ControlError::Busy`].
//! * Each answer is a callback that runs on a core's thread: it must only hand the value on (a oneshot channel's
//!   `send`), never work or block. A request whose core stops is dropped unanswered, and the callback with it.
//! * Counters are read from shared memory without asking anybody.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Receives the one answer to a request, on a core's thread.
pub type Reply<T> = Box<dyn FnOnce(Result<T, ControlError>) + Send>;

/// Why a request failed. [`ControlError::code`] gives the code of the server API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The request itself is wrong: the caller is to blame.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// A queue on the way is full. Temporary.
    #[error("too many requests")]
    Busy,
    /// Larger than a limit allows.
    #[error("limit exceeded")]
    LimitExceeded,
    /// The router that owns the chat cannot be reached, or is not able to answer now. Temporary.
    #[error("not available")]
    NotAvailable,
    /// The link broke after the request was sent: whether a publication happened is unknown. With an idempotency key
    /// it may be repeated safely.
    #[error("outcome unknown")]
    Unknown,
    /// The position asked for is not kept any more, or its epoch is over.
    #[error("unrecoverable position")]
    UnrecoverablePosition,
    /// The gateway is stopping.
    #[error("shutting down")]
    Stopping,
}

impl ControlError {
    /// The error code of the server API (Centrifugo's).
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::BadRequest(_) => 107,
            Self::Busy => 111,
            Self::LimitExceeded => 106,
            Self::NotAvailable | Self::Unknown | Self::Stopping => 100,
            Self::UnrecoverablePosition => 112,
        }
    }
}

/// A publication from the server API.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// Name of the chat.
    pub chat: String,
    /// One JSON value; checked and made safe for framing.
    pub data: Bytes,
    /// Makes a repetition within the router's window harmless, per chat.
    pub idempotency_key: Option<String>,
}

/// Outcome of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Epoch of the chat.
    pub epoch: String,
    /// Offset of the publication.
    pub offset: u64,
    /// The idempotency key was known: nothing new was published and this is the first outcome.
    pub duplicate: bool,
}

/// A position in a chat, as clients and the server API write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPosition {
    /// Offset; 0 is the position before the first publication.
    pub offset: u64,
    /// Epoch; empty accepts any.
    pub epoch: String,
}

/// A range of the history of one chat.
#[derive(Debug, Clone)]
pub struct HistoryRequest {
    /// Name of the chat.
    pub chat: String,
    /// Most publications to return; 0 asks for the position only. Values above the limit are cut.
    pub limit: u32,
    /// Publications after this position, or before it when `reverse`.
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}

/// One kept publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Offset in the chat.
    pub offset: u64,
    /// When the router sequenced it, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The JSON value as it was published.
    pub data: Bytes,
}

/// Answer to a [`HistoryRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Epoch of the chat.
    pub epoch: String,
    /// Top offset of the chat.
    pub offset: u64,
    /// What was asked for, in the order asked for.
    pub publications: Vec<Publication>,
}

/// How many are in a chat, over all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceStats {
    /// Connections.
    pub clients: u32,
    /// Distinct users, as far as counted; see `docs/GUARANTEES.md`.
    pub users: u32,
}

/// Which connections to close, on every gateway of the cluster.
#[derive(Debug, Clone)]
pub struct DisconnectRequest {
    /// All connections of this user; may be empty (anonymous) only together with `client`.
    pub user: String,
    /// Only the connection with this client id.
    pub client: Option<String>,
    /// Close code, 3000–4999. Default of the server API: 3503.
    pub code: u16,
    /// Close reason, at most 123 bytes, neither a number nor JSON (clients take those as advice).
    pub reason: String,
    /// Client ids that stay connected.
    pub whitelist: Vec<String>,
}

/// One gateway of the cluster, as it reported itself to a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Identity of the process, new at each start.
    pub uid: String,
    /// Configured name.
    pub name: String,
    /// Version of the software.
    pub version: String,
    /// Authenticated connections.
    pub clients: u32,
    /// Distinct users; equals `clients` where not counted.
    pub users: u32,
    /// Subscriptions of all connections.
    pub subscriptions: u32,
    /// Chats with at least one member there.
    pub chats: u32,
    /// Seconds since the start.
    pub uptime_s: u32,
}

/// Whether the links to the routers are up, for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkHealth {
    /// Configured router endpoints.
    pub endpoints: usize,
    /// Endpoints with an authenticated, answering link.
    pub up: usize,
}

/// What a core is asked; the driver's side of [`ControlHandle`].
pub(crate) enum ControlRequest {
    Publish { request: PublishRequest, reply: Reply<Published> },
    History { request: HistoryRequest, reply: Reply<History> },
    PresenceStats { chat: String, reply: Reply<PresenceStats> },
    Disconnect(Arc<DisconnectRequest>),
    Nodes { reply: Reply<Vec<NodeInfo>> },
    Drain,
    Stop,
}

/// Where the requests for one core go.
pub(crate) struct CorePort {
    pub(crate) queue: crossbeam::channel::Sender<ControlRequest>,
    pub(crate) wake: Box<dyn Fn() + Send + Sync>,
}

impl CorePort {
    /// Hands the request back if the queue is full or the core is gone.
    fn ask(&self, request: ControlRequest) -> Result<(), (ControlRequest, ControlError)> {
        use crossbeam::channel::TrySendError;
        match self.queue.try_send(request) {
            Ok(()) => {
                (self.wake)();
                Ok(())
            }
            Err(TrySendError::Full(request)) => Err((request, ControlError::Busy)),
            Err(TrySendError::Disconnected(request)) => Err((request, ControlError::Stopping)),
        }
    }
}

/// What all handles share.
pub(crate) struct Shared {
    pub(crate) ports: Vec<CorePort>,
    pub(crate) placement: crate::placement::Placement,
    pub(crate) chat_name: usize,
    pub(crate) message: usize,
}

/// Asks things of a running gateway from any thread; cheap to clone.
#[derive(Clone)]
pub struct ControlHandle {
    shared: Arc<Shared>,
}

impl fmt::Debug for ControlHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlHandle").field("cores", &self.shared.ports.len()).finish_non_exhaustive()
    }
}

impl ControlHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Publishes into one chat. A broadcast is several of these, each with its own answer.
    pub fn publish(&self, mut request: PublishRequest, reply: Reply<Published>) {
        if let Err(error) = self.check_chat(&request.chat) {
            return reply(Err(error));
        }
        if request.data.len() > self.shared.message {
            return reply(Err(ControlError::LimitExceeded));
        }
        if request.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > MAX_KEY) {
            return reply(Err(ControlError::BadRequest("idempotency_key must have 1 to 255 bytes")));
        }
        match corecast_centrifuge::sanitize_json(std::mem::take(&mut request.data)) {
            Ok(data) => request.data = data,
            Err(_) => return reply(Err(ControlError::BadRequest("data must be one JSON value"))),
        }
        let core = self.owner(&request.chat);
        self.ask(core, ControlRequest::Publish { request, reply });
    }

    /// Reads a range of a chat's history from its router.
    pub fn history(&self, request: HistoryRequest, reply: Reply<History>) {
        if let Err(error) = self.check_chat(&request.chat) {
            return reply(Err(error));
        }
        let core = self.owner(&request.chat);
        self.ask(core, ControlRequest::History { request, reply });
    }

    /// Counts the members of a chat over all gateways.
    pub fn presence_stats(&self, chat: String, reply: Reply<PresenceStats>) {
        if let Err(error) = self.check_chat(&chat) {
            return reply(Err(error));
        }
        let core = self.owner(&chat);
        self.ask(core, ControlRequest::PresenceStats { chat, reply });
    }

    /// Closes connections of a user, here and (through the routers) on all gateways.
    ///
    /// # Errors
    /// If the request is wrong or the queue of a core is full; connections on other cores may be closed already.
    pub fn disconnect(&self, request: DisconnectRequest) -> Result<(), ControlError> {
        if request.user.is_empty() && request.client.is_none() {
            return Err(ControlError::BadRequest("user or client is required"));
        }
        if !(3000..=4999).contains(&request.code) {
            return Err(ControlError::BadRequest("code must be between 3000 and 4999"));
        }
        if request.reason.len() > MAX_REASON {
            return Err(ControlError::BadRequest("reason must have at most 123 bytes"));
        }
        if serde_json::from_str::<serde::de::IgnoredAny>(&request.reason).is_ok() {
            return Err(ControlError::BadRequest("reason must not be JSON: clients take it as advice"));
        }
        let request = Arc::new(request);
        for port in &self.shared.ports {
            port.ask(ControlRequest::Disconnect(Arc::clone(&request))).map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    /// The gateways that the cluster's routers know of, this one included.
    pub fn nodes(&self, reply: Reply<Vec<NodeInfo>>) {
        self.ask(0, ControlRequest::Nodes { reply });
    }

    /// Begins the drain: no new connections, then closes 3001 spread over the drain window. Repeating it is harmless.
    pub fn drain(&self) {
        self.tell_all(|| ControlRequest::Drain);
    }

    pub(crate) fn stop(&self) {
        self.tell_all(|| ControlRequest::Stop);
    }

    /// Blocks while a queue is full, for a moment at most: the core empties it every turn. Only drain and stop may.
    fn tell_all(&self, request: impl Fn() -> ControlRequest) {
        for port in &self.shared.ports {
            if port.queue.send(request()).is_ok() {
                (port.wake)();
            }
        }
    }

    fn owner(&self, chat: &str) -> usize {
        let endpoint = self.shared.placement.endpoint_of(chat);
        endpoint % self.shared.ports.len()
    }

    fn check_chat(&self, chat: &str) -> Result<(), ControlError> {
        if chat.is_empty() {
            Err(ControlError::BadRequest("channel is required"))
        } else if chat.len() > self.shared.chat_name {
            Err(ControlError::LimitExceeded)
        } else {
            Ok(())
        }
    }

    fn ask(&self, core: usize, request: ControlRequest) {
        let Some(port) = self.shared.ports.get(core) else { return };
        let Err((request, error)) = port.ask(request) else { return };
        match request {
            ControlRequest::Publish { reply, .. } => reply(Err(error)),
            ControlRequest::History { reply, .. } => reply(Err(error)),
            ControlRequest::PresenceStats { reply, .. } => reply(Err(error)),
            ControlRequest::Nodes { reply } => reply(Err(error)),
            ControlRequest::Disconnect(_) | ControlRequest::Drain | ControlRequest::Stop => {}
        }
    }
}

/// Longest idempotency key, in bytes; the router's limit.
const MAX_KEY: usize = corecast_wire::limits::MAX_KEY_BYTES;
/// Longest close reason: 125 bytes of a control frame without the code.
const MAX_REASON: usize = 123;

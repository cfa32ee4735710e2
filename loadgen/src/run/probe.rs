//! One connection before the run, made slowly and with patience, so that whatever is wrong is said in one sentence instead
//! of in 100,000 counted failures.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use corecast_websocket::handshake::{ClientHandshake, ClientProgress, HandshakeFailure};
use corecast_websocket::{Decoder, Message};

use crate::target::address::Peer;
use crate::target::{Adapter, Address, Frames, Incoming, Join};

/// Patience per step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The body of a refusal that is shown.
const SHOWN_BYTES_MAX: usize = 300;

/// Why a target is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No TCP connection.
    #[error("cannot reach {target}: {error}. Is it running, and is the address right?")]
    Unreachable {
        /// As given.
        target: String,
        /// From the system.
        error: io::Error,
    },
    /// An HTTP answer, but no upgrade.
    #[error("{target} refuses the WebSocket upgrade of {path}: {status} {reason}{body}")]
    Refused {
        /// As given.
        target: String,
        /// Path asked for.
        path: String,
        /// HTTP status.
        status: u16,
        /// Its phrase.
        reason: String,
        /// What the answer says, on a line of its own.
        body: String,
    },
    /// Connected, but this is not what was expected there.
    #[error("{target} does not speak {protocol}: {problem}")]
    Stranger {
        /// As given.
        target: String,
        /// As given.
        protocol: &'static str,
        /// What happened instead.
        problem: String,
    },
    /// The session or a subscription is refused.
    #[error("{target} refuses to {what}: {message}. {hint}")]
    NotAllowed {
        /// As given.
        target: String,
        /// What was asked for.
        what: String,
        /// From the target.
        message: String,
        /// What may help.
        hint: &'static str,
    },
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn open(peer: &Peer) -> io::Result<Self> {
        match peer {
            Peer::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
            Peer::Unix(name) => {
                let stream = match name.strip_prefix('@') {
                    Some(name) => UnixStream::connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?,
                    None => UnixStream::connect(name)?,
                };
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(stream))
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Self::Tcp(stream) => stream.read(buffer),
                Self::Unix(stream) => stream.read(buffer),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// What the probe saw of the session.
#[derive(Debug, Default)]
struct Seen {
    joined: bool,
    refused: Option<(String, String)>,
}

/// Connects, upgrades, joins chat 0 and leaves.
pub(crate) fn probe(adapter: &Adapter, address: &Address) -> Result<(), ProbeError> {
    let target = address.text.clone();
    let unreachable = |error| ProbeError::Unreachable { target: target.clone(), error };
    let mut stream = Stream::open(&address.peer).map_err(unreachable)?;
    let path = adapter.path(&address.path, Some(0));
    let stranger =
        |problem: String| ProbeError::Stranger { target: target.clone(), protocol: adapter.protocol.name(), problem };
    let rest = upgrade(adapter, address, &path, &mut stream, &stranger)?;
    let mut frames = Frames::new(adapter.is_binary(), [7, 7, 7, 7]);
    adapter.greet(&[Join { chat: 0, resume: None }], &mut frames);
    let greeting = frames.take();
    stream.write_all(&greeting).map_err(|error| stranger(error.to_string()))?;
    if adapter.joins_by_upgrade(1) {
        return Ok(());
    }
    let seen = listen(adapter, &mut stream, rest).map_err(stranger)?;
    match seen.refused {
        None if seen.joined => Ok(()),
        None => Err(stranger("no answer to the greeting within 5 s".to_owned())),
        Some((what, message)) => {
            let hint = match what.as_str() {
                "connect" => "Give a token with --token, or let the target accept anonymous clients.",
                _ => "The generator must be allowed to subscribe to and publish in chats of any name (see --prefix).",
            };
            Err(ProbeError::NotAllowed { target: target.clone(), what, message, hint })
        }
    }
}

/// Returns what came after the answer.
fn upgrade(
    adapter: &Adapter,
    address: &Address,
    path: &str,
    stream: &mut Stream,
    stranger: &dyn Fn(String) -> ProbeError,
) -> Result<Vec<u8>, ProbeError> {
    let handshake = ClientHandshake::new(&address.host, path, adapter.subprotocols(), &[], *b"corecast-probe-1");
    let mut handshake = handshake.map_err(|error| stranger(error.to_string()))?;
    stream.write_all(handshake.request()).map_err(|error| stranger(error.to_string()))?;
    let mut buffer = vec![0; 16 * 1024];
    let mut all = Vec::new();
    loop {
        let count = stream.read(&mut buffer).map_err(|error| stranger(impatient(&error)))?;
        if count == 0 {
            return Err(stranger("it closed the connection before answering the upgrade".to_owned()));
        }
        all.extend_from_slice(&buffer[..count]);
        match handshake.feed(&buffer[..count]) {
            Ok(ClientProgress::Incomplete) => {}
            Ok(ClientProgress::Complete { consumed, .. }) => return Ok(buffer[consumed..count].to_vec()),
            Err(HandshakeFailure::Refused { status, reason }) => {
                let (target, path) = (address.text.clone(), path.to_owned());
                return Err(ProbeError::Refused { target, path, status, reason, body: body_of(&all) });
            }
            Err(error) => return Err(stranger(error.to_string())),
        }
    }
}

fn listen(adapter: &Adapter, stream: &mut Stream, first: Vec<u8>) -> Result<Seen, String> {
    let mut decoder = Decoder::client(1 << 20);
    let mut seen = Seen::default();
    let mut carry = None;
    let mut chunk = first;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mut at = 0;
        while let (used, Some(message)) = decoder.decode(&mut chunk[at..]).map_err(|error| error.to_string())? {
            at += used;
            match message {
                Message::Data { payload, .. } => adapter
                    .read(payload, &mut carry, &mut |incoming| note(&mut seen, &incoming))
                    .map_err(|error| error.to_string())?,
                Message::Close { code, reason } => {
                    let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                    return Err(format!("it closed the session: {code} {reason}"));
                }
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        if seen.joined || seen.refused.is_some() || Instant::now() > deadline {
            return Ok(seen);
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Err("it closed the connection after the greeting".to_owned()),
            Ok(count) => chunk = buffer[..count].to_vec(),
            Err(error) => return Err(impatient(&error)),
        }
    }
}

fn note(seen: &mut Seen, incoming: &Incoming<'_>) {
    match incoming {
        Incoming::Subscribed(_) | Incoming::AllSubscribed => seen.joined = true,
        Incoming::Refused { what, code, message, .. } => {
            seen.refused = Some(((*what).to_owned(), format!("{message} (code {code})")));
        }
        _ => {}
    }
}

fn impatient(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer within 5 s".to_owned(),
        _ => error.to_string(),
    }
}

/// The text behind the head of an HTTP answer.
fn body_of(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    let shown: String = body.chars().take(SHOWN_BYTES_MAX).collect();
    if shown.is_empty() { shown } else { format!("\n  it says: {shown}") }
}

//! What the tests of this folder share: a reactor with its events, and peers made of blocking std sockets.
#![allow(dead_code, unreachable_pub)] // every test file uses its own part
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_ring::{
    ConnId, Event, ListenAddr, Listener, ListenerId, PeerAddr, Reactor, ReactorConfig, SendOutcome, Target, TcpOptions,
    Unsent, Wait,
};

/// Generous: the machine may be busy with anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A small reactor; tests that need other sizes say so.
pub fn small() -> ReactorConfig {
    ReactorConfig {
        connections: 64,
        sq_entries: 64,
        cq_entries: 1_024,
        receive_buffers: 64,
        receive_buffer_bytes: 1_024,
        ..ReactorConfig::default()
    }
}

/// Drives a reactor and keeps its events until somebody asks for them.
pub struct Driver {
    pub reactor: Reactor,
    pub log: Vec<Seen>,
    scratch: Vec<Event>,
}

/// An event with its bytes copied out.
#[derive(Debug)]
pub enum Seen {
    Accepted { listener: ListenerId, conn: ConnId, peer: PeerAddr },
    Connected { conn: ConnId },
    ConnectFailed { conn: ConnId, error: std::io::Error },
    Received { conn: ConnId, bytes: Vec<u8> },
    Unsent { conn: ConnId, rest: Unsent },
    Writable { conn: ConnId },
    Closed { conn: ConnId, reason: corecast_ring::CloseReason },
    Woken,
}

impl Driver {
    pub fn new(config: &ReactorConfig) -> Self {
        corecast_ring::limits::raise_descriptors().unwrap();
        Self { reactor: Reactor::new(config).unwrap(), log: Vec::new(), scratch: Vec::new() }
    }

    /// One turn; what it reports is appended to the log.
    pub fn turn(&mut self, wait: Wait) {
        let mut events = std::mem::take(&mut self.scratch);
        self.reactor.turn(wait, &mut events, || true).unwrap();
        for event in events.drain(..) {
            self.log.push(match event {
                Event::Accepted { listener, conn, peer } => Seen::Accepted { listener, conn, peer },
                Event::Connected { conn } => Seen::Connected { conn },
                Event::ConnectFailed { conn, error } => Seen::ConnectFailed { conn, error },
                Event::Received { conn, chunk } => {
                    assert_ne!(chunk.len(), 0);
                    Seen::Received { conn, bytes: self.reactor.received(&chunk).to_vec() }
                }
                Event::Unsent { conn, rest } => Seen::Unsent { conn, rest },
                Event::Writable { conn } => Seen::Writable { conn },
                Event::Closed { conn, reason } => Seen::Closed { conn, reason },
                Event::Woken => Seen::Woken,
            });
        }
        self.scratch = events;
    }

    /// A turn that waits a moment for something to happen.
    pub fn wait(&mut self) {
        self.turn(Wait::Until { deadline: Some(Instant::now() + Duration::from_millis(50)), window: Duration::ZERO });
    }

    /// Turns until the log holds what is looked for, which is taken out.
    pub fn until<T>(&mut self, what: &str, mut find: impl FnMut(&Seen) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        loop {
            for index in 0..self.log.len() {
                if let Some(found) = find(&self.log[index]) {
                    self.log.remove(index);
                    return found;
                }
            }
            assert!(Instant::now() < give_up, "waited in vain for {what}; log: {:?}", self.log);
            self.wait();
        }
    }

    /// Turns until a condition holds.
    pub fn until_true(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < give_up, "waited in vain for {what}; stats: {:?}", self.reactor.stats());
            self.wait();
        }
    }

    pub fn accepted(&mut self) -> ConnId {
        self.until("a connection", |event| match event {
            Seen::Accepted { conn, .. } => Some(*conn),
            _ => None,
        })
    }

    pub fn connected(&mut self) -> ConnId {
        self.until("a connect to succeed", |event| match event {
            Seen::Connected { conn } => Some(*conn),
            _ => None,
        })
    }

    /// Turns until so many bytes of a connection arrived.
    pub fn bytes(&mut self, of: ConnId, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            let more = self.until("bytes", |event| match event {
                Seen::Received { conn, bytes } if *conn == of => Some(bytes.clone()),
                _ => None,
            });
            all.extend(more);
        }
        all
    }

    pub fn unsent(&mut self, of: ConnId) -> Vec<Bytes> {
        self.until("an unsent rest", |event| match event {
            Seen::Unsent { conn, rest } if *conn == of => Some(rest.frames.clone()),
            _ => None,
        })
    }

    pub fn writable(&mut self, of: ConnId) {
        self.until("writability", |event| match event {
            Seen::Writable { conn } if *conn == of => Some(()),
            _ => None,
        });
    }

    pub fn closed(&mut self, of: ConnId) -> corecast_ring::CloseReason {
        self.until("the end of a connection", |event| match event {
            Seen::Closed { conn, reason } if *conn == of => Some(*reason),
            _ => None,
        })
    }

    /// Stages and sends at once.
    pub fn send(&mut self, conn: ConnId, frames: &[Bytes]) -> SendOutcome {
        let staged = self.reactor.stage(frames);
        self.reactor.send(conn, staged)
    }

    pub fn send_blocked(&mut self, conn: ConnId, frames: &[Bytes]) -> SendOutcome {
        let staged = self.reactor.stage(frames);
        self.reactor.send_blocked(conn, staged)
    }

    /// Listens on a free loopback port.
    pub fn listen(&mut self, options: &TcpOptions) -> SocketAddr {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let ListenAddr::Tcp(address) = *listener.local_addr() else { unreachable!("it is TCP") };
        self.reactor.listen(listener).unwrap();
        address
    }

    /// A connection to a blocking std socket.
    pub fn pair(&mut self) -> (ConnId, TcpStream) {
        self.pair_with(&TcpOptions::default())
    }

    pub fn pair_with(&mut self, options: &TcpOptions) -> (ConnId, TcpStream) {
        let address = self.listen(options);
        let peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.set_nodelay(true).unwrap();
        (self.accepted(), peer)
    }

    pub fn connect(&mut self, addr: SocketAddr) -> ConnId {
        self.reactor.connect(&Target::Tcp { addr, source: None }).unwrap()
    }
}

/// Reads exactly so many bytes.
pub fn read_exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Bytes that differ at every position of a long stream, so that a shift or a gap shows.
pub fn pattern(count: usize) -> Bytes {
    (0..count).map(|index| (index as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

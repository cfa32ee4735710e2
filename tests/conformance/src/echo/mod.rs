//! The echo service: one reactor, one thread, every message back to its sender.
//!
//! Sends the way the gateway does: directly while the socket takes everything, else from an outbox that keeps the order.

mod session;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use corecast_ring::{
    Chunk, ConnId, Event, ListenAddr, Listener, Reactor, ReactorConfig, SendOutcome, TcpOptions, Wait, Waker,
};

use session::Session;

/// Slots for connections; kosoku opens one at a time.
const CONNECTIONS_MAX: u32 = 256;

/// What may wait for one peer: it sends without reading otherwise, until memory is gone. Four of Autobahn's largest
/// messages of 16 MiB.
const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// How long a stopped service waits for its last connections to end.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// A running echo service.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
}

impl Service {
    /// Starts the service on a thread of its own and waits until it listens.
    pub(crate) fn start(listen: SocketAddr) -> Result<Self> {
        let (started, start) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::Builder::new().name("echo".into()).spawn(move || {
            let echo = Echo::new(listen)?;
            let _ = started.send((echo.address, echo.reactor.waker()));
            echo.serve(&flag)
        })?;
        match start.recv() {
            Ok((address, waker)) => Ok(Self { address, waker, stop, thread }),
            Err(_) => {
                join(thread)?;
                bail!("the echo service ended at once");
            }
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the service; answers how many connections had to be cut.
    pub(crate) fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        join(self.thread)
    }

    /// Waits until the service ends, which it does only by failing.
    pub(crate) fn join(self) -> Result<()> {
        join(self.thread).map(|_| ())
    }
}

fn join(thread: JoinHandle<Result<usize>>) -> Result<usize> {
    thread.join().map_err(|_| anyhow!("the echo service panicked"))?
}

struct Echo {
    reactor: Reactor,
    address: SocketAddr,
    /// By slot.
    connections: Vec<Option<Connection>>,
    /// Slots with something to send or to end after this turn's events.
    due: Vec<ConnId>,
}

struct Connection {
    conn: ConnId,
    session: Session,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    sending: Sending,
}

/// What stands before the outbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sending {
    /// Nothing: the socket has taken everything so far, or does so with the next submission.
    Free,
    /// The socket is full; writability will be reported.
    Full,
    /// The socket has room again, the rest of the last send is to go first.
    Resumed,
}

impl Echo {
    fn new(listen: SocketAddr) -> Result<Self> {
        let config = ReactorConfig { connections: CONNECTIONS_MAX, ..ReactorConfig::default() };
        let mut reactor = Reactor::new(&config)?;
        let listener =
            Listener::tcp(listen, &TcpOptions::default()).with_context(|| format!("listening on {listen}"))?;
        let &ListenAddr::Tcp(address) = listener.local_addr() else {
            bail!("a TCP listener without a TCP address");
        };
        reactor.listen(listener)?;
        let connections = (0..CONNECTIONS_MAX).map(|_| None).collect();
        Ok(Self { reactor, address, connections, due: Vec::new() })
    }

    /// Serves until it is told to stop and all connections have ended; answers how many had not ended in time.
    fn serve(mut self, stop: &AtomicBool) -> Result<usize> {
        let mut events = Vec::new();
        let mut deadline = None;
        loop {
            if deadline.is_none() && stop.load(Ordering::Acquire) {
                deadline = Some(Instant::now() + STOP_TIME_MAX);
            }
            let open = self.connections.iter().flatten().count();
            if deadline.is_some_and(|deadline| open == 0 || Instant::now() >= deadline) {
                return Ok(open);
            }
            // What is due was sent in the last turn: its outcome comes with this one, which must not wait for more.
            let wait = if self.due.is_empty() { Wait::Until { deadline, window: Duration::ZERO } } else { Wait::Poll };
            self.reactor.turn(wait, &mut events, || true)?;
            for event in events.drain(..) {
                self.handle(event);
            }
            self.end_turn();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { conn, .. } => {
                self.connections[conn.slot() as usize] = Some(Connection::new(conn));
            }
            Event::Received { conn, chunk } => self.handle_received(conn, &chunk),
            Event::Unsent { conn, rest } => {
                if let Some(connection) = self.connection(conn) {
                    connection.put_back(rest.frames);
                }
            }
            Event::Writable { conn } => {
                if let Some(connection) = self.connection(conn) {
                    connection.sending = Sending::Resumed;
                    self.due.push(conn);
                }
            }
            Event::Closed { conn, .. } => self.close(conn),
            Event::Connected { .. } | Event::ConnectFailed { .. } | Event::Woken => {}
        }
    }

    fn handle_received(&mut self, conn: ConnId, chunk: &Chunk) {
        let Some(connection) = find(&mut self.connections, conn) else {
            return;
        };
        let mut frames = Vec::new();
        connection.session.receive(self.reactor.received(chunk), &mut frames);
        for frame in frames {
            connection.outbox_bytes += frame.len();
            connection.outbox.push_back(frame);
        }
        if connection.outbox_bytes > OUTBOX_BYTES_MAX {
            self.close(conn);
        } else {
            self.due.push(conn);
        }
    }

    /// Sends what the events of this turn have left, and ends what has been sent completely.
    fn end_turn(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        due.sort_unstable();
        due.dedup();
        due.retain(|&conn| self.flush(conn));
        self.due = due;
    }

    /// Sends the outbox, or ends the stream if the session has ended and nothing is left to send. True if the connection
    /// has to be looked at again after the next turn: only then is it known that the socket took everything.
    fn flush(&mut self, conn: ConnId) -> bool {
        let Some(connection) = find(&mut self.connections, conn) else {
            return false;
        };
        if connection.sending == Sending::Full {
            return false;
        }
        if connection.outbox.is_empty() {
            if connection.session.has_ended() {
                self.reactor.shutdown(conn);
            }
            return false;
        }
        let staged = self.reactor.stage(connection.outbox.make_contiguous());
        let outcome = match connection.sending {
            Sending::Resumed => self.reactor.send_blocked(conn, staged),
            Sending::Free | Sending::Full => self.reactor.send(conn, staged),
        };
        match outcome {
            SendOutcome::Queued => {
                connection.outbox.clear();
                connection.outbox_bytes = 0;
                if connection.sending == Sending::Resumed {
                    connection.sending = Sending::Free;
                    self.reactor.unblock(conn);
                }
                connection.session.has_ended()
            }
            SendOutcome::Busy => {
                connection.sending = Sending::Resumed;
                true
            }
            SendOutcome::Gone => false,
        }
    }

    fn connection(&mut self, conn: ConnId) -> Option<&mut Connection> {
        find(&mut self.connections, conn)
    }

    fn close(&mut self, conn: ConnId) {
        if self.connection(conn).is_some() {
            self.connections[conn.slot() as usize] = None;
            self.reactor.close(conn);
        }
    }
}

fn find(connections: &mut [Option<Connection>], conn: ConnId) -> Option<&mut Connection> {
    connections[conn.slot() as usize].as_mut().filter(|connection| connection.conn == conn)
}

impl Connection {
    fn new(conn: ConnId) -> Self {
        Self { conn, session: Session::new(), outbox: VecDeque::new(), outbox_bytes: 0, sending: Sending::Free }
    }

    /// Takes back what the socket did not take; it goes before everything else.
    fn put_back(&mut self, frames: Vec<Bytes>) {
        self.sending = Sending::Full;
        for frame in frames.into_iter().rev() {
            self.outbox_bytes += frame.len();
            self.outbox.push_front(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    use corecast_websocket::{Opcode, client_frame, close_frame, server_frame};
    use tungstenite::{Error, Message};

    use super::*;

    fn start() -> Service {
        Service::start("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn connect(service: &Service) -> tungstenite::WebSocket<TcpStream> {
        let stream = TcpStream::connect(service.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tungstenite::client(format!("ws://{}/", service.address()), stream).unwrap().0
    }

    #[test]
    fn messages_come_back_in_order_and_the_close_too() {
        let service = start();
        let mut socket = connect(&service);
        let large = "€".repeat(300_000);
        let messages =
            [Message::text("hello"), Message::binary(vec![7; 70_000]), Message::text(large), Message::text("")];
        for message in &messages {
            socket.send(message.clone()).unwrap();
        }
        socket.send(Message::Ping("are you there".into())).unwrap();
        for message in messages {
            assert_eq!(socket.read().unwrap(), message);
        }
        assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
        socket.close(None).unwrap();
        assert!(matches!(socket.read(), Ok(Message::Close(None))));
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
        drop(socket);
        assert_eq!(service.stop().unwrap(), 0, "no connection is left");
    }

    /// The peer does not read until everything is written: sends are partial, the rest waits in the outbox.
    #[test]
    fn nothing_is_lost_when_the_socket_is_full() {
        let service = start();
        let socket = connect(&service);
        let mut raw = socket.get_ref().try_clone().unwrap();
        let mut frames = Vec::new();
        for number in 0..64_u8 {
            client_frame(Opcode::Binary, &vec![number; 256 << 10], [number; 4], &mut frames);
        }
        client_frame(Opcode::Close, &1000_u16.to_be_bytes(), [0; 4], &mut frames);
        raw.write_all(&frames).unwrap();
        let mut received = Vec::new();
        raw.read_to_end(&mut received).unwrap();
        let mut expected = Vec::new();
        for number in 0..64_u8 {
            expected.extend(server_frame(Opcode::Binary, &vec![number; 256 << 10]));
        }
        expected.extend(close_frame(1000, ""));
        assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
        drop((raw, socket));
        assert_eq!(service.stop().unwrap(), 0);
    }

    /// What was accepted before a violation is answered, then the close frame comes, then the end; the rest is ignored.
    #[test]
    fn a_violation_ends_the_conversation_after_what_came_before() {
        let service = start();
        let socket = connect(&service);
        let mut raw = socket.get_ref().try_clone().unwrap();
        let mut frames = Vec::new();
        client_frame(Opcode::Text, b"ok", [1, 2, 3, 4], &mut frames);
        frames.extend(b"\x81\x02no");
        frames.extend([0xff; 100_000]);
        raw.write_all(&frames).unwrap();
        let mut received = Vec::new();
        raw.read_to_end(&mut received).unwrap();
        assert!(received.starts_with(b"\x81\x02ok\x88"), "{received:?}");
        assert_eq!(received[6..8], 1002_u16.to_be_bytes());
        drop((raw, socket));
        assert_eq!(service.stop().unwrap(), 0);
    }

    #[test]
    fn plain_http_is_told_what_is_expected() {
        let service = start();
        let mut stream = TcpStream::connect(service.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
        stream.shutdown(Shutdown::Both).unwrap();
        drop(stream);
        assert_eq!(service.stop().unwrap(), 0);
    }
}

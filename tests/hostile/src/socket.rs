//! A blocking TCP connection that sends what it is told, in the pieces that it is told, and never waits for ever.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Type};

use crate::PATIENCE;

/// Pause between the pieces of [`Socket::dribble`], so that most arrive alone.
const PIECE_PAUSE: Duration = Duration::from_micros(200);

/// A connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// Received and not taken.
    pub input: Vec<u8>,
    ended: bool,
}

/// What came before the end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// More bytes are in [`Socket::input`].
    Bytes,
    /// The peer has closed its side, or reset the connection.
    End,
    /// Neither in time.
    Nothing,
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// Of the socket.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Connects from another address of this host, all of 127.0.0.0/8 being loopback.
    ///
    /// # Errors
    /// Of the socket.
    pub fn connect_from(source: [u8; 4], address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::new(socket.into())
    }

    /// Connects with a receive buffer of about `bytes`, for a client that is to stop reading.
    ///
    /// # Errors
    /// Of the socket.
    pub fn connect_with_receive_buffer(address: SocketAddr, bytes: usize) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(bytes)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::new(socket.into())
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, input: Vec::new(), ended: false })
    }

    /// Sends everything.
    ///
    /// # Errors
    /// Of the socket; among them that the peer has closed already.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends as much as the socket takes at once, and returns how much that was.
    ///
    /// # Errors
    /// Of the socket; a full one is no error.
    pub fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let sent = self.stream.write(bytes);
        self.stream.set_nonblocking(false)?;
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }

    /// Sends `bytes` in pieces of `size`, each on its own, until all are sent or the peer answers or closes.
    pub fn dribble(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            if self.receive(Duration::ZERO) != Received::Nothing || self.send(piece).is_err() {
                return;
            }
            thread::sleep(PIECE_PAUSE);
        }
    }

    /// Waits for more bytes, or the end.
    pub fn receive(&mut self, limit: Duration) -> Received {
        if self.ended {
            return Received::End;
        }
        let mut chunk = [0; 16 * 1024];
        let read = if limit.is_zero() {
            self.stream.set_nonblocking(true).expect("an open socket");
            let read = self.stream.read(&mut chunk);
            self.stream.set_nonblocking(false).expect("an open socket");
            read
        } else {
            self.stream.set_read_timeout(Some(limit)).expect("an open socket");
            self.stream.read(&mut chunk)
        };
        match read {
            Ok(count @ 1..) => {
                self.input.extend_from_slice(&chunk[..count]);
                Received::Bytes
            }
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind()) =>
            {
                Received::Nothing
            }
            Ok(0) | Err(_) => {
                self.ended = true;
                Received::End
            }
        }
    }

    /// Receives until `take` makes something of the input; `None` if the connection ends first.
    ///
    /// # Panics
    /// When neither happens within `limit`; `what` says what was waited for.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut take: impl FnMut(&mut Vec<u8>) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(taken) = take(&mut self.input) {
                return Some(taken);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {limit:?}: {what}; so far: {:?}", self.input);
            if self.receive(left) == Received::End {
                return take(&mut self.input);
            }
        }
    }

    /// Waits until the peer has closed; everything that came until then is in [`Self::input`].
    ///
    /// # Panics
    /// When the connection is still open after `limit`.
    pub fn wait_for_end(&mut self, what: &str, limit: Duration) {
        self.wait(what, limit, |_| None::<()>);
        assert!(self.ended, "{what}");
    }

    /// Whether the peer has closed by now; bytes that came meanwhile are kept.
    pub fn has_ended(&mut self) -> bool {
        while self.receive(Duration::ZERO) == Received::Bytes {}
        self.ended
    }

    /// Closes the sending side only.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset instead of the orderly end.
    pub fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

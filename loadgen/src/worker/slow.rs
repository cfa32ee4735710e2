//! Slow readers: ordinary sockets with tiny receive buffers, read at a fixed rate by one thread of their own.
//!
//! The ring takes everything that arrives at once, which is the opposite of slow; but the desk does no I/O, so that it
//! judges these members like all others. They are told apart in the result: being cut or closed is their fate, holes are not.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, SockAddr, Socket, Type};

use super::counts::Counts;
use super::desk::{Desk, Duties, Intent};
use super::session::Session;
use super::shared::{Share, Shared};
use crate::target::address::Peer;

/// SO_RCVBUF, which the kernel doubles: what a slow reader does not read has to pile up at the target, not here.
const RECEIVE_BUFFER_BYTES: usize = 4_096;
/// Reads are spread over this many steps per second.
const STEPS_PER_SECOND: u32 = 20;
/// Connecting to a target on the same host or nearby; it blocks only this thread.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the upgrade and the first replies, read at once so that joining does not take minutes.
const JOIN_BYTES: usize = 4_096;

/// Starts the thread; it ends with the run and returns what its members saw.
pub(crate) fn spawn(shared: Arc<Shared>, bytes_per_second: u32) -> io::Result<JoinHandle<Counts>> {
    std::thread::Builder::new().name("load-slow".to_owned()).spawn(move || {
        let mut readers = Readers::new(shared, bytes_per_second);
        while !readers.session.desk.shared.control.stop.load(Ordering::Acquire) {
            readers.step();
            std::thread::sleep(Duration::from_secs(1) / STEPS_PER_SECOND);
        }
        readers.session.desk.finish();
        readers.session.desk.counts()
    })
}

struct Readers {
    session: Session,
    sockets: Vec<Option<Reader>>,
    bytes_per_second: u32,
    buffer: Vec<u8>,
}

struct Reader {
    socket: Socket,
    /// Bytes that may be read now.
    allowance: usize,
    /// Bytes that the socket has not taken; commands are small, so this stays so too.
    unsent: Vec<u8>,
}

impl Readers {
    fn new(shared: Arc<Shared>, bytes_per_second: u32) -> Self {
        let duties = Duties { members: Some(Share::WHOLE), publishers: 0, publishing: None, connecting: Share::WHOLE };
        let now_ns = shared.clock.now_ns();
        let desk = Desk::new(shared, duties, now_ns);
        let sockets = (0..desk.members.all.len()).map(|_| None).collect();
        Self { session: Session::new(desk), sockets, bytes_per_second, buffer: vec![0; 64 * 1024] }
    }

    fn step(&mut self) {
        let desk = &mut self.session.desk;
        desk.now_ns = desk.shared.clock.now_ns();
        desk.times = desk.shared.control.times();
        desk.connect_due();
        self.carry_out();
        let share = (self.bytes_per_second / STEPS_PER_SECOND) as usize;
        for local in 0..self.sockets.len() {
            if let Some(reader) = &mut self.sockets[local] {
                reader.allowance += share;
                self.read(local as u32);
                self.write(local as u32, &Bytes::new());
            }
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while !self.session.desk.intents.is_empty() {
            for intent in std::mem::take(&mut self.session.desk.intents) {
                match intent {
                    Intent::Connect(local) => self.connect(local),
                    Intent::Send(local, bytes) => self.write(local, &bytes),
                    Intent::Close(local) => self.sockets[local as usize] = None,
                }
            }
        }
    }

    fn connect(&mut self, local: u32) {
        let desk = &mut self.session.desk;
        match open(&desk.shared, local) {
            Ok(socket) => {
                let reader = Reader { socket, allowance: JOIN_BYTES, unsent: Vec::new() };
                self.sockets[local as usize] = Some(reader);
                desk.handle_connected(local);
            }
            Err(error) => desk.handle_connect_failed(local, &error),
        }
    }

    fn read(&mut self, local: u32) {
        let Some(reader) = &mut self.sockets[local as usize] else { return };
        let wanted = reader.allowance.min(self.buffer.len());
        if wanted == 0 {
            return;
        }
        match reader.socket.read(&mut self.buffer[..wanted]) {
            Ok(0) => self.session.desk.handle_closed(local, "end of stream".to_owned()),
            Ok(count) => {
                reader.allowance -= count;
                self.session.handle_received(local, &mut self.buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                reader.allowance = reader.allowance.min(JOIN_BYTES)
            }
            Err(error) => self.session.desk.handle_closed(local, error.kind().to_string()),
        }
    }

    fn write(&mut self, local: u32, bytes: &Bytes) {
        let Some(reader) = &mut self.sockets[local as usize] else { return };
        reader.unsent.extend_from_slice(bytes);
        if reader.unsent.is_empty() {
            return;
        }
        match reader.socket.write(&reader.unsent) {
            Ok(count) => {
                reader.unsent.drain(..count);
            }
            Err(error) if is_for_later(&error) => {}
            Err(error) => self.session.desk.handle_closed(local, error.kind().to_string()),
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn open(shared: &Shared, local: u32) -> io::Result<Socket> {
    let address = &shared.targets[local as usize % shared.targets.len()];
    let (domain, to) = match &address.peer {
        Peer::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Peer::Unix(name) => (Domain::UNIX, unix(name)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.connect_timeout(&to, CONNECT_PATIENCE)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn unix(name: &str) -> io::Result<SockAddr> {
    match name.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(name),
    }
}

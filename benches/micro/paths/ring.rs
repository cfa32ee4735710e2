//! Sends, from the staged frame to the entries in the submission queue. The system call is not part of it.

use std::hint::black_box;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use corecast_centrifuge::Encoding;
use corecast_ring::{ConnId, Event, Listener, Reactor, ReactorConfig, SendOutcome, UnixAddr, Wait};

use super::{HotPath, Operation, interested, payload};

/// Sockets: each gets one send, as one submission takes no more.
const SOCKETS: usize = 1_000;
/// More than twice the sockets, so that nothing is submitted while it is counted.
const QUEUE_ENTRIES: u32 = 4_096;

pub(super) fn paths() -> Vec<HotPath> {
    vec![
        HotPath { name: "ring: stage a frame", prepare: stage, each: 1, warm_up: 20, operations: 500 },
        HotPath { name: "ring: queue one send", prepare: send, each: 1, warm_up: 0, operations: SOCKETS },
        HotPath {
            name: "fan-out: 1 update to 1000 members, from the chat to the queue",
            prepare: fan_out,
            each: SOCKETS,
            warm_up: 0,
            operations: 1,
        },
    ]
}

/// A reactor and so many connections, whose other ends must stay.
struct Connected {
    reactor: Reactor,
    members: Vec<ConnId>,
    _peers: Vec<UnixStream>,
}

impl Connected {
    fn new(sockets: usize) -> Result<Self> {
        let config = ReactorConfig {
            connections: u32::try_from(sockets)? + 1,
            sq_entries: QUEUE_ENTRIES,
            receive_buffers: 64,
            ..ReactorConfig::default()
        };
        let mut reactor = Reactor::new(&config)?;
        let name = format!("corecast-micro-{}", std::process::id()).into_bytes();
        let address = SocketAddr::from_abstract_name(&name)?;
        reactor.listen(Listener::unix(&UnixAddr::Abstract(name), 1_024)?)?;
        let (mut members, mut peers, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let wait = Wait::Until { deadline: None, window: Duration::ZERO };
        while members.len() < sockets {
            if members.len() == peers.len() {
                // The listener itself is armed by the reactor's next turn; until then the kernel keeps the connection.
                peers.push(UnixStream::connect_addr(&address).context("connecting to the reactor")?);
            }
            reactor.turn(wait, &mut events, || true)?;
            members.extend(events.drain(..).filter_map(|event| match event {
                Event::Accepted { conn, .. } => Some(conn),
                _ => None,
            }));
        }
        Ok(Self { reactor, members, _peers: peers })
    }

    /// One send to each, and the call that submits them: afterwards everything is warm and the queue is empty.
    fn warm_up(&mut self, frame: &Bytes) -> Result<()> {
        let staged = self.reactor.stage(std::slice::from_ref(frame));
        for member in &self.members {
            ensure!(self.reactor.send(*member, staged) == SendOutcome::Queued, "a socket is not ready");
        }
        self.reactor.turn(Wait::Poll, &mut Vec::new(), || true)?;
        Ok(())
    }
}

fn stage(operations: usize) -> Result<Operation> {
    let mut reactor = Connected::new(1)?.reactor;
    let frame = Bytes::from(payload(0));
    // As many as are counted, and the turn that frees them: afterwards no list grows.
    for _ in 0..operations {
        let _ = reactor.stage(std::slice::from_ref(&frame));
    }
    reactor.turn(Wait::Poll, &mut Vec::new(), || true)?;
    Ok(Box::new(move |_| {
        let _ = black_box(reactor.stage(std::slice::from_ref(&frame)));
        1
    }))
}

/// One operation: an update in a chat of its own, all of whose members are sent the frame. In a gateway the kernel would be
/// called a few times in between, since slices and queue are smaller.
fn fan_out(operations: usize) -> Result<Operation> {
    let mut connected = Connected::new(operations * SOCKETS)?;
    let mut core = interested::core(operations, &[Encoding::Json; SOCKETS])?;
    let message = payload(0);
    connected.warm_up(&Bytes::from(payload(0)))?;
    Ok(Box::new(move |index| {
        let mut queued = 0;
        core.update(index as u32, 1, &message);
        while core.has_work() {
            core.fan_out(|bytes, members| {
                let staged = connected.reactor.stage(std::slice::from_ref(bytes));
                for &member in members {
                    let outcome = connected.reactor.send(connected.members[member as usize], staged);
                    queued += usize::from(outcome == SendOutcome::Queued);
                }
            });
        }
        queued
    }))
}

fn send(operations: usize) -> Result<Operation> {
    let mut connected = Connected::new(operations)?;
    let frame = Bytes::from(payload(0));
    connected.warm_up(&frame)?;
    let staged = connected.reactor.stage(&[frame]);
    let enters = connected.reactor.stats().enters;
    Ok(Box::new(move |index| {
        let outcome = connected.reactor.send(connected.members[index], staged);
        usize::from(outcome == SendOutcome::Queued && connected.reactor.stats().enters == enters)
    }))
}

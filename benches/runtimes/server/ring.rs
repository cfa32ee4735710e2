//! `crates/ring`, used as the gateway uses it: one staged frame, a send for each member, what is refused goes to an outbox.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use corecast_ring::{ConnId, Event, ListenAddr, Listener, Reactor, ReactorConfig, SendOutcome, TcpOptions, Wait};

use super::{Meter, frame};
use crate::Load;

const FOREVER: Wait = Wait::Until { deadline: None, window: Duration::ZERO };

pub(super) fn run(load: Load) -> Result<()> {
    let config = ReactorConfig { connections: u32::try_from(load.members)? + 8, ..ReactorConfig::default() };
    let mut server =
        Server { reactor: Reactor::new(&config)?, members: Vec::new(), unsent: HashMap::new(), events: Vec::new() };
    let listener = Listener::tcp("127.0.0.1:0".parse()?, &TcpOptions::default())?;
    let ListenAddr::Tcp(address) = listener.local_addr().clone() else { bail!("not a TCP listener") };
    println!("listening {address}");
    server.reactor.listen(listener)?;
    while server.members.len() < load.members {
        server.turn(FOREVER)?;
    }
    let frame = Bytes::from_static(frame(load));
    let meter = Meter::start(load)?;
    for _ in 0..load.fanouts {
        let staged = server.reactor.stage(std::slice::from_ref(&frame));
        for member in &server.members {
            if server.reactor.send(*member, staged) != SendOutcome::Queued {
                bail!("a member is not ready although nothing was left unsent");
            }
        }
        server.turn(Wait::Poll)?;
        // As the blocking send of the plain loop: the next fan-out begins when this one is with the kernel.
        while !server.unsent.is_empty() {
            server.turn(FOREVER)?;
        }
    }
    meter.stop()
}

struct Server {
    reactor: Reactor,
    members: Vec<ConnId>,
    unsent: HashMap<ConnId, Vec<Bytes>>,
    events: Vec<Event>,
}

impl Server {
    fn turn(&mut self, wait: Wait) -> Result<()> {
        self.reactor.turn(wait, &mut self.events, || true)?;
        // A member whose outbox was sent and not refused again is done.
        let mut sent = Vec::new();
        for event in self.events.drain(..) {
            match event {
                Event::Accepted { conn, .. } => self.members.push(conn),
                Event::Unsent { conn, rest } => {
                    self.unsent.insert(conn, rest.frames);
                }
                Event::Writable { conn } => sent.push(conn),
                Event::Closed { reason, .. } => return Err(reason.to_error()).context("the client left"),
                _ => {}
            }
        }
        for conn in &sent {
            let frames = self.unsent.remove(conn).context("writable without anything to write")?;
            let staged = self.reactor.stage(&frames);
            if self.reactor.send_blocked(*conn, staged) != SendOutcome::Queued {
                bail!("a writable member refuses");
            }
        }
        if !sent.is_empty() {
            self.turn(Wait::Poll)?;
            for conn in sent.into_iter().filter(|conn| !self.unsent.contains_key(conn)).collect::<Vec<_>>() {
                self.reactor.unblock(conn);
            }
        }
        Ok(())
    }
}

//! Random life in queues, buffers and a table that are all too small: every event is legal and nothing is left behind.
//!
//! Must never be deleted: it drives all slow paths at once, in combinations that no other file names.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::HashMap;

use bytes::Bytes;
use common::{Driver, Seen, pattern};
use corecast_ring::{CloseReason, ConnId, ReactorConfig, SendOutcome, Target, TcpOptions, Wait};

/// What an owner knows of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    connecting: bool,
    awaiting_writable: bool,
    ended: bool,
    lost: bool,
}

struct Side {
    driver: Driver,
    known: HashMap<ConnId, Known>,
    /// Answered `Gone` without a reported end: the next turn must report it.
    doomed: Vec<ConnId>,
}

impl Side {
    fn new(connections: u32) -> Self {
        let config = ReactorConfig {
            connections,
            connect_reserve: 0,
            sq_entries: 8,
            cq_entries: 16,
            receive_buffers: 4,
            receive_buffer_bytes: 256,
        };
        Self { driver: Driver::new(&config), known: HashMap::new(), doomed: Vec::new() }
    }

    fn turn(&mut self) {
        self.driver.turn(Wait::Poll);
        for event in std::mem::take(&mut self.driver.log) {
            self.check(event);
        }
        for conn in self.doomed.drain(..) {
            assert!(self.known.get(&conn).is_none_or(|known| known.lost), "{conn:?} is gone without a word");
        }
    }

    /// Panics on an event that the owner cannot expect.
    fn check(&mut self, event: Seen) {
        // The bytes would make it too long to read, and to write for every event.
        let text = match &event {
            Seen::Received { conn, bytes } => format!("{} bytes of {conn:?}", bytes.len()),
            Seen::Unsent { conn, rest } => format!("{} unsent frames of {conn:?}", rest.frames.len()),
            other => format!("{other:?}"),
        };
        let mut known = |conn: ConnId| *self.known.get_mut(&conn).unwrap_or_else(|| panic!("of whom? {text}"));
        match event {
            Seen::Accepted { conn, .. } => assert!(self.known.insert(conn, Known::default()).is_none(), "{text}"),
            Seen::Connected { conn } => {
                assert!(known(conn).connecting, "{text}");
                self.known.insert(conn, Known::default());
                self.driver.reactor.unblock(conn);
            }
            Seen::ConnectFailed { conn, .. } => {
                assert!(known(conn).connecting, "{text}");
                self.known.remove(&conn);
            }
            Seen::Received { conn, .. } => {
                let known = known(conn);
                assert!(!known.connecting && !known.ended, "{text}");
            }
            Seen::Unsent { conn, rest } => {
                assert!(!known(conn).awaiting_writable && !rest.frames.is_empty(), "{text}");
                self.known.get_mut(&conn).unwrap().awaiting_writable = true;
            }
            Seen::Writable { conn } => {
                assert!(known(conn).awaiting_writable && !known(conn).lost, "{text}");
                self.known.get_mut(&conn).unwrap().awaiting_writable = false;
                // The owner's outbox is empty here: rests are thrown away.
                self.driver.reactor.unblock(conn);
            }
            Seen::Closed { conn, reason } => {
                assert!(!known(conn).ended && !known(conn).connecting, "{text}");
                let known = self.known.get_mut(&conn).unwrap();
                known.ended = true;
                known.lost = matches!(reason, CloseReason::Error(_));
            }
            Seen::Woken => panic!("{text}"),
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.known.remove(&conn);
        self.driver.reactor.close(conn);
        assert_eq!(self.driver.send(conn, &[Bytes::from_static(b"x")]), SendOutcome::Gone);
    }
}

#[test]
fn nothing_illegal_happens_and_nothing_stays() {
    const STEPS: u32 = 30_000;
    let mut server = Side::new(16);
    let mut client = Side::new(48);
    let addr = server.driver.listen(&TcpOptions { send_buffer: Some(16 * 1024), ..TcpOptions::default() });
    let long = pattern(1 << 20);
    let mut random = 0xD1B5_4A32_D192_ED03_u64;
    let mut draw = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    for _ in 0..STEPS {
        if draw(3) == 0 && client.known.len() < 40 {
            // All slots may be taken by connections that are still closing.
            if let Ok(conn) = client.driver.reactor.connect(&Target::Tcp { addr, source: None }) {
                client.known.insert(conn, Known { connecting: true, ..Known::default() });
            }
        }
        let side = if draw(2) == 0 { &mut server } else { &mut client };
        for _ in 0..draw(6) {
            let Some(&conn) = side.known.keys().nth(draw(side.known.len().max(1))) else { break };
            let known = side.known[&conn];
            match draw(12) {
                0 => side.close(conn),
                1 => side.driver.reactor.shutdown(conn),
                _ if known.ended && draw(4) == 0 => side.close(conn),
                choice => {
                    let frame = if choice < 4 { long.clone() } else { long.slice(..1 + draw(600)) };
                    match side.driver.send(conn, &[frame]) {
                        SendOutcome::Gone if known.ended => {}
                        SendOutcome::Gone => side.doomed.push(conn),
                        SendOutcome::Busy if known.awaiting_writable || known.connecting => {}
                        // A send of this turn went before; the frame is thrown away with the outbox.
                        SendOutcome::Busy => side.driver.reactor.unblock(conn),
                        SendOutcome::Queued => assert!(!known.awaiting_writable && !known.connecting),
                    }
                }
            }
        }
        if draw(3) > 0 {
            server.turn();
        }
        if draw(3) > 0 {
            client.turn();
        }
    }
    let (server_stats, client_stats) = (*server.driver.reactor.stats(), *client.driver.reactor.stats());
    println!("server {server_stats:?}\nclient {client_stats:?}");
    // The test drove what it claims to drive.
    for stats in [server_stats, client_stats] {
        assert!(stats.enobufs > 0 && stats.short_sends > 0 && stats.closes > 100, "{stats:?}");
    }
    assert!(server_stats.accept_pauses > 0 && server_stats.busy_sends > 0);
    assert!(server_stats.cq_overflows + client_stats.cq_overflows > 0);

    let give_up = std::time::Instant::now() + common::PATIENCE;
    while server.driver.reactor.stats().open > 0 || client.driver.reactor.stats().open > 0 {
        assert!(
            std::time::Instant::now() < give_up,
            "left behind: {:?} {:?}",
            server.driver.reactor.stats(),
            client.driver.reactor.stats()
        );
        for side in [&mut client, &mut server] {
            for conn in side.known.keys().copied().collect::<Vec<_>>() {
                side.close(conn);
            }
            side.turn();
        }
    }
    let (server, client) = (server.driver.reactor.stats(), client.driver.reactor.stats());
    assert_eq!(server.closes, server.accepts);
    assert_eq!(client.closes, client.connects);
}

//! Fan-out, replies and rests reach a slow reader in exactly the order in which the owner produced them.
//!
//! Must never be deleted: this is the use of block, Busy, Unsent, Writable and unblock that all owners rely on.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Driver, Seen, small};
use corecast_ring::{ConnId, PeerAddr, ReactorConfig, SendOutcome, TcpOptions, Wait};

/// What a session does: an outbox while blocked, flushed as one vectored send.
#[derive(Default)]
struct Member {
    outbox: Vec<Bytes>,
    blocked: bool,
    expected: Vec<u8>,
}

impl Member {
    fn flush(&mut self, conn: ConnId, driver: &mut Driver) {
        if !self.blocked {
            return;
        }
        if self.outbox.is_empty() {
            driver.reactor.unblock(conn);
            self.blocked = false;
        } else if driver.send_blocked(conn, &self.outbox) == SendOutcome::Queued {
            self.outbox.clear();
        }
    }
}

#[test]
fn every_member_reads_what_was_meant_for_it_in_order() {
    const MEMBERS: usize = 12;
    const ROUNDS: u32 = 1_500;
    let mut driver = Driver::new(&ReactorConfig { sq_entries: 8, ..small() });
    // Small buffers, so that slow readers block often.
    let options = TcpOptions { send_buffer: Some(8 * 1024), ..TcpOptions::default() };
    let address = driver.listen(&options);
    let peers: Vec<TcpStream> = (0..MEMBERS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut members: HashMap<ConnId, Member> = HashMap::new();
    let mut by_peer = HashMap::new();
    driver.until_true("all connections", |driver| {
        for event in driver.log.drain(..) {
            if let Seen::Accepted { conn, peer, .. } = event {
                members.insert(conn, Member::default());
                by_peer.insert(peer, conn);
            }
        }
        members.len() == MEMBERS
    });
    let readers: Vec<_> = peers
        .into_iter()
        .enumerate()
        .map(|(index, mut peer)| {
            std::thread::spawn(move || {
                let name = PeerAddr::Tcp(peer.local_addr().unwrap());
                let (mut got, mut piece) = (Vec::new(), vec![0; 1_000 + 700 * index]);
                loop {
                    // Some read eagerly, some in small bites with pauses.
                    if index % 3 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    let count = peer.read(&mut piece).unwrap();
                    if count == 0 {
                        return (name, got);
                    }
                    got.extend_from_slice(&piece[..count]);
                }
            })
        })
        .collect();

    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let conns: Vec<ConnId> = members.keys().copied().collect();
    for round in 0..ROUNDS {
        // Replies first: they go to the outbox, so that this turn's fan-out queues behind them.
        for &conn in &conns {
            if draw(4) == 0 {
                let reply = Bytes::from(format!("[reply {round}]"));
                let member = members.get_mut(&conn).unwrap();
                driver.reactor.block(conn);
                member.blocked = true;
                member.expected.extend_from_slice(&reply);
                member.outbox.push(reply);
            }
        }
        // Then one or two messages to all.
        for part in 0..=draw(2) {
            let text = format!("<{round}.{part}{}>", "x".repeat(draw(900) as usize));
            let frame = Bytes::from(text);
            let staged = driver.reactor.stage(std::slice::from_ref(&frame));
            for &conn in &conns {
                let member = members.get_mut(&conn).unwrap();
                member.expected.extend_from_slice(&frame);
                match driver.reactor.send(conn, staged) {
                    SendOutcome::Queued => assert!(!member.blocked),
                    SendOutcome::Busy => {
                        member.blocked = true;
                        member.outbox.push(frame.clone());
                    }
                    SendOutcome::Gone => panic!("nobody left"),
                }
            }
        }
        for &conn in &conns {
            members.get_mut(&conn).unwrap().flush(conn, &mut driver);
        }
        driver.turn(Wait::Poll);
        settle(&mut driver, &mut members);
    }
    let give_up = Instant::now() + common::PATIENCE;
    while members.values().any(|member| member.blocked) {
        assert!(Instant::now() < give_up, "a member stays blocked");
        driver.wait();
        settle(&mut driver, &mut members);
        for &conn in &conns {
            members.get_mut(&conn).unwrap().flush(conn, &mut driver);
        }
    }
    let stats = *driver.reactor.stats();
    assert!(stats.short_sends + stats.refused_sends > 0, "nobody was slow: {stats:?}");
    assert!(stats.busy_sends > 0 && stats.writable > 0);
    driver.turn(Wait::Poll);
    conns.iter().for_each(|&conn| driver.reactor.close(conn));
    driver.until_true("all closes", |driver| driver.reactor.stats().closes == MEMBERS as u64);
    for reader in readers {
        let (name, got) = reader.join().unwrap();
        let expected = &members[&by_peer[&name]].expected;
        assert!(&got == expected, "{name:?} got {} bytes of {} or others", got.len(), expected.len());
    }
}

/// What the owner does with the events: a rest goes to the head of the outbox.
fn settle(driver: &mut Driver, members: &mut HashMap<ConnId, Member>) {
    for event in std::mem::take(&mut driver.log) {
        match event {
            Seen::Unsent { conn, rest } => {
                let member = members.get_mut(&conn).unwrap();
                member.blocked = true;
                member.outbox.splice(0..0, rest.frames);
            }
            Seen::Writable { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

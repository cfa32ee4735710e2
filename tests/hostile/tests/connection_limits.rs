//! Claim: limits on connections and handshakes, in total and per address, hold exactly, cannot be evaded by a header, and are given back
//! by whoever leaves, however it leaves.

use std::net::SocketAddr;

use corecast_hostile::client::{PATH, upgrade_request};
use corecast_hostile::http::Response;
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;
use corecast_hostile::{PATIENCE, eventually};

/// The attacker's address; the control client comes from 127.0.0.1.
const ATTACKER: [u8; 4] = [127, 0, 0, 2];
const LIMIT: usize = 20;

fn per_address(more: &str) -> Stage {
    Stage::start(&format!("[limits]\nlimit_loopback = true\nconnections_per_address = {LIMIT}\n{more}"))
}

#[test]
fn the_total_is_bounded() {
    let stage = Stage::start(&format!("[limits]\nconnections = {}\n", LIMIT + 1));
    // All at once: those who are about to be refused count until they are gone, so not all places may be taken.
    let (mut inside, refused) = storm(&stage, [127, 0, 0, 1], 2 * LIMIT, |_| String::new());
    assert!(
        inside.len() <= LIMIT && refused.iter().all(|status| *status == 503),
        "{} inside, {refused:?}",
        inside.len()
    );
    inside = refills(&stage, [127, 0, 0, 1], inside, LIMIT);
    // Half leave, each in its own way; as many get in.
    for (number, socket) in inside.drain(LIMIT / 2..).enumerate() {
        if number % 2 == 0 { socket.reset() } else { drop(socket) }
    }
    refills(&stage, [127, 0, 0, 1], inside, LIMIT);
    stage.finish();
}

#[test]
fn connections_per_address_are_bounded() {
    let stage = per_address("");
    let (mut inside, refused) = storm(&stage, ATTACKER, 2 * LIMIT, |_| String::new());
    assert_eq!((inside.len(), refused.len()), (LIMIT, LIMIT));
    let (neighbours, _) = storm(&stage, [127, 0, 0, 3], LIMIT, |_| String::new());
    assert_eq!(neighbours.len(), LIMIT, "another address is not concerned");
    inside.drain(..).for_each(Socket::reset);
    refills(&stage, ATTACKER, Vec::new(), LIMIT);

    // Those who say nothing at all count as well, and are forgotten as well.
    for _ in 0..10 {
        let silent: Vec<Socket> =
            (0..LIMIT).filter_map(|_| Socket::connect_from(ATTACKER, stage.websocket()).ok()).collect();
        silent.into_iter().for_each(Socket::reset);
    }
    refills(&stage, ATTACKER, Vec::new(), LIMIT);
    stage.finish();
}

#[test]
fn a_forwarding_header_counts_only_from_a_trusted_proxy() {
    let stage = per_address("");
    let (inside, _) = storm(&stage, ATTACKER, 2 * LIMIT, |number| format!("X-Forwarded-For: 10.0.0.{number}\r\n"));
    assert_eq!(inside.len(), LIMIT, "anybody can write a header");
    stage.finish();

    let stage = per_address("[gateway]\ntrusted_proxies = [\"127.0.0.2\"]\n");
    let (many, refused) = storm(&stage, ATTACKER, 2 * LIMIT, |number| format!("X-Forwarded-For: 10.0.0.{number}\r\n"));
    assert_eq!((many.len(), refused), (2 * LIMIT, vec![]), "clients behind a proxy are told apart");
    // What stands before the address that the proxy added was written by the client.
    let forged = |number| format!("X-Forwarded-For: 192.0.2.{number}, 10.1.1.1\r\n");
    let (one, refused) = storm(&stage, ATTACKER, 2 * LIMIT, forged);
    assert_eq!((one.len(), refused), (LIMIT, vec![429; LIMIT]), "one client behind a proxy");
    let (_, refused) =
        storm(&stage, ATTACKER, 1, |_| "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.1.1.1\r\n".to_owned());
    assert_eq!(refused, [429], "the header in two lines");
    stage.finish();
}

#[test]
fn handshakes_per_address_are_paced() {
    const RATE: usize = 10;
    let stage = Stage::start(&format!("[limits]\nlimit_loopback = true\nhandshakes_per_second_per_address = {RATE}\n"));
    let (inside, refused) = storm(&stage, ATTACKER, 10 * RATE, |_| String::new());
    assert!(inside.len() >= RATE && refused.len() >= 5 * RATE, "{} of {} let in", inside.len(), 10 * RATE);
    eventually("the attacker may come back slowly", PATIENCE, || {
        storm(&stage, ATTACKER, 1, |_| String::new()).0.len() == 1
    });
    stage.finish();
}

#[test]
fn handshakes_per_core_are_paced() {
    const RATE: usize = 50;
    let stage = Stage::start(&format!("[limits]\nhandshakes_per_second = {RATE}\n"));
    let (inside, refused) = storm(&stage, ATTACKER, 10 * RATE, |_| String::new());
    assert!(!inside.is_empty() && refused.len() >= RATE, "{} of {} let in", inside.len(), 10 * RATE);
    assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
    eventually("others get in when the storm is over", PATIENCE, || {
        storm(&stage, ATTACKER, 1, |_| String::new()).0.len() == 1
    });
    stage.finish();
}

/// Upgrades so many connections at once. Those that were let in, and the statuses of the others (0 without an answer).
fn storm(stage: &Stage, from: [u8; 4], count: usize, lines: impl Fn(usize) -> String) -> (Vec<Socket>, Vec<u16>) {
    let open = |number: usize| {
        let mut socket = connect(from, stage.websocket());
        let _ = socket.send(upgrade_request(PATH, &lines(number)).as_bytes());
        socket
    };
    let (mut inside, mut refused) = (Vec::new(), Vec::new());
    for mut socket in (0..count).map(open).collect::<Vec<_>>() {
        match Response::read(&mut socket, PATIENCE).map_or(0, |response| response.status) {
            101 => inside.push(socket),
            status => {
                socket.wait_for_end("a refused connection ends", PATIENCE);
                refused.push(status);
            }
        }
    }
    (inside, refused)
}

/// With `inside` still connected, others get in until exactly `limit` are.
fn refills(stage: &Stage, from: [u8; 4], mut inside: Vec<Socket>, limit: usize) -> Vec<Socket> {
    eventually("those who come later fill the limit", PATIENCE, || {
        inside.append(&mut storm(stage, from, limit - inside.len(), |_| String::new()).0);
        inside.len() == limit
    });
    assert!(storm(stage, from, 3, |_| String::new()).0.is_empty(), "the limit still holds");
    inside
}

fn connect(from: [u8; 4], address: SocketAddr) -> Socket {
    Socket::connect_from(from, address).expect("connect")
}

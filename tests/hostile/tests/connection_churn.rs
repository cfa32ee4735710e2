//! Claim: thousands of connections that come and go, in whatever state they are cut, leave nothing behind: no descriptor, no socket,
//! no session, no subscription, no memory.

use std::net::SocketAddr;

use corecast_hostile::client::{Client, PATH, upgrade_request};
use corecast_hostile::frame::{FIN, Length, TEXT, header, mask, text};
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::{STEADY, Stage};
use corecast_hostile::{PATIENCE, eventually};

/// Connections of each kind in one round.
const EACH: usize = 200;
/// Most that are open at once.
const AT_ONCE: usize = 50;
/// What two rounds may differ by without anything being lost.
const NOISE: i64 = 512 * 1024;

/// How far a connection gets before it is cut.
const KINDS: [fn(SocketAddr) -> Socket; 8] = [
    |address| Socket::connect(address).expect("connect"),
    |address| {
        let mut socket = Socket::connect(address).expect("connect");
        socket.send(&upgrade_request(PATH, "").as_bytes()[..50]).expect("send");
        socket
    },
    |address| {
        let mut socket = Socket::connect(address).expect("connect");
        // Cut while the answer is on its way.
        socket.send(upgrade_request(PATH, "").as_bytes()).expect("send");
        socket
    },
    |address| Client::greeted(address).socket,
    |address| {
        let mut client = Client::greeted(address);
        client.send(&[header(FIN | TEXT, Length::Shortest(50_000)), mask(&[b'x'; 5_000])].concat());
        client.socket
    },
    |address| Client::live(address).socket,
    |address| {
        let mut client = Client::live(address);
        client.ask(r#"{"id":2,"subscribe":{"channel":"churn"}}"#);
        client.socket
    },
    |address| {
        let mut client = Client::live(address);
        // Cut while the router is being asked.
        client.send(&text(r#"{"id":2,"subscribe":{"channel":"churn:other"}}"#));
        client.send(&text(r#"{"id":3,"publish":{"channel":"churn","data":1}}"#));
        client.socket
    },
];

#[test]
fn connections_that_are_reset_leave_nothing() {
    churn(Socket::reset);
}

#[test]
fn connections_that_are_closed_leave_nothing() {
    churn(drop);
}

#[test]
fn connections_that_are_half_closed_are_closed_by_the_server() {
    churn(|mut socket| {
        socket.finish();
        socket.wait_for_end("the server closes its side too", PATIENCE);
    });
}

fn churn(end: fn(Socket)) {
    let stage = Stage::start(&format!("{STEADY}[timing]\nlinger = \"200ms\"\n"));
    stage.warm_up();
    let (process, websocket) = (stage.process(), stage.websocket());
    let play = |each: usize| {
        for kind in KINDS {
            for _ in 0..each.div_ceil(AT_ONCE) {
                let open: Vec<Socket> = (0..AT_ONCE).map(|_| kind(websocket)).collect();
                open.into_iter().for_each(end);
            }
        }
        eventually("only the control client's socket is left", PATIENCE, || process.connections(websocket) == 1);
    };
    let descriptors = process.descriptors();
    play(AT_ONCE);
    play(EACH);
    let resident = process.resident();
    play(EACH);
    let grown = process.resident() - resident;
    println!(
        "{} connections, {grown} bytes more after the last {}",
        KINDS.len() * (2 * EACH + AT_ONCE),
        KINDS.len() * EACH
    );
    assert!(grown < NOISE, "{grown} bytes more after the second round");
    eventually("as many descriptors as before", PATIENCE, || process.descriptors() == descriptors);
    eventually("one session", PATIENCE, || stage.metric("corecast_gateway_connections") == 1.0);
    eventually("one subscription", PATIENCE, || stage.metric("corecast_gateway_subscriptions") == 1.0);
    stage.finish();
}

//! Claim: whoever does not speak in time is closed with the code that says so.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::{Edge, PATIENCE};

#[test]
fn half_a_request_gets_408_and_silence_after_the_upgrade_3502() {
    let edge = Edge::with(1, |config| {
        config.timing.handshake = Duration::from_millis(500);
        config.timing.connect = Duration::from_millis(500);
    });
    let mut stream = TcpStream::connect(edge.gateway().local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /connection/websocket HTTP/1.1\r\nHost: h\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(Client::open(edge.gateway().local_addr(), "", None).closed(), 3502);
}

#[test]
fn pings_are_sent_and_a_client_that_does_not_answer_is_closed_3012() {
    let edge = Edge::with(1, |config| {
        config.timing.ping = Duration::from_secs(1);
        config.timing.pong = Duration::from_millis(500);
    });
    let mut alive = edge.client();
    assert_eq!((alive.connected.ping, alive.connected.pong), (1, true));
    let mut dead = edge.client();
    dead.answers_pings = false;
    std::thread::scope(|scope| {
        let dead = scope.spawn(|| dead.closed());
        // Answers pings while it waits for nothing else.
        assert!(alive.is_quiet(Duration::from_secs(3)));
        assert_eq!(dead.join().unwrap(), 3012);
    });
    alive.subscribe("a");
}

#[test]
fn native_pings_keep_simple_tools_connected() {
    let edge = Edge::with(1, |config| {
        config.timing.ping = Duration::from_secs(1);
        config.timing.pong = Duration::from_millis(500);
    });
    let mut client = Client::open(edge.gateway().local_addr(), "?cf_ws_frame_ping_pong=true", None);
    let connected = client.connect_with("").unwrap();
    assert_eq!((connected.ping, connected.pong), (0, false));
    // tungstenite answers WebSocket pings by itself.
    assert!(client.is_quiet(Duration::from_secs(3)));
    client.subscribe("a");
}

#[test]
fn a_peer_that_vanishes_frees_its_place() {
    let edge = Edge::start();
    let client = edge.client();
    edge.counted("connections", 1);
    drop(client);
    let begin = Instant::now();
    crate::wait_until("the connection is gone", || edge.gateway().stats().snapshot()[0].gauges.connections == 0);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

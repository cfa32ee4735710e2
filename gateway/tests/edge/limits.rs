//! Claim: whoever goes beyond a limit is refused or closed with the code that says so, and nobody else notices.

use std::time::Duration;

use corecast_centrifuge::Request;
use corecast_centrifuge::SendRequest;
use tungstenite::Message;

use crate::client::{Client, fresh};
use crate::{Edge, wait_until};

#[test]
fn messages_over_the_limit_close_1009_and_a_message_at_the_limit_passes() {
    let edge = Edge::with(1, |config| {
        config.limits.message = 2_000;
        config.limits.first_frame = 500;
    });
    let mut control = edge.client();
    control.subscribe("a");
    let mut first = Client::open(edge.gateway().local_addr(), "", None);
    first.send_raw(vec![b' '; 501]);
    assert_eq!(first.closed(), 1009);
    let mut later = edge.client();
    let body = format!("\"{}\"", "x".repeat(1_900));
    later.publish("a", &body).unwrap();
    later.send_raw(vec![b' '; 2_001]);
    assert_eq!(later.closed(), 1009);
    assert_eq!(control.expect("a"), (1, body));
}

#[test]
fn garbage_is_a_bad_request() {
    let edge = Edge::start();
    for garbage in ["", "{", "{}\n{\"id\":1}", "null", "{\"id\":1,\"what\":{}}", "[]"] {
        let mut client = edge.client();
        client.send_raw(garbage.as_bytes().to_vec());
        assert_eq!(client.closed(), 3501, "{garbage:?}");
    }
    let mut client = Client::connect_protobuf(edge.gateway().local_addr());
    client.send_raw(vec![0xff, 0xff, 0xff]);
    assert_eq!(client.closed(), 3501);
    let mut client = edge.client();
    client.send([Request::Send(SendRequest::default())]);
    assert_eq!(client.closed(), 3508);
}

#[test]
fn floods_of_pings_are_cut_and_answered_at_most_once_a_chunk() {
    let edge = Edge::start();
    let mut client = edge.client();
    let mut sent = 0;
    while client.send_message(Message::Ping(bytes::Bytes::new())).is_ok() && sent < 100_000 {
        sent += 1;
    }
    assert_eq!(client.closed(), 3013);
    let mut stranger = Client::open(edge.gateway().local_addr(), "", None);
    while stranger.send_message(Message::Ping(bytes::Bytes::new())).is_ok() && sent < 200_000 {
        sent += 1;
    }
    assert_eq!(stranger.closed(), 1008);
}

#[test]
fn a_connection_has_so_many_chats_and_no_more() {
    let edge = Edge::with(1, |config| config.limits.chats_per_connection = 3);
    let mut client = edge.client();
    for chat in ["a", "b", "c"] {
        client.subscribe(chat);
    }
    assert_eq!(client.subscribe_with(fresh("d")).unwrap_err().code, 106);
    client.unsubscribe("a");
    client.subscribe("d");
}

#[test]
fn addresses_have_their_own_limit() {
    let edge = Edge::with(1, |config| {
        config.limits.connections_per_address = 3;
        config.limits.limit_loopback = true;
    });
    let clients: Vec<Client> = (0..3).map(|_| edge.client()).collect();
    assert_eq!(crate::client::raw(edge.gateway().local_addr(), b"GET / HTTP/1.1\r\n\r\n"), "", "closed at once");
    assert_eq!(edge.counted("turned_away", 1), 1);
    drop(clients);
    let stats = edge.gateway().stats();
    wait_until("the address is free again", || stats.snapshot()[0].gauges.connections == 0);
    edge.client();
}

#[test]
fn too_many_connections_in_total_get_503() {
    let edge = Edge::with(1, |config| config.limits.connections = 2);
    let _clients = [edge.client(), edge.client()];
    let request = "GET /connection/websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = crate::client::raw(edge.gateway().local_addr(), request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn publications_over_the_rate_get_111() {
    let edge = Edge::with(1, |config| config.limits.publish_rate = 5);
    let mut client = edge.client();
    let refused = (0..30).filter(|_| client.publish("a", "1").is_err_and(|error| error.code == 111)).count();
    assert!(refused >= 10, "{refused}");
    std::thread::sleep(Duration::from_millis(400));
    client.publish("a", "1").unwrap();
}

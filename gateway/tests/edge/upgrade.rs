//! Claim: the port speaks WebSocket on one path and tells everybody else what it expects.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use corecast_gateway::auth::OriginPolicy;

use crate::client::{Client, raw};
use crate::{Edge, PATIENCE};

fn request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

#[test]
fn a_plain_request_gets_426_and_the_address_of_the_demo_page() {
    let edge = Edge::with(1, |config| config.demo_page = Some("http://127.0.0.1:8001/".into()));
    let answer = raw(edge.gateway().local_addr(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Version: 13"), "{answer}");
    assert!(answer.contains("/connection/websocket") && answer.contains("http://127.0.0.1:8001/"), "{answer}");
}

#[test]
fn whoever_asks_and_ends_its_side_still_gets_the_answer() {
    let edge = Edge::start();
    let mut stream = TcpStream::connect(edge.gateway().local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let stats = edge.gateway().stats();
    crate::wait_until("it is gone", || stats.snapshot()[0].gauges.connections == 0);
}

#[test]
fn wrong_paths_foreign_pages_and_nonsense_are_refused() {
    let edge = Edge::with(1, |config| {
        config.auth.origins = OriginPolicy::new(&["https://good.example"], true).unwrap();
    });
    let address = edge.gateway().local_addr();
    let status = |text: &str| raw(address, text.as_bytes()).chars().skip(9).take(3).collect::<String>();
    assert_eq!(status(&request("/other", "")), "404");
    assert_eq!(status(&request("/connection/websocket", "Origin: https://evil.example\r\n")), "403");
    assert_eq!(status(&request("/connection/websocket", "Origin: null\r\n")), "403");
    assert_eq!(status("POST / HTTP/1.1\r\nHost: h\r\n\r\n"), "405");
    assert_eq!(status("nonsense\r\n\r\n"), "400");
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9_000))), "431");
    assert_eq!(edge.counted("upgrades_refused", 6), 6);
}

#[test]
fn frames_behind_the_request_in_the_same_segment_are_read() {
    let edge = Edge::start();
    let mut stream = TcpStream::connect(edge.gateway().local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = request("/connection/websocket", "").into_bytes();
    corecast_websocket::client_frame(
        corecast_websocket::Opcode::Text,
        br#"{"id":1,"connect":{}}"#,
        [1, 2, 3, 4],
        &mut bytes,
    );
    stream.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    while !answer.windows(9).any(|window| window == b"\"connect\"") {
        let mut buffer = [0; 1_024];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn the_query_chooses_protobuf_too() {
    let edge = Edge::start();
    let mut client = Client::open(edge.gateway().local_addr(), "?format=protobuf", None);
    assert_eq!(client.connect_with("").unwrap().ping, 25);
    client.subscribe("a");
    client.publish("a", "1").unwrap();
    client.read_to("a", 1);
}

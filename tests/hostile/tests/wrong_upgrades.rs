//! Claim: a request that is no proper WebSocket upgrade gets the HTTP status that says why, then the connection ends; nothing behind it
//! is looked at, and no request costs more than its length.

use std::net::SocketAddr;
use std::time::Duration;

use corecast_hostile::PATIENCE;
use corecast_hostile::client::{ACCEPT, CONNECT, KEY, PATH, upgrade_request};
use corecast_hostile::frame::{Frame, text};
use corecast_hostile::http::Response;
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;

/// Pieces that a request may come in; see `limits` of the handshake: 32 reads.
const PIECES: usize = 16;

#[test]
fn each_wrong_request_gets_its_status() {
    let stage = Stage::start("");
    let good = upgrade_request(PATH, "");
    let with = |line: &str| upgrade_request(PATH, line);
    let replaced = |what: &str, by: &str| {
        assert!(good.contains(what), "{what}");
        good.replacen(what, by, 1)
    };
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("plain request", "GET / HTTP/1.1\r\nHost: test\r\n\r\n".into(), &[426]),
        ("plain request for the endpoint", format!("GET {PATH} HTTP/1.1\r\nHost: test\r\n\r\n"), &[426]),
        ("version 12", replaced("Version: 13", "Version: 12"), &[426]),
        ("version 8", replaced("Version: 13", "Version: 8"), &[426]),
        ("version 013", replaced("Version: 13", "Version: 013"), &[426]),
        ("two versions in one line", replaced("Version: 13", "Version: 13, 8"), &[426]),
        ("no version", replaced("Sec-WebSocket-Version: 13\r\n", ""), &[400, 426]),
        ("two version lines", with("Sec-WebSocket-Version: 13\r\n"), &[400]),
        ("two keys", with(&format!("Sec-WebSocket-Key: {KEY}\r\n")), &[400]),
        ("no key", replaced(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""), &[400]),
        ("short key", replaced(KEY, "dGhlIHNhbXBsZSBub25j"), &[400]),
        ("long key", replaced(KEY, "dGhlIHNhbXBsZSBub25jZSE="), &[400]),
        ("key that is not base64", replaced(KEY, "dGhlIHNhbXBsZSBub25jZ!=="), &[400]),
        ("empty key", replaced(KEY, ""), &[400]),
        ("two hosts", with("Host: other\r\n"), &[400]),
        ("no host", replaced("Host: test\r\n", ""), &[400]),
        ("empty host", replaced("Host: test", "Host:"), &[400]),
        ("host with a path", replaced("Host: test", "Host: test/x"), &[400]),
        ("no connection line", replaced("Connection: Upgrade\r\n", ""), &[400]),
        ("connection without upgrade", replaced("Connection: Upgrade", "Connection: keep-alive"), &[400]),
        ("upgrade to something else", replaced("Upgrade: websocket", "Upgrade: h2c"), &[426]),
        ("body with a length", with("Content-Length: 5\r\n"), &[400]),
        ("chunked body", with("Transfer-Encoding: chunked\r\n"), &[400]),
        ("body in two ways", with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), &[400]),
        ("POST", replaced("GET", "POST"), &[405]),
        ("CONNECT", "CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n".into(), &[400, 405]),
        ("HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0"), &[505]),
        ("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 405, 505]),
        ("other path", upgrade_request("/", ""), &[404]),
        ("path with a slash behind", upgrade_request(&format!("{PATH}/"), ""), &[404]),
        ("path with a slash before", upgrade_request(&format!("/{PATH}"), ""), &[404]),
        ("path in other words", upgrade_request("/connection/../connection/websocket", ""), &[404]),
        ("path with an escape", upgrade_request("/connection/%77ebsocket", ""), &[404]),
        ("target with a fragment", upgrade_request(&format!("{PATH}#x"), ""), &[400]),
        ("target that is a star", upgrade_request("*", ""), &[400]),
        ("bare line feeds", good.replace("\r\n", "\n"), &[400]),
        ("one bare line feed", replaced("Host: test\r\n", "Host: test\n"), &[400]),
        ("bare carriage return", replaced("Host: test\r\n", "Host: te\rst\r\n"), &[400]),
        ("folded line", replaced("Host: test\r\n", "Host: test\r\n folded\r\n"), &[400]),
        ("space before the colon", replaced("Host: test", "Host : test"), &[400]),
        ("no colon", with("nonsense\r\n"), &[400]),
        ("empty name", with(": nonsense\r\n"), &[400]),
        ("zero byte in a value", with("X: a\0b\r\n"), &[400]),
        ("space in a name", with("X Y: a\r\n"), &[400]),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".into(), &[400]),
        ("empty line first, then nothing of HTTP", "\r\n\r\n\r\n".into(), &[400]),
    ];
    for (name, request, statuses) in &cases {
        for pieces in [1, PIECES] {
            let response = refused(stage.websocket(), request.as_bytes(), pieces, name);
            assert!(statuses.contains(&response.status), "{name} in {pieces} pieces: {response:?}");
            assert!(!response.head.contains("sec-websocket-accept"), "{name}: {response:?}");
        }
    }
    stage.finish();
}

#[test]
fn a_plain_request_learns_what_is_expected_here() {
    let stage = Stage::start("");
    let response = refused(stage.websocket(), b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 1, "plain request");
    assert_eq!((response.status, response.header("upgrade")), (426, Some("websocket")), "{response:?}");
    assert!(response.body.contains(PATH), "the endpoint: {response:?}");
    assert!(response.body.contains(&stage.admin().port().to_string()), "the demo page: {response:?}");

    let old = upgrade_request(PATH, "").replace("Version: 13", "Version: 8");
    let response = refused(stage.websocket(), old.as_bytes(), 1, "old version");
    assert_eq!((response.status, response.header("sec-websocket-version")), (426, Some("13")), "{response:?}");
    stage.finish();
}

#[test]
fn limits_on_the_head_are_exact() {
    const HEADERS_MAX: usize = 64;
    const HEAD_BYTES_MAX: usize = 8 * 1024;
    let stage = Stage::start("");
    let lines_of_a_request = upgrade_request(PATH, "").lines().filter(|line| line.contains(": ")).count();
    let with_headers = |count: usize| upgrade_request(PATH, &"X: y\r\n".repeat(count - lines_of_a_request));
    let with_bytes = |count: usize| {
        let line = "x".repeat(count - upgrade_request(PATH, "X: \r\n").len());
        upgrade_request(PATH, &format!("X: {line}\r\n"))
    };
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(bytes)).into_bytes();
    let cases = [
        ("63 headers", with_headers(HEADERS_MAX - 1).into_bytes(), 101),
        ("64 headers", with_headers(HEADERS_MAX).into_bytes(), 101),
        ("65 headers", with_headers(HEADERS_MAX + 1).into_bytes(), 431),
        ("1,000 headers", with_headers(1_000).into_bytes(), 431),
        ("8,192 bytes", with_bytes(HEAD_BYTES_MAX).into_bytes(), 101),
        ("8,193 bytes", with_bytes(HEAD_BYTES_MAX + 1).into_bytes(), 431),
        ("8,193 bytes without an end", line(HEAD_BYTES_MAX + 1), 431),
        ("a line of a megabyte", line(1 << 20), 431),
        ("a megabyte of anything", vec![b'x'; 1 << 20], 431),
    ];
    for (name, request, status) in &cases {
        for pieces in [1, PIECES] {
            let mut socket = Socket::connect(stage.websocket()).expect("connect");
            socket.dribble(request, request.len().div_ceil(pieces));
            let response = Response::read(&mut socket, PATIENCE).unwrap_or_else(|| panic!("{name}: no answer"));
            assert_eq!(response.status, *status, "{name} in {pieces} pieces: {response:?}");
        }
    }
    stage.finish();
}

#[test]
fn a_proper_request_is_accepted_with_the_right_proof_and_frames_right_behind_it_count() {
    let stage = Stage::start("");
    for pieces in [1, 2, PIECES] {
        let bytes = [upgrade_request(PATH, "").into_bytes(), text(CONNECT)].concat();
        let mut socket = Socket::connect(stage.websocket()).expect("connect");
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            socket.send(piece).expect("send");
        }
        let response = Response::read(&mut socket, PATIENCE).expect("an answer");
        assert_eq!(response.status, 101, "{response:?}");
        assert!(response.head.contains(&ACCEPT.to_ascii_lowercase()), "{response:?}");
        let reply = socket.wait("a reply to connect", PATIENCE, Frame::take).expect("a frame");
        assert!(String::from_utf8_lossy(&reply.payload).contains(r#""connect":{"#), "{reply:?}");
    }
    stage.finish();
}

#[test]
fn refused_requests_are_cheap() {
    /// The aim is 100 µs; the CPU clock of the test counts the kernel's work for two connections as well, and is coarse.
    const CPU_EACH_MAX: Duration = Duration::from_millis(1);
    const REQUESTS: u32 = 1_000;
    let stage = Stage::start("");
    let longest = format!("GET {PATH} HTTP/1.1\r\n{}", "X: y\r\n".repeat(2_000));
    let before = stage.process().cpu();
    for _ in 0..REQUESTS {
        let response = refused(stage.websocket(), longest.as_bytes(), 1, "many short headers");
        assert_eq!(response.status, 431, "{response:?}");
    }
    let each = (stage.process().cpu() - before) / REQUESTS;
    println!("{each:?} of CPU for a refused request of {} bytes, the control client's share included", longest.len());
    assert!(each < CPU_EACH_MAX, "{each:?} of CPU for a refused request");
    stage.finish();
}

/// Sends a request with a command behind it; the one answer, after which the connection must end.
fn refused(address: SocketAddr, request: &[u8], pieces: usize, name: &str) -> Response {
    let mut socket = Socket::connect(address).expect("connect");
    let bytes = [request, &text(CONNECT)].concat();
    socket.dribble(&bytes, bytes.len().div_ceil(pieces));
    let response = Response::read(&mut socket, PATIENCE).unwrap_or_else(|| panic!("{name}: no answer"));
    socket.finish();
    socket.wait_for_end(&format!("{name}: the connection ends after {response:?}"), PATIENCE);
    assert!(socket.input.is_empty(), "{name}: more than the answer: {:?}", String::from_utf8_lossy(&socket.input));
    response
}

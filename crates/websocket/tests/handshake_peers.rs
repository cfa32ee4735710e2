//! Both sides of the handshake against tungstenite and against each other.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use corecast_websocket::handshake::{
    ClientHandshake, ClientProgress, HandshakeFailure, HandshakeLimits, Progress, RequestParser, Status, accept, refuse,
};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::server::NoCallback;

/// One end of a connection without a network: what was written stays until the test takes it.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.outgoing.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn client(protocols: &[&str]) -> ClientHandshake {
    ClientHandshake::new("chat.example", "/ws?x=1", protocols, &[("Authorization", "Bearer t")], [7; 16])
        .expect("parts that HTTP can carry")
}

fn answered(mut client: ClientHandshake, answer: &[u8], size: usize) -> Result<ClientProgress, HandshakeFailure> {
    for chunk in answer.chunks(size) {
        match client.feed(chunk)? {
            ClientProgress::Incomplete => {}
            complete => return Ok(complete),
        }
    }
    Ok(ClientProgress::Incomplete)
}

#[test]
fn tungstenite_as_client() {
    let mut request = "ws://chat.example:8000/connection/websocket?a=b".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "centrifuge-json".parse().unwrap());
    let Err(HandshakeError::Interrupted(mut waiting)) = tungstenite::client(request, Wire::default()) else {
        panic!("the client waits for an answer");
    };
    let sent = waiting.get_ref().get_ref().outgoing.clone();
    let mut parser = RequestParser::new(HandshakeLimits::default());
    let Progress::Complete { request, consumed } = parser.feed(&sent).unwrap() else {
        panic!("the request is complete");
    };
    assert_eq!(consumed, sent.len());
    assert_eq!((request.path(), request.host()), ("/connection/websocket", "chat.example:8000"));
    assert_eq!(request.query("a").as_deref(), Some("b"));
    let answer = accept(&request, request.choose_protocol(&["centrifuge-json"]));
    waiting.get_mut().get_mut().incoming.extend(answer);
    let (_, response) = waiting.handshake().expect("tungstenite accepts the answer");
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "centrifuge-json");
}

#[test]
fn tungstenite_as_server() {
    let client = client(&[]);
    let wire = Wire { incoming: client.request().to_vec().into(), outgoing: vec![] };
    let socket = tungstenite::accept(wire)
        .map_err(|error: HandshakeError<tungstenite::ServerHandshake<_, NoCallback>>| error.to_string());
    let answer = [&socket.expect("tungstenite accepts the request").get_ref().outgoing[..], b"\x81\x02hi"].concat();
    let mut client = client;
    let Ok(ClientProgress::Complete { protocol: None, consumed }) = client.feed(&answer) else {
        panic!("the connection is open");
    };
    assert_eq!(&answer[consumed..], b"\x81\x02hi");
}

#[test]
fn our_client_and_our_server() {
    for supported in [&[][..], &["b"], &["c", "b"]] {
        let client = client(&["a", "b"]);
        let mut parser = RequestParser::new(HandshakeLimits::default());
        let Progress::Complete { request, .. } = parser.feed(client.request()).unwrap() else {
            panic!("the request is complete");
        };
        assert_eq!(request.header("authorization"), Some("Bearer t"));
        assert_eq!(request.query("x").as_deref(), Some("1"));
        let chosen = request.choose_protocol(supported);
        let answer = accept(&request, chosen);
        for size in [1, 10, answer.len()] {
            let client = crate::client(&["a", "b"]);
            let Ok(ClientProgress::Complete { protocol, .. }) = answered(client, &answer, size) else {
                panic!("the connection is open");
            };
            assert_eq!(protocol.as_deref(), chosen);
        }
    }
}

#[test]
fn client_refuses_a_wrong_answer() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: X\r\n";
    // The accept value of the nonce that `client` uses, as tungstenite computes it.
    let value = tungstenite::handshake::derive_accept_key(b"BwcHBwcHBwcHBwcHBwcHBw==");
    let good = good.replace('X', &value);
    let open = |answer: &str| answered(client(&["a"]), format!("{answer}\r\n").as_bytes(), 50);
    assert!(matches!(open(&good), Ok(ClientProgress::Complete { protocol: None, .. })));
    let wrong = |part| Err(HandshakeFailure::BadAnswer(part));
    assert_eq!(open(&good.replace("Upgrade: websocket", "Upgrade: h2c")), wrong("Upgrade"));
    assert_eq!(open(&good.replace("Connection: Upgrade", "Connection: close")), wrong("Connection"));
    assert_eq!(open(&good.replace(&value, "x")), wrong("Sec-WebSocket-Accept"));
    assert_eq!(open(&good.replace("Sec-WebSocket-Accept", "X")), wrong("Sec-WebSocket-Accept"));
    assert_eq!(open(&format!("{good}Sec-WebSocket-Accept: {value}\r\n")), wrong("Sec-WebSocket-Accept"));
    assert_eq!(open(&format!("{good}Sec-WebSocket-Protocol: b\r\n")), wrong("Sec-WebSocket-Protocol"));
    let twice = format!("{good}Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n");
    assert_eq!(open(&twice), wrong("Sec-WebSocket-Protocol"));
    let deflate = format!("{good}Sec-WebSocket-Extensions: permessage-deflate\r\n");
    assert_eq!(open(&deflate), wrong("Sec-WebSocket-Extensions"));
    assert_eq!(open("HTTP/1.1\r\n"), Err(HandshakeFailure::Malformed));
    assert_eq!(open(&"x".repeat(10_000)), Err(HandshakeFailure::Malformed));
}

#[test]
fn client_reports_a_refusal() {
    let answer = refuse(Status::Forbidden, "no");
    for size in [1, answer.len()] {
        assert_eq!(
            answered(client(&[]), &answer, size),
            Err(HandshakeFailure::Refused { status: 403, reason: "Forbidden".into() })
        );
    }
}

#[test]
fn client_sends_nothing_that_breaks_http() {
    let new = |host, path, protocol, header: (&str, &str)| {
        ClientHandshake::new(host, path, &[protocol], &[header], [0; 16]).map(|_| ()).map_err(|error| error.to_string())
    };
    let bad = |part: &str| Err(format!("{part} cannot be sent in an HTTP request"));
    assert_eq!(new("a", "/", "p", ("X", "a b")), Ok(()));
    assert_eq!(new("a\r\n", "/", "p", ("X", "y")), bad("host"));
    assert_eq!(new("", "/", "p", ("X", "y")), bad("host"));
    assert_eq!(new("a", "x", "p", ("X", "y")), bad("path"));
    assert_eq!(new("a", "/ x", "p", ("X", "y")), bad("path"));
    assert_eq!(new("a", "/", "p,q", ("X", "y")), bad("subprotocol"));
    assert_eq!(new("a", "/", "p", ("X:", "y")), bad("header"));
    assert_eq!(new("a", "/", "p", ("X", "y\r\nZ: 1")), bad("header"));
}

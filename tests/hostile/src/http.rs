//! HTTP answers, read strictly: what is counted is what was sent.

use std::net::SocketAddr;
use std::time::Duration;

use corecast_faults::cluster::API_KEY;
use serde_json::Value;

use crate::PATIENCE;
use crate::socket::Socket;

/// An answer with its body.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Status line and header lines, in lower case.
    pub head: String,
    /// As long as `Content-Length` says.
    pub body: String,
}

impl Response {
    /// Reads one answer; `None` if the connection ends without one.
    ///
    /// # Panics
    /// When what comes is not HTTP, or nothing comes within `limit`.
    pub fn read(socket: &mut Socket, limit: Duration) -> Option<Self> {
        socket.wait("an HTTP answer", limit, |input| {
            let end = input.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            let head = String::from_utf8(input[..end].to_vec()).expect("a head in ASCII").to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 "), "{head}");
            let length = value_of(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
            let body = String::from_utf8_lossy(input.get(end..end + length)?).into_owned();
            input.drain(..end + length);
            Some(Self { status: head[9..12].parse().expect("a status"), head, body })
        })
    }

    /// The value of a header; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.head, name)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn value_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// `GET path` on a connection of its own.
///
/// # Panics
/// When no answer comes.
pub fn get(address: SocketAddr, path: &str) -> Response {
    let mut socket = Socket::connect(address).expect("connect");
    socket.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes()).expect("send");
    Response::read(&mut socket, PATIENCE).expect("an answer")
}

/// The request of a call of the server API with the right key.
pub fn call(method: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /api/{method} HTTP/1.1\r\nHost: test\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Calls a method of the server API on a connection of its own.
///
/// # Panics
/// When no answer comes.
pub fn post(address: SocketAddr, method: &str, body: &str) -> Response {
    let mut socket = Socket::connect(address).expect("connect");
    socket.send(&call(method, body)).expect("send");
    Response::read(&mut socket, PATIENCE).expect("an answer")
}

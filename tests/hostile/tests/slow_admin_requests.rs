//! Claim: requests to the admin port that never end, and answers that nobody reads, are given up, and then others are served again; the
//! data plane does not notice.

use std::thread;
use std::time::{Duration, Instant};

use corecast_faults::cluster::API_KEY;
use corecast_hostile::http::{self, Response, call, post};
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;
use corecast_hostile::{PATIENCE, eventually};
use serde_json::json;

const CONNECTIONS: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(1);
const CONFIG: &str = "[admin]\nconnections = 20\ntimeout = \"1s\"\nwrite_timeout = \"1s\"\n";
/// Resolution of timers, and what a busy machine may add.
const LATE_MAX: Duration = Duration::from_secs(2);

#[test]
fn heads_and_bodies_that_do_not_end_are_given_up() {
    let stage = Stage::start(CONFIG);
    let head = format!("POST /api/publish HTTP/1.1\r\nHost: test\r\nX-API-Key: {API_KEY}\r\nContent-Length: 1000\r\n");
    for (name, start) in [
        ("nothing", String::new()),
        ("half a head", head.clone()),
        ("half a body", format!("{head}\r\n{{\"channel\":")),
        ("a body without the key", head.replace(API_KEY, "wrong") + "\r\n{"),
        (
            "chunks",
            format!("{}Transfer-Encoding: chunked\r\n\r\n5\r\n{{", head.replace("Content-Length: 1000\r\n", "")),
        ),
    ] {
        let begin = Instant::now();
        // As many as are served at a time, then one more that has to wait for them.
        let mut attackers: Vec<Socket> = (0..CONNECTIONS)
            .map(|_| {
                let mut socket = Socket::connect(stage.admin()).expect("connect");
                socket.send(start.as_bytes()).expect("send");
                socket
            })
            .collect();
        let answer = post(stage.admin(), "publish", r#"{"channel":"a","data":1}"#);
        assert_eq!(answer.status, 200, "{answer:?}");
        for socket in &mut attackers {
            socket.wait_for_end(&format!("{name}: the connection ends"), TIMEOUT + LATE_MAX);
            if !socket.input.is_empty() {
                let response = Response::read(socket, PATIENCE).expect("a whole answer");
                assert!([400, 401, 408].contains(&response.status), "{name}: {response:?}");
            }
        }
        println!("{name}: given up after {:?}", begin.elapsed());
    }
    stage.finish();
}

#[test]
fn bodies_that_drip_are_given_up() {
    let stage = Stage::start(CONFIG);
    let mut socket = Socket::connect(stage.admin()).expect("connect");
    let request = call("publish", &json!({"channel": "a", "data": "x".repeat(1_000)}).to_string());
    let begin = Instant::now();
    for byte in request.chunks(50) {
        if socket.has_ended() || socket.send(byte).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
        assert!(begin.elapsed() < TIMEOUT + LATE_MAX, "a request of {:?} and no end", begin.elapsed());
    }
    socket.wait_for_end("a request that drips is given up", LATE_MAX);
    let history = post(stage.admin(), "history", r#"{"channel":"a","limit":10}"#).json();
    assert_eq!(history["result"]["publications"], json!([]), "{history}");
    stage.finish();
}

#[test]
fn connections_without_requests_make_room() {
    let stage = Stage::start(CONFIG);
    let idle: Vec<Socket> = (0..CONNECTIONS)
        .map(|_| {
            let mut socket = Socket::connect(stage.admin()).expect("connect");
            socket.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("send");
            assert_eq!(Response::read(&mut socket, PATIENCE).map(|response| response.status), Some(200));
            socket
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(http::get(stage.admin(), "/healthz").status, 200);
    println!("served {:?} after {CONNECTIONS} connections went idle", begin.elapsed());
    drop(idle);
    stage.finish();
}

#[test]
fn answers_that_nobody_reads_make_room() {
    let stage = Stage::start(CONFIG);
    let descriptors = stage.process().descriptors();
    let asks = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1_000);
    let attackers: Vec<Socket> = (0..CONNECTIONS)
        .map(|_| {
            let mut socket = Socket::connect_with_receive_buffer(stage.admin(), 4096).expect("connect");
            let _ = socket.send_some(&asks);
            socket
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(http::get(stage.admin(), "/healthz").status, 200);
    println!("served {:?} after {CONNECTIONS} connections stopped reading", begin.elapsed());
    let process = stage.process();
    // Nothing of them is kept, although all of them are still there.
    eventually("as many descriptors as before", PATIENCE, || process.descriptors() <= descriptors + 1);
    drop(attackers);
    stage.finish();
}

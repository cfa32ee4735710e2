//! Claim: a client that floods the gateway with frames is closed for it (1008 before `connect`, 3013 after), holds at most one pong in
//! its queue, and slows nobody down.

use std::time::{Duration, Instant};

use corecast_hostile::client::Client;
use corecast_hostile::frame::{CONTINUATION, FIN, PING, PONG, TEXT, masked, text};
use corecast_hostile::http;
use corecast_hostile::process::Process;
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::{STEADY, Stage};
use corecast_hostile::{PATIENCE, eventually};
use serde_json::json;

const POLICY: u16 = 1008;
const TOO_MANY: u16 = 3013;
/// Longer than any flood may last: the budget is two seconds' worth at once.
const FLOOD_MAX: Duration = Duration::from_secs(20);
/// Memory that a flood may cost the process at most.
const GROWTH_MAX: i64 = 4 << 20;

#[test]
fn floods_of_frames_end_the_connection() {
    let stage = Stage::start(STEADY);
    let floods = [
        ("pings", Vec::new(), masked(FIN | PING, b"")),
        ("long pings", Vec::new(), masked(FIN | PING, &[b'x'; 125])),
        ("pongs", Vec::new(), masked(FIN | PONG, b"")),
        ("empty fragments", masked(TEXT, b"{"), masked(CONTINUATION, b"")),
        ("fragments of a byte", masked(TEXT, b"{"), masked(CONTINUATION, b" ")),
        ("pings within a message", masked(TEXT, b"{"), masked(FIN | PING, b"x")),
    ];
    stage.warm_up();
    let before = stage.process().resident();
    for (name, opening, frame) in &floods {
        for (start, code) in [(Client::greeted as fn(_) -> _, POLICY), (Client::live, TOO_MANY)] {
            assert_eq!(flood(start(stage.websocket()), opening, frame), Some(code), "{name}");
        }
    }
    let grown = stage.process().resident() - before;
    assert!(grown < GROWTH_MAX, "{grown} bytes more after the floods");
    stage.finish();
}

#[test]
fn a_flood_of_small_commands_ends_the_connection() {
    let stage = Stage::start("");
    let command = r#"{"id":7,"unsubscribe":{"channel":"a"}}"#;
    assert_eq!(flood(Client::live(stage.websocket()), &[], &text(command)), Some(TOO_MANY));
    stage.finish();
}

#[test]
fn who_asks_without_reading_the_answers_is_cut() {
    let stage = Stage::start("[ring]\nsend_buffer = \"16KiB\"\n");
    let process = stage.process();
    let before = process.resident();
    let socket = Socket::connect_with_receive_buffer(stage.websocket(), 4096).expect("connect");
    let mut client = Client::upgrade(socket, "").connected();
    for number in 0..20 {
        let data = format!("{number}{}", "x".repeat(8_000));
        client.ask(&format!(r#"{{"id":2,"publish":{{"channel":"long","data":"{data}"}}}}"#));
    }
    // Each small command asks for 160 KB.
    let ask = text(r#"{"id":3,"history":{"channel":"long","limit":20}}"#).repeat(100);
    let begin = Instant::now();
    let mut most = 0;
    while begin.elapsed() < FLOOD_MAX && client.socket.send_some(&ask).is_ok() && process_has(process, &stage, 2) {
        most = most.max(process.resident() - before);
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("{most} bytes for a client that asks and does not read, cut after {:?}", begin.elapsed());
    assert!(most < 8 * GROWTH_MAX, "{most} bytes for one client");
    let websocket = stage.websocket();
    eventually("the client that does not read is gone", FLOOD_MAX, || process.connections(websocket) == 1);
    stage.finish();
}

#[test]
fn at_most_one_pong_waits_for_a_client_that_does_not_read() {
    const PINGS: usize = 100;
    const PUBLICATIONS: usize = 12;
    let stage = Stage::start("[ring]\nsend_buffer = \"4KiB\"\n");
    let socket = Socket::connect_with_receive_buffer(stage.websocket(), 4096).expect("connect");
    let mut client = Client::upgrade(socket, "").connected();
    client.ask(r#"{"id":2,"subscribe":{"channel":"stuffed"}}"#);
    // Fills the socket's buffers and leaves something in the outbox, below the limit at which the chat would be cut.
    for _ in 0..PUBLICATIONS {
        let data = "x".repeat(4_000);
        let answer = http::post(stage.admin(), "publish", &json!({"channel": "stuffed", "data": data}).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for number in 0..PINGS {
        client.send(&masked(FIN | PING, number.to_string().as_bytes()));
        std::thread::sleep(Duration::from_millis(1));
    }
    // A round trip of another client of the same core: the pings have been looked at.
    drop(Client::live(stage.websocket()));
    let (mut pongs, mut publications) = (0, 0);
    while publications < PUBLICATIONS {
        let frame = client.frame(PATIENCE).expect("the connection is still there");
        pongs += usize::from(frame.opcode() == PONG);
        publications += frame.payload.windows(5).filter(|five| five == b"\"pub\"").count();
    }
    client.send(&masked(FIN | PING, b"last"));
    loop {
        let frame = client.frame(PATIENCE).expect("the connection is still there");
        if frame.payload == b"last" {
            break;
        }
        pongs += usize::from(frame.opcode() == PONG);
    }
    println!("{PINGS} pings to a blocked connection: {pongs} pongs had waited");
    assert!(pongs <= 1, "{pongs} pongs waited for a client that did not read");
    stage.finish();
}

/// Sends `frame` over and over until the server closes; the close code, if there was one.
fn flood(mut client: Client, opening: &[u8], frame: &[u8]) -> Option<u16> {
    client.send(opening);
    let batch = frame.repeat(64 * 1024 / frame.len());
    let begin = Instant::now();
    let mut sent = 0;
    let code = loop {
        assert!(begin.elapsed() < FLOOD_MAX, "{sent} bytes of a flood, and nothing happens");
        let flooding = client.socket.send_some(&batch[sent % batch.len()..]);
        if let Some(code) = client.close_code() {
            break Some(code);
        }
        match flooding {
            Ok(count) => sent += count,
            Err(_) => break client.outcome(PATIENCE).code(),
        }
    };
    println!("closed after {sent} bytes of a flood in {:?}", begin.elapsed());
    code
}

fn process_has(process: Process, stage: &Stage, connections: usize) -> bool {
    process.connections(stage.websocket()) == connections
}

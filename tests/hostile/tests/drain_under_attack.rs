//! Claim: nobody can keep a process from stopping: with dripping upgrades, readers that do not read, peers that do not close and hanging
//! API requests it drains within its window and exits 0.

use std::time::{Duration, Instant};

use corecast_faults::block_on;
use corecast_faults::cluster::Cluster;
use corecast_hostile::client::{Client, PATH, upgrade_request};
use corecast_hostile::frame::text;
use corecast_hostile::http;
use corecast_hostile::socket::Socket;
use serde_json::json;

const EACH: usize = 30;
const CONFIG: &str = "[node]\ndrain_window = \"1s\"\n[timing]\nclose = \"1s\"\nhandshake = \"60s\"\nconnect = \"60s\"\n\
                      [admin]\ntimeout = \"60s\"\n[ring]\nsend_buffer = \"4KiB\"\n";
/// Drain window, last close handshakes, and what a busy machine may add.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn attackers_cannot_hold_a_stopping_process() {
    let mut cluster = block_on(Cluster::standalone(CONFIG, 1));
    let node = &mut cluster.gateways[0];
    let (websocket, admin) = (node.listen, node.admin);
    let request = upgrade_request(PATH, "");
    let mut attackers = Vec::new();
    let mut talker = Client::live(websocket);
    for _ in 0..EACH {
        let mut dripping = Socket::connect(websocket).expect("connect");
        dripping.send(&request.as_bytes()[..40]).expect("send");
        let mut asking = Socket::connect(admin).expect("connect");
        asking.send(&http::call("publish", "{}").as_slice()[..60]).expect("send");
        let silent = Client::greeted(websocket).socket;
        let live = Client::live(websocket).socket;
        let reader = Socket::connect_with_receive_buffer(websocket, 4096).expect("connect");
        let mut reader = Client::upgrade(reader, "").connected();
        reader.ask(r#"{"id":2,"subscribe":{"channel":"stuffed"}}"#);
        attackers.extend([dripping, asking, silent, live, reader.socket]);
    }
    for _ in 0..12 {
        let data = "x".repeat(4_000);
        let answer = http::post(admin, "publish", &json!({"channel": "stuffed", "data": data}).to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let begin = Instant::now();
    node.signal("TERM");
    // One that goes on talking as if nothing had happened.
    while begin.elapsed() < Duration::from_millis(1_500) {
        talker.send(&text(r#"{"id":3,"publish":{"channel":"a","data":1}}"#));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(block_on(node.exited(STOPPED_WITHIN)), Some(0), "the exit code of a drain");
    println!("stopped after {:?} with {} attackers", begin.elapsed(), attackers.len());
    assert!(!node.log_text().contains("panicked"), "{}", node.log_end());
}

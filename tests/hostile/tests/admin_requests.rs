//! Claim: wrong requests to the server API are answered with the right status or error code and change nothing; the process stays well.

use corecast_faults::cluster::API_KEY;
use corecast_hostile::PATIENCE;
use corecast_hostile::client::Client;
use corecast_hostile::http::{self, Response, call, post};
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;
use serde_json::json;

const CONFIG: &str = "[admin]\nbody_max = \"64KiB\"\nbroadcast_max = 10\ntimeout = \"2s\"\n[limits]\nmessage = \"16KiB\"\nfirst_frame = \"8KiB\"\n";

#[test]
fn wrong_parameters_get_the_right_error_code() {
    let stage = Stage::start(CONFIG);
    let long = "x".repeat(256);
    let large = "x".repeat(16 * 1024);
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        ("publish", json!({}).to_string(), 107),
        ("publish", json!({"channel": "a"}).to_string(), 107),
        ("publish", json!({"channel": "", "data": 1}).to_string(), 107),
        ("publish", json!({"data": 1}).to_string(), 107),
        ("publish", json!({"channel": long, "data": 1}).to_string(), 106),
        ("publish", json!({"channel": "a", "data": large}).to_string(), 106),
        ("publish", json!({"channel": "a", "b64data": "*"}).to_string(), 107),
        ("publish", json!({"channel": "a", "b64data": "e30"}).to_string(), 107),
        ("publish", json!({"channel": "a", "b64data": "e30=\n"}).to_string(), 107),
        // "hello", a lone brace, two values, a byte order mark, text that is not UTF-8: no JSON for JSON members.
        ("publish", json!({"channel": "a", "b64data": "aGVsbG8="}).to_string(), 107),
        ("publish", json!({"channel": "a", "b64data": "ew=="}).to_string(), 107),
        ("publish", json!({"channel": "a", "b64data": "MSAy"}).to_string(), 107),
        ("publish", json!({"channel": "a", "b64data": "77u/e30="}).to_string(), 107),
        ("publish", json!({"channel": "a", "b64data": "Iv8i"}).to_string(), 107),
        ("publish", format!(r#"{{"channel":"a","data":{}}}"#, deep(101)), 107),
        ("publish", format!(r#"{{"channel":"a","data":{}}}"#, deep(5_000)), 107),
        ("publish", json!({"channel": "a", "data": 1, "idempotency_key": "k".repeat(256)}).to_string(), 107),
        ("publish", json!({"channel": "a", "data": 1, "skip_history": true}).to_string(), 108),
        ("publish", json!({"channel": "a", "data": 1, "tags": {"a": "b"}}).to_string(), 108),
        ("broadcast", json!({"channels": [], "data": 1}).to_string(), 107),
        ("broadcast", json!({"channels": vec!["a"; 11], "data": 1}).to_string(), 107),
        ("broadcast", json!({"channels": ["a"]}).to_string(), 107),
        ("history", json!({}).to_string(), 107),
        ("history", json!({"channel": long}).to_string(), 106),
        ("history", json!({"channel": "a", "limit": 1, "since": {"offset": 1, "epoch": "nobody's"}}).to_string(), 112),
        ("presence_stats", json!({}).to_string(), 107),
        ("disconnect", json!({}).to_string(), 107),
        ("disconnect", json!({"user": "a", "disconnect": {"code": 1000, "reason": "x"}}).to_string(), 107),
        ("disconnect", json!({"user": "a", "disconnect": {"code": 70000, "reason": "x"}}).to_string(), 107),
        ("disconnect", json!({"user": "a", "disconnect": {"code": 3000, "reason": "x".repeat(124)}}).to_string(), 107),
        ("disconnect", json!({"user": "a", "disconnect": {"code": 3000, "reason": "503"}}).to_string(), 107),
        ("subscribe", json!({"channel": "a", "user": "b"}).to_string(), 108),
        ("rpc", json!({"method": "x"}).to_string(), 108),
    ];
    for (method, body, code) in &cases {
        let response = post(stage.admin(), method, body);
        assert_eq!(response.status, 200, "{method} {}: {response:?}", &body[..body.len().min(80)]);
        let answer = response.json();
        assert_eq!(answer["error"]["code"], json!(code), "{method} {}: {answer}", &body[..body.len().min(80)]);
    }
    nothing_was_published(&stage);
    stage.finish();
}

#[test]
fn bodies_that_are_no_parameters_get_a_status() {
    let stage = Stage::start(CONFIG);
    let open = "[".repeat(60_000);
    for (method, body) in [
        ("publish", "{"),
        ("publish", "[]"),
        ("publish", "null"),
        ("publish", "1"),
        ("publish", "hello"),
        ("publish", "{} {}"),
        ("publish", r#"{"channel":5,"data":1}"#),
        ("publish", r#"{"channel":["a"],"data":1}"#),
        ("publish", r#"{"channel":null,"data":1}"#),
        ("publish", r#"{"channel":"a","data":}"#),
        ("publish", r#"{"channel":"a","data":hello}"#),
        ("publish", r#"{"channel":"a","data":'x'}"#),
        ("publish", r#"{"channel":"a","channel":"b","data":1}"#),
        ("publish", r#"{"channel":"\ud800","data":1}"#),
        ("publish", r#"{"channel":"a","data":1,"idempotency_key":5}"#),
        ("broadcast", r#"{"channels":"a","data":1}"#),
        ("broadcast", r#"{"channels":[1],"data":1}"#),
        ("history", r#"{"channel":"a","limit":"many"}"#),
        ("history", r#"{"channel":"a","limit":99999999999999999999}"#),
        ("history", r#"{"channel":"a","since":5}"#),
        ("history", r#"{"channel":"a","since":{"offset":-1}}"#),
        ("history", r#"{"channel":"a","since":[1,"e"]}"#),
        ("disconnect", r#"{"user":"a","disconnect":[3000,"x"]}"#),
        ("batch", "[]"),
        ("batch", r#"{"commands":5}"#),
        ("publish", open.as_str()),
    ] {
        let response = post(stage.admin(), method, body);
        assert_eq!(response.status, 400, "{method} {}: {response:?}", &body[..body.len().min(80)]);
    }
    let list = format!("POST /api HTTP/1.1\r\nHost: test\r\nX-API-Key: {API_KEY}\r\nContent-Length: 2\r\n\r\n[]");
    assert_eq!(raw(&stage, list.as_bytes()).status, 400, "a list in place of a command");
    let not_text = [call("publish", "{\"channel\":\"a\",\"data\":\"??\"}").as_slice(), &[]].concat();
    let not_text: Vec<u8> = not_text.iter().map(|byte| if *byte == b'?' { 0xff } else { *byte }).collect();
    assert_eq!(raw(&stage, &not_text).status, 400, "a body that is not UTF-8");

    let huge = json!({"channel": "a", "data": "x".repeat(100_000)}).to_string();
    assert_eq!(post(stage.admin(), "publish", &huge).status, 413);
    for method in ["nonsense", "Publish", "publish%00", "../api/publish"] {
        let status = post(stage.admin(), method, "{}").status;
        assert_eq!(status, 404, "{method}");
    }
    nothing_was_published(&stage);
    stage.finish();
}

#[test]
fn without_the_key_nothing_happens() {
    let stage = Stage::start(CONFIG);
    let body = r#"{"channel":"a","data":1}"#;
    let request = |path: &str, key: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: test\r\n{key}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let almost = &API_KEY[..API_KEY.len() - 1];
    for (path, key) in [
        ("/api/publish", String::new()),
        ("/api/publish", "X-API-Key:\r\n".to_owned()),
        ("/api/publish", format!("X-API-Key: {almost}\r\n")),
        ("/api/publish", format!("X-API-Key: {API_KEY}x\r\n")),
        ("/api/publish", format!("X-API-Key: {}\r\n", API_KEY.to_uppercase())),
        ("/api/publish", format!("X-API-Key: {API_KEY}, {API_KEY}\r\n")),
        ("/api/publish", format!("Authorization: Bearer {API_KEY}\r\n")),
        ("/api/publish", format!("Authorization: {API_KEY}\r\n")),
        ("/api/publish", format!("Cookie: api_key={API_KEY}\r\n")),
        ("/api/publish?api_key=", String::new()),
        ("/api/publish?api_key=wrong", String::new()),
        ("/api", String::new()),
        ("/api/batch", String::new()),
        ("/api/nonsense", String::new()),
    ] {
        assert_eq!(raw(&stage, &request(path, &key)).status, 401, "{path} {key}");
    }
    // The first key counts, a second one does not.
    let two = request("/api/publish", &format!("X-API-Key: wrong\r\nX-API-Key: {API_KEY}\r\n"));
    assert_eq!(raw(&stage, &two).status, 401, "two keys");
    nothing_was_published(&stage);
    stage.finish();
}

#[test]
fn what_is_no_http_is_refused_and_cannot_smuggle_a_second_request() {
    let stage = Stage::start(CONFIG);
    let head = format!("POST /api/publish HTTP/1.1\r\nHost: test\r\nX-API-Key: {API_KEY}\r\n");
    let inner = String::from_utf8(call("publish", r#"{"channel":"a","data":1}"#)).expect("text");
    let (inner_length, chunked) = (inner.len(), format!("0\r\n\r\n{inner}"));
    let cases = [
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned()),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned()),
        ("two lengths", format!("{head}Content-Length: 2\r\nContent-Length: {inner_length}\r\n\r\n{{}}{inner}")),
        ("negative length", format!("{head}Content-Length: -1\r\n\r\n{inner}")),
        ("length with a sign", format!("{head}Content-Length: +2\r\n\r\n{{}}{inner}")),
        ("length that is no number", format!("{head}Content-Length: two\r\n\r\n{{}}{inner}")),
        ("length beyond 64 bits", format!("{head}Content-Length: 99999999999999999999999\r\n\r\n{{}}")),
        ("broken chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{inner}")),
        ("enormous chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n{inner}")),
        ("unknown coding", format!("{head}Transfer-Encoding: gzip\r\n\r\n{inner}")),
        ("space before the colon", format!("{head}Content-Length : 2\r\n\r\n{{}}{inner}")),
        ("HTTP/3.0", "GET / HTTP/3.0\r\n\r\n".to_owned()),
        ("enormous head", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000))),
        ("1,000 headers", format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000))),
    ];
    for (name, request) in &cases {
        let mut socket = Socket::connect(stage.admin()).expect("connect");
        let _ = socket.send(request.as_bytes());
        socket.finish();
        let response = Response::read(&mut socket, PATIENCE);
        let status = response.as_ref().map(|response| response.status);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{name}: {response:?}");
        socket.wait_for_end(&format!("{name}: the connection ends"), PATIENCE);
        let second = String::from_utf8_lossy(&socket.input).contains("HTTP/1.1 200");
        assert!(!second, "{name}: a second request was taken out of it: {:?}", socket.input);
    }
    // Both ways of saying where the body ends: the chunks win (RFC 9112 section 6.3) or it is refused, but never the length.
    let both = format!("{head}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}", chunked.len());
    let mut socket = Socket::connect(stage.admin()).expect("connect");
    socket.send(both.as_bytes()).expect("send");
    socket.finish();
    let first = Response::read(&mut socket, PATIENCE).expect("an answer");
    assert!(first.status == 400 || first.json()["error"]["code"] == 107, "{first:?}");
    drop(socket);

    // The WebSocket port knows nothing of the API, the admin port nothing of WebSocket.
    let response = {
        let mut socket = Socket::connect(stage.websocket()).expect("connect");
        socket.send(&call("publish", r#"{"channel":"a","data":1}"#)).expect("send");
        Response::read(&mut socket, PATIENCE).expect("an answer")
    };
    assert_eq!(response.status, 405, "{response:?}");
    let upgrade = corecast_hostile::client::upgrade_request(corecast_hostile::client::PATH, "");
    assert_eq!(raw(&stage, upgrade.as_bytes()).status, 404);
    stage.finish();
}

fn raw(stage: &Stage, request: &[u8]) -> Response {
    let mut socket = Socket::connect(stage.admin()).expect("connect");
    let _ = socket.send(request);
    Response::read(&mut socket, PATIENCE).expect("an answer")
}

/// All publishes of these tests name chat "a", which must still be empty; and the API works for those who use it well.
fn nothing_was_published(stage: &Stage) {
    let history = post(stage.admin(), "history", r#"{"channel":"a","limit":10}"#).json();
    assert_eq!(history["result"]["publications"], json!([]), "{history}");
    let mut member = Client::live(stage.websocket());
    member.ask(r#"{"id":2,"subscribe":{"channel":"b"}}"#);
    let answer = post(stage.admin(), "publish", r#"{"channel":"b","data":{"text":"hi"}}"#).json();
    assert_eq!(answer["result"]["offset"], 1, "{answer}");
    let push = member.frame(PATIENCE).expect("a push");
    assert!(String::from_utf8_lossy(&push.payload).contains(r#""data":{"text":"hi"}"#), "{push:?}");
    assert_eq!(http::get(stage.admin(), "/healthz").status, 200);
}

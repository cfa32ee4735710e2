//! Claim: `curl` lines and SDKs made for Centrifugo's server API work here, and wrong input is answered with its codes.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use corecast_gateway::control::{
    ControlError, DisconnectRequest, History, HistoryRequest, NodeInfo, PresenceStats, Publication, PublishRequest,
    Published, Reply,
};
use prometheus_client::registry::Registry;
use tower_service::Service as _;

use super::{ApiLimits, routes};
use crate::admin::upstream::Upstream;
use crate::config::values::Secret;

/// Answers with what a small chat server would, and remembers what it was asked.
#[derive(Default)]
struct Scripted {
    published: Mutex<Vec<PublishRequest>>,
    disconnected: Mutex<Vec<DisconnectRequest>>,
    histories: Mutex<Vec<HistoryRequest>>,
    /// Replies that are never called.
    silent: Mutex<Vec<Reply<Published>>>,
}

impl Upstream for Scripted {
    fn publish(&self, request: PublishRequest, reply: Reply<Published>) {
        if request.chat == "silent" {
            self.silent.lock().unwrap().push(reply);
            return;
        }
        let mut published = self.published.lock().unwrap();
        published.push(request.clone());
        let offset = published.len() as u64;
        drop(published);
        reply(match request.chat.as_str() {
            "busy" => Err(ControlError::Busy),
            "down" => Err(ControlError::NotAvailable),
            "large" => Err(ControlError::LimitExceeded),
            _ => Ok(Published { epoch: "e1".into(), offset, duplicate: false }),
        });
    }

    fn history(&self, request: HistoryRequest, reply: Reply<History>) {
        if request.since.as_ref().is_some_and(|since| since.epoch == "gone") {
            return reply(Err(ControlError::UnrecoverablePosition));
        }
        let publications = (1..=request.limit.min(2)).map(|offset| Publication {
            offset: offset.into(),
            time_ms: 0,
            data: br#"{"z":1.10,"a":"\u00e9"}"#.as_slice().into(),
        });
        let publications = publications.collect();
        self.histories.lock().unwrap().push(request);
        reply(Ok(History { epoch: "e1".into(), offset: 9, publications }));
    }

    fn presence_stats(&self, _: String, reply: Reply<PresenceStats>) {
        reply(Ok(PresenceStats { clients: 3, users: 2 }));
    }

    fn disconnect(&self, request: DisconnectRequest) -> Result<(), ControlError> {
        if request.user.is_empty() {
            return Err(ControlError::BadRequest("user or client is required"));
        }
        self.disconnected.lock().unwrap().push(request);
        Ok(())
    }

    fn nodes(&self, reply: Reply<Vec<NodeInfo>>) {
        reply(Ok(vec![NodeInfo {
            uid: "u".into(),
            name: "n".into(),
            version: "0.1.0".into(),
            clients: 5,
            users: 4,
            subscriptions: 7,
            chats: 6,
            uptime_s: 8,
        }]));
    }
}

struct Bench {
    upstream: Arc<Scripted>,
    routes: Router,
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let upstream = Arc::new(Scripted::default());
        let limits = ApiLimits { body_max: 4_096, broadcast_max: 3, timeout: Duration::from_millis(200) };
        let shared: Arc<dyn Upstream> = Arc::clone(&upstream) as _;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut registry = Registry::default();
        let routes = routes(shared, Some(Secret::new("k")), limits, &mut registry);
        Self { upstream, routes, registry, runtime }
    }

    fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let mut routes = self.routes.clone();
        self.runtime.block_on(async {
            let response = routes.call(request).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8(body.into()).unwrap())
        })
    }

    fn post(&self, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::post(path).header("X-API-Key", "k").body(Body::from(body.to_owned())).unwrap();
        self.send(request)
    }

    /// The body of an answer with status 200.
    fn ok(&self, path: &str, body: &str) -> String {
        let (status, answer) = self.post(path, body);
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// The error code inside an answer with status 200.
    fn error(&self, path: &str, body: &str) -> u64 {
        let answer: serde_json::Value = serde_json::from_str(&self.ok(path, body)).unwrap();
        assert!(answer.get("result").is_none(), "{answer}");
        answer["error"]["code"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }
}

#[test]
fn the_curl_lines_of_centrifugos_documentation_work() {
    let bench = Bench::new();
    let answer = bench.ok("/api/publish", r#"{"channel": "chat", "data": {"text": "hello"}}"#);
    assert_eq!(answer, r#"{"result":{"offset":1,"epoch":"e1"}}"#);
    assert_eq!(bench.upstream.published.lock().unwrap()[0].data, r#"{"text": "hello"}"#);

    let answer = bench.ok("/api/broadcast", r#"{"channels": ["user:1", "user:2"], "data": {"text": "hello"}}"#);
    assert_eq!(
        answer,
        r#"{"result":{"responses":[{"result":{"offset":2,"epoch":"e1"}},{"result":{"offset":3,"epoch":"e1"}}]}}"#
    );
    let answer = bench.ok("/api/presence_stats", r#"{"channel": "chat"}"#);
    assert_eq!(answer, r#"{"result":{"num_clients":3,"num_users":2}}"#);

    let answer = bench.ok("/api/history", r#"{"channel": "chat", "limit": 2}"#);
    let publication = r#"{"data":{"z":1.10,"a":"\u00e9"},"offset":"#;
    let expected =
        format!(r#"{{"result":{{"publications":[{publication}1}},{publication}2}}],"epoch":"e1","offset":9}}}}"#);
    assert_eq!(answer, expected, "payloads come back as they were, byte for byte");
    assert_eq!(
        bench.ok("/api/history", r#"{"channel":"chat"}"#),
        r#"{"result":{"publications":[],"epoch":"e1","offset":9}}"#
    );

    let answer = bench.ok("/api/info", "{}");
    let node = r#"{"uid":"u","name":"n","version":"0.1.0","num_clients":5,"num_users":4,"num_channels":6,"num_subs":7,"uptime":8}"#;
    assert_eq!(answer, format!(r#"{{"result":{{"nodes":[{node}]}}}}"#));
    assert_eq!(bench.ok("/api/info", ""), answer);

    assert_eq!(bench.ok("/api/disconnect", r#"{"user":"42"}"#), r#"{"result":{}}"#);
    let disconnected = bench.upstream.disconnected.lock().unwrap();
    assert_eq!((disconnected[0].code, disconnected[0].reason.as_str()), (3503, "force disconnect"));
}

#[test]
fn a_batch_and_the_older_single_endpoint_work() {
    let bench = Bench::new();
    let batch = r#"{"commands":[{"publish":{"channel":"a","data":{}}},{"nonsense":{}},{"publish":{"channel":"busy","data":1}},{}]}"#;
    let answer: serde_json::Value = serde_json::from_str(&bench.ok("/api/batch", batch)).unwrap();
    let replies = answer["replies"].as_array().unwrap();
    assert_eq!(replies[0]["publish"]["offset"], 1);
    let codes: Vec<_> = replies[1..].iter().map(|reply| reply["error"]["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [104, 111, 107]);

    let old = "{\"id\":1,\"method\":\"publish\",\"params\":{\"channel\":\"a\",\"data\":1}}\n{\"method\":6,\"params\":{\"channel\":\"a\"}}";
    let answer = bench.ok("/api", old);
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[0], r#"{"id":1,"result":{"offset":3,"epoch":"e1"}}"#);
    assert_eq!(lines[1], r#"{"result":{"publications":[],"epoch":"e1","offset":9}}"#);
    assert!(bench.ok("/api", r#"{"method":"nonsense"}"#).contains(r#""code":104"#));
    assert!(bench.ok("/api", r#"{"method":"publish","params":{"channel":5}}"#).contains(r#""code":107"#));
    let published = || bench.upstream.published.lock().unwrap().len();
    let before = published();
    let publish = r#"{"method":"publish","params":{"channel":"a","data":1}}"#;
    for wrong in ["", "x", &format!("{publish}\nx"), &format!("{publish}\n[]")] {
        assert_eq!(bench.post("/api", wrong).0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(published(), before, "a request that is wrong somewhere does nothing");
}

#[test]
fn without_the_key_nothing_is_answered_and_nothing_is_done() {
    let bench = Bench::new();
    let body = || Body::from(r#"{"channel":"a","data":1}"#);
    for request in [
        Request::post("/api/publish").body(body()),
        Request::post("/api/publish").header("X-API-Key", "wrong").body(body()),
        Request::post("/api/publish").header("X-API-Key", "").body(body()),
        Request::post("/api/publish").header("X-API-Key", "kk").body(body()),
        Request::post("/api/publish").header("Authorization", "Bearer k").body(body()),
        Request::post("/api/publish?api_key=x").body(body()),
        Request::post("/api").body(body()),
        Request::post("/api/nonsense").body(body()),
    ] {
        assert_eq!(bench.send(request.unwrap()).0, StatusCode::UNAUTHORIZED);
    }
    assert!(bench.upstream.published.lock().unwrap().is_empty());
    for request in [
        Request::post("/api/publish").header("Authorization", "apikey k").body(body()),
        Request::post("/api/publish").header("authorization", "ApiKey k").body(body()),
        Request::post("/api/publish?x=1&api_key=%6B").body(body()),
    ] {
        assert_eq!(bench.send(request.unwrap()).0, StatusCode::OK);
    }

    let limits = ApiLimits { body_max: 10, broadcast_max: 1, timeout: Duration::from_secs(1) };
    let closed = routes(Arc::new(Scripted::default()), None, limits, &mut Registry::default());
    let request = Request::post("/api/info").header("X-API-Key", "").body(Body::empty()).unwrap();
    let response = bench.runtime.block_on(async { closed.clone().call(request).await.unwrap() });
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "without a configured key nobody has the right one");
}

#[test]
fn wrong_input_is_answered_with_centrifugos_codes() {
    let bench = Bench::new();
    for (path, body, code) in [
        ("/api/publish", "{}", 107),
        ("/api/publish", r#"{"channel":"a"}"#, 107),
        ("/api/publish", r#"{"data":1}"#, 107),
        ("/api/publish", r#"{"channel":"a","b64data":"*"}"#, 107),
        ("/api/publish", r#"{"channel":"large","data":1}"#, 106),
        ("/api/publish", r#"{"channel":"busy","data":1}"#, 111),
        ("/api/publish", r#"{"channel":"down","data":1}"#, 100),
        ("/api/publish", r#"{"channel":"a","data":1,"skip_history":true}"#, 108),
        ("/api/publish", r#"{"channel":"a","data":1,"tags":{"x":"y"}}"#, 108),
        ("/api/publish", r#"{"channel":"a","data":1,"delta":true}"#, 108),
        ("/api/publish", r#"{"channel":"a","data":1,"version":3}"#, 108),
        ("/api/broadcast", r#"{"data":1}"#, 107),
        ("/api/broadcast", r#"{"channels":["a","b","c","d"],"data":1}"#, 107),
        ("/api/history", "{}", 107),
        ("/api/history", r#"{"channel":"a","since":{"offset":1,"epoch":"gone"}}"#, 112),
        ("/api/presence_stats", "{}", 107),
        ("/api/disconnect", "{}", 107),
        ("/api/disconnect", r#"{"user":"a","session":"s"}"#, 108),
        ("/api/disconnect", r#"{"user":"a","disconnect":{"code":99999,"reason":"x"}}"#, 107),
        ("/api/presence", r#"{"channel":"a"}"#, 108),
        ("/api/subscribe", "{}", 108),
    ] {
        assert_eq!(bench.error(path, body), code, "{path} {body}");
    }
    assert_eq!(bench.upstream.published.lock().unwrap().len(), 3, "only those that reached the gateway");
}

#[test]
fn what_is_not_the_methods_input_at_all_has_an_http_status() {
    let bench = Bench::new();
    for body in ["", "{", "[]", "1", r#"{"channel":5,"data":1}"#, r#"{"channel":"a","data":}"#, "{} x"] {
        let (status, answer) = bench.post("/api/publish", body);
        let wanted = if body.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, wanted, "{body}: {answer}");
    }
    assert_eq!(bench.post("/api/nonsense", "{}").0, StatusCode::NOT_FOUND);
    let large = format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(5_000));
    assert_eq!(bench.post("/api/publish", &large).0, StatusCode::PAYLOAD_TOO_LARGE);
    let get = Request::get("/api/publish").header("X-API-Key", "k").body(Body::empty()).unwrap();
    assert_eq!(bench.send(get).0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn a_list_is_no_object_anywhere() {
    let bench = Bench::new();
    // By their order, the values of each list would be those of the fields.
    for (path, body) in [
        ("/api/publish", r#"["a",[],1]"#),
        ("/api/broadcast", r#"["",["a"],1]"#),
        ("/api/history", r#"["a",1]"#),
        ("/api/history", r#"{"channel":"a","since":[1,"e1"]}"#),
        ("/api/history", r#"{"channel":"a","since":[]}"#),
        ("/api/presence_stats", r#"["a"]"#),
        ("/api/disconnect", r#"["42"]"#),
        ("/api/disconnect", r#"{"user":"42","disconnect":[3000,"x"]}"#),
        ("/api/info", "[]"),
        ("/api/batch", "[]"),
        ("/api/batch", r#"[[{"publish":{"channel":"a","data":1}}]]"#),
        ("/api/batch", r#"{"commands":[[]]}"#),
        ("/api", "[]"),
        ("/api", r#"[1,"publish",{"channel":"a","data":1}]"#),
    ] {
        let (status, answer) = bench.post(path, body);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {answer}");
        assert!(answer.contains("invalid type: sequence, expected a"), "{path} {body}: {answer}");
    }
    assert_eq!(bench.error("/api", r#"{"method":"publish","params":["a",[],1]}"#), 107);
    let batch = bench.ok("/api/batch", r#"{"commands":[{"publish":["a",[],1]}]}"#);
    assert!(batch.contains(r#""code":107"#), "{batch}");
    assert!(bench.upstream.published.lock().unwrap().is_empty());
    assert!(bench.upstream.disconnected.lock().unwrap().is_empty());
    assert!(bench.upstream.histories.lock().unwrap().is_empty());
}

#[test]
fn payloads_of_every_form_arrive_as_they_were_written() {
    let bench = Bench::new();
    for data in ["null", "0", "\"x\"", "[1,  2]", "{\"b\":1,\"a\":2}", "1e999"] {
        bench.ok("/api/publish", &format!(r#"{{"channel":"a","data":{data}}}"#));
        assert_eq!(bench.upstream.published.lock().unwrap().last().unwrap().data, data);
    }
    bench.ok("/api/publish", r#"{"channel":"a","b64data":"eyJhIjoxfQ==","idempotency_key":"i"}"#);
    let published = bench.upstream.published.lock().unwrap();
    let last = published.last().unwrap();
    assert_eq!(last.data, r#"{"a":1}"#);
    assert_eq!(last.idempotency_key.as_deref(), Some("i"));
    assert_eq!(published[0].idempotency_key, None);
}

#[test]
fn an_answer_that_does_not_come_is_an_unknown_outcome() {
    let bench = Bench::new();
    let answer = bench.ok("/api/publish", r#"{"channel":"silent","data":1}"#);
    assert!(answer.contains(r#""code":100"#) && answer.contains("unknown"), "{answer}");
    // In a broadcast the others are reported all the same, and all of it takes one timeout.
    let answer = bench.ok("/api/broadcast", r#"{"channels":["silent","a","silent"],"data":1}"#);
    assert!(answer.contains(r#"{"result":{"offset":1,"epoch":"e1"}}"#), "{answer}");
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let bench = Bench::new();
    let request = Request::post("/api/publish").header("X-API-Key", "k").body(Body::new(Never)).unwrap();
    assert_eq!(bench.send(request).0, StatusCode::REQUEST_TIMEOUT);
}

#[test]
fn errors_become_http_statuses_where_the_caller_asks_for_it() {
    let bench = Bench::new();
    let request = Request::post("/api/publish").header("X-API-Key", "k").header("X-Centrifugo-Error-Mode", "transport");
    let (status, answer) = bench.send(request.body(Body::from("{}")).unwrap());
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer.starts_with(r#"{"code":107"#), "{answer}");
}

#[test]
fn requests_are_counted_by_method_and_outcome_and_never_by_what_strangers_write() {
    let bench = Bench::new();
    bench.ok("/api/publish", r#"{"channel":"a","data":1}"#);
    bench.ok("/api/publish", r#"{"channel":"busy","data":1}"#);
    bench.post("/api/publish", "{");
    bench.post("/api/nonsense", "{}");
    bench.send(Request::post("/api/whatever").body(Body::empty()).unwrap());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &bench.registry).unwrap();
    for line in [
        r#"api_requests_total{method="publish",outcome="ok"} 1"#,
        r#"api_requests_total{method="publish",outcome="111"} 1"#,
        r#"api_requests_total{method="publish",outcome="malformed"} 1"#,
        r#"api_requests_total{method="unknown",outcome="malformed"} 1"#,
        r#"api_requests_total{method="unknown",outcome="unauthorized"} 1"#,
        r#"api_request_seconds_count{method="publish"} 3"#,
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains("nonsense") && !text.contains("whatever"), "{text}");
}

/// A body whose first byte never comes.
struct Never;

impl HttpBody for Never {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

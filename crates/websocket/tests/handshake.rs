//! The opening handshake: what is accepted, what is refused with which status, in any chunks, at the exact limits.

use corecast_websocket::handshake::{
    HandshakeLimits, Progress, Refusal, Request, RequestParser, Status, accept, refuse,
};
use proptest::prelude::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The lines of a request that is accepted.
fn lines() -> Vec<String> {
    [
        "GET /connection/websocket HTTP/1.1",
        "Host: chat.example:8000",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    .map(String::from)
    .to_vec()
}

fn join(lines: &[String]) -> Vec<u8> {
    [lines.join("\r\n"), "\r\n\r\n".to_owned()].concat().into_bytes()
}

fn with(extra: &str) -> Vec<u8> {
    join(&[lines(), vec![extra.to_owned()]].concat())
}

/// The good request with the line that starts with `prefix` replaced, or left out.
fn instead(prefix: &str, replacement: Option<&str>) -> Vec<u8> {
    let mut lines = lines();
    let at = lines.iter().position(|line| line.starts_with(prefix)).expect("a line to replace");
    match replacement {
        Some(line) => lines[at] = line.to_owned(),
        None => _ = lines.remove(at),
    }
    join(&lines)
}

const ANY_READS: HandshakeLimits = HandshakeLimits { head_bytes: 8192, headers: 64, reads: usize::MAX };

/// A complete request and what was left of the bytes, `None` if it is incomplete.
type Parsed = Result<Option<(Box<Request>, Vec<u8>)>, Refusal>;

/// Feeds `bytes` in chunks of `size`.
fn parse_in(bytes: &[u8], size: usize, limits: HandshakeLimits) -> Parsed {
    let mut parser = RequestParser::new(limits);
    let mut fed = 0;
    for chunk in bytes.chunks(size) {
        match parser.feed(chunk)? {
            Progress::Complete { request, consumed } => return Ok(Some((request, bytes[fed + consumed..].to_vec()))),
            Progress::Incomplete => fed += chunk.len(),
        }
        assert!(parser.buffered() <= 2 * fed + 8);
    }
    Ok(None)
}

fn parse(bytes: &[u8]) -> Result<Box<Request>, Refusal> {
    let whole = parse_in(bytes, bytes.len(), ANY_READS).map(|request| request.expect("a complete request").0);
    for size in [1, 2, 3, 7, 100] {
        let chunked = parse_in(bytes, size, ANY_READS).map(|request| request.expect("a complete request").0);
        assert_eq!(format!("{whole:?}"), format!("{chunked:?}"), "in chunks of {size}");
    }
    whole
}

#[track_caller]
fn refused(bytes: &[u8], refusal: Refusal, status: u16) {
    assert_eq!(parse(bytes).expect_err("a request to refuse"), refusal, "{}", String::from_utf8_lossy(bytes));
    assert_eq!(refusal.status().code(), status);
}

#[test]
fn accepts_the_request_of_the_rfc() {
    let request = parse(&with("Sec-WebSocket-Protocol: chat, superchat")).unwrap();
    assert_eq!(request.path(), "/connection/websocket");
    assert_eq!(request.host(), "chat.example:8000");
    assert_eq!(request.origin(), None);
    assert_eq!(request.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    assert_eq!(
        accept(&request, Some("chat")),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    assert!(!String::from_utf8(accept(&request, None)).unwrap().contains("Protocol:"));
}

#[test]
fn bytes_after_the_head_are_left_to_the_caller() {
    let bytes = [&with("Origin: https://a.example")[..], b"\x81\x80rest"].concat();
    for size in 1..=bytes.len() {
        let (request, rest) = parse_in(&bytes, size, ANY_READS).unwrap().unwrap();
        assert_eq!(request.origin(), Some("https://a.example"));
        assert_eq!(rest, b"\x81\x80rest", "chunks of {size}");
    }
}

#[test]
fn values_that_are_permitted() {
    for line in ["upgrade: WebSocket", "Upgrade: h2c, websocket", "Upgrade:websocket  ", "Upgrade: ,websocket,"] {
        parse(&instead("Upgrade", Some(line))).unwrap();
    }
    for line in ["connection: keep-alive, Upgrade", "Connection: UPGRADE", "CONNECTION:\tupgrade\t"] {
        parse(&instead("Connection", Some(line))).unwrap();
    }
    parse(&with("Connection: keep-alive")).unwrap();
    parse(&with("Content-Length: 0")).unwrap();
    parse(&with("X-Text: caf\u{e9} \u{1f600}")).unwrap();
    parse(&with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")).unwrap();
    // Bits of the last character that carry no data.
    parse(&instead("Sec-WebSocket-Key", Some("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="))).unwrap();
}

#[test]
fn targets() {
    let target = |target: &str| parse(&instead("GET", Some(&format!("GET {target} HTTP/1.1"))));
    let ok = |text: &str, host: &str, path: &str| {
        let request = target(text).unwrap();
        assert_eq!((request.host(), request.path()), (host, path), "{text}");
    };
    ok("/", "chat.example:8000", "/");
    ok("/a/b%20c?x=1", "chat.example:8000", "/a/b%20c");
    ok("//double", "chat.example:8000", "//double");
    ok("http://other:1/path?q", "other:1", "/path");
    ok("WS://other?q=1", "other", "/");
    ok("https://other", "other", "/");
    for bad in ["*", "path", "chat.example:443", "ftp://other/", "/a#b", "://x/", "/caf\u{e9}"] {
        assert_eq!(target(bad).unwrap_err(), Refusal::Target, "{bad}");
    }
    for bad in ["http:///path", "http://user@other/"] {
        assert_eq!(target(bad).unwrap_err(), Refusal::InvalidHeader("Host"), "{bad}");
    }
    let mut both = lines();
    both[0] = "GET http://other/ HTTP/1.1".into();
    both[1] = "Host: a/b".into();
    refused(&join(&both), Refusal::InvalidHeader("Host"), 400);
    for bad in ["", " /", "/a b"] {
        assert!(target(bad).is_err(), "{bad}");
    }
}

#[test]
fn query_parameters() {
    let request = parse(&instead(
        "GET",
        Some("GET /?a=1&b=x%20y+z&%63=%E2%82%AC&empty=&flag&a=2&bad=%ff&odd=%4&pct=100%&=nameless HTTP/1.1"),
    ))
    .unwrap();
    for (name, value) in [
        ("a", Some("1")),
        ("b", Some("x y z")),
        ("c", Some("€")),
        ("empty", Some("")),
        ("flag", Some("")),
        ("bad", None),
        ("odd", Some("%4")),
        ("pct", Some("100%")),
        ("", Some("nameless")),
        ("absent", None),
        ("A", None),
    ] {
        assert_eq!(request.query(name).as_deref(), value, "{name}");
    }
    assert_eq!(parse(&join(&lines())).unwrap().query("a"), None);
}

#[test]
fn headers_by_name() {
    let extra = "x-forwarded-for: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2 , 3.3.3.3\r\nX-Empty:\r\nUser-Agent:  a b ";
    let request = parse(&with(extra)).unwrap();
    assert_eq!(request.header("X-FORWARDED-FOR"), Some("1.1.1.1"));
    assert_eq!(request.headers("X-Forwarded-For").collect::<Vec<_>>(), ["1.1.1.1", "2.2.2.2 , 3.3.3.3"]);
    assert_eq!(request.header("x-empty"), Some(""));
    assert_eq!(request.header("user-agent"), Some("a b"));
    assert_eq!(request.header("Forwarded"), None);
    let latin1 = with("Origin: null");
    let latin1 = [&latin1[..latin1.len() - 2], b"X-Latin: caf\xe9\r\n\r\n"].concat();
    assert_eq!(parse(&latin1).unwrap().header("X-Latin"), None);
}

#[test]
fn subprotocols() {
    let choose = |offer: &str, supported: &[&'static str]| parse(&with(offer)).unwrap().choose_protocol(supported);
    let known = ["centrifuge-protobuf", "centrifuge-json"];
    assert_eq!(choose("Sec-WebSocket-Protocol: centrifuge-json", &known), Some("centrifuge-json"));
    assert_eq!(
        choose("Sec-WebSocket-Protocol: x, centrifuge-json ,centrifuge-protobuf", &known),
        Some("centrifuge-json")
    );
    let two_lines = "Sec-WebSocket-Protocol: x,\r\nsec-websocket-protocol: , centrifuge-protobuf";
    assert_eq!(choose(two_lines, &known), Some("centrifuge-protobuf"));
    assert_eq!(choose("Sec-WebSocket-Protocol: Centrifuge-Json", &known), None);
    assert_eq!(choose("X: y", &known), None);
    for bad in ["a b", "a/b", "\"a\"", "a;q=1", "é"] {
        let line = format!("Sec-WebSocket-Protocol: good, {bad}");
        refused(&with(&line), Refusal::InvalidHeader("Sec-WebSocket-Protocol"), 400);
    }
}

#[test]
fn plain_http_and_wrong_versions() {
    refused(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::NotAnUpgrade, 426);
    refused(&instead("Upgrade", None), Refusal::NotAnUpgrade, 426);
    refused(&instead("Upgrade", Some("Upgrade: h2c")), Refusal::NotAnUpgrade, 426);
    refused(&instead("Upgrade", Some("Upgrade: websocket2")), Refusal::NotAnUpgrade, 426);
    for version in ["12", "8", "0", "013", "13, 8", "", "x"] {
        let line = format!("Sec-WebSocket-Version: {version}");
        refused(&instead("Sec-WebSocket-Version", Some(&line)), Refusal::ProtocolVersion, 426);
    }
    for method in ["POST", "HEAD", "OPTIONS", "PUT", "get"] {
        let line = format!("{method} / HTTP/1.1");
        refused(&instead("GET", Some(&line)), Refusal::Method, 405);
    }
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9"] {
        let line = format!("GET / {version}");
        refused(&instead("GET", Some(&line)), Refusal::HttpVersion, 505);
    }
}

#[test]
fn missing_duplicate_and_wrong_headers() {
    for name in ["Host", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key"] {
        refused(&instead(name, None), Refusal::Missing(name), 400);
    }
    for (line, name) in [
        ("host: chat.example:8000", "Host"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version"),
    ] {
        refused(&with(line), Refusal::Duplicate(name), 400);
    }
    refused(&with("Origin: https://a\r\nOrigin: https://b"), Refusal::Duplicate("Origin"), 400);
    for origin in ["", "https://a https://b", "https://\u{e9}"] {
        refused(&with(&format!("Origin: {origin}")), Refusal::InvalidHeader("Origin"), 400);
    }
    for host in ["", "a b", "a/b", "user@a", "a,b", "\u{e9}"] {
        refused(&instead("Host", Some(&format!("Host: {host}"))), Refusal::InvalidHeader("Host"), 400);
    }
    refused(&instead("Connection", Some("Connection: close")), Refusal::InvalidHeader("Connection"), 400);
    let long = format!("{KEY}{KEY}");
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZWU=", "dGhlIHNhbXBsZSBub2!jZQ==", &long] {
        let line = format!("Sec-WebSocket-Key: {key}");
        refused(&instead("Sec-WebSocket-Key", Some(&line)), Refusal::InvalidHeader("Sec-WebSocket-Key"), 400);
    }
}

/// What smuggles a second request past a proxy that reads the first one otherwise.
#[test]
fn ambiguous_http() {
    for body in ["Content-Length: 5", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Content-Length: 00"]
    {
        refused(&with(body), Refusal::Body, 400);
    }
    refused(&with("Content-Length: 0\r\nTransfer-Encoding: chunked"), Refusal::Body, 400);
    refused(&with("Content-Length: 0\r\nContent-Length: 0"), Refusal::Duplicate("Content-Length"), 400);
    for malformed in
        ["X: a\r\n folded", "X: a\r\n\tfolded", " X: a", "X : a", "X", ": a", "X: a\0b", "X: a\x01", "X\u{e9}: a"]
    {
        refused(&with(malformed), Refusal::Malformed, 400);
    }
    refused(&with("X: a\rb"), Refusal::Malformed, 400);
    refused(&with("X: a\nY: b"), Refusal::BareLineFeed, 400);
    refused(b"GET / HTTP/1.1\n\n", Refusal::BareLineFeed, 400);
    refused(b"\r\n", Refusal::Malformed, 400);
    refused(&[b"\r\n", &join(&lines())[..]].concat(), Refusal::Malformed, 400);
    refused(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", Refusal::Malformed, 400);
    refused(b"hello\r\n\r\n", Refusal::Malformed, 400);
}

#[test]
fn limit_on_bytes_is_exact() {
    let empty = with("X: ").len();
    for (length, fits) in [(8191, true), (8192, true), (8193, false)] {
        let bytes = with(&format!("X: {}", "x".repeat(length - empty)));
        assert_eq!(bytes.len(), length);
        for size in [1, 100, 4096, 8191, 8192, 8193] {
            let outcome = parse_in(&bytes, size, ANY_READS);
            match fits {
                true => assert!(outcome.unwrap().is_some()),
                false => assert_eq!(outcome.unwrap_err(), Refusal::TooLarge),
            }
        }
    }
    for line in [vec![b'x'; 1 << 20], [b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat(), b"a\r\n".repeat(1 << 18)] {
        for size in [512, 1460, 1 << 20] {
            assert_eq!(parse_in(&line, size, ANY_READS).unwrap_err(), Refusal::TooLarge);
        }
    }
    assert_eq!(Refusal::TooLarge.status(), Status::HeaderFieldsTooLarge);
}

#[test]
fn limit_on_headers_is_exact() {
    let extra = |count: usize| (0..count).map(|i| format!("X-{i}: y")).collect::<Vec<_>>().join("\r\n");
    let already = lines().len() - 1;
    for count in [63, 64] {
        parse(&with(&extra(count - already))).unwrap();
    }
    refused(&with(&extra(65 - already)), Refusal::TooManyHeaders, 431);
    // The header that comes after the limit is a needed one.
    let late = [&b"GET / HTTP/1.1\r\n"[..], extra(64).as_bytes(), b"\r\n", &join(&lines()[1..])].concat();
    refused(&late, Refusal::TooManyHeaders, 431);
    let few = HandshakeLimits { headers: 5, ..ANY_READS };
    assert!(parse_in(&join(&lines()), 1000, few).is_ok());
    assert_eq!(parse_in(&with("X: y"), 1000, few).unwrap_err(), Refusal::TooManyHeaders);
}

#[test]
fn limit_on_reads_is_exact() {
    let limits = HandshakeLimits::default();
    let empty = with("X: ").len();
    let bytes = with(&format!("X: {}", "x".repeat(320 - empty)));
    assert!(parse_in(&bytes, 10, limits).is_ok_and(|request| request.is_some()), "32 reads");
    assert_eq!(
        parse_in(&with(&format!("X: {}", "x".repeat(321 - empty))), 10, limits).unwrap_err(),
        Refusal::TooManyReads
    );
    // The 32nd read without an end decides; the limit does not wait for a 33rd.
    assert_eq!(parse_in(&bytes[..32], 1, limits).unwrap_err(), Refusal::TooManyReads);
    assert!(parse_in(&bytes[..31], 1, limits).unwrap().is_none());
    assert_eq!(Refusal::TooManyReads.status().code(), 408);
}

#[test]
fn refusals_say_what_is_expected() {
    let answer = String::from_utf8(refuse(Status::UpgradeRequired, "WebSocket only\n")).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "WebSocket only\n");
    let lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines[0], "HTTP/1.1 426 Upgrade Required");
    for line in ["Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Content-Length: 15"]
    {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    let answer = String::from_utf8(refuse(Status::Forbidden, "")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n"));
    assert!(answer.ends_with("Content-Length: 0\r\n\r\n"));
    assert!(String::from_utf8(refuse(Refusal::Method.status(), "")).unwrap().contains("\r\nAllow: GET\r\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// A good request with a few bytes changed: the same outcome in any chunks, and no panic.
    #[test]
    fn any_chunks_same_outcome(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        size in 1..300_usize,
    ) {
        let mut bytes = [&with("Origin: https://a.example\r\nSec-WebSocket-Protocol: a, b")[..], b"\x81\x80abcd"].concat();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let describe = |outcome: Parsed| format!("{outcome:?}");
        let whole = describe(parse_in(&bytes, bytes.len(), ANY_READS));
        for size in [1, size] {
            prop_assert_eq!(&describe(parse_in(&bytes, size, ANY_READS)), &whole);
        }
    }
}

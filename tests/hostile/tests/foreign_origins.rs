//! Claim: a web page that is not on the list cannot open a connection, whatever its name resembles; the default list is empty.

use std::net::SocketAddr;

use corecast_faults::block_on;
use corecast_faults::cluster::Cluster;
use corecast_hostile::PATIENCE;
use corecast_hostile::client::{CONNECT, PATH, upgrade_request};
use corecast_hostile::control::Control;
use corecast_hostile::frame::text;
use corecast_hostile::http::Response;
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;

const LISTED: &str = r#"
[auth]
allowed_origins = ["https://chat.example", "https://*.apps.example", "http://local.example:8080"]
"#;

const FOREIGN: &[&str] = &[
    "https://evil.example",
    "null",
    "file://",
    "https://chat.example.evil.example",
    "https://evilchat.example",
    "https://chat.example@evil.example",
    "https://evil.example/https://chat.example",
    "https://evil.example?https://chat.example",
    "https://chat.example/",
    "https://chat.example:444",
    "http://chat.example",
    "wss://chat.example",
    "chat.example",
    "https://",
    "https://chat.example.",
    "https://sub.chat.example",
    "https://apps.example",
    "https://.apps.example",
    "https://evilapps.example",
    "https://a.apps.example.evil.example",
    "https://evil.example#.apps.example",
    "http://a.apps.example",
    "http://local.example",
    "http://local.example:80800",
    "https://chat.example, https://evil.example",
    "https://evil.example https://chat.example",
    "https://chat\u{0435}.example",
];

#[test]
fn pages_that_only_resemble_a_listed_one_are_refused() {
    let stage = Stage::start(LISTED);
    for origin in FOREIGN {
        let status = status_for(stage.websocket(), &format!("Origin: {origin}\r\n"));
        assert!([400, 403].contains(&status), "{origin:?}: {status}");
        if origin.is_ascii() && !origin.contains([' ', ',']) {
            assert_eq!(status, 403, "{origin:?}");
        }
    }
    let two = status_for(stage.websocket(), "Origin: https://chat.example\r\nOrigin: https://evil.example\r\n");
    assert_eq!(two, 400, "two origins");
    for origin in [
        "https://chat.example",
        "HTTPS://Chat.Example",
        "https://chat.example:443",
        "https://a.apps.example",
        "https://a.b.apps.example",
        "http://local.example:8080",
    ] {
        assert_eq!(status_for(stage.websocket(), &format!("Origin: {origin}\r\n")), 101, "{origin}");
    }
    assert_eq!(status_for(stage.websocket(), ""), 101, "native clients send none");
    stage.finish();
}

#[test]
fn a_gateway_that_was_told_nothing_refuses_every_page() {
    let cluster = block_on(Cluster::start(1, 1, 1, |_, address| address));
    let gateway = cluster.gateways[0].listen;
    let control = Control::start(gateway);
    for origin in FOREIGN.iter().filter(|origin| origin.is_ascii()) {
        let status = status_for(gateway, &format!("Origin: {origin}\r\n"));
        assert!([400, 403].contains(&status), "{origin:?}: {status}");
    }
    // Nor does it help to name the gateway itself.
    assert_eq!(status_for(gateway, &format!("Origin: http://{gateway}\r\n")), 403);
    assert_eq!(status_for(gateway, ""), 101, "native clients send none");
    control.finish();
}

#[test]
fn clients_without_an_origin_are_refused_where_the_configuration_says_so() {
    let stage = Stage::start(LISTED);
    let strict = block_on(Cluster::standalone(&format!("{LISTED}allow_missing_origin = false\n"), 1));
    let address = strict.gateways[0].listen;
    assert_eq!(status_for(address, ""), 403);
    assert_eq!(status_for(address, "Origin:\r\n"), 400, "an empty one is none");
    assert_eq!(status_for(address, "Origin: https://chat.example\r\n"), 101);
    stage.finish();
}

/// The status of an upgrade with these header lines; a command right behind it must not be answered if it is refused.
fn status_for(address: SocketAddr, lines: &str) -> u16 {
    let mut socket = Socket::connect(address).expect("connect");
    let request = upgrade_request(PATH, lines);
    socket.send(&[request.into_bytes(), text(CONNECT)].concat()).expect("send");
    let response = Response::read(&mut socket, PATIENCE).expect("an answer");
    if response.status != 101 {
        socket.wait_for_end("a refused connection ends", PATIENCE);
        assert!(socket.input.is_empty(), "{lines}: more than the refusal: {:?}", socket.input);
    }
    response.status
}

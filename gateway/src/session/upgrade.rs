//! The HTTP upgrade: which requests become sessions, and what the others are told.

use std::net::IpAddr;

use corecast_centrifuge::{Encoding, SUBPROTOCOL_JSON, SUBPROTOCOL_PROTOBUF};
use corecast_websocket::handshake::{Refusal, Request, Status, accept, refuse};

use crate::auth::OriginPolicy;
use crate::config::{GatewayConfig, Network};

/// What a request asked for, as far as it concerns the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upgraded {
    /// The complete HTTP answer.
    pub(crate) response: Vec<u8>,
    /// How messages are written.
    pub(crate) encoding: Encoding,
    /// WebSocket pings in place of the protocol's, for tools.
    pub(crate) native_ping: bool,
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// For counters.
    pub(crate) status: Status,
    /// The complete HTTP answer.
    pub(crate) response: Vec<u8>,
}

/// Accepts or refuses a well-formed upgrade request.
pub(crate) fn upgrade(request: &Request, config: &GatewayConfig, origins: &OriginPolicy) -> Result<Upgraded, Rejected> {
    if request.path() != config.path {
        return Err(rejected(Status::NotFound, &format!("Nothing is served here. {}", expected(config))));
    }
    if !origins.allow(request.origin()) {
        return Err(rejected(Status::Forbidden, "This web page (Origin) may not connect here.\n"));
    }
    let offered = request.choose_protocol(&[SUBPROTOCOL_PROTOBUF, SUBPROTOCOL_JSON]);
    let wants_protobuf =
        ["format", "cf_protocol"].iter().any(|name| request.query(name).as_deref() == Some("protobuf"));
    let encoding = match offered {
        Some(SUBPROTOCOL_PROTOBUF) => Encoding::Protobuf,
        None if wants_protobuf => Encoding::Protobuf,
        _ => Encoding::Json,
    };
    let native_ping = request.query("cf_ws_frame_ping_pong").as_deref() == Some("true");
    Ok(Upgraded { response: accept(request, offered), encoding, native_ping })
}

/// The answer to what is no acceptable upgrade request.
pub(crate) fn refused(refusal: Refusal, config: &GatewayConfig) -> Rejected {
    let status = refusal.status();
    let body = match refusal {
        Refusal::NotAnUpgrade | Refusal::ProtocolVersion => format!("{refusal}. {}", expected(config)),
        _ => format!("{refusal}\n"),
    };
    rejected(status, &body)
}

/// The answer to a request that came at a bad time: full, too many from one address, too slow.
pub(crate) fn rejected(status: Status, body: &str) -> Rejected {
    Rejected { status, response: refuse(status, body) }
}

/// What a person or a proxy that asks here by mistake should know.
fn expected(config: &GatewayConfig) -> String {
    let mut text = format!(
        "Connect with WebSocket to {} and speak the Centrifuge client protocol v2 (JSON, or Protobuf with the \
         subprotocol {SUBPROTOCOL_PROTOBUF}).\n",
        config.path
    );
    if let Some(page) = &config.demo_page {
        text.push_str(&format!("The demo page is at {page}\n"));
    }
    text
}

/// The address that limits are counted for: the peer's, or the last one in `X-Forwarded-For` that is not one of the
/// trusted proxies, if the peer is one. Earlier entries were written by the client and may say anything.
pub(crate) fn client_address(peer: IpAddr, request: &Request, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let mut address = peer;
    let values: Vec<&str> = request.headers("X-Forwarded-For").collect();
    for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let Ok(hop) = entry.trim().parse::<IpAddr>() else { break };
        address = hop.to_canonical();
        if !is_trusted(address) {
            break;
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RouterEndpoint, RouterTarget};
    use corecast_websocket::handshake::{HandshakeLimits, Progress, RequestParser};

    fn config() -> GatewayConfig {
        let endpoint = RouterEndpoint { name: "r".into(), target: RouterTarget::Abstract("r".into()) };
        let mut config = GatewayConfig::new(vec![endpoint], vec![1]);
        config.demo_page = Some("http://127.0.0.1:8001/".into());
        config
    }

    fn request(target: &str, headers: &str) -> Box<Request> {
        let text = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        match RequestParser::new(HandshakeLimits::default()).feed(text.as_bytes()) {
            Ok(Progress::Complete { request, .. }) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_encoding_follows_subprotocol_and_query() {
        let path = "/connection/websocket";
        let open = OriginPolicy::any();
        for (target, headers, encoding) in [
            ("", "", Encoding::Json),
            ("", "Sec-WebSocket-Protocol: centrifuge-json\r\n", Encoding::Json),
            ("", "Sec-WebSocket-Protocol: foo, centrifuge-protobuf\r\n", Encoding::Protobuf),
            ("?format=protobuf", "", Encoding::Protobuf),
            ("?x=1&cf_protocol=protobuf", "", Encoding::Protobuf),
            ("?format=json", "", Encoding::Json),
        ] {
            let upgraded = upgrade(&request(&format!("{path}{target}"), headers), &config(), &open).unwrap();
            assert_eq!(upgraded.encoding, encoding, "{target} {headers}");
            let text = String::from_utf8(upgraded.response).unwrap();
            assert_eq!(text.contains("Sec-WebSocket-Protocol: centrifuge-"), headers.contains("centrifuge-"));
        }
        let native = upgrade(&request(&format!("{path}?cf_ws_frame_ping_pong=true"), ""), &config(), &open).unwrap();
        assert!(native.native_ping);
    }

    #[test]
    fn other_paths_and_foreign_pages_are_refused() {
        let wrong = upgrade(&request("/", ""), &config(), &OriginPolicy::any()).unwrap_err();
        assert_eq!(wrong.status, Status::NotFound);
        let page = request("/connection/websocket", "Origin: https://evil.example\r\n");
        let foreign = upgrade(&page, &config(), &OriginPolicy::default()).unwrap_err();
        assert_eq!(foreign.status, Status::Forbidden);
    }

    #[test]
    fn a_plain_request_learns_what_is_expected_and_where_the_demo_is() {
        let rejected = refused(Refusal::NotAnUpgrade, &config());
        let text = String::from_utf8(rejected.response).unwrap();
        assert!(text.starts_with("HTTP/1.1 426 "), "{text}");
        assert!(text.contains("/connection/websocket") && text.contains("http://127.0.0.1:8001/"), "{text}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
        let forged = request("/", "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3, 10.0.0.7\r\n");
        let address = |peer: &str| client_address(peer.parse().unwrap(), &forged, &trusted).to_string();
        assert_eq!(address("10.0.0.1"), "3.3.3.3");
        assert_eq!(address("9.9.9.9"), "9.9.9.9");
        let garbage = request("/", "X-Forwarded-For: 1.1.1.1, unknown\r\n");
        assert_eq!(client_address("10.0.0.1".parse().unwrap(), &garbage, &trusted).to_string(), "10.0.0.1");
    }
}

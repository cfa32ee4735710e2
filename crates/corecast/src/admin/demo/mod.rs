//! The demo chat page, as files inside the binary, under a policy that allows nothing else.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const PAGE: &str = include_str!("index.html");
/// Stands in the page where the address of the WebSocket endpoint goes.
const PLACEHOLDER: &str = "{{websocket}}";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, content type and text of everything that the page loads.
const FILES: [(&str, &str, &str); 7] = [
    ("app.js", JAVASCRIPT, include_str!("app.js")),
    ("history.js", JAVASCRIPT, include_str!("history.js")),
    ("messages.js", JAVASCRIPT, include_str!("messages.js")),
    ("protocol.js", JAVASCRIPT, include_str!("protocol.js")),
    ("room.js", JAVASCRIPT, include_str!("room.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("style.css")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// Where the page finds the WebSocket endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// Under this address, whatever the page's own.
    Fixed(String),
    /// On the host of the page's own address, at this port and path.
    SameHost { listen: SocketAddr, path: String },
}

/// The routes of the demo page.
pub(crate) fn routes(endpoint: Endpoint) -> Router {
    Router::new().route("/", get(page)).route("/demo/{file}", get(file)).with_state(endpoint)
}

async fn page(State(endpoint): State<Endpoint>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let url = endpoint.url(host);
    let source = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    // No inline script or style, nothing from elsewhere, one connection: to the gateway.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {source}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    let text = PAGE.replacen(PLACEHOLDER, &url, 1);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, HARDENING, text).into_response()
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name) {
        Some((_, content_type, text)) => {
            let headers = [(header::CONTENT_TYPE, *content_type), (header::CACHE_CONTROL, "no-cache")];
            (headers, HARDENING, *text).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    }
}

const HARDENING: [(header::HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

impl Endpoint {
    /// The address for a page that was asked for under `host`. The text goes into a header and into HTML, so a host that is
    /// more than letters, digits, dots, dashes or an IPv6 address is not taken.
    fn url(&self, host: Option<&str>) -> String {
        match self {
            Self::Fixed(url) => url.clone(),
            Self::SameHost { listen, path } => {
                let name = host.and_then(host_name).map_or_else(|| fallback(*listen), str::to_owned);
                format!("ws://{name}:{}{path}", listen.port())
            }
        }
    }
}

/// The host of a `Host` header without its port, if it is one.
fn host_name(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(end);
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let valid = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)),
    };
    let port_valid = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (valid && port_valid).then_some(name)
}

fn fallback(listen: SocketAddr) -> String {
    let ip = if listen.ip().is_unspecified() { std::net::Ipv4Addr::LOCALHOST.into() } else { listen.ip() };
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_finds_the_endpoint_on_the_host_it_came_from() {
        let endpoint =
            Endpoint::SameHost { listen: "0.0.0.0:8000".parse().unwrap(), path: "/connection/websocket".into() };
        for (host, name) in [
            (Some("127.0.0.1:9000"), "127.0.0.1"),
            (Some("localhost:9000"), "localhost"),
            (Some("chat.lan"), "chat.lan"),
            (Some("[::1]:9000"), "[::1]"),
            (None, "127.0.0.1"),
        ] {
            assert_eq!(endpoint.url(host), format!("ws://{name}:8000/connection/websocket"));
        }
    }

    #[test]
    fn a_host_that_could_leave_its_place_is_not_taken() {
        let endpoint = Endpoint::SameHost { listen: "[::]:8000".parse().unwrap(), path: "/w".into() };
        for host in ["a;script-src *", "a\"><script>", "a b", "", ":1", "[::1", "[x]:1", "a:b", "a:1:2", "ä"] {
            assert_eq!(endpoint.url(Some(host)), "ws://127.0.0.1:8000/w", "{host}");
        }
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        assert_eq!(PAGE.matches(PLACEHOLDER).count(), 1);
        for forbidden in [" style=", "<style", " onclick", " onload", "javascript:", "http://", "https://"] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        for (name, content_type, text) in FILES {
            if content_type == JAVASCRIPT {
                for forbidden in
                    ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
                {
                    assert!(!text.contains(forbidden), "{name}: {forbidden}");
                }
            }
        }
        // Everything that the page names is there.
        for path in PAGE.split("\"/demo/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(FILES.iter().any(|(name, _, _)| *name == path), "{path}");
        }
    }
}

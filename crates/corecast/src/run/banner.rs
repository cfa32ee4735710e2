//! What the operator reads after the start: what listens where, what to try, and what everybody may do.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::SocketAddr;

use corecast_router::ListenAddr;

use crate::commands;
use crate::config::Settings;
use crate::config::values::Secret;
use crate::version;

/// What a gateway tells of itself, within `standalone` too.
pub(super) struct Edge<'a> {
    pub(super) settings: &'a Settings,
    pub(super) websocket: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) key: Option<&'a Secret>,
    /// The key was made for this run.
    pub(super) key_is_new: bool,
}

pub(super) fn standalone(edge: &Edge<'_>) {
    let mut text = Text::new("standalone");
    text.edge(edge);
    let settings = edge.settings;
    let cores = format!(
        "{}, {}",
        counted(settings.gateway.cores, "gateway core"),
        counted(settings.router.cores, "router core")
    );
    text.row("Cores", &cores);
    text.open(settings);
    if let Some(key) = edge.key {
        let admin = reachable(edge.admin);
        text.line(&format!(
            "  Try   curl -H 'X-API-Key: {}' -d '{{\"channel\":\"lobby\",\"data\":{{\"text\":\"hello\"}}}}' http://{admin}/api/publish",
            key.expose()
        ));
    }
    text.print();
}

pub(super) fn gateway(edge: &Edge<'_>) {
    let mut text = Text::new("gateway");
    text.edge(edge);
    text.row("Cores", &counted(edge.settings.gateway.cores, "gateway core"));
    text.row("Routers", &edge.settings.gateway.routers.join("  "));
    text.open(edge.settings);
    text.print();
}

pub(super) fn router(endpoints: &[ListenAddr], admin: SocketAddr) {
    let mut text = Text::new("router");
    let names: Vec<String> = endpoints.iter().map(endpoint).collect();
    text.row("Router cores", &names.join("  "));
    text.row("Metrics", &format!("http://{}/metrics", reachable(admin)));
    let flags: Vec<String> = names.iter().map(|name| format!("--router {name}")).collect();
    text.line("");
    text.line(&format!("  Gateways link with   corecast gateway {}", flags.join(" ")));
    text.print();
}

/// The name under which gateways of the same host reach a router core.
pub(super) fn endpoint(address: &ListenAddr) -> String {
    match address {
        ListenAddr::Tcp(address) => reachable(*address).to_string(),
        ListenAddr::Unix(address) => format!("unix:{address}"),
    }
}

/// An address that can be connected to: a listener on all addresses is reached on loopback.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    SocketAddr::new(ip, address.port())
}

struct Text {
    out: String,
    color: bool,
}

impl Text {
    fn new(role: &str) -> Self {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let mut text = Self { out: String::new(), color };
        text.line(&format!("\nCorecast {} {role}\n", version::LONG));
        text
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn row(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.out, "  {name:<13}{value}");
    }

    fn edge(&mut self, edge: &Edge<'_>) {
        let settings = edge.settings;
        let admin = reachable(edge.admin);
        self.row("WebSocket", &format!("ws://{}{}", reachable(edge.websocket), settings.gateway.path));
        if settings.admin.demo {
            self.row("Demo page", &format!("http://{admin}/"));
        }
        let key = match edge.key {
            Some(key) if edge.key_is_new => {
                format!("X-API-Key: {} (for this run; set your own with --api-key)", key.expose())
            }
            Some(_) => "X-API-Key as configured".to_owned(),
            None => "closed: set admin.api_key to use it".to_owned(),
        };
        self.row("Server API", &format!("http://{admin}/api   {key}"));
        self.row("Metrics", &format!("http://{admin}/metrics"));
        for (name, address) in [("WebSocket", edge.websocket), ("admin", edge.admin)] {
            if address.ip().is_unspecified() {
                self.row("", &format!("(the {name} port listens on every address of this host)"));
            }
        }
    }

    /// Says what strangers may do, loudly if it is much.
    fn open(&mut self, settings: &Settings) {
        self.line("");
        let anonymous = &settings.anonymous_users;
        let may = |list: &[String]| list.iter().any(|pattern| pattern == "*");
        if !settings.auth.anonymous {
            return;
        }
        let mut rights = vec!["connect"];
        for (list, right) in [
            (&anonymous.subscribe, "subscribe"),
            (&anonymous.publish, "publish"),
            (&anonymous.history, "read the history"),
        ] {
            if may(list) {
                rights.push(right);
            }
        }
        let (last, first) = rights.split_last().unwrap_or((&"connect", &[]));
        let list = if first.is_empty() { (*last).to_owned() } else { format!("{} and {last}", first.join(", ")) };
        let (on, off) = if self.color { ("\x1b[1;33m", "\x1b[0m") } else { ("", "") };
        let what = if rights.len() > 1 { " in every chat" } else { "" };
        self.line(&format!("  {on}OPEN TO EVERYBODY: whoever reaches the WebSocket port may {list}{what}.{off}"));
        self.line("  That is for trying it out. For more, configure [auth] and [users]: corecast defaultconfig\n");
    }

    /// Nobody has to read it: a closed standard output is no failure.
    fn print(self) {
        let _ = commands::print(&self.out);
    }
}

fn counted(number: u16, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

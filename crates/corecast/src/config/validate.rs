//! Checks what no single setting can: relations between limits, and what a role cannot start without. Every message names the
//! keys, where their values came from, and the way out.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::schema::env_name;
use super::values::{Secret, Value};
use super::{Gateway, Origins, Problems, Settings, Steering, convert};
use crate::cli::Role;

/// Shortest secret of the router links in bytes: 128 bits if it is random.
pub(crate) const LINK_SECRET_MIN: usize = 16;
/// Largest message a router link carries: half of its largest frame.
const MESSAGE_MAX: u64 = 512 * 1024;
/// A core can hold no more of the mean than all of it, times the most cores.
const IMBALANCE_MAX: u32 = 100 * 1_024;
/// Clients give a reply this long before they drop the connection.
const CLIENT_PATIENCE_SECONDS: u64 = 5;

/// Checks everything; `role` adds what that role needs.
pub(crate) fn check(settings: &Settings, origins: &Origins, role: Option<Role>) -> Result<(), Problems> {
    let mut rules = Rules { origins, problems: Vec::new() };
    rules.limits(settings);
    rules.timing(settings);
    rules.cores(settings);
    rules.addresses(settings);
    rules.secrets(settings);
    rules.router(settings);
    if let Err(Problems(problems)) = convert::auth(settings) {
        rules.problems.extend(problems);
    }
    if let Some(role) = role {
        rules.role(settings, role);
    }
    Problems(rules.problems).none_or()
}

/// An address for listening. `localhost` is taken for 127.0.0.1; other names are not: they could be several addresses.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    numeric.parse().map_err(|_| {
        format!(
            "`{text}` is not an address to listen on: write IP:port, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::]:8000"
        )
    })
}

/// A list of CPUs such as `0-3,8`.
pub(crate) fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("`{text}` is not a list of CPUs: write numbers and ranges, such as 0-3,8");
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= CPUS_MAX {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

/// More CPUs than Linux supports in one machine: bounds what a range such as `0-9999999999` expands to.
const CPUS_MAX: usize = 8_192;

/// A secret given directly or in a file; `None` if neither is.
pub(crate) fn secret(
    table: &str,
    key: &str,
    direct: Option<&Secret>,
    file: Option<&String>,
) -> Result<Option<Secret>, String> {
    match (direct, file) {
        (Some(_), Some(_)) => Err(format!("{table}.{key} and {table}.{key}_file are both set: remove one")),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{table}.{key}_file: {path}: {error}"))?;
            match text.trim() {
                "" => Err(format!("{table}.{key}_file: {path} is empty")),
                secret => Ok(Some(Secret::new(secret))),
            }
        }
    }
}

struct Rules<'a> {
    origins: &'a Origins,
    problems: Vec<String>,
}

impl Rules<'_> {
    /// Keeps the problem unless `holds`. `keys` are those whose values are to blame.
    fn rule(&mut self, holds: bool, keys: &[&str], problem: impl FnOnce() -> String) {
        if !holds {
            let places: Vec<String> = keys.iter().filter_map(|key| self.place(key)).collect();
            let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join("; ")) };
            self.problems.push(format!("{}{places}", problem()));
        }
    }

    /// Where a value came from, unless it is the default.
    fn place(&self, key: &str) -> Option<String> {
        let (table, name) = key.split_once('.')?;
        let origin = self.origins.get(&(table.to_owned(), name.to_owned()))?;
        Some(format!("{key} is from {origin}"))
    }

    /// `low` must be below (or at most) `high`.
    fn ordered<T: Value + PartialOrd>(&mut self, low: (&str, &T), high: (&str, &T), equal: bool, why: &str) {
        let holds = if equal { low.1 <= high.1 } else { low.1 < high.1 };
        let show = |value: &T| value.to_toml().unwrap_or_default();
        self.rule(holds, &[low.0, high.0], || {
            format!(
                "{} = {} must {} {} = {}: {why}. Lower the first or raise the second",
                low.0,
                show(low.1),
                if equal { "not exceed" } else { "be below" },
                high.0,
                show(high.1),
            )
        });
    }

    fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        self.rule((low..=high).contains(&value), &[key], || {
            format!("{key} = {value} must be between {low} and {high}")
        });
    }

    fn limits(&mut self, settings: &Settings) {
        let limits = &settings.limits;
        let soft = ("limits.outbox_soft", &limits.outbox_soft);
        let hard = ("limits.outbox_hard", &limits.outbox_hard);
        let message = ("limits.message", &limits.message);
        self.ordered(soft, hard, false, "a slow member is cut from a chat before its connection is closed");
        let recovery = ("limits.recovery_bytes", &limits.recovery_bytes);
        self.ordered(recovery, hard, false, "a recovery must fit the outbox beside live messages");
        self.ordered(("limits.first_frame", &limits.first_frame), message, true, "the first frame is a message too");
        self.ordered(
            ("limits.slice_sends", &limits.slice_sends),
            ("limits.turn_sends", &limits.turn_sends),
            true,
            "a turn consists of slices",
        );
        self.rule(limits.message.0 <= MESSAGE_MAX, &["limits.message"], || {
            format!("limits.message = {} must not exceed 512KiB: half a frame of the router link", limits.message)
        });
        self.range("limits.chats_per_connection", u64::from(limits.chats_per_connection), 1, 255);
        self.range("limits.chat_name", u64::from(limits.chat_name), 1, 255);
        self.range("limits.circle_rounds", u64::from(limits.circle_rounds), 1, 255);
        self.range("limits.slice_sends", u64::from(limits.slice_sends), 1, 1 << 20);
        self.range("limits.cut_per_ms", u64::from(limits.cut_per_ms), 1, 1 << 20);
    }

    fn timing(&mut self, settings: &Settings) {
        let timing = &settings.timing;
        self.ordered(
            ("timing.pong", &timing.pong),
            ("timing.ping", &timing.ping),
            false,
            "a pong must be awaited for less than the time to the next ping",
        );
        self.rule(timing.ping.0.as_secs() >= 1, &["timing.ping"], || "timing.ping must be at least 1s".to_owned());
        self.rule(timing.answer.0.as_secs() < CLIENT_PATIENCE_SECONDS, &["timing.answer"], || {
            format!("timing.answer = {} must be below 5s: clients drop the connection then", timing.answer)
        });
    }

    fn cores(&mut self, settings: &Settings) {
        self.range("gateway.cores", u64::from(settings.gateway.cores), 1, 1_024);
        self.range("router.cores", u64::from(settings.router.cores), 1, 1_024);
        self.range("link.slots", u64::from(settings.link.slots), 1, 16_384);
        self.range("ring.mailbox", u64::from(settings.ring.mailbox), 64, 1 << 24);
        let buffers = settings.ring.receive_buffers;
        self.rule(buffers.is_power_of_two() && buffers <= 32_768, &["ring.receive_buffers"], || {
            format!("ring.receive_buffers = {buffers} must be a power of two up to 32768")
        });
        for (key, text) in [("gateway.cpus", &settings.gateway.cpus), ("router.cpus", &settings.router.cpus)] {
            if let Err(problem) = cpu_list(text) {
                self.rule(false, &[key], || format!("{key}: {problem}"));
            }
        }
        self.steering(&settings.gateway);
    }

    fn steering(&mut self, gateway: &Gateway) {
        let (cores, imbalance) = (usize::from(gateway.cores), gateway.imbalance);
        let cpus = cpu_list(&gateway.cpus).unwrap_or_default();
        let distinct = cpus.iter().take(cores).collect::<BTreeSet<_>>().len();
        let keys = ["gateway.steering", "gateway.cpus", "gateway.cores"];
        self.rule(gateway.steering != Steering::Cpu || distinct == cores, &keys, || {
            format!(
                "gateway.steering = \"cpu\" needs a CPU of its own for each core: gateway.cpus = \"{}\" has {distinct} for \
                 {cores}. Name as many CPUs as there are cores, or use \"auto\"",
                gateway.cpus
            )
        });
        self.rule(imbalance == 0 || (100..=IMBALANCE_MAX).contains(&imbalance), &["gateway.imbalance"], || {
            format!("gateway.imbalance = {imbalance} must be 0 (off), or between 100 and {IMBALANCE_MAX} percent of the mean")
        });
    }

    fn addresses(&mut self, settings: &Settings) {
        for (key, text) in [("gateway.listen", &settings.gateway.listen), ("admin.listen", &settings.admin.listen)] {
            if let Err(problem) = listen_address(text) {
                self.rule(false, &[key], || format!("{key}: {problem}"));
            }
        }
        self.rule(settings.gateway.path.starts_with('/'), &["gateway.path"], || {
            format!("gateway.path = \"{}\" must begin with /", settings.gateway.path)
        });
        let demo = &settings.admin.demo_websocket;
        let is_websocket = demo.starts_with("ws://") || demo.starts_with("wss://");
        let is_plain = demo.chars().all(|character| character.is_ascii_graphic() && !"\"'<>;,".contains(character));
        self.rule(demo.is_empty() || is_websocket && is_plain, &["admin.demo_websocket"], || {
            format!("admin.demo_websocket = \"{demo}\" must be an address such as wss://chat.example.org/connection/websocket")
        });
        for network in &settings.gateway.trusted_proxies {
            if let Err(problem) = network.parse::<corecast_gateway::config::Network>() {
                let key = "gateway.trusted_proxies";
                self.rule(false, &[key], || format!("{key}: `{network}`: {problem}"));
            }
        }
    }

    fn secrets(&mut self, settings: &Settings) {
        let admin = &settings.admin;
        if let Err(problem) = secret("admin", "api_key", admin.api_key.as_ref(), admin.api_key_file.as_ref()) {
            self.problems.push(problem);
        }
        match link_secret(settings) {
            Err(problem) => self.problems.push(problem),
            Ok(Some(secret)) if secret.expose().len() < LINK_SECRET_MIN => self.problems.push(format!(
                "link.secret has {} bytes and must have at least {LINK_SECRET_MIN}: make one with \
                 `head -c 32 /dev/urandom | base64`",
                secret.expose().len()
            )),
            Ok(_) => {}
        }
    }

    fn router(&mut self, settings: &Settings) {
        if let Err(problem) = convert::router_limits(settings).validate() {
            let (field, key) = (problem.field, router_key(problem.field));
            self.rule(false, &[key], || format!("{key} must be {} (limit `{field}`)", problem.must));
        }
    }

    fn role(&mut self, settings: &Settings, role: Role) {
        if role != Role::Standalone && matches!(link_secret(settings), Ok(None)) {
            self.problems.push(format!(
                "link.secret is not set: gateways and routers prove it to each other. Put it into a file and name that in \
                 link.secret_file or {}, the same on all nodes; make one with `head -c 32 /dev/urandom | base64`",
                env_name("link", "secret_file")
            ));
        }
        if role == Role::Gateway && settings.gateway.routers.is_empty() {
            self.problems.push(format!(
                "gateway.routers is empty: name each router core with --router host:port, in the file or in {}",
                env_name("gateway", "routers")
            ));
        }
    }
}

/// The setting behind a limit of the router.
fn router_key(field: &str) -> &'static str {
    match field {
        "chats" => "router.chats",
        "history_bytes" => "router.history_bytes",
        "history_messages" => "router.history_messages",
        "kept.messages" => "router.kept_messages",
        "link_drained_bytes" | "link_soft_bytes" => "router.link_soft",
        "link_hard_bytes" => "router.link_hard",
        "links" => "router.links",
        _ => "router",
    }
}

/// The secret of the router links, if one is configured.
pub(crate) fn link_secret(settings: &Settings) -> Result<Option<Secret>, String> {
    secret("link", "secret", settings.link.secret.as_ref(), settings.link.secret_file.as_ref())
}

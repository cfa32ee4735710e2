//! Turns settings into what the libraries take. Every failure names the setting.

use std::net::ToSocketAddrs as _;
use std::path::PathBuf;

use corecast_gateway::auth::{
    Algorithm, AuthConfig, Authenticator, ChatPattern, KeyConfig, KeyMaterial, OriginPolicy, Permissions,
};
use corecast_gateway::config::{self as gateway, GatewayConfig, RouterEndpoint, RouterTarget};
use corecast_router::chat::Kept;
use corecast_router::core::Limits as RouterLimits;
use corecast_router::keys::KeyLimits;

use super::validate::{cpu_list, listen_address, secret};
use super::values::{Secret, Value as _};
use super::{AnonymousUsers, Auth, Problems, Settings, Steering, Users};

/// Everything that decides who may do what. Keys are read from their files and checked.
pub(crate) fn auth(settings: &Settings) -> Result<AuthConfig, Problems> {
    let auth = &settings.auth;
    let mut problems = Vec::new();
    let keys = keep(token_keys(auth), &mut problems).unwrap_or_default();
    let origins = OriginPolicy::new(&auth.allowed_origins, auth.allow_missing_origin)
        .map_err(|problem| vec![format!("auth.allowed_origins: {problem}")]);
    let users = Lists::from(&settings.users).permissions();
    let anonymous_users = Lists::from(&settings.anonymous_users).permissions();
    let config = AuthConfig {
        keys,
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
        not_before_leeway: auth.not_before_leeway.0.as_secs(),
        anonymous: auth.anonymous,
        ignore_tokens_without_keys: auth.ignore_tokens_without_keys,
        users: keep(users, &mut problems).unwrap_or_default(),
        anonymous_users: keep(anonymous_users, &mut problems).unwrap_or_default(),
        origins: keep(origins, &mut problems).unwrap_or_default(),
    };
    if let Err(problem) = Authenticator::new(&config) {
        problems.push(format!("auth: {problem}"));
    }
    Problems(problems).none_or().map(|()| config)
}

/// The key that `gentoken` signs with: the shared secret, since public keys cannot sign.
pub(crate) fn signing_key(settings: &Settings) -> Result<KeyConfig, String> {
    let key = shared_secret(&settings.auth)?;
    key.ok_or_else(|| {
        "gentoken signs with auth.token_secret, which is not set: set it in the configuration or in \
         CORECAST_AUTH_TOKEN_SECRET. Tokens of auth.token_keys are signed by whoever holds the private key"
            .to_owned()
    })
}

/// A gateway that links to `routers`. The settings must have passed their check.
pub(crate) fn gateway(
    settings: &Settings,
    routers: Vec<RouterEndpoint>,
    secret: &Secret,
) -> Result<GatewayConfig, Problems> {
    let wrong = |key: &'static str| move |problem: String| Problems::one(format!("{key}: {problem}"));
    let section = &settings.gateway;
    let mut config = GatewayConfig::new(routers, secret.expose().as_bytes().to_vec());
    config.listen = listen_address(&section.listen).map_err(wrong("gateway.listen"))?;
    config.path.clone_from(&section.path);
    config.cores = section.cores;
    config.cpus = cpu_list(&section.cpus).map_err(wrong("gateway.cpus"))?;
    config.steering = match section.steering {
        Steering::Auto => gateway::Steering::Auto,
        Steering::Hash => gateway::Steering::Hash,
        Steering::Cpu => gateway::Steering::Cpu,
    };
    config.imbalance = section.imbalance;
    config.slots = settings.link.slots;
    config.trusted_proxies = section
        .trusted_proxies
        .iter()
        .map(|text| {
            text.parse().map_err(|problem| Problems::one(format!("gateway.trusted_proxies: `{text}`: {problem}")))
        })
        .collect::<Result<_, _>>()?;
    config.node = node_name(settings);
    config.drain_window = settings.node.drain_window.0;
    config.limits = limits(settings);
    config.timing = timing(settings);
    config.ring = ring(settings);
    config.auth = auth(settings)?;
    config.check().map_err(|problem| Problems::one(problem.to_string()))?;
    Ok(config)
}

/// The router cores that `gateway.routers` names, in its order. Names are looked up now, once.
pub(crate) fn endpoints(settings: &Settings) -> Result<Vec<RouterEndpoint>, String> {
    let endpoint = |text: &String| {
        let (name, address) = split_endpoint(text);
        Ok(RouterEndpoint { name: name.to_owned(), target: target(address)? })
    };
    settings.gateway.routers.iter().map(endpoint).collect()
}

/// Name and address of a router in a gateway's list: `NAME@host:port`, or the address as its own name. A path or an
/// abstract name behind `unix:` may contain `@`, so a name ends before the first one.
pub(crate) fn split_endpoint(text: &str) -> (&str, &str) {
    match text.split_once('@') {
        Some((name, address)) if !name.is_empty() && !name.starts_with("unix:") => (name, address),
        _ => (text, text),
    }
}

/// What bounds each router core.
pub(crate) fn router_limits(settings: &Settings) -> RouterLimits {
    let router = &settings.router;
    RouterLimits {
        links: index(router.links),
        chats: index(router.chats),
        kept: Kept { messages: index(router.kept_messages), bytes: router.kept_bytes.bytes() },
        kept_bytes_total: router.kept_total.bytes(),
        keys: KeyLimits { window: router.idempotency_window.0, keys: index(router.idempotency_keys) },
        link_soft_bytes: router.link_soft.bytes(),
        link_hard_bytes: router.link_hard.bytes(),
        history_messages: index(router.history_messages),
        history_bytes: router.history_bytes.bytes(),
        idle_retention: router.idle_retention.0,
        ..RouterLimits::default()
    }
}

/// The configured name, or the host's with the port.
pub(crate) fn node_name(settings: &Settings) -> String {
    if !settings.node.name.is_empty() {
        return settings.node.name.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let port = settings.gateway.listen.rsplit(':').next().unwrap_or_default();
    let host = if host.trim().is_empty() { "corecast" } else { host.trim() };
    format!("{host}_{port}")
}

fn target(name: &str) -> Result<RouterTarget, String> {
    if let Some(path) = name.strip_prefix("unix:") {
        return Ok(match path.strip_prefix('@') {
            Some(name) => RouterTarget::Abstract(name.to_owned()),
            None => RouterTarget::Unix(PathBuf::from(path)),
        });
    }
    let mut addresses = name.to_socket_addrs().map_err(|error| {
        format!("gateway.routers: `{name}` cannot be looked up: {error}. Write host:port or unix:/path")
    })?;
    addresses.next().map(RouterTarget::Tcp).ok_or_else(|| format!("gateway.routers: `{name}` has no address"))
}

fn limits(settings: &Settings) -> gateway::Limits {
    let limits = &settings.limits;
    gateway::Limits {
        connections: limits.connections,
        connections_per_address: limits.connections_per_address,
        handshakes_per_second: limits.handshakes_per_second,
        handshakes_per_second_per_address: limits.handshakes_per_second_per_address,
        limit_loopback: limits.limit_loopback,
        message: limits.message.bytes(),
        first_frame: limits.first_frame.bytes(),
        upgrade: limits.upgrade.bytes(),
        upgrade_headers: index(limits.upgrade_headers),
        unauthenticated: limits.unauthenticated.bytes(),
        chats_per_connection: index(limits.chats_per_connection),
        chat_name: index(limits.chat_name),
        outbox_soft: limits.outbox_soft.bytes(),
        outbox_hard: limits.outbox_hard.bytes(),
        outbox_total: limits.outbox_total.bytes(),
        progress_bytes: limits.progress_bytes.bytes(),
        progress_window: limits.progress_window.0,
        circle_rounds: u8::try_from(limits.circle_rounds).unwrap_or(u8::MAX),
        circle_window: limits.circle_window.0,
        recovery_messages: index(limits.recovery_messages),
        recovery_bytes: limits.recovery_bytes.bytes(),
        recent_messages: index(limits.recent_messages),
        recent_bytes: limits.recent_bytes.bytes(),
        recent_total: limits.recent_total.bytes(),
        warm_messages: limits.warm_messages,
        history_messages: index(limits.history_messages),
        input_rate: limits.input_rate,
        publish_rate: limits.publish_rate,
        cut_per_ms: limits.cut_per_ms,
        slice_sends: index(limits.slice_sends),
        turn_sends: index(limits.turn_sends),
    }
}

fn timing(settings: &Settings) -> gateway::Timing {
    let timing = &settings.timing;
    gateway::Timing {
        handshake: timing.handshake.0,
        connect: timing.connect.0,
        ping: timing.ping.0,
        pong: timing.pong.0,
        expiry_grace: timing.expiry_grace.0,
        close: timing.close.0,
        answer: timing.answer.0,
        linger: timing.linger.0,
    }
}

fn ring(settings: &Settings) -> gateway::RingConfig {
    let ring = &settings.ring;
    let narrow = |size: super::values::Size| u32::try_from(size.0).unwrap_or(u32::MAX);
    gateway::RingConfig {
        connections: ring.connections,
        min_wait: ring.min_wait.0,
        receive_buffers: ring.receive_buffers,
        receive_buffer_bytes: narrow(ring.receive_buffer),
        send_buffer: Some(narrow(ring.send_buffer)).filter(|bytes| *bytes > 0),
        backlog: ring.backlog,
        mailbox: index(ring.mailbox),
        ..gateway::RingConfig::default()
    }
}

fn token_keys(auth: &Auth) -> Result<Vec<KeyConfig>, Vec<String>> {
    let mut problems = Vec::new();
    let mut keys = Vec::new();
    match shared_secret(auth) {
        Ok(key) => keys.extend(key),
        Err(problem) => problems.push(problem),
    }
    for text in &auth.token_keys {
        match public_key(text) {
            Ok(key) => keys.push(key),
            Err(problem) => problems.push(format!("auth.token_keys: `{text}`: {problem}")),
        }
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

fn shared_secret(auth: &Auth) -> Result<Option<KeyConfig>, String> {
    let found = secret("auth", "token_secret", auth.token_secret.as_ref(), auth.token_secret_file.as_ref())?;
    let Some(found) = found else { return Ok(None) };
    let name = auth.token_secret_algorithm.to_toml().unwrap_or_default();
    let algorithm: Algorithm =
        name.trim_matches('"').parse().map_err(|problem| format!("auth.token_secret_algorithm: {problem}"))?;
    Ok(Some(KeyConfig::secret(algorithm, found.expose().as_bytes())))
}

/// `ALGORITHM:FILE` or `KEY_ID@ALGORITHM:FILE`.
fn public_key(text: &str) -> Result<KeyConfig, String> {
    let (name, path) = text.split_once(':').ok_or("write ALGORITHM:FILE or KEY_ID@ALGORITHM:FILE")?;
    let (id, algorithm) = match name.rsplit_once('@') {
        Some((id, algorithm)) => (Some(id.to_owned()), algorithm),
        None => (None, name),
    };
    let algorithm: Algorithm =
        algorithm.parse().map_err(|problem: corecast_gateway::auth::KeyError| problem.to_string())?;
    if algorithm.is_symmetric() {
        return Err("a shared secret belongs into auth.token_secret_file".to_owned());
    }
    Ok(KeyConfig { id, algorithm, material: KeyMaterial::File(PathBuf::from(path)) })
}

/// The lists of one kind of user, with the section they stand in.
struct Lists<'a>(&'static str, [(&'static str, &'a [String]); 7]);

impl<'a> From<&'a Users> for Lists<'a> {
    fn from(users: &'a Users) -> Self {
        Self(
            "users",
            [
                ("subscribe", &users.subscribe),
                ("publish", &users.publish),
                ("publish_for_member", &users.publish_for_member),
                ("history", &users.history),
                ("history_for_member", &users.history_for_member),
                ("presence", &users.presence),
                ("presence_for_member", &users.presence_for_member),
            ],
        )
    }
}

impl<'a> From<&'a AnonymousUsers> for Lists<'a> {
    fn from(users: &'a AnonymousUsers) -> Self {
        Self(
            "anonymous_users",
            [
                ("subscribe", &users.subscribe),
                ("publish", &users.publish),
                ("publish_for_member", &users.publish_for_member),
                ("history", &users.history),
                ("history_for_member", &users.history_for_member),
                ("presence", &users.presence),
                ("presence_for_member", &users.presence_for_member),
            ],
        )
    }
}

impl Lists<'_> {
    fn permissions(&self) -> Result<Permissions, Vec<String>> {
        let mut problems = Vec::new();
        let mut patterns = self.1.iter().map(|(key, list)| {
            let parse = |text: &String| text.parse::<ChatPattern>();
            list.iter().map(parse).collect::<Result<Vec<_>, _>>().unwrap_or_else(|problem| {
                problems.push(format!("{}.{key}: {problem}", self.0));
                Vec::new()
            })
        });
        let mut next = || patterns.next().unwrap_or_default();
        let permissions = Permissions {
            subscribe: next(),
            publish: next(),
            publish_for_member: next(),
            history: next(),
            history_for_member: next(),
            presence: next(),
            presence_for_member: next(),
        };
        drop(patterns);
        if problems.is_empty() { Ok(permissions) } else { Err(problems) }
    }
}

/// The value, or its problems moved to the others.
fn keep<T>(outcome: Result<T, Vec<String>>, problems: &mut Vec<String>) -> Option<T> {
    outcome.map_err(|mut more| problems.append(&mut more)).ok()
}

/// All settings of this width fit.
fn index(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

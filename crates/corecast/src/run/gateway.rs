//! `corecast gateway`: serves WebSocket clients, linked to routers that run elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use corecast_gateway::config::RouterEndpoint;
use corecast_gateway::control::LinkHealth;
use corecast_gateway::{Gateway, StartError};
use prometheus_client::registry::Registry;

use super::router::address;
use super::{Admin, Parts, banner, listen, serve, settings, start_logging};
use crate::admin::api::{self, ApiLimits};
use crate::admin::demo;
use crate::admin::health::{self, Health};
use crate::admin::metrics;
use crate::cli::{GatewayArgs, Role};
use crate::config::values::Secret;
use crate::config::{Problems, Settings, convert, validate};
use crate::exit::Failure;

/// Time for the last close handshakes, beyond the drain window and `timing.close`.
const LAST_CLOSES: Duration = Duration::from_secs(2);

pub(crate) fn gateway(args: &GatewayArgs, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let settings = settings::of_gateway(args, env)?;
    start_logging(&settings)?;
    let admin = listen::bind(address(&settings.admin.listen, "admin.listen")?, "admin.listen", "--admin")?;
    let secret = validate::link_secret(&settings).map_err(Problems::one)?;
    let endpoints = convert::endpoints(&settings).map_err(Failure::Unavailable)?;
    let gateway = start(&settings, endpoints, &secret.unwrap_or_else(|| Secret::new("")), &admin)?;
    let key = api_key(&settings)?;

    let mut registry = metrics::registry(Role::Gateway);
    metrics::gateway::register(&mut registry, gateway.stats());
    let admin_side = admin_side(&settings, admin, &gateway, key.clone(), registry)?;
    banner::gateway(&banner::Edge {
        settings: &settings,
        websocket: gateway.local_addr(),
        admin: admin_side.listener.local_addr().map_err(|error| Failure::Runtime(error.to_string()))?,
        key: key.as_ref(),
        key_is_new: false,
    });
    serve(&settings, admin_side, Box::new(Running { gateway }), patience(&settings))
}

/// How long the drain of a gateway may take.
pub(super) fn patience(settings: &Settings) -> Duration {
    settings.node.drain_window.0 + settings.timing.close.0 + LAST_CLOSES
}

/// Starts the gateway's cores.
pub(super) fn start(
    settings: &Settings,
    endpoints: Vec<RouterEndpoint>,
    secret: &Secret,
    admin: &std::net::TcpListener,
) -> Result<Gateway, Failure> {
    let mut config = convert::gateway(settings, endpoints, secret)?;
    if settings.admin.demo
        && let Ok(address) = admin.local_addr()
    {
        config.demo_page = Some(format!("http://{}/", banner::reachable(address)));
    }
    for warning in config.auth.warnings() {
        tracing::warn!("{warning}");
    }
    listen::probe(config.listen, "gateway.listen", "--listen")?;
    Gateway::start(config).map_err(failure)
}

/// The key of the server API, if one is configured.
pub(super) fn api_key(settings: &Settings) -> Result<Option<Secret>, Failure> {
    let admin = &settings.admin;
    let key = validate::secret("admin", "api_key", admin.api_key.as_ref(), admin.api_key_file.as_ref());
    key.map_err(|problem| Problems::one(problem).into())
}

/// Everything that the admin port of a gateway serves.
pub(super) fn admin_side(
    settings: &Settings,
    listener: std::net::TcpListener,
    gateway: &Gateway,
    key: Option<Secret>,
    mut registry: Registry,
) -> Result<Admin, Failure> {
    let limits = ApiLimits {
        body_max: settings.admin.body_max.bytes(),
        broadcast_max: settings.admin.broadcast_max as usize,
        timeout: settings.admin.timeout.0,
    };
    let health = Health::new(Some(links(gateway)));
    let mut routes = Router::new()
        .merge(api::routes(Arc::new(gateway.control()), key, limits, &mut registry))
        .merge(health::routes(Arc::clone(&health)))
        .merge(metrics::routes(registry));
    if settings.admin.demo {
        let endpoint = match settings.admin.demo_websocket.as_str() {
            "" => demo::Endpoint::SameHost { listen: gateway.local_addr(), path: settings.gateway.path.clone() },
            url => demo::Endpoint::Fixed(url.to_owned()),
        };
        routes = routes.merge(demo::routes(endpoint));
    }
    Ok(Admin { listener, routes, health })
}

/// How many links are up, by the figures that the cores copy out several times a second.
fn links(gateway: &Gateway) -> Box<dyn Fn() -> LinkHealth + Send + Sync> {
    let endpoints = gateway.link_health().endpoints;
    let stats = gateway.stats();
    Box::new(move || {
        let cores = stats.snapshot();
        let up = cores.iter().flat_map(|core| &core.links).filter(|link| link.is_up()).count();
        LinkHealth { endpoints, up }
    })
}

fn failure(error: StartError) -> Failure {
    match error {
        StartError::Auth(_) | StartError::Config(_) => Problems::one(error.to_string()).into(),
        StartError::Pin { .. } => Problems::one(format!("gateway.cpus: {error}")).into(),
        StartError::Listen { .. } | StartError::Ring(_) => Failure::Unavailable(error.to_string()),
        StartError::System { .. } => Failure::Runtime(error.to_string()),
    }
}

/// Why the process is of no more use, if a gateway core has ended by itself.
pub(super) fn failed(gateway: &Gateway) -> Option<Failure> {
    gateway.is_finished().then(|| Failure::Runtime("a gateway core ended by itself; the log says why".to_owned()))
}

struct Running {
    gateway: Gateway,
}

impl Parts for Running {
    fn drain(&mut self) {
        self.gateway.control().drain();
    }

    fn drained(&self) -> bool {
        self.gateway.drained()
    }

    fn failure(&mut self) -> Option<Failure> {
        failed(&self.gateway)
    }

    fn end(self: Box<Self>) -> Result<(), Failure> {
        self.gateway.stop();
        self.gateway.join();
        Ok(())
    }
}

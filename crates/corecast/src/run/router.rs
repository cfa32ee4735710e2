//! `corecast router`: sequences chats for gateways that run elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use corecast_router::{Listen, RouterConfig, RouterHandle, StartError};

use super::{Admin, Parts, banner, listen, serve, settings, start_logging};
use crate::admin::health::{self, Health};
use crate::admin::metrics;
use crate::cli::{Role, RouterArgs};
use crate::config::values::Secret;
use crate::config::{Problems, Settings, convert, validate};
use crate::exit::Failure;

/// Time that gateways get to read what was sent, beyond the drain window.
const LAST_FRAMES: Duration = Duration::from_secs(2);

pub(crate) fn router(args: &RouterArgs, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let settings = settings::of_router(args, env)?;
    start_logging(&settings)?;
    let admin_address = address(&settings.admin.listen, "admin.listen")?;
    let listener = listen::bind(admin_address, "admin.listen", "--admin")?;
    let admin_address = listener.local_addr().unwrap_or(admin_address);
    let secret = validate::link_secret(&settings).map_err(Problems::one)?;
    let router = start(&settings, place(&settings.router.listen)?, &secret.unwrap_or_else(|| Secret::new("")))?;

    let mut registry = metrics::registry(Role::Router);
    metrics::router::register(&mut registry, router.stats_handle());
    let health = Health::new(None);
    let routes = Router::new().merge(health::routes(std::sync::Arc::clone(&health))).merge(metrics::routes(registry));
    banner::router(router.endpoints(), admin_address);
    let patience = settings.node.drain_window.0 + LAST_FRAMES;
    let grace = settings.node.drain_window.0;
    serve(&settings, Admin { listener, routes, health }, Box::new(Running { router, grace }), patience)
}

/// Starts the router cores at `listen`.
pub(super) fn start(settings: &Settings, listen: Listen, secret: &Secret) -> Result<RouterHandle, Failure> {
    let mut config = RouterConfig::new(listen, secret.expose().as_bytes().to_vec());
    config.cores = settings.router.cores;
    config.cpus = validate::cpu_list(&settings.router.cpus).map_err(Problems::one)?;
    config.slots = settings.link.slots;
    config.limits = convert::router_limits(settings);
    config.min_wait = settings.router.min_wait.0;
    corecast_router::Router::start(config).map_err(failure)
}

/// Where `router.listen` says.
fn place(text: &str) -> Result<Listen, Failure> {
    match text.strip_prefix("unix:") {
        Some(path) => match path.parse() {
            Ok(address) => Ok(Listen::Unix(address)),
        },
        None => address(text, "router.listen").map(Listen::Tcp),
    }
}

pub(super) fn address(text: &str, key: &str) -> Result<SocketAddr, Failure> {
    validate::listen_address(text).map_err(|problem| Problems::one(format!("{key}: {problem}")).into())
}

fn failure(error: StartError) -> Failure {
    match error {
        StartError::Listen { address, error } if error.kind() == std::io::ErrorKind::AddrInUse => Failure::Unavailable(
            format!("cannot listen on {address} (router.listen): the address is in use. Choose another with --listen"),
        ),
        StartError::Listen { .. } | StartError::Setup(_) => Failure::Unavailable(error.to_string()),
        StartError::Pin { .. } => Problems::one(format!("router.cpus: {error}")).into(),
        StartError::System(_) => Failure::Runtime(error.to_string()),
        StartError::Cores { .. }
        | StartError::Secret { .. }
        | StartError::Ports { .. }
        | StartError::MinWait
        | StartError::Limits(_) => Problems::one(format!("router: {error}")).into(),
    }
}

/// Why the process is of no more use, if a router core has ended by itself.
pub(super) fn failed(router: &RouterHandle) -> Option<Failure> {
    router.is_finished().then(|| Failure::Runtime("a router core ended by itself; the log says why".to_owned()))
}

struct Running {
    router: RouterHandle,
    grace: Duration,
}

impl Parts for Running {
    fn drain(&mut self) {
        self.router.shutdown(self.grace);
    }

    fn drained(&self) -> bool {
        self.router.is_finished()
    }

    fn failure(&mut self) -> Option<Failure> {
        failed(&self.router)
    }

    fn end(self: Box<Self>) -> Result<(), Failure> {
        self.router.join().map_err(|error| Failure::Runtime(error.to_string()))
    }
}

//! `corecast standalone`: router and gateway in one process, linked over an abstract Unix socket with a secret of their own.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use corecast_gateway::Gateway;
use corecast_gateway::config::{RouterEndpoint, RouterTarget};
use corecast_router::{Listen, ListenAddr, RouterHandle, UnixAddr};

use super::router::address;
use super::{Parts, banner, gateway, listen, router, serve, settings, start_logging};
use crate::admin::metrics;
use crate::cli::{Role, ServeArgs};
use crate::config::values::Secret;
use crate::exit::Failure;

/// Random bytes of the link secret and of a generated API key: 256 and 192 bits.
const SECRET_BYTES: usize = 32;
const KEY_BYTES: usize = 24;
/// Links that the router of this process reserves descriptors for: its one gateway links once to each router core, and a reconnect
/// may overlap with its predecessor. A router of its own keeps room for 1,500, more than many shells' limit of descriptors allows.
const LINKS: u32 = 16;
/// For the gateway's last frames to reach the router after the gateway has stopped.
const ROUTER_GRACE: Duration = Duration::from_millis(200);

pub(crate) fn standalone(args: &ServeArgs, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut settings = settings::of_standalone(args, env)?;
    settings.router.links = settings.router.links.min(LINKS);
    start_logging(&settings)?;
    let admin = listen::bind(address(&settings.admin.listen, "admin.listen")?, "admin.listen", "--admin")?;
    let configured = gateway::api_key(&settings)?;
    let key_is_new = configured.is_none();
    let key = match configured {
        Some(key) => key,
        None => Secret::new(random_hex(KEY_BYTES)?),
    };
    // Whoever shares the network namespace can connect to an abstract socket; without the secret that is of no use.
    let secret = Secret::new(random_hex(SECRET_BYTES)?);
    let name = format!("corecast-{}-{}", std::process::id(), random_hex(8)?);
    let router = router::start(&settings, Listen::Unix(UnixAddr::Abstract(name.into_bytes())), &secret)?;
    let endpoints =
        router.endpoints().iter().enumerate().filter_map(|(core, address)| endpoint(core, address)).collect();
    let gateway = gateway::start(&settings, endpoints, &secret, &admin)?;

    let mut registry = metrics::registry(Role::Standalone);
    metrics::gateway::register(&mut registry, gateway.stats());
    metrics::router::register(&mut registry, router.stats_handle());
    let admin_side = gateway::admin_side(&settings, admin, &gateway, Some(key.clone()), registry)?;
    banner::standalone(&banner::Edge {
        settings: &settings,
        websocket: gateway.local_addr(),
        admin: admin_side.listener.local_addr().map_err(|error| Failure::Runtime(error.to_string()))?,
        key: Some(&key),
        key_is_new,
    });
    let patience = gateway::patience(&settings);
    serve(&settings, admin_side, Box::new(Running { gateway, router }), patience)
}

/// The endpoint of a router core of this process. Its name decides the placement and need not be unique beyond it.
fn endpoint(core: usize, address: &ListenAddr) -> Option<RouterEndpoint> {
    let ListenAddr::Unix(UnixAddr::Abstract(name)) = address else { return None };
    let name = String::from_utf8(name.clone()).ok()?;
    Some(RouterEndpoint { name: format!("router-{core}"), target: RouterTarget::Abstract(name) })
}

fn random_hex(bytes: usize) -> Result<String, Failure> {
    let mut random = vec![0; bytes];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|error| Failure::Unavailable(format!("cannot read /dev/urandom: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Running {
    gateway: Gateway,
    router: RouterHandle,
}

impl Parts for Running {
    fn drain(&mut self) {
        self.gateway.control().drain();
    }

    fn drained(&self) -> bool {
        self.gateway.drained()
    }

    fn failure(&mut self) -> Option<Failure> {
        gateway::failed(&self.gateway).or_else(|| router::failed(&self.router))
    }

    /// The gateway first: until it has ended, its last publications still need the router.
    fn end(self: Box<Self>) -> Result<(), Failure> {
        self.gateway.stop();
        self.gateway.join();
        self.router.shutdown(ROUTER_GRACE);
        self.router.join().map_err(|error| Failure::Runtime(error.to_string()))
    }
}

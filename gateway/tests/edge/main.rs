//! The gateway on the real kernel, between a scripted router and clients on real sockets: one file per claim.
#![allow(clippy::unwrap_used, reason = "a test's helper fails as its tests do")]

mod client;
mod router;

mod basics;
mod concurrent_joins;
mod cores;
mod drain;
mod limits;
mod link_lost;
mod many_chats;
mod recovery;
mod reset;
mod server_api;
mod skew;
mod slow_reader;
mod stall;
mod timeouts;
mod tokens;
mod upgrade;

use std::time::{Duration, Instant};

use corecast_gateway::Gateway;
use corecast_gateway::auth::AuthConfig;
use corecast_gateway::config::{GatewayConfig, RouterEndpoint, RouterTarget};

use client::Client;
use router::Router;

/// How long anything may take here: generous, because the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway with its scripted routers.
pub(crate) struct Edge {
    pub(crate) gateway: Option<Gateway>,
    pub(crate) routers: Vec<Router>,
}

impl Edge {
    /// One core, one router, everybody may do everything.
    pub(crate) fn start() -> Self {
        Self::with(1, |_| {})
    }

    /// With `routers` routers and a changed configuration.
    pub(crate) fn with(routers: usize, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let routers: Vec<Router> = (0..routers).map(|_| Router::start()).collect();
        let endpoints = routers
            .iter()
            .map(|router| RouterEndpoint {
                name: router.name().to_owned(),
                target: RouterTarget::Abstract(router.name().to_owned()),
            })
            .collect();
        let mut config = GatewayConfig::new(endpoints, router::SECRET.to_vec());
        config.listen = ([127, 0, 0, 1], 0).into();
        config.auth = AuthConfig::standalone();
        config.ring.connections = 4_096;
        // Many gateways at once share the user's limit of pinned memory.
        config.ring.submission_entries = 256;
        config.ring.completion_entries = 2_048;
        config.ring.receive_buffers = 256;
        change(&mut config);
        let count = config.routers.len();
        let gateway = Gateway::start(config).unwrap();
        let edge = Self { gateway: Some(gateway), routers };
        wait_until("links are up", || edge.gateway().link_health().up == count);
        edge
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// The only router.
    pub(crate) fn router(&self) -> &Router {
        &self.routers[0]
    }

    /// A client that has connected with JSON.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.gateway().local_addr())
    }

    /// The sum of a counter over all cores, read until it is at least `least`.
    pub(crate) fn counted(&self, what: &str, least: u64) -> u64 {
        let stats = self.gateway().stats();
        let read = || -> u64 {
            stats
                .snapshot()
                .iter()
                .flat_map(|core| core.counters.figures().chain(core.gauges.figures()))
                .filter(|(name, ..)| *name == what)
                .map(|(_, _, value)| value)
                .sum()
        };
        wait_until(what, || read() >= least);
        read()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
            gateway.join();
        }
    }
}

/// Waits for a condition instead of sleeping for a time.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

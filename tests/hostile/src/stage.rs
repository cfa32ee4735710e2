//! A standalone node under attack, with the control client beside the attackers.

use std::net::SocketAddr;

use corecast_faults::block_on;
use corecast_faults::cluster::{Cluster, Node};

use crate::control::Control;
use crate::http;
use crate::process::Process;

/// What an attack is played on.
pub struct Stage {
    cluster: Cluster,
    control: Control,
}

impl Stage {
    /// Starts a node with one core and these lines of configuration (TOML), then the control client.
    ///
    /// # Panics
    /// When either does not become ready.
    pub fn start(config: &str) -> Self {
        Self::with_descriptors(config, None)
    }

    /// As [`Stage::start`], with a bound on the descriptors of the process.
    ///
    /// # Panics
    /// When node or control client do not become ready.
    pub fn with_descriptors(config: &str, descriptors: Option<u32>) -> Self {
        let cluster = block_on(Cluster::standalone(config, 1, descriptors));
        let control = Control::start(cluster.gateways[0].listen);
        Self { cluster, control }
    }

    /// WebSocket address.
    pub fn websocket(&self) -> SocketAddr {
        self.node().listen
    }

    /// Address of the admin port.
    pub fn admin(&self) -> SocketAddr {
        self.node().admin
    }

    /// The process.
    pub fn process(&self) -> Process {
        Process::new(self.node().pid())
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.cluster.gateways[0]
    }

    /// A value of `/metrics`: the sum over all series of this name.
    ///
    /// # Panics
    /// When there is no such series.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = http::get(self.admin(), "/metrics").body;
        let values: Vec<f64> = metrics
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert!(!values.is_empty(), "no metric {name} in {metrics}");
        values.iter().sum()
    }

    /// Ends the test: node and control client must be well.
    ///
    /// # Panics
    /// When one of them is not.
    pub fn finish(self) {
        let Self { mut cluster, control } = self;
        control.finish();
        let node = &mut cluster.gateways[0];
        assert!(node.is_running(), "the process has ended:\n{}", node.log_end());
        assert_eq!(http::get(node.admin, "/readyz").status, 200, "ready at the end");
        assert!(!node.log_text().contains("panicked"), "a panic:\n{}", node.log_end());
    }
}

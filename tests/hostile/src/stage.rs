//! A standalone node under attack, with the control client beside the attackers.

use std::net::SocketAddr;

use corecast_faults::block_on;
use corecast_faults::cluster::{Cluster, Node};

use crate::client::Client;
use crate::control::Control;
use crate::http;
use crate::process::Process;

/// Configuration for tests that look at memory: what the control client publishes is not kept. Further lines belong to `[limits]`.
pub const STEADY: &str =
    "[router]\nkept_messages = 10\n[limits]\nrecovery_messages = 10\nrecent_messages = 10\nhistory_messages = 10\n";

/// What a gateway and a router that are no standalone node need at least; anybody may follow and publish.
pub const CLUSTER: &str = r#"
[link]
secret = "a secret of the hostile tests"
[auth]
anonymous = true
[anonymous_users]
subscribe = ["*"]
publish = ["*"]
history = ["*"]
presence = ["*"]
"#;

/// Round trips after which every receive buffer of gateway and router has been used once: the gateway has 1,024, the router 512.
const WARM_UP: usize = 1_100;

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
        Self::on(block_on(Cluster::standalone(config, 1)))
    }

    /// A gateway whose process may have so many descriptors, with a router beside it, in place of a standalone node. Both read
    /// [`CLUSTER`] and these lines.
    ///
    /// # Panics
    /// When any of them does not become ready.
    pub fn with_descriptors(config: &str, most: u32) -> Self {
        let mut cluster = Cluster::with_config(&format!("{CLUSTER}{config}"));
        block_on(async {
            cluster.add_router().await;
            let router = cluster.routers[0].listen;
            let gateway = cluster.add_gateway(&[router]);
            gateway.limit_descriptors(most);
            gateway.start().await;
        });
        Self::on(cluster)
    }

    fn on(cluster: Cluster) -> Self {
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

    /// See [`warm_up`].
    ///
    /// # Panics
    /// When the node does not answer.
    pub fn warm_up(&self) {
        warm_up(self.websocket());
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

/// Lets a gateway and its router take the memory that they take once and for all, so that what grows afterwards grows by an
/// attack.
///
/// # Panics
/// When it does not answer.
pub fn warm_up(gateway: SocketAddr) {
    let mut client = Client::live(gateway);
    for _ in 0..WARM_UP {
        let reply = client.ask(r#"{"id":2,"publish":{"channel":"warm","data":1}}"#);
        assert!(reply.get("publish").is_some(), "{reply}");
    }
}

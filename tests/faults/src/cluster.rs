//! Real processes: routers and gateways of one small cluster on loopback, with their logs in a scratch folder.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::Api;

/// A node that is not ready by then failed to start.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The key of the server API in every cluster of these tests.
pub const API_KEY: &str = "test-key";

/// A `corecast` process. Dropping it kills it.
pub struct Node {
    name: String,
    arguments: Vec<String>,
    /// Where it listens: WebSocket for a gateway, link for a router.
    pub listen: SocketAddr,
    /// Its admin port.
    pub admin: SocketAddr,
    folder: PathBuf,
    /// Most descriptors that the process may have open (`RLIMIT_NOFILE`); `None` leaves it as it is.
    descriptors: Option<u32>,
    child: Option<Child>,
}

impl Node {
    /// Starts the process again with the same arguments and waits until it is ready.
    ///
    /// # Panics
    /// With the end of its log if it does not become ready.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Bounds the descriptors of the process (`RLIMIT_NOFILE`) from its next start on.
    pub fn limit_descriptors(&mut self, most: u32) {
        self.descriptors = Some(most);
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("log file");
        let child = self
            .command()
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log)
            .spawn()
            .expect("corecast starts");
        self.child = Some(child);
    }

    /// Waits until the started process is ready.
    ///
    /// # Panics
    /// With the end of its log if it does not become ready.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.is_ready().await {
            let died = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(
                died.is_none() && Instant::now() < deadline,
                "{} is not ready ({died:?}):\n{}",
                self.name,
                self.log_end()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal by name, such as `STOP`, `CONT` or `TERM`.
    ///
    /// # Panics
    /// If the process does not run.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("a running process").id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(status.success(), "kill -{name} {pid}");
    }

    /// Waits for the process to end by itself and returns its exit code.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    pub async fn exited(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.as_mut().expect("a started process").try_wait().expect("wait") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "{} still runs:\n{}", self.name, self.log_end());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Process id.
    ///
    /// # Panics
    /// If the process does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running process").id()
    }

    /// Everything that the process has logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The end of its log, for messages of failed tests.
    pub fn log_end(&self) -> String {
        let log = self.log_text();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Whether it says that it is ready for clients.
    pub async fn is_ready(&self) -> bool {
        let Ok(mut api) = Api::connect(self.admin, API_KEY).await else { return false };
        api.get("/readyz").await.is_ok_and(|(status, _)| status == 200)
    }

    /// Whether the process was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    /// The program without its arguments; limits hold from its first instruction on.
    fn command(&self) -> Command {
        let Some(descriptors) = self.descriptors else { return Command::new(binary()) };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]).arg(binary());
        shell
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Routers and gateways that know each other.
pub struct Cluster {
    /// Gateways, in the order of their numbers.
    pub gateways: Vec<Node>,
    /// Routers, in the order of their numbers.
    pub routers: Vec<Node>,
    /// Logs and configuration; removed at the end, kept when the test panics.
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts routers, then gateways that reach router `n` at `via(n, address)` (for a proxy in between: its address).
    ///
    /// # Panics
    /// When a process does not become ready.
    pub async fn start(
        gateways: usize,
        routers: usize,
        cores: usize,
        via: impl Fn(usize, SocketAddr) -> SocketAddr,
    ) -> Self {
        let mut cluster = Self::empty();
        for _ in 0..routers {
            cluster.add_router().await;
        }
        cluster.add_gateways(gateways, cores, &cluster.endpoints(via)).await;
        cluster
    }

    /// More gateways for the routers of another cluster, reached in their own way.
    ///
    /// # Panics
    /// When a process does not become ready.
    pub async fn gateways_of(
        routers: &Self,
        gateways: usize,
        cores: usize,
        via: impl Fn(usize, SocketAddr) -> SocketAddr,
    ) -> Self {
        let mut cluster = Self::empty();
        cluster.add_gateways(gateways, cores, &routers.endpoints(via)).await;
        cluster
    }

    fn empty() -> Self {
        Self::with_config(include_str!("cluster.toml"))
    }

    /// A cluster without nodes; those that are added to it read this configuration (TOML).
    ///
    /// # Panics
    /// If there is no place for a scratch folder.
    pub fn with_config(config: &str) -> Self {
        let folder = TempDir::with_prefix("corecast-faults-").expect("scratch folder");
        fs::write(folder.path().join("corecast.toml"), config).expect("configuration file");
        Self { gateways: Vec::new(), routers: Vec::new(), folder: Some(folder) }
    }

    /// One `corecast standalone` process, which becomes the cluster's only gateway.
    ///
    /// # Panics
    /// When the process does not become ready.
    pub async fn standalone(config: &str, cores: usize) -> Self {
        let mut cluster = Self::with_config(config);
        let flags = ["--cores".to_owned(), cores.to_string(), "--api-key".to_owned(), API_KEY.to_owned()];
        let mut node = cluster.node("standalone".to_owned(), "standalone", &flags);
        node.start().await;
        cluster.gateways.push(node);
        cluster
    }

    /// Adds a router and starts it.
    ///
    /// # Panics
    /// When the process does not become ready.
    pub async fn add_router(&mut self) {
        let mut router = self.node(format!("router-{}", self.routers.len()), "router", &[]);
        router.start().await;
        self.routers.push(router);
    }

    /// Adds a gateway with one core for the routers at these addresses, without starting it.
    pub fn add_gateway(&mut self, routers: &[SocketAddr]) -> &mut Node {
        let mut flags: Vec<_> = routers.iter().flat_map(|router| ["--router".to_owned(), router.to_string()]).collect();
        flags.extend(["--api-key".to_owned(), API_KEY.to_owned()]);
        self.gateways.push(self.node(format!("gateway-{}", self.gateways.len()), "gateway", &flags));
        self.gateways.last_mut().expect("the gateway that was added")
    }

    fn endpoints(&self, via: impl Fn(usize, SocketAddr) -> SocketAddr) -> Vec<String> {
        // Named, because gateways that take different ways to a router must still agree on the map.
        let addresses = self.routers.iter().enumerate().map(|(number, router)| (number, via(number, router.listen)));
        addresses.flat_map(|(number, address)| ["--router".to_owned(), format!("router-{number}@{address}")]).collect()
    }

    async fn add_gateways(&mut self, count: usize, cores: usize, endpoints: &[String]) {
        for number in 0..count {
            let mut extra = endpoints.to_vec();
            extra.extend(["--cores".to_owned(), cores.to_string(), "--api-key".to_owned(), API_KEY.to_owned()]);
            let mut gateway = self.node(format!("gateway-{number}"), "gateway", &extra);
            gateway.start().await;
            self.gateways.push(gateway);
        }
    }

    fn node(&self, name: String, role: &str, extra: &[String]) -> Node {
        let folder = self.folder.as_ref().expect("the folder lives as long as the cluster").path().to_path_buf();
        let (listen, admin) = (free_address(), free_address());
        let config = folder.join("corecast.toml").display().to_string();
        let mut arguments = vec![role.to_owned(), "--config".to_owned(), config];
        arguments.extend(["--listen".to_owned(), listen.to_string(), "--admin".to_owned(), admin.to_string()]);
        arguments.extend_from_slice(extra);
        Node { name, arguments, listen, admin, folder, descriptors: None, child: None }
    }

    /// WebSocket addresses of all gateways.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(|gateway| gateway.listen).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("logs kept in {}", folder.keep().display());
        }
    }
}

/// An address on loopback that was free a moment ago.
///
/// # Panics
/// When no port is free.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The binary under test: `CORECAST_BIN`, or the release build made now.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CORECAST_BIN") {
        return PathBuf::from(path);
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--quiet", "--release", "--package", "corecast"]).current_dir(root).status();
    assert!(built.is_ok_and(|status| status.success()), "cargo build --release --package corecast");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from(root).join("target"), PathBuf::from);
    target.join("release/corecast")
}

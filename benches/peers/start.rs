//! Starts one peer on its CPU, waits until it listens, and ends it.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::Options;
use crate::install::Tools;
use crate::peer::Peer;

const START_PATIENCE: Duration = Duration::from_secs(20);
/// Time to end in good order; with thousands of sockets to close some need it.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Characters of a server's last words that fit into a note under the table.
const LAST_WORDS_MAX: usize = 200;
/// The key that signs and checks the tokens of the row with authentication. It guards nothing.
const TOKEN_SECRET: &str = "a key for benchmarks on this host only";
const LINK_SECRET: &str = "a secret for benchmarks on this host only";

/// A running peer.
pub(crate) struct Running {
    /// Where the generator connects to.
    pub(crate) target: String,
    /// Process that is measured.
    pub(crate) pid: u32,
    /// For servers that ask for one.
    pub(crate) token: Option<String>,
    children: Vec<Child>,
}

impl Running {
    /// Whether a process has ended by itself.
    pub(crate) fn died(&mut self) -> bool {
        self.children.iter_mut().any(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Asked to end, not killed; whoever has ended already has no process to ask, and it may end just now.
            if child.try_wait().is_ok_and(|status| status.is_none()) {
                let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
            }
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        for child in &mut self.children {
            while Instant::now() < deadline && child.try_wait().is_ok_and(|status| status.is_none()) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts `peer`; its output goes to `log`.
pub(crate) fn start(peer: Peer, options: &Options, tools: &Tools, log: &Path) -> Result<Running> {
    let port = free_port()?;
    let mut starter = Starter { options, log, children: Vec::new() };
    let address = format!("127.0.0.1:{port}");
    let mut token = None;
    let cpu = options.server_cpu;
    let port_text = port.to_string();
    match peer {
        Peer::Corecast | Peer::CorecastJson => starter.corecast(&["standalone"], &address, None)?,
        Peer::CorecastAuth => {
            let config = log.with_extension("toml");
            fs::write(&config, auth_config())?;
            token = Some(starter.token(&config)?);
            starter.corecast(&["standalone"], &address, Some(&config))?;
        }
        Peer::CorecastGateway => starter.gateway_and_router(&address)?,
        Peer::Bun => starter.spawn(cpu, &tools.bun(), &[&tools.server("bun.js").display().to_string(), &port_text])?,
        Peer::Uws => {
            starter.spawn(cpu, &tools.node_of_uws(), &[&tools.server("uws.cjs").display().to_string(), &port_text])?
        }
        Peer::Ws => {
            starter.spawn(cpu, Path::new(&tools.node), &[&tools.server("ws.cjs").display().to_string(), &port_text])?
        }
        Peer::Axum => starter.spawn(cpu, &crate::myself()?, &["axum", &port_text])?,
        Peer::Null => starter.spawn(
            cpu,
            &crate::myself()?,
            &["load", "null", "--listen", &address, "--connections", &(options.connections + 200).to_string()],
        )?,
        Peer::Nats => {
            let config = log.with_extension("conf");
            fs::write(&config, nats_config(port, free_port()?))?;
            starter.spawn(cpu, &tools.nats(), &["-c", &config.display().to_string()])?;
        }
        Peer::Nchan => {
            let folder = log.with_extension("nginx");
            fs::create_dir_all(&folder)?;
            // nginx takes relative paths as relative to its prefix.
            let folder = fs::canonicalize(folder)?;
            let config = folder.join("nginx.conf");
            fs::write(&config, nchan_config(port, &folder))?;
            let prefix = folder.display().to_string();
            starter.spawn(cpu, Path::new("nginx"), &["-c", &config.display().to_string(), "-p", &prefix])?;
        }
    }
    let mut running =
        Running { target: address.clone(), pid: starter.children[0].id(), token, children: starter.children };
    if peer == Peer::Nchan {
        running.target = format!("ws://{address}/chat/");
    }
    wait(&mut running, &address, log).with_context(|| format!("{}: see {}", peer.name(), log.display()))?;
    Ok(running)
}

fn wait(running: &mut Running, address: &str, log: &Path) -> Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while TcpStream::connect(address).is_err() {
        ensure!(!running.died(), "it ended at once: {}", last_words(&fs::read_to_string(log).unwrap_or_default()));
        ensure!(Instant::now() < deadline, "it does not listen within 20 s");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Links between processes, JIT and the like get a moment.
    std::thread::sleep(Duration::from_millis(700));
    Ok(())
}

/// What a server that ended said of it: the first line that speaks of an error, else the last one.
fn last_words(log: &str) -> String {
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.to_lowercase().contains("error:"));
    error.or_else(|| lines.next_back()).unwrap_or("it said nothing").chars().take(LAST_WORDS_MAX).collect()
}

struct Starter<'a> {
    options: &'a Options,
    log: &'a Path,
    children: Vec<Child>,
}

impl Starter<'_> {
    fn spawn(&mut self, cpu: usize, program: &Path, arguments: &[&str]) -> Result<()> {
        let out = File::options().create(true).append(true).open(self.log)?;
        let mut command = Command::new("taskset");
        command.args(["-c", &cpu.to_string(), "nice", "-n", &self.options.nice.to_string()]);
        command.arg(program).args(arguments);
        remove_own_variables(&mut command);
        command.env("CORECAST_LINK_SECRET", LINK_SECRET);
        let errors = out.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn();
        self.children.push(child.with_context(|| format!("cannot start {}", program.display()))?);
        Ok(())
    }

    fn binary(&self) -> Result<PathBuf> {
        let beside = || crate::myself().map(|me| me.with_file_name("corecast"));
        let path = self.options.corecast.clone().map_or_else(beside, Ok)?;
        ensure!(path.exists(), "{} is missing: cargo build --release -p corecast", path.display());
        Ok(path)
    }

    fn corecast(&mut self, command: &[&str], address: &str, config: Option<&Path>) -> Result<()> {
        let cpu = self.options.server_cpu;
        let admin = format!("127.0.0.1:{}", free_port()?);
        let mut arguments: Vec<&str> = command.to_vec();
        arguments.extend(["--listen", address, "--admin", &admin, "--cores", "1"]);
        let config = config.map(|path| path.display().to_string());
        if let Some(config) = &config {
            arguments.extend(["--config", config]);
        }
        self.spawn(cpu, &self.binary()?, &arguments)
    }

    /// The gateway is the process that counts; its router stands on the client's CPU.
    fn gateway_and_router(&mut self, address: &str) -> Result<()> {
        let router = format!("127.0.0.1:{}", free_port()?);
        let admin = format!("127.0.0.1:{}", free_port()?);
        let config = self.log.with_extension("toml");
        fs::write(&config, open_config())?;
        self.corecast(&["gateway", "--router", &router], address, Some(&config))?;
        let cpu = self.options.client_cpu;
        self.spawn(cpu, &self.binary()?, &["router", "--listen", &router, "--admin", &admin])
    }

    fn token(&self, config: &Path) -> Result<String> {
        let mut command = Command::new(self.binary()?);
        command.args(["gentoken", "--user", "bench", "--config"]).arg(config);
        remove_own_variables(&mut command);
        let output = command.output().context("corecast gentoken")?;
        if !output.status.success() {
            bail!("corecast gentoken: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// The comparison's own variables mean nothing to the servers, and unknown ones are errors to Corecast.
fn remove_own_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CORECAST_")) {
        command.env_remove(name);
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn auth_config() -> String {
    format!(
        "[auth]\nanonymous = false\nignore_tokens_without_keys = false\ntoken_secret = {TOKEN_SECRET:?}\n\
         [users]\nsubscribe = [\"*\"]\npublish = [\"*\"]\nhistory = [\"*\"]\n"
    )
}

fn open_config() -> &'static str {
    "[auth]\nanonymous = true\n[anonymous_users]\nsubscribe = [\"*\"]\npublish = [\"*\"]\n"
}

fn nats_config(websocket: u16, plain: u16) -> String {
    format!(
        "listen: \"127.0.0.1:{plain}\"\nmax_connections: 1000000\nwrite_deadline: \"60s\"\nmax_pending: 67108864\n\
         websocket {{ listen: \"127.0.0.1:{websocket}\", no_tls: true, compression: false }}\n"
    )
}

/// One process, so that its CPU is all of the server's.
fn nchan_config(port: u16, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "load_module /usr/lib/nginx/modules/ngx_nchan_module.so;\ndaemon off;\nmaster_process off;\n\
         error_log {folder}/error.log warn;\npid {folder}/nginx.pid;\nevents {{ worker_connections 19900; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         nchan_shared_memory_size 512M;\n  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n    \
         location ~ ^/chat/(\\w+)$ {{\n      nchan_pubsub websocket;\n      nchan_channel_id $1;\n      \
         nchan_message_buffer_length 100;\n      nchan_subscriber_first_message newest;\n    }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ended_is_quoted_with_its_error() {
        let node =
            "uws.js:22\n\tthrow new Error('unsupported');\n\nError: GLIBC_2.38 not found\n    at f\n\nNode.js v24\n";
        assert_eq!(last_words(node), "Error: GLIBC_2.38 not found");
        assert_eq!(last_words("starting\nno such device\n\n"), "no such device");
        assert_eq!(last_words(""), "it said nothing");
        assert_eq!(last_words(&"x".repeat(5_000)).len(), LAST_WORDS_MAX);
    }
}

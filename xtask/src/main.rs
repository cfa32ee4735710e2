//! Developer commands: `cargo xtask help` lists them.
//!
//! `cargo xtask test` is the one command behind which all tests stand; CI calls the same. Everything that a test needs
//! beyond Rust's toolchain, git and a C compiler is installed by [`tools`], which says what it installs and pins versions
//! and hashes where the source of a package lets it.

mod steps;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

/// Developer commands of Corecast.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all tests and installs what they need (Debian, PyPI, npm packages, cargo tools).
    Test {
        /// Runs only these kinds, in the order of the list below.
        #[arg(long, value_enum)]
        only: Vec<Kind>,
    },
    /// What CI runs: formatting, clippy, docs, then `test`.
    Ci,
    /// Counts the instructions of the hot paths and compares them with `benches/micro/expected.toml`.
    BenchMicro {
        /// Options of `micro check`: `--update` writes the table, `--only PART` chooses paths by name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Corecast and other servers in turn, on the same CPUs: one table, one picture (installs the servers; takes an hour).
    BenchPeers {
        /// Options of `peers compare`: `--rounds`, `--loads`, `--peers`, `--seconds`, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// The fan-out of one frame on the ring and on other runtimes, in turn: one table.
    BenchRuntimes {
        /// Options of `runtimes compare`: `--members`, `--fanouts`, `--rounds`, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// The limits and performance cases of Autobahn (group 9), which take minutes.
    ConformanceLong,
    /// Fuzzes each target for the given time.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 600)]
        seconds: u32,
    },
}

/// One kind of test. The order is the order in which they run: cheapest diagnosis first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Unit, property, kernel and architecture tests, and whole-system tests with real processes.
    Rust,
    /// Instructions of the hot paths against `benches/micro/expected.toml`, and that more of them fail.
    Instructions,
    /// The 247 Autobahn cases of groups 1–7 and 10.
    Conformance,
    /// The published npm SDK, JSON and Protobuf, against a running server.
    Sdk,
    /// The demo page and the SDK's browser bundle in Chromium.
    Browser,
    /// Ten seconds of fuzzing for each target.
    Fuzz,
    /// Bans, licences and sources of all dependencies.
    Deny,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Test { only } => steps::test(&only),
        Command::Ci => steps::ci(),
        Command::BenchMicro { options } => steps::bench_micro(&options),
        Command::BenchPeers { options } => steps::bench_peers(&options),
        Command::BenchRuntimes { options } => steps::bench("runtimes", "compare", &options),
        Command::ConformanceLong => steps::conformance(true),
        Command::Fuzz { seconds } => steps::fuzz(seconds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace, whatever folder the command was called from.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, or `target` in the workspace.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs `command` in the workspace and fails with its name unless it exits 0.
fn run(command: &mut std::process::Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    anyhow::ensure!(status.success(), "{shown}: {status}");
    Ok(())
}

//! What the hot paths cost, in instructions and in nanoseconds.
//!
//! `micro check` counts the instructions of each hot path under valgrind's callgrind and compares them, by ratio, with
//! `expected.toml`. Instructions are not time, but they are the same on a busy machine, and a change that makes a path
//! longer shows. `micro c-msg` measures in wall time what one more update costs a gateway, for the capacity planner.
//!
//! `micro prove` shows that a check can fail.
//!
//! Each path is counted in a process of its own, `micro run`: it prepares everything, warms up, and then does what
//! [`counted_operations`] calls. Only that is counted.

mod c_msg;
mod paths;
mod proof;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use corecast_benches::callgrind;
use corecast_benches::expected::Expected;

use paths::HotPath;

/// Version of the compiler that this program came from.
const RUSTC: &str = env!("CORECAST_RUSTC");
/// The symbol whose instructions are counted; see [`counted_operations`].
const COUNTED: &str = "counted_operations";

/// Instructions and nanoseconds of the hot paths.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Counts instructions per operation and compares them with a table; exits 1 if one exceeds its limit.
    Check {
        /// Only paths whose name contains one of these.
        #[arg(long)]
        only: Vec<String>,
        /// The table.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/micro/expected.toml"))]
        expected: PathBuf,
        /// Writes the counts into the table instead of failing.
        #[arg(long)]
        update: bool,
        /// Does everything twice for each operation: what a check must not let pass.
        #[arg(long, hide = true)]
        twice: bool,
    },
    /// Counts one path again and again, against right and wrong tables and with more work: whether a check fails when it must.
    Prove,
    CMsg(c_msg::Options),
    /// One path, to be run under callgrind.
    #[command(hide = true)]
    Run {
        name: String,
        operations: usize,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Check { only, expected, update, twice } => check(&only, &expected, update, twice),
        Command::Prove => proof::run().map(|()| true),
        Command::CMsg(options) => c_msg::run(&options).map(|()| true),
        Command::Run { name, operations } => run(&name, operations).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("micro: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all counts are within their limits.
fn check(only: &[String], table: &Path, update: bool, twice: bool) -> Result<bool> {
    ensure!(cfg!(target_arch = "x86_64"), "the table holds counts of x86-64 code");
    let text = match std::fs::read_to_string(table) {
        Err(error) if update && error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("{}", table.display()))?,
    };
    let expected = Expected::parse(&text).with_context(|| format!("{}", table.display()))?;
    let program = std::env::current_exe()?;
    let mut counts = Vec::new();
    for path in
        paths::all().into_iter().filter(|path| only.is_empty() || only.iter().any(|part| path.name.contains(part)))
    {
        let operations = path.operations * if twice { 2 } else { 1 };
        let arguments = ["run", path.name, &operations.to_string()];
        let total = callgrind::instructions(&program, &arguments, COUNTED)?;
        let operations = path.operations as u64;
        counts.push((path.name.to_owned(), (total + operations / 2) / operations));
    }
    ensure!(!counts.is_empty(), "no path has such a name");
    let all = only.is_empty();
    if update {
        std::fs::write(table, expected.updated(&counts, RUSTC, all)?.write(&text)?)?;
    }
    let report = expected.compare(&counts, RUSTC, all);
    print!("{}", report.table());
    let failures = report.failures();
    if update {
        println!("\n{} counts written to {}", counts.len(), table.display());
        return Ok(true);
    }
    println!("\npaths: {} passed, {failures} failed", counts.len().saturating_sub(failures));
    if !expected.is_of(RUSTC) {
        println!("The table is of another compiler than rustc {RUSTC}, so the limits are wider.");
    }
    if report.loose() > 0 {
        println!(
            "{} paths cost far less than the table says: `cargo xtask bench-micro --update` keeps what was won.",
            report.loose()
        );
    }
    if failures > 0 {
        println!(
            "Where the higher count is meant: `cargo xtask bench-micro --update`, and say in the commit what it buys."
        );
    }
    Ok(failures == 0)
}

/// Prepares, warms up, and does `operations` in the counted function.
fn run(name: &str, operations: usize) -> Result<()> {
    let path = paths::all().into_iter().find(|path| path.name == name).with_context(|| format!("no path {name}"))?;
    let HotPath { warm_up, each, .. } = path;
    let mut operation = (path.prepare)(warm_up + operations)?;
    for index in 0..warm_up {
        operation(index);
    }
    let done = counted_operations(operation.as_mut(), warm_up, operations);
    ensure!(done == operations * each, "{name}: {operations} operations of {each} did {done}");
    Ok(())
}

/// The function that callgrind counts, with everything that it calls. The name must stay a symbol of its own.
#[inline(never)]
fn counted_operations(operation: &mut dyn FnMut(usize) -> usize, first: usize, count: usize) -> usize {
    (first..first + count).map(operation).sum()
}

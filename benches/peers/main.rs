//! Corecast and other servers under the same load, in turn, on the same CPUs.
//!
//! `peers compare` installs the peers (npm, PyPI and Debian packages, into the target folder), runs A B C A B C …, and
//! writes one table with medians, spread and ratios, one picture and the summaries of all runs. Corecast's own load
//! generator drives everything; `--help` says what can be chosen.

mod axum;
mod compare;
mod install;
mod load;
mod peer;
mod picture;
mod second;
mod start;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::load::Load;
use crate::peer::{Client, Peer};

/// Corecast beside other servers.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all peers in turn and writes the comparison.
    Compare(Options),
    /// Only installs the peers.
    Prepare,
    /// The broadcaster on axum and tokio-tungstenite, as a server of its own.
    Axum {
        /// Where it listens.
        port: u16,
    },
    /// The load generator, so that the comparison needs no other binary.
    Load(corecast_loadgen::cli::LoadArgs),
}

/// What is compared, and how.
#[derive(clap::Args)]
struct Options {
    /// Rounds; each runs every peer once.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Loads, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Load::DEFAULT)]
    loads: Vec<Load>,
    /// Servers, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::DEFAULT)]
    peers: Vec<Peer>,
    /// Generators, in this order; each drives every server in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Client::Corecast])]
    clients: Vec<Client>,
    /// CPU of the servers.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the generator (and of a router that is not counted).
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Measured seconds of each run.
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    /// Connections of each run.
    #[arg(long, default_value_t = 15_000)]
    connections: u32,
    /// Scheduling priority of servers and generator (nice), for hosts that do other things too.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    nice: i32,
    /// The corecast binary; default: beside this one.
    #[arg(long)]
    corecast: Option<PathBuf>,
    /// Folder for table, picture and all summaries.
    #[arg(long, default_value = "artefacts/bench-peers")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(options) => compare::run(&options),
        Command::Prepare => install::all(Peer::DEFAULT.as_slice(), &[]).map(|_| ()),
        Command::Axum { port } => axum::serve(port),
        Command::Load(args) => return corecast_loadgen::cli::main(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// This program.
fn myself() -> Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

//! Autobahn's WebSocket cases against an echo service that stands on the same ring and codec as the gateway.
//!
//! `corecast-conformance run` starts the service, lets kosoku run the cases against it and compares each verdict with
//! `expected.json`; `echo` only serves, for other clients.

mod echo;
mod run;
mod verdict;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the echo service until it is stopped.
    Echo {
        /// Where to listen.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
        listen: SocketAddr,
    },
    /// Runs the cases and compares the verdicts with expected.json; exit code 1 if one differs.
    Run {
        /// Runs group 9 (limits and performance) in place of groups 1-7 and 10.
        #[arg(long)]
        group9: bool,
        /// Folder for the reports; an earlier report of the same groups in it is replaced.
        #[arg(long, value_name = "DIR", default_value = "artefacts/conformance")]
        output: PathBuf,
        /// The kosoku program, as installed from requirements.txt.
        #[arg(long, value_name = "PATH", env = "KOSOKU", default_value = "kosoku")]
        kosoku: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Echo { listen } => {
            let service = echo::Service::start(listen)?;
            println!("echo service on ws://{}", service.address());
            service.join()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { group9, output, kosoku } => {
            let suite = if group9 { "group9" } else { "strict" };
            let passed = run::run(suite, &output, &kosoku)?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

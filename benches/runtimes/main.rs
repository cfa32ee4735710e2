//! The fan-out of one frame to N sockets, on the raw ring as Corecast uses it and on what it could have used instead.
//!
//! `runtimes compare` starts, in turn and several times, a server that does nothing but send the same frame to all its
//! connections, and a client that does nothing but read, each pinned to its own CPU. It reports the server's CPU time per
//! delivery: on loopback that contains the receiver's share of the kernel's work, for all alike.

mod compare;
mod drain;
mod server;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

/// Fan-out of one frame to N sockets on several runtimes.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all runtimes in turn, several rounds, and prints a table (Markdown).
    Compare {
        #[command(flatten)]
        load: Load,
        /// Rounds; each runs every runtime once.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// CPU of the server.
        #[arg(long, default_value_t = 0)]
        server_cpu: usize,
        /// CPU of the client.
        #[arg(long, default_value_t = 1)]
        client_cpu: usize,
    },
    /// One server: prints `listening ADDR`, waits for all connections, sends, prints a JSON line.
    Serve {
        /// What drives the sends.
        #[arg(long, value_enum)]
        runtime: Runtime,
        #[command(flatten)]
        load: Load,
        /// CPU to run on.
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// The client: connects and reads until the server closes.
    Drain {
        /// The server.
        target: SocketAddr,
        /// Connections.
        #[arg(long, default_value_t = 5_000)]
        members: usize,
        /// CPU to run on.
        #[arg(long)]
        cpu: Option<usize>,
    },
}

/// What is sent.
#[derive(Clone, Copy, clap::Args)]
struct Load {
    /// Connections (at most about 19,900 with the usual hard limit of 20,000 descriptors).
    #[arg(long, default_value_t = 5_000)]
    members: usize,
    /// Bytes of the frame: 126 is a 100-byte payload in the Protobuf client protocol.
    #[arg(long, default_value_t = 126)]
    bytes: usize,
    /// Fan-outs, each to all connections.
    #[arg(long, default_value_t = 200)]
    fanouts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// `crates/ring`: sends without completions, one system call for hundreds.
    Ring,
    /// A plain loop of `send` calls on blocking sockets: the floor of one system call for each.
    Send,
    /// tokio on epoll: `try_write`, waiting only where that fails.
    Tokio,
    /// tokio-uring: one write operation with a completion for each.
    TokioUring,
    /// glommio: the same on its reactor.
    Glommio,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Compare { load, rounds, server_cpu, client_cpu } => compare::run(load, rounds, server_cpu, client_cpu),
        Command::Serve { runtime, load, cpu } => {
            cpu.map_or(Ok(()), corecast_benches::cpu::pin)?;
            server::run(runtime, load, cpu)
        }
        Command::Drain { target, members, cpu } => {
            cpu.map_or(Ok(()), corecast_benches::cpu::pin)?;
            drain::run(target, members)
        }
    }
}

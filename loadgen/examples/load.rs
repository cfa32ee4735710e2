//! `cargo run --release -p corecast-loadgen --example load -- run big-chat --target …`: the generator without the rest of
//! Corecast, for machines that only generate load.

use clap::Parser;
use corecast_loadgen::cli::{LoadArgs, main as run};

#[derive(Parser)]
#[command(name = "load", version)]
struct Arguments {
    #[command(flatten)]
    load: LoadArgs,
}

fn main() -> std::process::ExitCode {
    run(Arguments::parse().load)
}

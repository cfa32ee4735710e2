//! The one binary of Corecast: `corecast standalone | gateway | router | load | …`.

mod admin;
mod cli;
mod commands;
mod config;
mod exit;
mod run;
mod token;
mod version;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        // The load generator has exit codes of its own and says itself what failed.
        Command::Load(args) => return corecast_loadgen::cli::main(args),
        Command::Standalone(args) => run::standalone(&args, &environment()),
        Command::Gateway(args) => run::gateway(&args, &environment()),
        Command::Router(args) => run::router(&args, &environment()),
        Command::Checkconfig(args) => commands::check(&args, &environment()),
        Command::Gentoken(args) => token::generate(&args, &environment()),
        Command::Defaultconfig => commands::print(&config::render::default_toml()),
        Command::Configdoc => commands::print(&config::render::markdown()),
        Command::Version => commands::print(&format!("corecast {}\n", version::LONG)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The environment, without variables that are not Unicode: none of ours can be.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect()
}

//! The one binary of Corecast: `corecast standalone | gateway | router | load | …`.

#[allow(dead_code, reason = "the roles that use it follow")]
mod admin;
mod cli;
mod commands;
#[allow(dead_code, reason = "the roles that use it follow")]
mod config;
#[allow(dead_code, reason = "the roles that use it follow")]
mod exit;
mod token;
#[allow(dead_code, reason = "the roles that use it follow")]
mod version;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use exit::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Checkconfig(args) => commands::check(&args, &environment()),
        Command::Gentoken(args) => token::generate(&args, &environment()),
        Command::Defaultconfig => commands::print(&config::render::default_toml()),
        Command::Configdoc => commands::print(&config::render::markdown()),
        Command::Version => commands::print(&format!("corecast {}\n", version::LONG)),
    }
}

/// The environment, without variables that are not Unicode: none of ours can be.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect()
}

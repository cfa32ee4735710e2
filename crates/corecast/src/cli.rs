//! The command line. Flags that scripts rely on: `--listen`, `--admin`, `--cores`, `--cpus`, `--api-key`, `--config`, `--router`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "corecast",
    version = crate::version::LONG,
    about = "WebSocket gateway for chats of any size",
    long_about = "WebSocket gateway for chats of any size: Centrifuge's client protocol, Centrifugo's server API, one io_uring \
                  per core.",
    after_help = "Try it:\n  corecast standalone          then open http://127.0.0.1:9000/ in two browser tabs\n\n\
                  Exit codes: 0 done, 1 failed at run time, 2 wrong usage, 69 something needed is not available (a port in \
                  use, no io_uring), 78 wrong configuration.",
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the configuration and say what is wrong with it, without starting anything
    #[command(after_help = CHECK_EXAMPLES)]
    Checkconfig(CheckArgs),
    /// Print a configuration file with all settings at their defaults
    Defaultconfig,
    /// Print the reference of all settings in Markdown (docs/CONFIGURATION.md)
    Configdoc,
    /// Sign a token for a client with the configured key
    #[command(after_help = TOKEN_EXAMPLES)]
    Gentoken(TokenArgs),
    /// Print the version
    Version,
}

const CHECK_EXAMPLES: &str = "Examples:
  corecast checkconfig --config corecast.toml
  corecast checkconfig gateway                (also what a gateway cannot start without)";

const TOKEN_EXAMPLES: &str = "Examples:
  corecast gentoken --user 42
  corecast gentoken --user 42 --ttl 24h --channel news      (a subscription token for one chat)";

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Also check what this command cannot start without
    pub(crate) role: Option<Role>,
    /// Configuration file (TOML). Default: $CORECAST_CONFIG, then /etc/corecast/corecast.toml if it exists
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Configuration file (TOML). Default: $CORECAST_CONFIG, then /etc/corecast/corecast.toml if it exists
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// User id (claim `sub`); empty for an anonymous user
    #[arg(short, long, value_name = "ID", default_value = "")]
    pub(crate) user: String,
    /// Life of the token, such as 10m or 24h; 0s for a token that never expires
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) ttl: String,
    /// Make a subscription token for this chat instead of a connection token
    #[arg(long, value_name = "CHAT")]
    pub(crate) channel: Option<String>,
    /// Information about the user as a JSON value (claim `info`)
    #[arg(long, value_name = "JSON")]
    pub(crate) info: Option<String>,
}

/// What a process serves as.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Role {
    Standalone,
    Gateway,
    Router,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

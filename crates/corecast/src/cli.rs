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
    /// Run router and gateway in one process, open to everybody, with a demo page
    #[command(after_help = STANDALONE_EXAMPLES)]
    Standalone(ServeArgs),
    /// Serve WebSocket clients, linked to routers that run elsewhere
    #[command(after_help = GATEWAY_EXAMPLES)]
    Gateway(GatewayArgs),
    /// Sequence chats for gateways that run elsewhere
    #[command(after_help = ROUTER_EXAMPLES)]
    Router(RouterArgs),
    /// Put an open-loop load on a server, check every delivery and report
    Load(corecast_loadgen::cli::LoadArgs),
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

const STANDALONE_EXAMPLES: &str = "Examples:
  corecast standalone
  corecast standalone --listen 0.0.0.0:8000 --cores 2 --cpus 0,1
  corecast standalone --api-key secret

  curl -H 'X-API-Key: secret' http://127.0.0.1:9000/api/publish \\
    -d '{\"channel\":\"lobby\",\"data\":{\"text\":\"hi\"}}'

Anyone may connect, subscribe and publish in any chat, unless the configuration says otherwise.";

const GATEWAY_EXAMPLES: &str = "Examples:
  CORECAST_LINK_SECRET_FILE=/etc/corecast/link.secret \\
    corecast gateway --router 10.0.0.1:7000 --router 10.0.0.2:7000 --listen 0.0.0.0:8000

Nobody may connect until the configuration names a token key or allows anonymous clients (see [auth]).
Every gateway of a cluster lists the same routers.";

const ROUTER_EXAMPLES: &str = "Examples:
  CORECAST_LINK_SECRET_FILE=/etc/corecast/link.secret corecast router --listen 10.0.0.1:7000
  corecast router --listen 10.0.0.1:7000 --cores 4       (four router cores, on the ports 7000 to 7003)";

const CHECK_EXAMPLES: &str = "Examples:
  corecast checkconfig --config corecast.toml
  corecast checkconfig gateway                (also what a gateway cannot start without)";

const TOKEN_EXAMPLES: &str = "Examples:
  corecast gentoken --user 42
  corecast gentoken --user 42 --ttl 24h --channel news      (a subscription token for one chat)";

#[derive(Args, Debug, Default)]
pub(crate) struct CommonArgs {
    /// Configuration file (TOML). Default: $CORECAST_CONFIG, then /etc/corecast/corecast.toml if it exists
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the internal port: server API, demo page, metrics, health [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// Core threads that serve connections or sequence chats, each with its own io_uring [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<u16>,
    /// CPUs to pin the cores to, in turn, such as 0-3,8 [default: not pinned]
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<String>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Address for WebSocket clients [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Key of the server API (visible in the process list: `admin.api_key_file` is not)
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Router core to link to, as host:port, unix:/path or NAME@ before one of these, where gateways reach it under different
    /// addresses; repeat it for each one
    #[arg(long = "router", value_name = "ADDR")]
    pub(crate) routers: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RouterArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Link address for gateways, address:port or unix:/path [default: 127.0.0.1:7000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
}

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

impl Role {
    /// As it is written on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Gateway => "gateway",
            Self::Router => "router",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_that_scripts_rely_on_exist() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        let flags = "--listen 1.2.3.4:5 --admin 1.2.3.4:6 --cores 3 --cpus 0-2 --api-key k --config f.toml";
        assert!(matches!(parse(&format!("corecast standalone {flags}")), Ok(Command::Standalone(_))));
        assert!(matches!(
            parse(&format!("corecast gateway {flags} --router a:1 --router b:2")),
            Ok(Command::Gateway(GatewayArgs { routers, .. })) if routers == ["a:1", "b:2"]
        ));
        let flags = "--listen 1.2.3.4:5 --admin 1.2.3.4:6 --cores 3 --cpus 0-2 --config f.toml";
        assert!(matches!(parse(&format!("corecast router {flags}")), Ok(Command::Router(_))));
        assert!(parse("corecast standalone --nonsense").is_err_and(|error| error.exit_code() == 2));
    }
}

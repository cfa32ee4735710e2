//! The servers of the comparison, what a generator has to know of each, and the generators.

use clap::ValueEnum;
use corecast_loadgen::Protocol;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// `corecast standalone`, Protobuf, open to everybody: gateway and router in one process.
    Corecast,
    /// The same with JSON.
    CorecastJson,
    /// The same as `corecast`, with signed tokens checked and history kept: features on.
    CorecastAuth,
    /// `corecast gateway` alone; its router runs on the client's CPU and is not counted.
    CorecastGateway,
    /// Bun's native publish/subscribe.
    Bun,
    /// uWebSockets.js on Node 20.
    Uws,
    /// NATS over WebSocket.
    Nats,
    /// axum and tokio-tungstenite with a broadcast channel per chat.
    Axum,
    /// The npm package ws on Node.
    Ws,
    /// nginx with nchan; members publish on their own sockets.
    Nchan,
    /// Corecast's null server: accepts, numbers and sends, nothing else. The floor, not a competitor.
    Null,
}

impl Peer {
    /// Those that install from registries without Debian packages.
    pub(crate) const DEFAULT: [Self; 10] = [
        Self::Corecast,
        Self::CorecastJson,
        Self::CorecastAuth,
        Self::CorecastGateway,
        Self::Bun,
        Self::Uws,
        Self::Nats,
        Self::Axum,
        Self::Ws,
        Self::Null,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Corecast => "corecast",
            Self::CorecastJson => "corecast-json",
            Self::CorecastAuth => "corecast-auth",
            Self::CorecastGateway => "corecast-gateway",
            Self::Bun => "bun",
            Self::Uws => "uws",
            Self::Nats => "nats",
            Self::Axum => "axum",
            Self::Ws => "ws",
            Self::Nchan => "nchan",
            Self::Null => "null",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Corecast => "Corecast standalone, Protobuf",
            Self::CorecastJson => "Corecast standalone, JSON",
            Self::CorecastAuth => "Corecast standalone, Protobuf, tokens checked",
            Self::CorecastGateway => "Corecast gateway alone, Protobuf",
            Self::Bun => "Bun native publish/subscribe",
            Self::Uws => "uWebSockets.js on Node 20",
            Self::Nats => "NATS over WebSocket",
            Self::Axum => "axum + tokio-tungstenite + broadcast",
            Self::Ws => "ws on Node",
            Self::Nchan => "nchan (members publish)",
            Self::Null => "null server (floor)",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Corecast | Self::CorecastAuth | Self::CorecastGateway => Protocol::CentrifugeProtobuf,
            Self::CorecastJson => Protocol::CentrifugeJson,
            Self::Bun | Self::Uws | Self::Axum | Self::Ws | Self::Null => Protocol::Raw,
            Self::Nats => Protocol::Nats,
            Self::Nchan => Protocol::Nchan,
        }
    }
}

/// Who drives a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Corecast's load generator.
    Corecast,
    /// `clients/second.cjs`: JavaScript on the npm package ws, written to check the other. For servers that speak JSON or raw
    /// text, and the loads of small chats.
    Second,
}

/// One row of a table: a server as one generator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) peer: Peer,
    pub(crate) client: Client,
}

impl Contender {
    /// Name of files and log lines.
    pub(crate) fn name(self) -> String {
        match self.client {
            Client::Corecast => self.peer.name().to_owned(),
            Client::Second => format!("{}-second", self.peer.name()),
        }
    }

    pub(crate) fn title(self) -> String {
        match self.client {
            Client::Corecast => self.peer.title().to_owned(),
            Client::Second => format!("{}; second client", self.peer.title()),
        }
    }
}

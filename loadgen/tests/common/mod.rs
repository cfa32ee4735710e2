//! Short runs against a null server in this process.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use corecast_loadgen::Protocol;
use corecast_loadgen::null::{Faults, NullConfig, NullServer};
use corecast_loadgen::run::{Finished, RunError, RunOptions, Silent, run};
use corecast_loadgen::scenario::{Group, Scenario, Span};

/// A generous lateness: these tests are about truth, on machines that do other things too.
pub(crate) fn scenario(groups: Vec<Group>) -> Scenario {
    Scenario {
        name: "test".to_owned(),
        connect_rate: 2_000.0,
        warmup: Span::millis(0),
        duration: Span::seconds(1),
        drain: Span::seconds(10),
        lateness_max: Span::seconds(20),
        chats: groups,
        ..Scenario::default()
    }
}

pub(crate) fn small_chats() -> Scenario {
    scenario(vec![Group { count: 20, members: 5, rate: 800.0, ..Group::default() }])
}

pub(crate) fn server(faults: Faults) -> NullServer {
    NullServer::start(NullConfig { connections: 4_096, faults, ..NullConfig::default() })
        .expect("the null server starts")
}

pub(crate) fn options(scenario: Scenario, protocol: Protocol, address: SocketAddr) -> RunOptions {
    let mut options = RunOptions::new(scenario);
    options.protocol = protocol;
    options.targets = vec![address.to_string()];
    // The null server lives in this very process: there is nobody else to watch.
    options.settle = Duration::ZERO;
    options.pids = vec![std::process::id()];
    options
}

pub(crate) fn execute(scenario: Scenario, protocol: Protocol, faults: Faults) -> Result<Finished, RunError> {
    let server = server(faults);
    run(&options(scenario, protocol, server.address()), &mut Silent)
}

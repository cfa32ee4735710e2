//! Claim: two agents under a controller are one generator: every delivery is expected, checked and counted once.

mod common;

use common::{options, server, small_chats};
use corecast_loadgen::Protocol;
use corecast_loadgen::agent::serve::{Agent, AgentConfig};
use corecast_loadgen::null::{DeliveryFault, Faults};
use corecast_loadgen::run::{RunOptions, Silent, run};
use corecast_loadgen::summary::{Outcome, Summary};

fn agent(secret: &str) -> (String, std::thread::JoinHandle<()>) {
    let config = AgentConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        secret: secret.to_owned(),
        cpus: Vec::new(),
        sources: Vec::new(),
    };
    let agent = Agent::bind(config).expect("a free port");
    let address = agent.address().expect("a bound listener").to_string();
    let thread = std::thread::spawn(move || agent.serve(Some(1), |_| ()).expect("an agent serves"));
    (address, thread)
}

fn execute(protocol: Protocol, faults: Faults) -> Summary {
    let server = server(faults);
    let (first, second) = (agent("s3cret"), agent("s3cret"));
    let options = RunOptions {
        agents: vec![first.0, second.0],
        agent_secret: "s3cret".to_owned(),
        ..options(small_chats(), protocol, server.address())
    };
    let finished = run(&options, &mut Silent).expect("agents can be led");
    first.1.join().expect("the first agent ends");
    second.1.join().expect("the second agent ends");
    finished.summary
}

#[test]
fn agents_share_members_and_publishing() {
    for protocol in [Protocol::CentrifugeJson, Protocol::Raw] {
        let summary = execute(protocol, Faults::default());
        assert_eq!(summary.verdict.outcome, Outcome::Passed, "{:?} {:#?}", summary.verdict, summary.counts);
        assert_eq!((summary.members.wanted, summary.members.at_start), (100, 100));
        assert!((700..=900).contains(&summary.counts.published), "{}", summary.counts.published);
        assert_eq!(summary.counts.truth.received, summary.counts.published * 5);
        assert_eq!(summary.latencies["deliver"].percentiles.count, summary.counts.truth.received);
        assert_eq!(summary.agents.len(), 2);
        assert!(summary.agents.iter().all(|agent| agent.clock_error_ns < 1_000_000_000), "{:?}", summary.agents);
    }
}

#[test]
fn one_dropped_delivery_among_agents_is_missing() {
    let faults = Faults { delivery: Some((1_777, DeliveryFault::Drop)), ..Faults::default() };
    let summary = execute(Protocol::CentrifugeProtobuf, faults);
    assert_eq!(summary.verdict.outcome, Outcome::Failed, "{:?}", summary.verdict);
    assert_eq!(summary.counts.truth.missing, 1, "{:?}", summary.counts.truth);
}

#[test]
fn an_agent_refuses_whoever_does_not_know_its_secret() {
    let server = server(Faults::default());
    let (address, thread) = agent("right");
    let options = RunOptions {
        agents: vec![address],
        agent_secret: "wrong".to_owned(),
        ..options(small_chats(), Protocol::CentrifugeJson, server.address())
    };
    let error = run(&options, &mut Silent).expect_err("it must not work").to_string();
    assert!(error.contains("secret"), "{error}");
    thread.join().expect("the agent ends");
}

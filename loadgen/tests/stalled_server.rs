//! Claim: a server that stands still for a while cannot hide it: latency counts from the intended publish time, so every
//! message that fell due meanwhile shows its share of the wait. Never delete this: it is what an open loop is for.

mod common;

use std::time::Duration;

use common::{execute, scenario};
use corecast_loadgen::Protocol;
use corecast_loadgen::null::Faults;
use corecast_loadgen::scenario::{Group, Span};
use corecast_loadgen::summary::Outcome;

#[test]
fn the_whole_stall_is_in_the_latencies() {
    // 200 messages a second for 2 s; the server sleeps for a second at the 100th. A closed loop would have seen one slow
    // message; here about half of all messages are due while the server sleeps, on average half a second each.
    let faults = Faults { stall: Some((100, Duration::from_secs(1))), ..Faults::default() };
    let group = Group { count: 10, members: 5, rate: 200.0, ..Group::default() };
    let mut scenario = scenario(vec![group]);
    scenario.duration = Span::seconds(2);
    let finished = execute(scenario, Protocol::CentrifugeJson, faults).unwrap();
    let summary = finished.summary;
    assert_eq!(summary.verdict.outcome, Outcome::Passed, "{:?}", summary.verdict);
    let deliver = &finished.histograms["deliver"];
    assert!(deliver.max() > 950_000_000, "{} ns", deliver.max());
    let waited = deliver.len() - deliver.count_between(0, 250_000_000);
    let share = waited as f64 / deliver.len() as f64;
    assert!(share > 0.3, "only {share} of the deliveries waited more than a quarter of the stall");
    assert!(deliver.value_at_percentile(99.0) > 900_000_000);
    // And the generator does not take it for its own lateness.
    let late = summary.latencies["late"].percentiles.p99;
    assert!(late < deliver.value_at_percentile(99.0) / 2, "{late}");
}

//! The generator against the null server, on the same CPUs, before the real run: its own ceiling and its own share of every
//! latency, so that neither is taken for the target's.

use super::{Observer, RunOptions, Silent, conductor};
use crate::null::{NullConfig, NullServer};
use crate::scenario::{Arrivals, Group, Publish, Scenario, Span};
use crate::summary::Calibration;
use crate::system::process::thread_cpu;
use crate::target::Protocol;
use corecast_ring::affinity;

/// Enough for stable figures of a busy loop, short enough for every run.
const DURATION: Span = Span::seconds(2);
const MEMBERS_MAX: u32 = 1_000;
/// Deliveries per second: clearly below what one core carries, so that queues stay short.
const DELIVERIES_MAX: f64 = 30_000.0;

/// `None` = it could not be done, which the observer is told: a run is worth something without it.
pub(crate) fn calibrate(options: &RunOptions, observer: &mut dyn Observer) -> Option<Calibration> {
    let group = options.scenario.chats.first()?;
    let members = group.members.clamp(1, MEMBERS_MAX);
    let count = (MEMBERS_MAX / members).clamp(1, group.count.max(1));
    let wanted = options.scenario.deliveries().clamp(5_000.0, DELIVERIES_MAX);
    let rate = wanted / f64::from(members);
    let scenario = Scenario {
        name: "calibration".to_owned(),
        connect_rate: 5_000.0,
        warmup: Span::seconds(1),
        duration: DURATION,
        drain: Span::seconds(1),
        arrivals: Arrivals::Fixed,
        chats: vec![Group { count, members, rate, size: group.size, ..Group::default() }],
        publish: Publish::default(),
        lateness_max: Span::seconds(1),
        ..Scenario::default()
    };
    observer.say(&format!("calibrating against the null server: {}", scenario.outline()));
    let config = NullConfig { cpu: other_cpu(&options.cpus), connections: 4_096, ..NullConfig::default() };
    let server = match NullServer::start(config) {
        Ok(server) => server,
        Err(error) => {
            observer.say(&format!("no calibration: the null server does not start: {error}"));
            return None;
        }
    };
    let description = scenario.outline();
    let run = RunOptions {
        scenario,
        targets: vec![server.address().to_string()],
        protocol: if options.protocol.has_offsets() { options.protocol } else { Protocol::Raw },
        out: None,
        calibrate: false,
        pids: Vec::new(),
        token: None,
        prefix: None,
        sources: Vec::new(),
        rings: None,
        agents: Vec::new(),
        ..options.clone()
    };
    let before = thread_cpu(server.task()).unwrap_or(0.0);
    let finished = match conductor::run(&run, &mut Silent) {
        Ok(finished) => finished,
        Err(error) => {
            observer.say(&format!("no calibration: {error}"));
            return None;
        }
    };
    // The server works during warm-up and drain too: its CPU is divided by all deliveries of the run.
    let server_cpu = thread_cpu(server.task()).unwrap_or(0.0) - before;
    let summary = finished.summary;
    let generator_cpu_us = summary.generator.cpu_per_delivery_us?;
    let of = |tag: &str| summary.latencies.get(tag).map(|latency| latency.percentiles.clone()).unwrap_or_default();
    Some(Calibration {
        description,
        deliveries_per_second: summary.measured.deliveries_per_second,
        generator_cpu_us,
        server_cpu_us: server_cpu * 1e6 / summary.counts.truth.received.max(1) as f64,
        ceiling_per_core: 1e6 / generator_cpu_us.max(1e-3),
        deliver: of("deliver"),
        late: of("late"),
    })
}

/// A CPU that the generator does not use, if there is one.
fn other_cpu(used: &[usize]) -> Option<usize> {
    if used.is_empty() {
        return None;
    }
    affinity::available().ok()?.into_iter().find(|cpu| !used.contains(cpu))
}

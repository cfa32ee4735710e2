//! Runs with the second client: what it sees, beside the server's CPU read at the moments that it names.
//!
//! It exists to check Corecast's generator, so it must not share code with it: the client is a program of its own, and CPU
//! time is read here.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corecast_benches::cpu;
use corecast_loadgen::Protocol;
use serde::Deserialize;

use crate::compare::Cell;
use crate::install::Tools;
use crate::load::Load;
use crate::peer::Peer;
use crate::{Options, start};

/// What the client says at the end.
#[derive(Debug, Deserialize)]
struct Report {
    deliveries_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Its own delay behind the schedule.
    late_p99_ms: f64,
    /// CPUs that it used.
    busy: f64,
    /// Messages that a member did not get.
    missing: u64,
    /// Publishes answered with an error.
    refused: u64,
    /// Deliveries that left out a number.
    gaps: u64,
    repeated: u64,
    /// Messages of another chat.
    foreign: u64,
    /// Offsets that did not follow the one before.
    offsets: u64,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Seen {
    report: Report,
    server: Duration,
    seconds: u32,
}

/// Whether the second client can do all that is asked for.
pub(crate) fn check(peers: &[Peer], loads: &[Load]) -> Result<()> {
    for peer in peers {
        let known = matches!(peer.protocol(), Protocol::Raw | Protocol::CentrifugeJson);
        ensure!(known, "the second client speaks JSON and raw text, {} something else: leave it out", peer.name());
    }
    for load in loads {
        let small = load.scenario() == Load::Small.scenario();
        ensure!(small, "the second client has no load {}: those of small chats only", load.name());
    }
    Ok(())
}

/// Starts the server and has the client measure it.
pub(crate) fn measure(options: &Options, tools: &Tools, load: Load, peer: Peer, folder: &Path) -> Result<Seen> {
    let running = start::start(peer, options, tools, &folder.join("server.log"))?;
    let what = serde_json::json!({
        "url": format!("ws://{}", running.target),
        "protocol": peer.protocol().name(),
        "members": options.connections,
        "chats": options.connections / load.members(options.connections),
        "rate": load.rate(options.connections),
        "size": 100,
        "warmup": 3,
        "seconds": options.seconds,
    });
    let mut command = Command::new("taskset");
    command.args(["-c", &options.client_cpu.to_string(), "nice", "-n", &options.nice.to_string(), &tools.node]);
    command.arg(tools.second_client()).arg(what.to_string()).env("NODE_PATH", tools.home.join("node_modules"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().context("cannot start the second client")?;
    let outcome = follow(&mut client, running.pid);
    let _ = client.kill();
    let _ = client.wait();
    let (report, server) = outcome?;
    Ok(Seen { report, server, seconds: options.seconds })
}

/// Reads the server's clock when the client says so.
fn follow(client: &mut Child, server: u32) -> Result<(Report, Duration)> {
    let mut lines = BufReader::new(client.stdout.take().context("its output")?).lines();
    let mut next = |lines: &mut std::io::Lines<BufReader<ChildStdout>>| -> Result<String> {
        let Some(line) = lines.next() else {
            let mut said = String::new();
            if let Some(mut errors) = client.stderr.take() {
                errors.read_to_string(&mut said)?;
            }
            anyhow::bail!("the second client gave up: {}", said.trim());
        };
        Ok(line?)
    };
    ensure!(next(&mut lines)? == "measuring", "the second client says something unexpected");
    let before = cpu::time_of(server)?;
    ensure!(next(&mut lines)? == "measured", "the second client says something unexpected");
    let used = cpu::time_of(server)?.saturating_sub(before);
    let report = serde_json::from_str(&next(&mut lines)?).context("the report of the second client")?;
    Ok((report, used))
}

impl Seen {
    /// Adds it to the figures of its row.
    pub(crate) fn add_to(&self, cell: &mut Cell) {
        let (report, seconds) = (&self.report, f64::from(self.seconds));
        let deliveries = report.deliveries_per_second * seconds;
        cell.cpu.add(self.server.as_secs_f64() * 1e6 / deliveries.max(1.0));
        cell.used.add(self.server.as_secs_f64() / seconds);
        cell.deliveries.add(report.deliveries_per_second);
        cell.p50.add(report.p50_ms);
        cell.p99.add(report.p99_ms);
        cell.generator.add(report.busy);
        cell.troubles.extend(self.troubles());
    }

    fn troubles(&self) -> Option<String> {
        let report = &self.report;
        let counts = [
            (report.missing, "messages never reached a member"),
            (report.refused, "publishes were refused"),
            (report.gaps, "gaps"),
            (report.repeated, "repeated or late messages"),
            (report.foreign, "messages of another chat"),
            (report.offsets, "offsets out of order"),
        ];
        let mut found: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if report.late_p99_ms > LATE_MAX_MS {
            found.push(format!("the client itself was late by {:.1} ms at p99", report.late_p99_ms));
        }
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// As the other generator's own limit in these comparisons.
const LATE_MAX_MS: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(report: &str) -> Seen {
        Seen { report: serde_json::from_str(report).unwrap(), server: Duration::from_secs(1), seconds: 2 }
    }

    #[test]
    fn its_figures_and_complaints_reach_the_table() {
        let clean = r#"{"deliveries_per_second": 50000, "p50_ms": 1, "p99_ms": 2, "late_p99_ms": 0.5, "busy": 0.7,
            "missing": 0, "refused": 0, "gaps": 0, "repeated": 0, "foreign": 0, "offsets": 0}"#;
        let mut cell = Cell::default();
        seen(clean).add_to(&mut cell);
        assert!((cell.cpu.median() - 10.0).abs() < 1e-9 && (cell.used.median() - 0.5).abs() < 1e-9);
        assert!(cell.troubles.is_empty());
        seen(&clean.replace("\"gaps\": 0", "\"gaps\": 3").replace("0.5", "20.5")).add_to(&mut cell);
        assert_eq!(cell.troubles, ["3 gaps, the client itself was late by 20.5 ms at p99"]);
    }

    #[test]
    fn what_it_cannot_do_is_said_before_the_first_run() {
        assert!(check(&[Peer::Bun, Peer::CorecastJson], &[Load::Small]).is_ok());
        assert!(check(&[Peer::Nats], &[Load::Small]).unwrap_err().to_string().contains("nats"));
        assert!(check(&[Peer::Bun], &[Load::BigMax]).unwrap_err().to_string().contains("big-max"));
    }
}

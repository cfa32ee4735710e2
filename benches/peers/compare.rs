//! Rounds over all loads and peers, and what they come to.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use corecast_benches::summary::Samples;
use corecast_loadgen::output::files;
use corecast_loadgen::summary::{Outcome, Summary};

use crate::install::{self, Tools};
use crate::load::Load;
use crate::peer::{Client, Contender, Peer};
use crate::{Options, picture, second, start, table};

/// Figures of one contender under one load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// µs of the server's CPU per delivery.
    pub(crate) cpu: Samples,
    /// Deliveries per second.
    pub(crate) deliveries: Samples,
    /// Delivery latency, ms.
    pub(crate) p50: Samples,
    pub(crate) p99: Samples,
    /// Until the last member has a message, p99, ms.
    pub(crate) last: Samples,
    /// CPUs used by the server.
    pub(crate) used: Samples,
    /// Bytes of the server's memory per member.
    pub(crate) memory: Samples,
    /// Most new members in a second.
    pub(crate) connects: Samples,
    /// Until the last of those who were cut off was back, s.
    pub(crate) back: Samples,
    /// µs of the server's CPU per member and measured time.
    pub(crate) cpu_per_member: Samples,
    /// µs of the server's CPU per connect and subscription, from the first to the last.
    pub(crate) cpu_per_connect: Samples,
    /// Share of its CPU that the generator's busiest thread used: near 1 it is the generator that is measured.
    pub(crate) generator: Samples,
    /// Rounds that were not clean, with the reason.
    pub(crate) troubles: Vec<String>,
}

/// Everything that was measured.
pub(crate) struct Results {
    pub(crate) rows: Vec<(Load, Vec<(Contender, Cell)>)>,
    /// The last summary of Corecast's generator, for the circumstances.
    pub(crate) sample: Option<Summary>,
    pub(crate) versions: Vec<String>,
}

/// Runs everything and writes table and picture after each round, so that an interruption costs one round.
pub(crate) fn run(options: &Options) -> Result<()> {
    let contenders = contenders(options)?;
    let tools = install::all(&options.peers, &options.clients)?;
    fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let empty = || contenders.iter().map(|contender| (*contender, Cell::default())).collect();
    let mut results = Results {
        rows: options.loads.iter().map(|load| (*load, empty())).collect(),
        sample: None,
        versions: install_versions(&tools),
    };
    for round in 1..=options.rounds {
        for load in 0..options.loads.len() {
            for row in 0..contenders.len() {
                one(options, &tools, round, &mut results, load, row)?;
            }
        }
        let text = table::render(options, &results, round);
        let path = options.out.join("table.md");
        fs::write(&path, &text).with_context(|| path.display().to_string())?;
        let path = options.out.join("picture.svg");
        fs::write(&path, picture::render(&results)).with_context(|| path.display().to_string())?;
        if round == options.rounds {
            println!("{text}");
            eprintln!("written: {}", options.out.join("table.md").display());
        }
    }
    Ok(())
}

/// Every server beside itself, once for each generator.
fn contenders(options: &Options) -> Result<Vec<Contender>> {
    let Options { rounds, peers, loads, clients, .. } = options;
    ensure!(*rounds > 0 && !peers.is_empty() && !loads.is_empty() && !clients.is_empty(), "nothing to compare");
    if clients.contains(&Client::Second) {
        second::check(peers, loads)?;
    }
    let all = peers.iter().flat_map(|peer| clients.iter().map(|client| Contender { peer: *peer, client: *client }));
    Ok(all.collect())
}

fn one(options: &Options, tools: &Tools, round: u32, results: &mut Results, load: usize, row: usize) -> Result<()> {
    let (kind, rows) = &mut results.rows[load];
    let (contender, cell) = &mut rows[row];
    let troubles = cell.troubles.len();
    let folder = options.out.join(format!("{}/{}/round-{round}", kind.name(), contender.name()));
    fs::create_dir_all(&folder)?;
    let outcome = match contender.client {
        Client::Corecast => measure(options, tools, *kind, contender.peer, &folder).map(|summary| {
            add(cell, *kind, &summary);
            results.sample = Some(summary);
        }),
        Client::Second => second::measure(options, tools, *kind, contender.peer, &folder).map(|seen| seen.add_to(cell)),
    };
    if let Err(error) = &outcome {
        cell.troubles.push(format!("{error:#}"));
    }
    let mut said = if outcome.is_ok() { line(cell) } else { String::new() };
    for trouble in &cell.troubles[troubles..] {
        said.push_str("  ");
        said.push_str(trouble);
    }
    eprintln!("round {round}: {:<11} {:<17}{said}", kind.name(), contender.name());
    Ok(())
}

/// One run of Corecast's generator.
fn measure(options: &Options, tools: &Tools, load: Load, peer: Peer, folder: &Path) -> Result<Summary> {
    let mut running = start::start(peer, options, tools, &folder.join("server.log"))?;
    let protocol = peer.protocol().name();
    let (pid, rate) = (running.pid.to_string(), load.rate(options.connections).to_string());
    let (connections, seconds) = (options.connections.to_string(), format!("{}s", options.seconds));
    let mut command = Command::new("nice");
    command.args(["-n", &options.nice.to_string()]).arg(crate::myself()?);
    command.args(["load", "run"]).arg(load.scenario()).args(["--target", &running.target, "--protocol", protocol]);
    command.args(["--connections", &connections, "--rate", &rate, "--duration", &seconds, "--warmup", "3s"]);
    command.args(["--cpus", &options.client_cpu.to_string(), "--server-pid", &pid, "--no-calibration", "--quiet"]);
    command.args(["--label", peer.title(), "--out"]).arg(folder);
    command.args(["--max-lateness", "20ms", "--drain", "10s"]);
    if let Some(token) = &running.token {
        command.env("CORECAST_LOAD_TOKEN", token);
    }
    let output = command.stdin(Stdio::null()).output().context("the generator")?;
    let died = running.died();
    drop(running);
    let summary = files::read(folder).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        anyhow::anyhow!("{said} ({error})")
    })?;
    ensure!(!died, "the server ended in mid-run: {}", summary.verdict.reasons.join("; "));
    Ok(summary)
}

fn add(cell: &mut Cell, load: Load, summary: &Summary) {
    let millis = |tag: &str, pick: fn(&corecast_loadgen::Percentiles) -> u64| {
        summary.latencies.get(tag).map(|latency| pick(&latency.percentiles) as f64 / 1e6)
    };
    let put = |samples: &mut Samples, value: Option<f64>| {
        if let Some(value) = value {
            samples.add(value);
        }
    };
    let server = summary.server.as_ref();
    put(&mut cell.cpu, server.and_then(|server| server.cpu_per_delivery_us));
    put(&mut cell.used, server.map(|server| server.cpus_used));
    put(&mut cell.memory, server.and_then(|server| server.rss_per_member));
    put(&mut cell.deliveries, Some(summary.measured.deliveries_per_second));
    put(&mut cell.p50, millis("deliver", |p| p.p50));
    put(&mut cell.p99, millis("deliver", |p| p.p99));
    put(&mut cell.last, millis("last", |p| p.p99));
    put(&mut cell.back, summary.latencies.get("recover").map(|latency| latency.percentiles.max as f64 / 1e9));
    let members = summary.members.at_start.max(1) as f64;
    put(&mut cell.cpu_per_member, server.map(|server| (server.user + server.system) * 1e6 / members));
    put(&mut cell.cpu_per_connect, server.and_then(|server| server.cpu_per_connect_us));
    let busiest = match load {
        // What follows the storm is quiet.
        Load::Storm => summary.seconds.iter().map(|row| row.generator_cpu).fold(0.0, f64::max),
        _ => summary.generator.busiest,
    };
    put(&mut cell.generator, Some(busiest));
    put(&mut cell.connects, Some(summary.members.per_second_max as f64));
    if summary.verdict.outcome != Outcome::Passed {
        let word = summary.verdict.outcome.word();
        cell.troubles.push(format!("{word}: {}", summary.verdict.reasons.join("; ")));
    }
}

/// The figures of the round that has just ended.
fn line(cell: &Cell) -> String {
    if let Some(back) = cell.back.latest() {
        return format!(
            "  all back after {back:.2} s, {:.1} µs per member",
            cell.cpu_per_member.latest().unwrap_or(f64::NAN)
        );
    }
    let latest = |samples: &Samples, digits: usize| {
        samples.latest().map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    format!(
        "  {:>6} µs per delivery, {:>8} deliveries/s, p99 {} ms, generator at {:.0} %",
        latest(&cell.cpu, 2),
        latest(&cell.deliveries, 0),
        latest(&cell.p99, 1),
        cell.generator.latest().unwrap_or_default() * 100.0
    )
}

/// What the peers say of themselves.
fn install_versions(tools: &Tools) -> Vec<String> {
    let ask = |name: &str, program: &Path, flag: &str| {
        let output = Command::new(program).arg(flag).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Some(format!("{name} {}", text.lines().next().unwrap_or_default().trim()))
    };
    let asked = [
        ask("Bun", &tools.bun(), "--version"),
        ask("Node", Path::new(&tools.node), "--version"),
        ask("Node of uWebSockets.js", &tools.node_of_uws(), "--version"),
        ask("NATS", &tools.nats(), "--version"),
    ];
    asked.into_iter().flatten().collect()
}

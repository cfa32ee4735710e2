//! Runs the runtimes in turn and reports medians, spread and ratios.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use corecast_benches::summary::Samples;

use crate::server::Outcome;
use crate::{Load, Runtime};

/// One row of the table.
struct Row {
    runtime: Runtime,
    cpu_micros: Samples,
    deliveries_per_second: Samples,
    failure: Option<String>,
}

pub(crate) fn run(load: Load, rounds: usize, server_cpu: usize, client_cpu: usize) -> Result<()> {
    let mut rows: Vec<Row> = Runtime::value_variants()
        .iter()
        .map(|runtime| Row {
            runtime: *runtime,
            cpu_micros: Samples::default(),
            deliveries_per_second: Samples::default(),
            failure: None,
        })
        .collect();
    for round in 0..rounds {
        for row in &mut rows {
            eprintln!("round {} of {rounds}: {:?}", round + 1, row.runtime);
            match once(row.runtime, load, server_cpu, client_cpu) {
                Ok(outcome) => {
                    row.cpu_micros.add(outcome.cpu_micros_per_delivery());
                    row.deliveries_per_second.add(outcome.deliveries_per_second());
                }
                Err(error) => row.failure = Some(format!("{error:#}")),
            }
        }
    }
    print(&rows, load);
    Ok(())
}

fn once(runtime: Runtime, load: Load, server_cpu: usize, client_cpu: usize) -> Result<Outcome> {
    let name = runtime.to_possible_value().context("a named runtime")?.get_name().to_owned();
    let mut server = spawn(&[
        "serve",
        "--runtime",
        &name,
        "--cpu",
        &server_cpu.to_string(),
        "--members",
        &load.members.to_string(),
        "--bytes",
        &load.bytes.to_string(),
        "--fanouts",
        &load.fanouts.to_string(),
    ])?;
    let mut lines = BufReader::new(server.stdout.take().context("standard output")?).lines();
    let first = lines.next().context("the server ended before it listened")??;
    let target = first.strip_prefix("listening ").with_context(|| first.clone())?;
    let mut client =
        spawn(&["drain", target, "--members", &load.members.to_string(), "--cpu", &client_cpu.to_string()])?;
    let last = lines.next().context("the server ended without a result")??;
    ensure!(server.wait()?.success(), "the server failed");
    let mut read = String::new();
    BufReader::new(client.stdout.take().context("standard output")?).read_line(&mut read)?;
    client.wait()?;
    let expected = (load.members * load.fanouts * load.bytes) as u64;
    ensure!(read.trim().parse() == Ok(expected), "the client read {} of {expected} bytes", read.trim());
    Ok(serde_json::from_str(&last)?)
}

fn spawn(arguments: &[&str]) -> Result<Child> {
    let program = std::env::current_exe()?;
    Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().context("cannot start myself")
}

fn print(rows: &[Row], load: Load) {
    let floor = rows.iter().find(|row| row.runtime == Runtime::Send).map_or(f64::NAN, |row| row.cpu_micros.median());
    println!("{} sockets, {} bytes, {} fan-outs\n", load.members, load.bytes, load.fanouts);
    println!(
        "| runtime | server CPU µs per delivery, median (min–max) | ratio to plain send | deliveries/s, median | rounds |"
    );
    println!("|---|---|---|---|---|");
    for row in rows {
        let ((least, most), median) = (row.cpu_micros.range(), row.cpu_micros.median());
        let name = row.runtime.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        match &row.failure {
            Some(failure) if row.cpu_micros.count() == 0 => println!("| {name} | failed: {failure} | | | 0 |"),
            _ => println!(
                "| {name} | {median:.2} ({least:.2}–{most:.2}) | {:.2} | {:.0} | {} |",
                median / floor,
                row.deliveries_per_second.median(),
                row.cpu_micros.count()
            ),
        }
    }
}

//! The comparison as one Markdown text: a table per load, with medians, spread and the ratio to the first other server.

use std::fmt::Write as _;

use corecast_benches::summary::Samples;

use crate::Options;
use crate::compare::{Cell, Results};
use crate::load::Load;
use crate::peer::{Client, Contender, Peer};

/// From this share of a CPU on the generator is what limits, as in its own verdict.
const GENERATOR_BUSY: f64 = 0.95;
/// Who delivers this share of what is offered is not saturated; the rest is the noise of a second's borders.
const ALL_CARRIED: f64 = 0.98;

/// The whole text.
pub(crate) fn render(options: &Options, results: &Results, rounds: u32) -> String {
    let mut out = String::from("# Corecast and its peers\n\n");
    let _ = writeln!(
        out,
        "Medians of {rounds} rounds (smallest … largest), servers in turn. Server on CPU {}, generator on CPU {}, {} s measured \
         after 3 s of warm-up, {} connections, 100-byte messages. CPU is that of the server process, kernel work on its \
         behalf included.\n",
        options.server_cpu, options.client_cpu, options.seconds, options.connections
    );
    if let Some(sample) = &results.sample {
        let e = &sample.environment;
        let _ = writeln!(out, "{} · {} · {} · {}\n", e.cpu_model, e.kernel, e.system, results.versions.join(" · "));
    }
    for (load, cells) in &results.rows {
        let _ = writeln!(out, "## {}\n", load.title(options.connections));
        if *load == Load::Storm {
            storm(options.connections, cells, &mut out);
            notes(cells, &mut out);
            continue;
        }
        let deliveries = if load.saturates() { "deliveries/s at saturation" } else { "deliveries/s" };
        let _ = writeln!(
            out,
            "| server | CPU µs per delivery | ratio | CPU used | {deliveries} | p50 ms | p99 ms | last member p99 ms | generator |"
        );
        out.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for (contender, cell) in cells {
            row(*contender, cell, reference(cells, contender.client), &mut out);
        }
        out.push('\n');
        limits(*load, options.connections, cells, &mut out);
        notes(cells, &mut out);
    }
    connections(results, &mut out);
    command(&mut out);
    out
}

/// What ratios are to: Bun's CPU, as the same generator sees it.
fn reference(cells: &[(Contender, Cell)], client: Client) -> Option<f64> {
    bun(cells, client).map(|cell| cell.cpu.median())
}

fn bun(cells: &[(Contender, Cell)], client: Client) -> Option<&Cell> {
    let bun = Contender { peer: Peer::Bun, client };
    cells.iter().find(|(contender, _)| *contender == bun).map(|(_, cell)| cell)
}

/// How soon all were back, and what that cost the server.
fn storm(connections: u32, cells: &[(Contender, Cell)], out: &mut String) {
    out.push_str(
        "| server | last one back after s | back per second | ratio | CPU µs per member | ratio | generator |\n|---|---|---|---|---|---|---|\n",
    );
    for (contender, cell) in cells {
        if cell.back.count() == 0 {
            let _ = writeln!(out, "| {} | did not run | | | | | |", contender.title());
            continue;
        }
        let ratio = |value: &dyn Fn(&Cell) -> f64| {
            let reference = bun(cells, contender.client).filter(|bun| bun.back.count() > 0).map(value);
            reference.map_or_else(String::new, |reference| format!("{:.2} × Bun", value(cell) / reference))
        };
        let per_second = |cell: &Cell| f64::from(connections) / cell.back.median();
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} | {} | {} | {} | {:.0} % |",
            contender.title(),
            spread(&cell.back, 2),
            per_second(cell),
            ratio(&per_second),
            spread(&cell.cpu_per_member, 1),
            ratio(&|cell| cell.cpu_per_member.median()),
            cell.generator.median() * 100.0
        );
    }
    out.push('\n');
}

fn row(contender: Contender, cell: &Cell, reference: Option<f64>, out: &mut String) {
    if cell.deliveries.count() == 0 {
        let _ = writeln!(out, "| {} | did not run | | | | | | |", contender.title());
        return;
    }
    let ratio = reference
        .filter(|reference| reference.is_finite())
        .map_or_else(String::new, |reference| format!("{:.2} × Bun", cell.cpu.median() / reference));
    let mark = if cell.troubles.is_empty() { "" } else { " ¹" };
    let _ = writeln!(
        out,
        "| {}{mark} | {} | {ratio} | {:.0} % | {} | {} | {} | {} | {:.0} % |",
        contender.title(),
        spread(&cell.cpu, 2),
        cell.used.median() * 100.0,
        spread(&cell.deliveries, 0),
        spread(&cell.p50, 2),
        spread(&cell.p99, 2),
        spread(&cell.last, 2),
        cell.generator.median() * 100.0
    );
}

fn spread(samples: &Samples, digits: usize) -> String {
    if samples.count() == 0 {
        // A server so far behind that no message of the measured time reached a member has deliveries, but no latency.
        return "–".to_owned();
    }
    let (low, high) = samples.range();
    format!("**{:.digits$}** ({low:.digits$} … {high:.digits$})", samples.median())
}

/// What keeps the deliveries of a load from being the server's own limit.
fn limits(load: Load, connections: u32, cells: &[(Contender, Cell)], out: &mut String) {
    let names = |which: &dyn Fn(&Cell) -> bool| {
        let which = cells.iter().filter(|(_, cell)| cell.deliveries.count() > 0 && which(cell));
        which.map(|(contender, _)| contender.name()).collect::<Vec<_>>().join(", ")
    };
    let busy = names(&|cell| cell.generator.median() >= GENERATOR_BUSY);
    if !busy.is_empty() {
        let _ = writeln!(out, "The generator used all of its CPU, so that these may carry more: {busy}.\n");
    }
    if load.saturates() {
        let offered = load.offered(connections);
        let all = names(&|cell| cell.deliveries.median() >= ALL_CARRIED * offered);
        if !all.is_empty() {
            let _ = writeln!(out, "Not saturated, all of the {offered:.0} deliveries/s offered came through: {all}.\n");
        }
    }
}

fn notes(cells: &[(Contender, Cell)], out: &mut String) {
    for (contender, cell) in cells.iter().filter(|(_, cell)| !cell.troubles.is_empty()) {
        let _ = writeln!(out, "¹ {}, {} round(s): {}\n", contender.name(), cell.troubles.len(), cell.troubles[0]);
    }
}

fn connections(results: &Results, out: &mut String) {
    let Some((_, cells)) = results.rows.first() else { return };
    out.push_str(
        "## Connections\n\n| server | memory per idle member, bytes | most new members in a second | CPU µs per connect |\n\
         |---|---|---|---|\n",
    );
    for (contender, cell) in cells.iter().filter(|(_, cell)| cell.memory.count() > 0) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            contender.title(),
            spread(&cell.memory, 0),
            spread(&cell.connects, 0),
            spread(&cell.cpu_per_connect, 1)
        );
    }
    out.push('\n');
}

fn command(out: &mut String) {
    let words: Vec<String> =
        std::env::args().map(|word| corecast_loadgen::system::environment::quoted(&word)).skip(1).collect();
    let _ = writeln!(out, "Made by: `peers {}`", words.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUN: Contender = Contender { peer: Peer::Bun, client: Client::Corecast };

    fn of(peer: Peer) -> Contender {
        Contender { peer, ..BUN }
    }

    fn cell(deliveries: f64, generator: f64) -> Cell {
        let mut cell = Cell::default();
        cell.deliveries.add(deliveries);
        cell.generator.add(generator);
        cell
    }

    fn said(load: Load, cells: &[(Contender, Cell)]) -> String {
        let mut out = String::new();
        limits(load, 1_000, cells, &mut out);
        out
    }

    #[test]
    fn a_busy_generator_and_an_unsaturated_server_are_named() {
        let offered = Load::SmallMax.offered(1_000);
        let cells =
            [(BUN, cell(offered * 0.99, 0.5)), (of(Peer::Ws), cell(1_000.0, 0.99)), (of(Peer::Nats), Cell::default())];
        let small_max = said(Load::SmallMax, &cells);
        assert!(small_max.contains("may carry more: ws.") && small_max.contains("came through: bun."), "{small_max}");
        assert!(!said(Load::Small, &cells).contains("saturated"), "only where saturation is asked for");
    }

    #[test]
    fn a_storm_is_compared_by_who_is_back_when_and_at_what_cost() {
        let back = |seconds, micros| {
            let mut cell = cell(0.0, 1.0);
            cell.back.add(seconds);
            cell.cpu_per_member.add(micros);
            cell
        };
        let cells = [(BUN, back(2.0, 50.0)), (of(Peer::Corecast), back(1.0, 40.0)), (of(Peer::Ws), Cell::default())];
        let mut out = String::new();
        storm(1_000, &cells, &mut out);
        assert!(out.contains("| 500 | 1.00 × Bun | **50.0** (50.0 … 50.0) | 1.00 × Bun | 100 % |"), "{out}");
        assert!(out.contains("| 1000 | 2.00 × Bun | **40.0** (40.0 … 40.0) | 0.80 × Bun |"), "{out}");
        assert!(out.contains("did not run"), "{out}");
    }

    #[test]
    fn each_generator_s_ratios_are_to_what_it_saw_itself() {
        let mut seen = [(BUN, Cell::default()), (Contender { client: Client::Second, ..BUN }, Cell::default())];
        seen[0].1.cpu.add(10.0);
        seen[1].1.cpu.add(20.0);
        assert_eq!(reference(&seen, Client::Corecast), Some(10.0));
        assert_eq!(reference(&seen, Client::Second), Some(20.0));
        assert_eq!(reference(&seen[..1], Client::Second), None);
    }

    #[test]
    fn a_run_that_failed_keeps_its_figures_and_gets_a_note() {
        let mut failed = cell(123_456.0, 0.9);
        failed.troubles.push("failed: 7 messages never reached a member".to_owned());
        let (mut table, mut below) = (String::new(), String::new());
        row(BUN, &failed, None, &mut table);
        notes(&[(BUN, failed)], &mut below);
        assert!(table.contains("¹") && table.contains("**123456**") && table.contains("| 90 % |"), "{table}");
        assert!(table.contains("| – |") && !table.contains("NaN |"), "{table}");
        assert!(below.contains("7 messages never reached"), "{below}");
    }
}

//! The comparison as one Markdown text: a table per load, with medians, spread and the ratio to the first other server.

use std::fmt::Write as _;

use corecast_benches::summary::Samples;

use crate::Options;
use crate::compare::{Cell, Results};
use crate::peer::Peer;

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
        out.push_str("| server | CPU µs per delivery | ratio | CPU used | deliveries/s | p50 ms | p99 ms | last member p99 ms |\n");
        out.push_str("|---|---|---|---|---|---|---|---|\n");
        let reference = cells.iter().find(|(peer, _)| *peer == Peer::Bun).map(|(_, cell)| cell.cpu.median());
        for (peer, cell) in cells {
            row(*peer, cell, reference, &mut out);
        }
        out.push('\n');
        notes(cells, &mut out);
    }
    connections(results, &mut out);
    command(&mut out);
    out
}

fn row(peer: Peer, cell: &Cell, reference: Option<f64>, out: &mut String) {
    if cell.deliveries.count() == 0 {
        let _ = writeln!(out, "| {} | did not run | | | | | | |", peer.title());
        return;
    }
    let ratio = reference
        .filter(|reference| reference.is_finite())
        .map_or_else(String::new, |reference| format!("{:.2} × Bun", cell.cpu.median() / reference));
    let mark = if cell.troubles.is_empty() { "" } else { " ¹" };
    let _ = writeln!(
        out,
        "| {}{mark} | {} | {ratio} | {:.0} % | {} | {} | {} | {} |",
        peer.title(),
        spread(&cell.cpu, 2),
        cell.used.median() * 100.0,
        spread(&cell.deliveries, 0),
        spread(&cell.p50, 2),
        spread(&cell.p99, 2),
        spread(&cell.last, 2)
    );
}

fn spread(samples: &Samples, digits: usize) -> String {
    let (low, high) = samples.range();
    format!("**{:.digits$}** ({low:.digits$} … {high:.digits$})", samples.median())
}

fn notes(cells: &[(Peer, Cell)], out: &mut String) {
    for (peer, cell) in cells.iter().filter(|(_, cell)| !cell.troubles.is_empty()) {
        let _ = writeln!(out, "¹ {}, {} round(s): {}\n", peer.name(), cell.troubles.len(), cell.troubles[0]);
    }
}

fn connections(results: &Results, out: &mut String) {
    let Some((_, cells)) = results.rows.first() else { return };
    out.push_str(
        "## Connections\n\n| server | memory per idle member, bytes | most new members in a second |\n|---|---|---|\n",
    );
    for (peer, cell) in cells.iter().filter(|(_, cell)| cell.memory.count() > 0) {
        let _ = writeln!(out, "| {} | {} | {} |", peer.title(), spread(&cell.memory, 0), spread(&cell.connects, 0));
    }
    out.push('\n');
}

fn command(out: &mut String) {
    let words: Vec<String> =
        std::env::args().map(|word| corecast_loadgen::system::environment::quoted(&word)).skip(1).collect();
    let _ = writeln!(out, "Made by: `peers {}`", words.join(" "));
}

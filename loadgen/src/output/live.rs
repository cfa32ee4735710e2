//! The live view: a few lines that are redrawn in a terminal, a plain line each second anywhere else. On stderr, so that stdout
//! stays clean.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text;
use crate::run::{Observer, View};
use crate::summary::Row;

/// Between two lines about connecting, where lines are not redrawn.
const CONNECTING_PAUSE: Duration = Duration::from_secs(2);

/// Share of CPU time taken by the hypervisor from which on a second says so.
const STOLEN_SHOWN: f64 = 0.02;

/// See the module's documentation.
#[derive(Debug)]
pub struct Live {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_connecting: Option<Instant>,
}

impl Live {
    /// `quiet` = nothing but problems. `NO_COLOR` is honoured by the terminal library.
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet, last_connecting: None }
    }

    /// Takes the line away, so that the result can be printed.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if !self.quiet => eprintln!("{text}"),
            None => {}
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

impl Observer for Live {
    fn say(&mut self, text: &str) {
        self.line(text);
    }

    fn row(&mut self, row: &Row, view: &View) {
        match &self.bar {
            Some(bar) => bar.set_message(panel(row, view)),
            None if row.phase == "connect" => {}
            None => self.line(&row_line(row, view)),
        }
    }

    fn connecting(&mut self, live: u64, wanted: u64) {
        let line = format!("connect   {} of {} members", text::count(live), text::count(wanted));
        if let Some(bar) = &self.bar {
            bar.set_message(line);
        } else if self.last_connecting.is_none_or(|last| last.elapsed() >= CONNECTING_PAUSE) {
            self.last_connecting = Some(Instant::now());
            self.line(&line);
        }
    }
}

/// The redrawn lines, each narrower than 80 columns: rates, latency, the target, the generator, and what is wrong.
fn panel(row: &Row, view: &View) -> String {
    let mut lines = vec![
        format!(
            "{} {:.0} s left · {} of {} members",
            row.phase,
            view.left,
            text::count(row.live),
            text::count(view.wanted)
        ),
        format!("  rates      {} msg/s · {} deliveries/s", text::count(row.published), text::count(row.received)),
        format!("  latency    p50 {} · p99 {} · max {}", latency(row.p50), latency(row.p99), latency(row.max)),
    ];
    if view.watches {
        let cpu = text::percent(row.server_user + row.server_system);
        lines.push(format!("  server     {cpu} of a CPU · {}", text::bytes(row.server_rss as f64)));
    }
    let mut own = format!(
        "  generator  {} of a CPU · late p99 {} · max {}",
        text::percent(row.generator_cpu),
        latency(row.late_p99),
        latency(row.late_max)
    );
    if row.stolen >= STOLEN_SHOWN {
        own.push_str(&format!(" · stolen {}", text::percent(row.stolen)));
    }
    lines.push(own);
    if row.lost > 0 {
        lines.push(format!("  {} connections lost", text::count(row.lost)));
    }
    if view.violations > 0 {
        lines.push(format!("  VIOLATIONS {}", text::count(view.violations)));
    }
    lines.join("\n")
}

/// Rate, connected, latency, the target's CPU and memory, own lateness.
fn row_line(row: &Row, view: &View) -> String {
    let mut line = format!(
        "{:<8} {:>4.0} s  {:>8} live  {:>7} msg/s  {:>8} deliveries/s  p50 {:>8}  p99 {:>8}  max {:>8}",
        row.phase,
        view.left,
        text::count(row.live),
        text::count(row.published),
        text::count(row.received),
        latency(row.p50),
        latency(row.p99),
        latency(row.max),
    );
    if view.watches {
        let cpu = text::percent(row.server_user + row.server_system);
        line.push_str(&format!("  server {cpu:>6} {:>8}", text::bytes(row.server_rss as f64)));
    }
    line.push_str(&format!("  late p99 {:>8}", latency(row.late_p99)));
    if row.stolen >= STOLEN_SHOWN {
        line.push_str(&format!("  stolen {}", text::percent(row.stolen)));
    }
    if row.lost > 0 {
        line.push_str(&format!("  lost {}", text::count(row.lost)));
    }
    if view.violations > 0 {
        line.push_str(&format!("  VIOLATIONS {}", text::count(view.violations)));
    }
    line
}

fn latency(nanos: u64) -> String {
    if nanos == 0 { "–".to_owned() } else { text::time(nanos as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_matters() {
        let row = Row {
            phase: "measure".to_owned(),
            live: 100_000,
            published: 10_000,
            received: 50_000,
            p50: 310_000,
            p99: 1_900_000,
            max: 8_000_000,
            server_user: 0.3,
            server_system: 0.6,
            late_p99: 90_000,
            stolen: 0.125,
            ..Row::default()
        };
        let line = row_line(&row, &View { watches: true, violations: 2, left: 12.0, wanted: 100_000 });
        for part in [
            "100,000 live",
            "50,000 deliveries/s",
            "p50  0.31 ms",
            "server 90.0 %",
            "90.0 µs",
            "VIOLATIONS 2",
            "stolen 12.5 %",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        let view = View { watches: true, violations: 2, left: 600.0, wanted: 1_000_000 };
        let row =
            Row { live: 1_000_000, published: 100_000, received: 3_000_000, lost: 7, late_max: 27_000_000, ..row };
        let panel = panel(&row, &view);
        for part in
            ["1,000,000 of 1,000,000", "p99 1.90 ms", "90.0 % of a CPU", "stolen 12.5 %", "7 conn", "VIOLATIONS 2"]
        {
            assert!(panel.contains(part), "{part} in {panel}");
        }
        assert!(panel.lines().all(|line| line.chars().count() < 78), "{panel}");
    }
}

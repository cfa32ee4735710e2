//! `corecast load diff A B`: two runs, or two folders of rounds, figure by figure with their spread.
//!
//! The spread of several rounds is their range. A single run has only its own seconds: the middle half of them. Figures
//! whose spreads overlap are not called different.

use std::fmt::Write as _;

use serde::Serialize;

use super::text;
use crate::summary::{Row, Summary};

/// One compared figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Name, as thresholds know it.
    pub figure: String,
    /// Median and spread of the first.
    pub a: Spread,
    /// Median and spread of the second.
    pub b: Spread,
    /// Change of the median, 0.1 = 10 % more.
    pub change: Option<f64>,
    /// What to think of it.
    pub judgement: Judgement,
}

/// A median with its range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Middle.
    pub median: f64,
    /// Lower and upper end, if known.
    pub range: Option<(f64, f64)>,
}

/// Whether B is better than A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Clearly better.
    Better,
    /// Clearly worse.
    Worse,
    /// The spreads overlap.
    WithinSpread,
    /// Equal, or no spread is known.
    Open,
}

/// How a figure reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Time,
    Micros,
    Bytes,
    Number,
}

struct Figure {
    name: &'static str,
    unit: Unit,
    /// Smaller is better.
    small: bool,
    of_run: fn(&Summary) -> Option<f64>,
    of_second: Option<fn(&Row) -> Option<f64>>,
}

fn latency(summary: &Summary, tag: &str, pick: fn(&crate::latency::Percentiles) -> u64) -> Option<f64> {
    summary.latencies.get(tag).map(|latency| pick(&latency.percentiles) as f64)
}

fn nonzero(nanos: u64) -> Option<f64> {
    (nanos > 0).then_some(nanos as f64)
}

fn figures() -> Vec<Figure> {
    let figure = |name, unit, small, of_run, of_second| Figure { name, unit, small, of_run, of_second };
    vec![
        figure("deliver.p50", Unit::Time, true, |s| latency(s, "deliver", |p| p.p50), Some(|row| nonzero(row.p50))),
        figure("deliver.p99", Unit::Time, true, |s| latency(s, "deliver", |p| p.p99), Some(|row| nonzero(row.p99))),
        figure("deliver.p99.9", Unit::Time, true, |s| latency(s, "deliver", |p| p.p999), None),
        figure("deliver.p99.99", Unit::Time, true, |s| latency(s, "deliver", |p| p.p9999), None),
        figure("deliver.max", Unit::Time, true, |s| latency(s, "deliver", |p| p.max), Some(|row| nonzero(row.max))),
        figure("last.p50", Unit::Time, true, |s| latency(s, "last", |p| p.p50), None),
        figure("last.p99", Unit::Time, true, |s| latency(s, "last", |p| p.p99), Some(|row| nonzero(row.last_p99))),
        figure("publish.p99", Unit::Time, true, |s| latency(s, "publish", |p| p.p99), None),
        figure("recover.max", Unit::Time, true, |s| latency(s, "recover", |p| p.max), None),
        figure(
            "deliveries_per_second",
            Unit::Number,
            false,
            |s| Some(s.measured.deliveries_per_second),
            Some(|row| Some(row.received as f64)),
        ),
        figure(
            "server.cpu_per_delivery_us",
            Unit::Micros,
            true,
            |s| s.server.as_ref()?.cpu_per_delivery_us,
            Some(|row| {
                let used = row.server_user + row.server_system;
                (row.received > 0 && used > 0.0).then(|| used * 1e6 / row.received as f64)
            }),
        ),
        figure("server.rss_per_member", Unit::Bytes, true, |s| s.server.as_ref()?.rss_per_member, None),
        figure("kernel.slab_per_connection", Unit::Bytes, true, |s| s.kernel.slab_per_connection, None),
        figure("server.cpu_per_connect_us", Unit::Micros, true, |s| s.server.as_ref()?.cpu_per_connect_us, None),
        figure("connects_per_second", Unit::Number, false, |s| Some(s.members.per_second_max as f64), None),
        figure("generator.cpu_per_delivery_us", Unit::Micros, true, |s| s.generator.cpu_per_delivery_us, None),
        figure("late.p99", Unit::Time, true, |s| latency(s, "late", |p| p.p99), Some(|row| nonzero(row.late_p99))),
    ]
}

/// Compares the figures that both have.
pub fn compare(a: &[Summary], b: &[Summary]) -> Vec<Line> {
    let mut lines = Vec::new();
    for figure in figures() {
        let (Some(a), Some(b)) = (spread(&figure, a), spread(&figure, b)) else { continue };
        let change = (a.median != 0.0).then(|| b.median / a.median - 1.0);
        let judgement = judge(&a, &b, figure.small);
        lines.push(Line { figure: figure.name.to_owned(), a, b, change, judgement });
    }
    lines
}

fn spread(figure: &Figure, runs: &[Summary]) -> Option<Spread> {
    let mut values: Vec<f64> = runs.iter().filter_map(figure.of_run).collect();
    let median = middle(&mut values)?;
    if values.len() > 1 {
        return Some(Spread { median, range: Some((values[0], values[values.len() - 1])) });
    }
    let of_second = figure.of_second;
    let rows = runs.iter().flat_map(|run| &run.seconds).filter(|row| row.phase == "measure");
    let mut seconds: Vec<f64> = of_second.map(|of| rows.filter_map(of).collect()).unwrap_or_default();
    // Fewer seconds than that have no middle half worth the name.
    if seconds.len() < 8 {
        return Some(Spread { median, range: None });
    }
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
    Some(Spread { median, range: Some((at(0.25).min(median), at(0.75).max(median))) })
}

/// Sorts; the mean of the two in the middle.
fn middle(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

fn judge(a: &Spread, b: &Spread, small: bool) -> Judgement {
    let (Some(of_a), Some(of_b)) = (a.range, b.range) else { return Judgement::Open };
    if of_a.0 <= of_b.1 && of_b.0 <= of_a.1 {
        return Judgement::WithinSpread;
    }
    if (b.median < a.median) == small { Judgement::Better } else { Judgement::Worse }
}

/// Circumstances that differ and should not, as sentences.
pub fn circumstances(a: &Summary, b: &Summary) -> Vec<String> {
    let mut differences = Vec::new();
    let mut check = |what: &str, a: &str, b: &str| {
        if a != b {
            differences.push(format!("{what}: {a:?} ≠ {b:?}"));
        }
    };
    check("scenario", &a.scenario.outline(), &b.scenario.outline());
    check("protocol", a.protocol.name(), b.protocol.name());
    check("kernel", &a.environment.kernel, &b.environment.kernel);
    check("processor", &a.environment.cpu_model, &b.environment.cpu_model);
    check("tool", &a.environment.tool, &b.environment.tool);
    let cpus = |summary: &Summary| format!("{:?}", summary.generator.cpus);
    check("generator's CPUs", &cpus(a), &cpus(b));
    let outcome = |summary: &Summary| summary.verdict.outcome.word();
    check("outcome", outcome(a), outcome(b));
    differences
}

/// The table for the terminal.
pub fn render(a: &[Summary], b: &[Summary]) -> String {
    let mut out = String::new();
    if let (Some(first), Some(second)) = (a.first(), b.first()) {
        for (letter, runs, summary) in [("A", a, first), ("B", b, second)] {
            let label = if summary.label.is_empty() { &summary.scenario.name } else { &summary.label };
            let _ = writeln!(out, "{letter}: {label}, {} round(s), {}", runs.len(), summary.targets.join(" "));
        }
        for difference in circumstances(first, second) {
            let _ = writeln!(out, "  not the same: {difference}");
        }
    }
    let heads = ("", "A", "spread", "B", "spread", "change");
    let (figure, x, y, z, w, v) = heads;
    let _ = writeln!(out, "\n{figure:<32}{x:>11}{y:>24}{z:>11}{w:>24}{v:>9}");
    let units = figures();
    for line in compare(a, b) {
        let unit = units.iter().find(|figure| figure.name == line.figure).map_or(Unit::Number, |figure| figure.unit);
        let range = |spread: &Spread| {
            spread.range.map_or_else(String::new, |(low, high)| format!("{} … {}", shown(unit, low), shown(unit, high)))
        };
        let change = line.change.map_or_else(String::new, |change| format!("{:+.1} %", change * 100.0));
        let word = match line.judgement {
            Judgement::Better => "better",
            Judgement::Worse => "worse",
            Judgement::WithinSpread => "within the spread",
            Judgement::Open => "",
        };
        let _ = writeln!(
            out,
            "{:<32}{:>11}{:>24}{:>11}{:>24}{:>9}  {word}",
            line.figure,
            shown(unit, line.a.median),
            range(&line.a),
            shown(unit, line.b.median),
            range(&line.b),
            change,
        );
    }
    out
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Time => text::time(value),
        Unit::Micros => format!("{value:.2} µs"),
        Unit::Bytes => text::bytes(value),
        Unit::Number => text::amount(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(low: f64, median: f64, high: f64) -> Spread {
        Spread { median, range: Some((low, high)) }
    }

    #[test]
    fn overlapping_spreads_are_no_difference() {
        assert_eq!(judge(&spread(1.0, 2.0, 3.0), &spread(2.5, 4.0, 5.0), true), Judgement::WithinSpread);
        assert_eq!(judge(&spread(1.0, 2.0, 3.0), &spread(3.5, 4.0, 5.0), true), Judgement::Worse);
        assert_eq!(judge(&spread(1.0, 2.0, 3.0), &spread(3.5, 4.0, 5.0), false), Judgement::Better);
        assert_eq!(judge(&spread(1.0, 2.0, 3.0), &Spread { median: 9.0, range: None }, true), Judgement::Open);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(middle(&mut [4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(middle(&mut [5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(middle(&mut []), None);
    }
}

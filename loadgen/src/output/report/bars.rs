//! Horizontal bars: ranges of percentiles, and stacked parts of a whole.

use std::fmt::Write as _;

use super::chart::{WIDTH, escape};
use super::scale::Scale;
use crate::latency::Percentiles;
use crate::output::text;

const LABEL: f64 = 150.0;
const RIGHT: f64 = 20.0;
const ROW: f64 = 34.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;

/// One row of a range chart.
pub(super) struct Range<'a> {
    pub name: String,
    pub class: &'static str,
    pub percentiles: &'a Percentiles,
}

/// Per row: a thick bar from p50 to p99, a thin one on to the maximum, ticks at p50, p99 and p99.9.
pub(super) fn ranges(rows: &[Range<'_>]) -> String {
    let values = rows.iter().flat_map(|row| [row.percentiles.p50 as f64, row.percentiles.max as f64]);
    let scale = Scale::log_around(values);
    let at = |nanos: u64| LABEL + scale.at(nanos as f64) * (WIDTH - LABEL - RIGHT);
    let height = TOP + rows.len() as f64 * ROW + BOTTOM;
    let mut out = format!("<figure class=\"chart\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    let floor = height - BOTTOM;
    for (value, labelled) in scale.ticks() {
        let x = LABEL + scale.at(value) * (WIDTH - LABEL - RIGHT);
        let class = if labelled { "grid" } else { "grid fine" };
        let _ = write!(out, "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{floor}\"/>");
        if labelled {
            let _ = write!(out, "<text class=\"x\" x=\"{x:.1}\" y=\"{}\">{}</text>", floor + 18.0, tick(value));
        }
    }
    for (index, row) in rows.iter().enumerate() {
        let p = row.percentiles;
        let y = TOP + (index as f64 + 0.5) * ROW;
        let (p50, p99, p999, max) = (at(p.p50), at(p.p99), at(p.p999), at(p.max));
        let title = format!(
            "{}: p50 {}, p99 {}, p99.9 {}, max {}",
            row.name,
            text::time(p.p50 as f64),
            text::time(p.p99 as f64),
            text::time(p.p999 as f64),
            text::time(p.max as f64)
        );
        let class = row.class;
        let _ = write!(out, "<g><title>{}</title>", escape(&title));
        let _ =
            write!(out, "<text class=\"row\" x=\"{}\" y=\"{:.1}\">{}</text>", LABEL - 12.0, y + 4.0, escape(&row.name));
        let _ = write!(out, "<line class=\"thin {class}\" x1=\"{p50:.1}\" x2=\"{max:.1}\" y1=\"{y}\" y2=\"{y}\"/>");
        let width = (p99 - p50).max(2.0);
        let _ = write!(
            out,
            "<rect class=\"bar {class}\" x=\"{p50:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" rx=\"3\"/>",
            y - 7.0
        );
        for x in [p999, max] {
            let _ = write!(
                out,
                "<line class=\"thin {class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/>",
                y - 6.0,
                y + 6.0
            );
        }
        out.push_str("</g>");
    }
    out.push_str("</svg></figure>");
    out
}

/// One bar of parts with a legend that gives each part's amount.
pub(super) fn stack(parts: &[(String, f64)], shown: &dyn Fn(f64) -> String) -> String {
    let total: f64 = parts.iter().map(|(_, amount)| amount.max(0.0)).sum();
    if total <= 0.0 {
        return String::new();
    }
    let mut out = format!("<figure class=\"chart\"><svg viewBox=\"0 0 {WIDTH} 34\" role=\"img\">");
    let mut x = 0.0;
    for (index, (name, amount)) in parts.iter().enumerate() {
        let width = amount.max(0.0) / total * WIDTH;
        let title = escape(&format!("{name}: {}", shown(*amount)));
        let class = class(index);
        let _ = write!(
            out,
            "<g><title>{title}</title><rect class=\"bar {class}\" x=\"{x:.1}\" y=\"4\" width=\"{:.1}\" height=\"26\"/></g>",
            (width - 1.0).max(0.5)
        );
        x += width;
    }
    out.push_str("</svg><figcaption class=\"legend parts\">");
    for (index, (name, amount)) in parts.iter().enumerate() {
        let _ = write!(
            out,
            "<span><i class=\"{}\"></i>{} <b>{}</b></span>",
            class(index),
            escape(name),
            escape(&shown(*amount))
        );
    }
    out.push_str("</figcaption></figure>");
    out
}

/// The colour of the n-th thing.
pub(super) fn class(index: usize) -> &'static str {
    ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"][index % 8]
}

/// Axis labels are round numbers: no decimals needed.
pub(super) fn tick(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.0} µs", n / 1e3),
        n if n < 1e9 => format!("{:.0} ms", n / 1e6),
        n => format!("{:.0} s", n / 1e9),
    }
}

//! The result in the terminal: what came out first, then the figures, then where the rest is.

use std::fmt::Write as _;

use super::text;
use crate::summary::{Latency, Outcome, Summary};

/// Tags in the order in which they are read, with what they mean.
const SHOWN: [(&str, &str); 11] = [
    ("deliver", "delivery to each member"),
    ("first", "  first member of a message"),
    ("median", "  half of the members"),
    ("last", "  last member"),
    ("spread", "  first to last"),
    ("publish", "acknowledgement"),
    ("recover", "lost until back and complete"),
    ("switch", "opening another chat"),
    ("connect", "connect and upgrade"),
    ("subscribe", "join"),
    ("late", "own lateness"),
];

/// The whole text, ending with a line break.
pub fn render(summary: &Summary) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n{}  {}", headline(summary), summary.scenario.outline());
    for reason in &summary.verdict.reasons {
        let _ = writeln!(out, "  ✗ {reason}");
    }
    for remark in &summary.remarks {
        let _ = writeln!(out, "  ! {remark}");
    }
    loads(summary, &mut out);
    slow(summary, &mut out);
    latencies(summary, &mut out);
    costs(summary, &mut out);
    calibration(summary, &mut out);
    for judged in &summary.thresholds {
        let mark = if judged.holds { "✓" } else { "✗" };
        let _ = writeln!(out, "  {mark} {}", judged.condition);
    }
    out
}

fn headline(summary: &Summary) -> String {
    let word = summary.verdict.outcome.word().to_uppercase();
    let mark = if summary.verdict.outcome == Outcome::Passed { "✓" } else { "✗" };
    let label = if summary.label.is_empty() { String::new() } else { format!(" [{}]", summary.label) };
    format!("{mark} {word}  {}{label}", summary.scenario.name)
}

fn loads(summary: &Summary, out: &mut String) {
    let measured = &summary.measured;
    let _ = writeln!(
        out,
        "\n  {} members of {} · {} msg/s · {} deliveries/s over {} s · connected in {:.1} s, at most {}/s",
        text::count(summary.members.at_start),
        text::count(summary.members.wanted),
        text::amount(measured.messages_per_second),
        text::amount(measured.deliveries_per_second),
        measured.seconds,
        summary.timing.connecting,
        text::count(summary.members.per_second_max),
    );
    let counts = &summary.counts;
    let truth = &counts.truth;
    let kinds: Vec<String> =
        truth.violations().iter().map(|(kind, count)| format!("{kind} {}", text::count(*count))).collect();
    let _ = writeln!(
        out,
        "  {} published, {} received ({} by recovery) · {}",
        text::count(counts.published),
        text::count(truth.received),
        text::count(truth.recovered),
        kinds.join(" · ")
    );
    let told = truth.told_lost + truth.told_cut + counts.cut + counts.disconnected() + counts.failed();
    if told > 0 {
        let _ = writeln!(
            out,
            "  told: {} positions lost, {} subscriptions cut · connections: {} cut by us, {} by the target, {} came back, {} attempts failed",
            text::count(truth.told_lost),
            text::count(truth.told_cut),
            text::count(counts.cut),
            text::count(counts.disconnected()),
            text::count(counts.back),
            text::count(counts.failed()),
        );
    }
    for (kind, count) in counts.failures.iter().chain(&counts.disconnects).chain(&counts.unreadable) {
        let _ = writeln!(out, "    {} × {kind}", text::count(*count));
    }
}

fn slow(summary: &Summary, out: &mut String) {
    let Some(slow) = &summary.slow else { return };
    let truth = &slow.counts.truth;
    let _ = writeln!(
        out,
        "  {} slow readers at {} each per second: {} received ({} by recovery), {} cut and told, {} positions lost and told",
        slow.members,
        text::bytes(f64::from(slow.bytes_per_second)),
        text::count(truth.received),
        text::count(truth.recovered),
        text::count(truth.told_cut),
        text::count(truth.told_lost)
    );
    for (kind, count) in slow.counts.disconnects.iter().chain(&slow.counts.failures) {
        let _ = writeln!(out, "    {} × {kind}", text::count(*count));
    }
}

fn latencies(summary: &Summary, out: &mut String) {
    let heads = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
    let _ = write!(out, "\n  {:<32}", "latency from intended publish");
    heads.iter().for_each(|head| {
        let _ = write!(out, "{head:>10}");
    });
    let _ = writeln!(out, "{:>14}", "values");
    for (tag, meaning) in SHOWN {
        if let Some(latency) = summary.latencies.get(tag) {
            row(meaning, latency, out);
        }
        for (other, latency) in &summary.latencies {
            if let Some(group) = other.strip_prefix(tag).and_then(|rest| rest.strip_prefix('.')) {
                row(&format!("    {group}"), latency, out);
            }
        }
    }
}

fn row(name: &str, latency: &Latency, out: &mut String) {
    let p = &latency.percentiles;
    let _ = write!(out, "  {name:<32}");
    for value in [p.p50, p.p90, p.p99, p.p999, p.p9999, p.max] {
        let _ = write!(out, "{:>10}", text::time(value as f64));
    }
    let _ = writeln!(out, "{:>14}", text::count(p.count));
}

fn costs(summary: &Summary, out: &mut String) {
    out.push('\n');
    let per = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} µs"));
    if let Some(server) = &summary.server {
        let _ = writeln!(
            out,
            "  server      {} CPU per delivery, {} per message, {} per connect · {} of a CPU (user {}, kernel {}) · {} per idle member, at most {}",
            per(server.cpu_per_delivery_us),
            per(server.cpu_per_message_us),
            per(server.cpu_per_connect_us),
            text::percent(server.cpus_used),
            text::percent(server.user / (server.user + server.system).max(1e-9)),
            text::percent(server.system / (server.user + server.system).max(1e-9)),
            server.rss_per_member.map_or_else(|| "–".to_owned(), text::bytes),
            text::bytes(server.rss_max as f64),
        );
        let _ = writeln!(
            out,
            "              {} voluntary and {} involuntary context switches per second",
            text::amount(server.switches_voluntary),
            text::amount(server.switches_involuntary)
        );
    }
    if let Some(slab) = summary.kernel.slab_per_connection {
        let both = if summary.kernel.both_ends { ", both ends" } else { "" };
        let _ = writeln!(out, "  kernel      {} of slab per connection{both}", text::bytes(slab));
    }
    let generator = &summary.generator;
    let _ = writeln!(
        out,
        "  generator   {} CPU per delivery, {} per publish, {} per connect · busiest thread {} · {} per idle member",
        per(generator.cpu_per_delivery_us),
        per(generator.cpu_per_publish_us),
        per(generator.cpu_per_connect_us),
        text::percent(generator.busiest),
        generator.memory_per_member.map_or_else(|| "–".to_owned(), text::bytes)
    );
}

fn calibration(summary: &Summary, out: &mut String) {
    let Some(calibration) = &summary.generator.calibration else { return };
    let _ = writeln!(
        out,
        "  calibration {} deliveries/s from the null server: generator {:.2} µs, server {:.2} µs of CPU each; one core takes\n              \
         about {}/s; latency floor p50 {}, p99 {}; lateness p99 {}",
        text::amount(calibration.deliveries_per_second),
        calibration.generator_cpu_us,
        calibration.server_cpu_us,
        text::amount(calibration.ceiling_per_core),
        text::time(calibration.deliver.p50 as f64),
        text::time(calibration.deliver.p99 as f64),
        text::time(calibration.late.p99 as f64),
    );
}

//! The report: one HTML file without any reference to the outside, made from a summary alone.
//!
//! It answers in this order: what came out, whether to believe it, how latency is distributed and moves, what fan-out
//! costs the last member, what the target paid, and under which circumstances all that was so.

mod bars;
mod chart;
mod scale;

use std::collections::BTreeMap;

use askama::Template;

use self::bars::{Range, class, tick};
use self::chart::{Chart, Series};
use self::scale::{Scale, nines_of, percentile_label};
use super::text;
use crate::latency::Percentiles;
use crate::summary::{Outcome, Row, Summary};

/// Percentile curves are drawn at so many points.
const CURVE_POINTS: usize = 160;

/// Tags of the table of percentiles.
const READING_ORDER: [&str; 12] = [
    "deliver",
    "first",
    "median",
    "last",
    "spread",
    "publish",
    "recover",
    "switch",
    "connect",
    "subscribe",
    "late",
    "turn",
];

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    summary: &'a Summary,
    title: String,
    date: String,
    verdict_class: &'static str,
    tiles: Vec<Tile>,
    checks: Vec<Check>,
    percentiles_table: Vec<(String, Vec<String>)>,
    curve: String,
    over_time: String,
    groups_over_time: String,
    fanout: String,
    throughput: String,
    connections: String,
    lateness: String,
    server_cpu: String,
    server_rss: String,
    memory: String,
    kernel_cpus: Vec<(String, Vec<(String, String)>)>,
    threads: Vec<ThreadRow>,
    server_facts: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    scenario: String,
}

struct Tile {
    name: String,
    value: String,
    note: String,
}

struct Check {
    good: bool,
    name: String,
    text: String,
}

struct ThreadRow {
    name: String,
    cpu: u32,
    user: String,
    system: String,
    total: String,
    user_width: String,
    system_width: String,
}

/// The whole page.
pub fn render(summary: &Summary) -> String {
    let page = Page::new(summary);
    // Nothing in the template can fail but a broken formatter, and text has none.
    page.render().unwrap_or_else(|error| format!("<!doctype html><title>error</title>{error}"))
}

impl<'a> Page<'a> {
    fn new(summary: &'a Summary) -> Self {
        let label = if summary.label.is_empty() { String::new() } else { format!(" · {}", summary.label) };
        Self {
            title: format!("{}{label}", summary.scenario.name),
            date: date(summary.started_unix),
            verdict_class: match summary.verdict.outcome {
                Outcome::Passed => "good",
                Outcome::ThresholdsBroken | Outcome::Invalid => "warn",
                Outcome::Failed | Outcome::Partial => "bad",
            },
            tiles: tiles(summary),
            checks: checks(summary),
            percentiles_table: percentiles_table(summary),
            curve: curve(summary),
            over_time: over_time(summary),
            groups_over_time: groups_over_time(summary),
            fanout: fanout(summary),
            throughput: throughput(summary),
            connections: connections(summary),
            lateness: lateness(summary),
            server_cpu: server_cpu(summary),
            server_rss: server_rss(summary),
            memory: memory(summary),
            kernel_cpus: kernel_cpus(summary),
            threads: threads(summary),
            server_facts: server_facts(summary),
            environment: environment(summary),
            scenario: summary.scenario.to_toml(),
            summary,
        }
    }
}

fn percentiles<'a>(summary: &'a Summary, tag: &str) -> Option<&'a Percentiles> {
    summary.latencies.get(tag).map(|latency| &latency.percentiles)
}

fn tiles(summary: &Summary) -> Vec<Tile> {
    let tile = |name: &str, value: String, note: String| Tile { name: name.to_owned(), value, note };
    let mut tiles = Vec::new();
    let measured = &summary.measured;
    if measured.deliveries > 0 {
        let note = format!("{} messages per second", text::amount(measured.messages_per_second));
        tiles.push(tile("deliveries per second", text::amount(measured.deliveries_per_second), note));
    }
    if let Some(deliver) = percentiles(summary, "deliver") {
        let note = format!("median {}", text::time(deliver.p50 as f64));
        tiles.push(tile("p99 latency", text::time(deliver.p99 as f64), note));
        let note = format!("maximum {}", text::time(deliver.max as f64));
        tiles.push(tile("p99.99 latency", text::time(deliver.p9999 as f64), note));
    }
    if let Some(last) = percentiles(summary, "last") {
        let note = format!("p99 {}", text::time(last.p99 as f64));
        tiles.push(tile("until the last member", text::time(last.p50 as f64), note));
    }
    if let Some(recover) = percentiles(summary, "recover") {
        let note = format!("{} members came back", text::count(recover.count));
        tiles.push(tile("lost until all are back", text::time(recover.max as f64), note));
    }
    if let Some(server) = &summary.server {
        if let Some(cpu) = server.cpu_per_delivery_us {
            let note = format!("{} of a CPU in all", text::percent(server.cpus_used));
            tiles.push(tile("server CPU per delivery", format!("{cpu:.2} µs"), note));
        }
        if let Some(rss) = server.rss_per_member {
            let slab = summary.kernel.slab_per_connection.map_or_else(String::new, |slab| {
                let both = if summary.kernel.both_ends { " for both ends" } else { "" };
                format!("and {} in the kernel{both}", text::bytes(slab))
            });
            tiles.push(tile("server memory per member", text::bytes(rss), slab));
        }
    }
    let note = format!("connected in {:.1} s", summary.timing.connecting);
    tiles.push(tile("members", text::count(summary.members.at_start), note));
    tiles
}

fn checks(summary: &Summary) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |good: bool, name: &str, text: String| checks.push(Check { good, name: name.to_owned(), text });
    let truth = &summary.counts.truth;
    let wrong: Vec<String> = truth
        .violations()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{} {kind}", text::count(*count)))
        .collect();
    let received = text::count(truth.received);
    let sentence = if wrong.is_empty() {
        format!("each of {received} deliveries had the right hash and the next position of its chat; none is missing")
    } else {
        format!("of {received} deliveries: {}", wrong.join(", "))
    };
    check(wrong.is_empty(), "every delivery checked", sentence);
    let limit = summary.scenario.lateness_max;
    if let Some(late) = percentiles(summary, "late") {
        let sentence = format!(
            "messages left the generator at p50 {}, p99 {}, at most {} after their intended time; {limit} (p99) is allowed. \
             Latencies count from the intended time, so this is contained in them",
            text::time(late.p50 as f64),
            text::time(late.p99 as f64),
            text::time(late.max as f64)
        );
        check(late.p99 <= limit.nanos(), "the generator kept its schedule", sentence);
    }
    let generator = &summary.generator;
    let turn = percentiles(summary, "turn").map_or_else(String::new, |turn| {
        format!("; it looked at its sockets again after at most {} (p99)", text::time(turn.p99 as f64))
    });
    let window = if generator.window_us > 0.0 {
        format!("; wake-ups are gathered for up to {} µs, which is part of each latency", generator.window_us)
    } else {
        String::new()
    };
    let sentence = format!("its busiest thread used {} of a CPU{turn}{window}", text::percent(generator.busiest));
    check(generator.busiest < 0.95, "the generator was not the bottleneck", sentence);
    if let Some(calibration) = &generator.calibration {
        let sentence = format!(
            "against a null server ({}) the same generator sees p50 {} and p99 {} and spends {:.2} µs of CPU per delivery: \
             one core takes about {} deliveries a second",
            calibration.description,
            text::time(calibration.deliver.p50 as f64),
            text::time(calibration.deliver.p99 as f64),
            calibration.generator_cpu_us,
            text::amount(calibration.ceiling_per_core)
        );
        let used = summary.measured.deliveries_per_second / calibration.ceiling_per_core.max(1.0);
        check(used < f64::from(generator.workers.max(1)), "calibration", sentence);
    }
    for judged in &summary.thresholds {
        let actual = match judged.actual {
            Some(actual) if judged.condition.trim_end().ends_with('s') => format!("it was {}", text::time(actual)),
            Some(actual) => format!("it was {actual}"),
            None => "there is no such figure".to_owned(),
        };
        check(judged.holds, &judged.condition, actual);
    }
    for remark in &summary.remarks {
        check(false, "remark", remark.clone());
    }
    checks
}

fn percentiles_table(summary: &Summary) -> Vec<(String, Vec<String>)> {
    let row = |(tag, latency): (&String, &crate::summary::Latency)| {
        let p = &latency.percentiles;
        let mut cells: Vec<String> = [p.min, p.p50, p.p90, p.p99, p.p999, p.p9999, p.max]
            .iter()
            .map(|nanos| text::time(*nanos as f64))
            .collect();
        cells.push(text::count(p.count));
        (tag.clone(), cells)
    };
    // In the order in which they are read; groups follow their sum.
    let place = |tag: &str| {
        let metric = tag.split('.').next().unwrap_or(tag);
        READING_ORDER.iter().position(|known| *known == metric).unwrap_or(READING_ORDER.len())
    };
    let mut latencies: Vec<_> = summary.latencies.iter().collect();
    latencies.sort_by_key(|(tag, _)| (place(tag), tag.len()));
    latencies.into_iter().map(row).collect()
}

/// Tags of deliveries: by group where there are several.
fn delivery_tags(summary: &Summary) -> Vec<String> {
    let groups: Vec<String> = summary.latencies.keys().filter(|tag| tag.starts_with("deliver.")).cloned().collect();
    if groups.is_empty() { vec!["deliver".to_owned()] } else { groups }
}

fn curve(summary: &Summary) -> String {
    let mut tags = delivery_tags(summary);
    tags.extend(["last", "publish", "recover", "switch"].map(str::to_owned));
    let counts = tags.iter().filter_map(|tag| percentiles(summary, tag)).map(|p| p.count).max().unwrap_or(0);
    if counts == 0 {
        return String::new();
    }
    // One more nine than a tenth of the values can show is noise.
    let nines = ((counts as f64).log10()).clamp(1.0, 6.0);
    let mut series = Vec::new();
    for (index, tag) in tags.iter().enumerate() {
        let Some(latency) = summary.latencies.get(tag).filter(|latency| !latency.curve.is_empty()) else { continue };
        let point = |step: usize| {
            let own = nines * step as f64 / CURVE_POINTS as f64;
            let percentile = 100.0 - 100.0 * 10_f64.powf(-own);
            let beyond = own > (latency.percentiles.count as f64).log10() + 0.3;
            let value = latency.curve.iter().find(|(at, _)| *at >= percentile).map(|(_, nanos)| *nanos as f64);
            (percentile, if beyond { None } else { value })
        };
        let points = (0..=CURVE_POINTS).map(point).collect();
        series.push(Series { name: tag.clone(), class: class(index), points, area: false });
    }
    let values: Vec<f64> = series.iter().flat_map(|series| series.points.iter().filter_map(|(_, y)| *y)).collect();
    Chart {
        height: 320.0,
        x: Scale::Percentile { nines },
        y: Scale::log_around(values.into_iter()),
        series,
        x_label: &percentile_label,
        y_label: &tick,
        stretches: Vec::new(),
        marks: Vec::new(),
        precise: &text::time,
        position: &|percentile| format!("{:.*} %", (nines_of(percentile).ceil() as usize).clamp(1, 5), percentile),
    }
    .render()
}

/// Rows from the start of publishing, and the phases among them.
fn published_rows(summary: &Summary) -> Vec<&Row> {
    summary.seconds.iter().filter(|row| row.phase != "connect").collect()
}

fn phases(rows: &[&Row], names: &[(&str, &str)]) -> Vec<(f64, f64, String)> {
    let mut found = Vec::new();
    for (phase, name) in names {
        let mut times = rows.iter().filter(|row| row.phase == *phase).map(|row| row.at);
        if let Some(first) = times.next() {
            let last = times.next_back().unwrap_or(first);
            found.push((first - 1.0, last, (*name).to_owned()));
        }
    }
    found
}

fn time_chart(
    rows: &[&Row],
    height: f64,
    y: Scale,
    series: Vec<Series>,
    shown: &dyn Fn(f64) -> String,
    axis: &dyn Fn(f64) -> String,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let low = rows.first().map_or(0.0, |row| row.at - 1.0).max(0.0);
    let high = rows.last().map_or(1.0, |row| row.at).max(low + 1.0);
    Chart {
        height,
        x: Scale::Linear { low, high },
        y,
        series,
        x_label: &|at| format!("{at:.0} s"),
        y_label: axis,
        stretches: phases(rows, &[("warmup", "warm-up, not measured"), ("drain", "drain")]),
        marks: Vec::new(),
        precise: shown,
        position: &|at| format!("second {at:.0}"),
    }
    .render()
}

fn line(name: &str, class: &'static str, rows: &[&Row], value: impl Fn(&Row) -> Option<f64>) -> Series {
    let points = rows.iter().map(|row| (row.at, value(row))).collect();
    Series { name: name.to_owned(), class, points, area: false }
}

fn nanos(value: u64) -> Option<f64> {
    (value > 0).then_some(value as f64)
}

fn over_time(summary: &Summary) -> String {
    let rows = published_rows(summary);
    let series = vec![
        line("maximum", "s3", &rows, |row| nanos(row.max)),
        line("last member of a message, p99", "s1", &rows, |row| nanos(row.last_p99)),
        line("p99", "s2", &rows, |row| nanos(row.p99)),
        line("median", "s0", &rows, |row| nanos(row.p50)),
    ];
    let values: Vec<f64> = series.iter().flat_map(|series| series.points.iter().filter_map(|(_, y)| *y)).collect();
    if values.is_empty() {
        return String::new();
    }
    time_chart(&rows, 280.0, Scale::log_around(values.into_iter()), series, &text::time, &tick)
}

fn groups_over_time(summary: &Summary) -> String {
    let rows = published_rows(summary);
    if summary.scenario.chats.len() < 2 {
        return String::new();
    }
    let series: Vec<Series> = summary
        .scenario
        .chats
        .iter()
        .enumerate()
        .map(|(index, group)| {
            line(&format!("{} p99", group.name), class(index), &rows, |row| {
                nanos(row.groups.get(index).copied().unwrap_or(0))
            })
        })
        .collect();
    let values: Vec<f64> = series.iter().flat_map(|series| series.points.iter().filter_map(|(_, y)| *y)).collect();
    time_chart(&rows, 220.0, Scale::log_around(values.into_iter()), series, &text::time, &tick)
}

fn fanout(summary: &Summary) -> String {
    let mut rows = Vec::new();
    let groups = summary.latencies.keys().any(|tag| tag.starts_with("last."));
    for (index, (tag, name)) in
        [("first", "first member"), ("median", "half of them"), ("last", "last member"), ("spread", "first to last")]
            .into_iter()
            .enumerate()
    {
        for (other, latency) in &summary.latencies {
            let group = other.strip_prefix(tag).and_then(|rest| rest.strip_prefix('.'));
            let shown = if groups { group.is_some() } else { other == tag };
            if shown && latency.percentiles.count > 0 {
                let name = group.map_or_else(|| name.to_owned(), |group| format!("{name}, {group}"));
                rows.push(Range { name, class: class(index), percentiles: &latency.percentiles });
            }
        }
    }
    if rows.is_empty() { String::new() } else { bars::ranges(&rows) }
}

fn throughput(summary: &Summary) -> String {
    let rows = published_rows(summary);
    let most = rows.iter().map(|row| row.received.max(row.published)).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let series = vec![
        line("deliveries per second", "s0", &rows, |row| Some(row.received as f64)),
        line("messages published per second", "s1", &rows, |row| Some(row.published as f64)),
    ];
    time_chart(&rows, 200.0, Scale::from_zero(most as f64), series, &text::amount, &text::amount)
}

fn connections(summary: &Summary) -> String {
    let rows: Vec<&Row> = summary.seconds.iter().collect();
    let most = rows.iter().map(|row| row.live.max(row.upgrades)).max().unwrap_or(0);
    let mut series = vec![
        line("members in their chats", "s0", &rows, |row| Some(row.live as f64)),
        line("new connections per second", "s1", &rows, |row| Some(row.upgrades as f64)),
    ];
    if rows.iter().any(|row| row.lost > 0) {
        series.push(line("connections lost per second", "s3", &rows, |row| Some(row.lost as f64)));
    }
    time_chart(&rows, 200.0, Scale::from_zero(most as f64), series, &text::amount, &text::amount)
}

fn lateness(summary: &Summary) -> String {
    let rows = published_rows(summary);
    let series = vec![
        line("maximum", "s3", &rows, |row| nanos(row.late_max)),
        line("p99", "s2", &rows, |row| nanos(row.late_p99)),
    ];
    let values: Vec<f64> = series.iter().flat_map(|series| series.points.iter().filter_map(|(_, y)| *y)).collect();
    if values.is_empty() {
        return String::new();
    }
    time_chart(&rows, 180.0, Scale::log_around(values.into_iter()), series, &text::time, &tick)
}

fn server_cpu(summary: &Summary) -> String {
    let rows: Vec<&Row> = summary.seconds.iter().collect();
    if summary.server.is_none() {
        return String::new();
    }
    let most = rows.iter().map(|row| (row.server_user + row.server_system).max(row.generator_cpu)).fold(0.1, f64::max);
    let mut kernel = line("target, kernel", "s2", &rows, |row| Some(row.server_user + row.server_system));
    let mut user = line("target, user", "s0", &rows, |row| Some(row.server_user));
    (kernel.area, user.area) = (true, true);
    let generator = line("generator", "muted", &rows, |row| Some(row.generator_cpu));
    // Areas are drawn from the last to the first: the sum first, then the part in front of it.
    let series = vec![user, kernel, generator];
    time_chart(&rows, 220.0, Scale::from_zero(most), series, &text::percent, &text::percent)
}

fn server_rss(summary: &Summary) -> String {
    let rows: Vec<&Row> = summary.seconds.iter().collect();
    if summary.server.is_none() {
        return String::new();
    }
    let most = rows.iter().map(|row| row.server_rss).max().unwrap_or(0) as f64 / (1 << 20) as f64;
    let series =
        vec![line("resident memory of the target", "s0", &rows, |row| Some(row.server_rss as f64 / (1 << 20) as f64))];
    let shown = |mebibytes: f64| format!("{mebibytes:.0} MiB");
    time_chart(&rows, 160.0, Scale::from_zero(most), series, &|mebibytes| format!("{mebibytes:.1} MiB"), &shown)
}

fn memory(summary: &Summary) -> String {
    let mut parts = Vec::new();
    if let Some(rss) = summary.server.as_ref().and_then(|server| server.rss_per_member) {
        parts.push(("target's own memory".to_owned(), rss));
    }
    parts.extend(summary.kernel.caches.iter().map(|(cache, bytes)| (format!("slab {cache}"), *bytes)));
    parts.retain(|(_, bytes)| *bytes > 0.0);
    if parts.len() > 8 {
        let rest: f64 = parts.iter().skip(7).map(|(_, bytes)| bytes).sum();
        parts.truncate(7);
        parts.push(("other slab".to_owned(), rest));
    }
    bars::stack(&parts, &text::bytes)
}

fn kernel_cpus(summary: &Summary) -> Vec<(String, Vec<(String, String)>)> {
    let names = ["user", "kernel", "softirq", "stolen"];
    let row = |(index, shares): (usize, &[f64; 4])| {
        let cells = names.iter().zip(shares).map(|(name, share)| ((*name).to_owned(), text::percent(*share))).collect();
        (format!("CPU {index}"), cells)
    };
    summary.kernel.cpus.iter().enumerate().map(row).collect()
}

fn threads(summary: &Summary) -> Vec<ThreadRow> {
    let Some(server) = &summary.server else { return Vec::new() };
    let width = |share: f64| format!("{:.1}", (share * 100.0).min(100.0));
    let row = |thread: &crate::summary::ThreadUse| ThreadRow {
        name: thread.name.clone(),
        cpu: thread.cpu,
        user: text::percent(thread.user),
        system: text::percent(thread.system),
        total: text::percent(thread.user + thread.system),
        user_width: width(thread.user),
        system_width: width(thread.system),
    };
    server.threads.iter().take(24).map(row).collect()
}

fn server_facts(summary: &Summary) -> Vec<(String, String)> {
    let Some(server) = &summary.server else { return Vec::new() };
    let per = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} µs"));
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact("CPU per delivery", per(server.cpu_per_delivery_us)),
        fact("CPU per published message", per(server.cpu_per_message_us)),
        fact("CPU per connect", per(server.cpu_per_connect_us)),
        fact("CPU time, user", format!("{:.2} s", server.user)),
        fact("CPU time, kernel", format!("{:.2} s", server.system)),
        fact("voluntary context switches", format!("{} per second", text::amount(server.switches_voluntary))),
        fact("involuntary context switches", format!("{} per second", text::amount(server.switches_involuntary))),
        fact("memory before the first connect", text::bytes(server.rss_before as f64)),
        fact("memory when all were connected", text::bytes(server.rss_idle as f64)),
        fact("largest memory seen", text::bytes(server.rss_max as f64)),
    ]
}

fn environment(summary: &Summary) -> Vec<(String, String)> {
    let e = &summary.environment;
    let mut facts = vec![
        ("command".to_owned(), e.command.clone()),
        ("tool".to_owned(), [e.tool.as_str(), e.revision.as_str()].join(" ").trim().to_owned()),
        ("target".to_owned(), format!("{} ({})", summary.targets.join(" "), summary.protocol.name())),
    ];
    for target in &e.targets {
        facts.push((format!("target process {}", target.pid), format!("{}  [CPUs {}]", target.command, target.cpus)));
    }
    let pinned = if summary.generator.cpus.is_empty() {
        e.cpus_allowed.clone()
    } else {
        format!("{:?}", summary.generator.cpus)
    };
    facts.extend([
        ("generator's CPUs".to_owned(), pinned),
        ("kernel".to_owned(), e.kernel.clone()),
        ("system".to_owned(), e.system.clone()),
        ("processor".to_owned(), format!("{}, online {}", e.cpu_model, e.cpus_online)),
        ("hypervisor".to_owned(), e.hypervisor.clone()),
        ("memory".to_owned(), text::bytes(e.memory as f64)),
        ("descriptors, soft / hard".to_owned(), e.descriptors.clone()),
        ("load before the run".to_owned(), e.load_before.clone()),
        ("seed".to_owned(), summary.seed.to_string()),
    ]);
    let list = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("\n")
    };
    facts.push(("mitigations".to_owned(), list(&e.mitigations)));
    facts.push(("kernel settings".to_owned(), list(&e.settings)));
    let troubles: Vec<String> = summary
        .kernel
        .counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} +{count}"))
        .collect();
    facts.push(("TCP counters that grew".to_owned(), troubles.join(", ")));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// UTC, from Unix seconds: days to civil date after Howard Hinnant.
fn date(unix: f64) -> String {
    let seconds = unix.max(0.0) as i64;
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(date(0.0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(1_709_251_199.0), "2024-02-29 23:59:59 UTC");
        assert_eq!(date(1_795_299_822.0), "2026-11-21 22:23:42 UTC");
    }
}

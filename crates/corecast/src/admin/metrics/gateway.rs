//! Metrics of gateway cores and of their router links.

use std::fmt;

use corecast_gateway::stats::{CoreSnapshot, LinkSnapshot, StatsHandle, imbalance};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::ring::RING;
use super::{FromSnapshot, Metric, encode, numbered};

const NANOSECONDS: f64 = 1e9;

/// Adds the metrics of a gateway's cores to a registry.
pub(crate) fn register(registry: &mut Registry, stats: StatsHandle) {
    let collect = move |mut encoder: DescriptorEncoder<'_>| {
        let cores = stats.snapshot();
        figures(&mut encoder, MetricType::Counter, &cores, |core| core.counters.figures().collect())?;
        figures(&mut encoder, MetricType::Gauge, &cores, |core| core.gauges.figures().collect())?;
        let help = "Most connections of a core over the mean of all cores; 1 is even.";
        let ratio = encoder.encode_descriptor("gateway_imbalance_ratio", help, None, MetricType::Gauge)?;
        { ratio }.encode_gauge(&imbalance(&cores))?;
        closes(&mut encoder, &cores)?;
        seconds(&mut encoder, "gateway_cpu_seconds", "CPU time of the core's thread.", &cores, |core| core.cpu_ns)?;
        seconds(&mut encoder, "gateway_core_seconds", "Time since the core's start.", &cores, |core| core.uptime_ns)?;
        encode(&mut encoder, "gateway", CORE, &numbered(cores.iter()))?;
        let links = cores.iter().flat_map(|core| &core.links);
        let links: Vec<_> = links.map(|link| ([("endpoint", link.endpoint.clone())], link)).collect();
        encode(&mut encoder, "gateway_link", LINK, &links)?;
        encode(&mut encoder, "gateway_ring", RING, &numbered(cores.iter().map(|core| &core.ring)))
    };
    registry.register_collector(Box::new(FromSnapshot(collect)));
}

const CORE: &[Metric<CoreSnapshot>] =
    &[Metric::gauge("window_microseconds", "The batching window of the last turn", |core| core.window_us)];

const LINK: &[Metric<LinkSnapshot>] = &[
    Metric::gauge("up", "1 while the router is linked and answers, else 0", |link| u64::from(link.is_up())),
    Metric::gauge("open_requests", "Requests that wait for an answer", |link| link.open_requests as u64),
    Metric::counter("ups", "Times the link came up", |link| link.stats.ups),
    Metric::counter("failures", "Links and attempts that failed", |link| link.stats.failures),
    Metric::counter("received_bytes", "Bytes received", |link| link.stats.received_bytes),
    Metric::counter("sent_bytes", "Bytes handed out", |link| link.stats.sent_bytes),
    Metric::counter("updates", "Updates received", |link| link.stats.updates),
    Metric::counter("deliveries", "Updates passed to cores", |link| link.stats.deliveries),
    Metric::counter("duplicates", "Updates that had been passed on before", |link| link.stats.duplicates),
    Metric::counter("repairs", "Repairs begun", |link| link.stats.repairs),
    Metric::counter("repairs_failed", "Repairs that failed", |link| link.stats.repairs_failed),
    Metric::counter("resets", "Joins that were reset", |link| link.stats.resets),
    Metric::counter("requests", "Requests sent", |link| link.stats.requests),
    Metric::counter("timeouts", "Requests that were not answered in time", |link| link.stats.timeouts),
    Metric::counter("late_answers", "Answers that came after that", |link| link.stats.late_answers),
    Metric::gauge("round_trip_microseconds", "Last time from ping to pong", |link| link.stats.round_trip_us),
];

type Figures = Vec<(&'static str, &'static str, u64)>;

/// Figures that the gateway names and explains itself.
fn figures(
    encoder: &mut DescriptorEncoder<'_>,
    kind: MetricType,
    cores: &[CoreSnapshot],
    read: impl Fn(&CoreSnapshot) -> Figures,
) -> Result<(), fmt::Error> {
    let all: Vec<Figures> = cores.iter().map(read).collect();
    let Some(first) = all.first() else { return Ok(()) };
    for (index, (name, help, _)) in first.iter().enumerate() {
        let name = format!("gateway_{name}");
        let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
        for (core, figures) in all.iter().enumerate() {
            let value = figures.get(index).map_or(0, |(_, _, value)| *value);
            let labels = [("core", core.to_string())];
            let mut one = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => one.encode_counter::<NoLabelSet, u64, u64>(&value, None)?,
                _ => one.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?,
            }
        }
    }
    Ok(())
}

fn closes(encoder: &mut DescriptorEncoder<'_>, cores: &[CoreSnapshot]) -> Result<(), fmt::Error> {
    let help = "Close frames sent, by close code.";
    let mut family = encoder.encode_descriptor("gateway_closes", help, None, MetricType::Counter)?;
    for (core, snapshot) in cores.iter().enumerate() {
        for (code, count) in &snapshot.closes {
            let labels = [("core", core.to_string()), ("code", code.to_string())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(count, None)?;
        }
    }
    Ok(())
}

fn seconds(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    cores: &[CoreSnapshot],
    read: impl Fn(&CoreSnapshot) -> u64,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (core, snapshot) in cores.iter().enumerate() {
        let labels = [("core", core.to_string())];
        let value = read(snapshot) as f64 / NANOSECONDS;
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, u64>(&value, None)?;
    }
    Ok(())
}

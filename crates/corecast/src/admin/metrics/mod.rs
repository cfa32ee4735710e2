//! `/metrics`: the counters of all cores in OpenMetrics text, read at each scrape and summed by nobody but Prometheus.
//!
//! Labels are the number of a core and little else: never a chat, never a user.

pub(crate) mod gateway;
mod process;
mod ring;
pub(crate) mod router;

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::cli::Role;
use crate::version::VERSION;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One metric of a snapshot `S`: its name without prefix and `_total`, its help, and where it stands.
struct Metric<S> {
    name: &'static str,
    help: &'static str,
    /// Whether the value may fall.
    gauge: bool,
    read: fn(&S) -> u64,
}

impl<S> Metric<S> {
    const fn counter(name: &'static str, help: &'static str, read: fn(&S) -> u64) -> Self {
        Self { name, help, gauge: false, read }
    }

    const fn gauge(name: &'static str, help: &'static str, read: fn(&S) -> u64) -> Self {
        Self { name, help, gauge: true, read }
    }
}

/// A registry with what every process tells of itself.
pub(crate) fn registry(role: Role) -> Registry {
    let mut registry = Registry::with_prefix("corecast");
    let build = Info::new(vec![("version", VERSION), ("role", role.name()), ("profile", profile())]);
    registry.register("build", "Version of the software and what it runs as", build);
    process::register(&mut registry);
    registry
}

/// The route of the metrics.
pub(crate) fn routes(registry: Registry) -> axum::Router {
    axum::Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut out = String::new();
    match text::encode(&mut out, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], out).into_response(),
        Err(fmt::Error) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

/// Writes a table of metrics, a line for each of `items` with its labels.
fn encode<S, L>(
    encoder: &mut DescriptorEncoder<'_>,
    prefix: &str,
    table: &[Metric<S>],
    items: &[(L, &S)],
) -> Result<(), fmt::Error>
where
    L: EncodeLabelSet,
{
    for metric in table {
        let name = format!("{prefix}_{}", metric.name);
        let help = format!("{}.", metric.help);
        let kind = if metric.gauge { MetricType::Gauge } else { MetricType::Counter };
        let mut family = encoder.encode_descriptor(&name, &help, None, kind)?;
        for (labels, item) in items {
            let mut one = family.encode_family(labels)?;
            let value = (metric.read)(item);
            if metric.gauge {
                // Sizes and counts of things in memory stay far below 2^63.
                one.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))?;
            } else {
                one.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
            }
        }
    }
    Ok(())
}

type CoreLabel = [(&'static str, String); 1];

/// The snapshots of cores with their numbers as labels.
fn numbered<'a, S>(cores: impl Iterator<Item = &'a S>) -> Vec<(CoreLabel, &'a S)> {
    cores.enumerate().map(|(number, core)| ([("core", number.to_string())], core)).collect()
}

/// A collector from a function, for snapshots that the libraries hand out.
struct FromSnapshot<F>(F);

impl<F> fmt::Debug for FromSnapshot<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FromSnapshot")
    }
}

impl<F> Collector for FromSnapshot<F>
where
    F: Fn(DescriptorEncoder<'_>) -> Result<(), fmt::Error> + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        (self.0)(encoder)
    }
}

const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

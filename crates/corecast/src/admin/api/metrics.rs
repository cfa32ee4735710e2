//! What the server API counts.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::executor::{METHODS, Wrong};
use super::messages::Answer;

/// Buckets from 0.25 ms, below what an idle gateway needs, to 4 s in factors of 4.
const FIRST_S: f64 = 0.000_25;
const FACTOR: f64 = 4.0;
const BUCKETS: u16 = 8;

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Counters of the server API; clones share them.
#[derive(Clone)]
pub(super) struct ApiMetrics {
    requests: Family<Labels, Counter>,
    seconds: Histograms,
}

impl ApiMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { requests: Family::default(), seconds: Histograms::new_with_constructor(histogram) };
        let help = "Requests of the server API, by method and outcome: ok, an error code, malformed, unauthorized";
        registry.register("api_requests", help, metrics.requests.clone());
        registry.register("api_request_seconds", "Time from a request's body to its answer", metrics.seconds.clone());
        metrics
    }

    pub(super) fn count(&self, method: &str, outcome: &Result<Answer, Wrong>, time: Duration) {
        let method = known(method);
        let outcome = match outcome {
            Ok(_) => "ok".to_owned(),
            Err(Wrong::Api(error)) => error.code.to_string(),
            Err(Wrong::Body(_) | Wrong::Method) => "malformed".to_owned(),
        };
        self.requests.get_or_create(&vec![("method", method.to_owned()), ("outcome", outcome)]).inc();
        self.seconds.get_or_create(&vec![("method", method.to_owned())]).observe(time.as_secs_f64());
    }

    /// A request without the key.
    pub(super) fn count_stranger(&self) {
        let labels = vec![("method", "unknown".to_owned()), ("outcome", "unauthorized".to_owned())];
        self.requests.get_or_create(&labels).inc();
    }
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(FIRST_S, FACTOR, BUCKETS))
}

/// The method as a label: anybody may write anything into a path, so only known names count as such.
fn known(method: &str) -> &'static str {
    METHODS.iter().find(|known| **known == method).copied().unwrap_or("unknown")
}

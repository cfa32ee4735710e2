//! The internal port: server API, demo page, metrics, health. One ordinary tokio thread per process, off the data plane.

pub(crate) mod api;
pub(crate) mod demo;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod server;
mod upstream;
mod write_deadline;

use axum::Router;
use axum::http::StatusCode;

/// What is answered where nothing is.
const NOT_FOUND: &str = "Nothing here. This is Corecast's internal port: POST /api/<method> (a gateway's server API), GET /metrics, \
                         /healthz, /livez, /readyz, and / for the demo page where it is switched on (admin.demo).\n";

/// The routes of a process with an answer for all others.
pub(crate) fn complete(routes: Router) -> Router {
    routes.fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
}

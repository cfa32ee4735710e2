//! Health for load balancers and orchestrators: `/livez` (and `/healthz`) says that the process works, `/readyz` that it should
//! get new clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use corecast_gateway::control::LinkHealth;

/// What readiness depends on.
pub(crate) struct Health {
    draining: AtomicBool,
    /// The router links, where this process has any.
    links: Option<Box<dyn Fn() -> LinkHealth + Send + Sync>>,
}

impl Health {
    pub(crate) fn new(links: Option<Box<dyn Fn() -> LinkHealth + Send + Sync>>) -> Arc<Self> {
        Arc::new(Self { draining: AtomicBool::new(false), links })
    }

    /// From now on not ready: no new clients, please.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why this process should get no new clients, if so.
    fn obstacle(&self) -> Option<String> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining".to_owned());
        }
        let links = self.links.as_ref().map(|links| links())?;
        (links.up < links.endpoints).then(|| format!("{} of {} routers linked", links.up, links.endpoints))
    }
}

/// The routes of the health checks.
pub(crate) fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(health)
}

/// That this thread answers is the sign of life: a core that ends takes the process with it.
async fn alive() -> Response {
    answer(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    match health.obstacle() {
        None => answer(StatusCode::OK, r#"{"status":"ready"}"#.to_owned()),
        Some(reason) => {
            let body = serde_json::json!({ "status": "not ready", "reason": reason }).to_string();
            answer(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn answer(status: StatusCode, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body + "\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_link_is_up_and_nobody_asked_to_stop() {
        let up = Arc::new(std::sync::atomic::AtomicUsize::new(1));
        let seen = Arc::clone(&up);
        let links = move || LinkHealth { endpoints: 2, up: seen.load(Ordering::Relaxed) };
        let health = Health::new(Some(Box::new(links)));
        assert_eq!(health.obstacle().as_deref(), Some("1 of 2 routers linked"));
        up.store(2, Ordering::Relaxed);
        assert_eq!(health.obstacle(), None);
        health.drain();
        assert_eq!(health.obstacle().as_deref(), Some("draining"));

        let router = Health::new(None);
        assert_eq!(router.obstacle(), None);
    }
}

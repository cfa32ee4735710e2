//! Whole-system tests: real `corecast` processes on loopback, an independent client that checks every message it gets.
//!
//! - [`cluster`] starts, kills and restarts gateways and routers.
//! - [`member`] is a small client of its own (no code shared with the gateway) that follows chats, checks that offsets are
//!   contiguous and bodies intact, and recovers as the published SDKs do.
//! - [`ledger`] collects what all members saw and knows what was published: (chat, epoch, offset) never names two messages.
//! - [`proxy`] stands between two processes and cuts, stalls or heals their connections.
//!
//! Each file in `tests/` breaks one thing; its first line says what must hold.

pub mod cluster;
pub mod http;
pub mod ledger;
pub mod member;
pub mod proxy;

use std::time::{Duration, Instant};

/// Waits until `done` holds, looking every 20 ms.
///
/// # Panics
/// When it does not hold within `limit`; `what` says what was waited for.
pub async fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a test on a single-threaded runtime: thousands of members share one core with the servers under test.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(future)
}

//! Claim: a router that has nothing to do sleeps, with and without linked gateways, and a blocked link wakes nobody.

mod common;

use std::time::Duration;

use common::{Gateway, eventually, unix_config};
use corecast_router::Router;

/// What a busy loop passes within milliseconds; heartbeats and figures need a few turns a second.
const TURNS_MAX: u64 = 2_000;

#[test]
fn an_idle_router_sleeps() {
    let mut config = unix_config();
    config.limits.link_soft_bytes = 64 << 10;
    config.limits.link_drained_bytes = 1 << 10;
    let router = Router::start(config).expect("a router");
    let endpoint = &router.endpoints()[0];
    let (mut blocked, mut publisher) = (Gateway::link(endpoint, "blocked"), Gateway::link(endpoint, "publisher"));
    blocked.subscribe(1, "chat", None);
    let body = "x".repeat(10_000);
    for offset in 1..=100 {
        assert_eq!(publisher.publish("chat", None, &body), (offset, false));
    }
    eventually("the link is blocked", || router.stats()[0].core.withheld > 0);
    let before = router.stats()[0].ring.enters;
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(publisher.publish("chat", None, "still there"), (101, false));
    eventually("figures are published", || router.stats()[0].core.committed == 101);
    let turns = router.stats()[0].ring.enters - before;
    assert!(turns < TURNS_MAX, "{turns} turns in 1.5 s without work");
}

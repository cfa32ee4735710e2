//! A process without free descriptors neither spins nor stops accepting for good.
//!
//! Alone in its file: it changes a limit of the whole process.

#![allow(unsafe_code)] // sets up what std cannot
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Driver, small};
use corecast_ring::{ReactorConfig, TcpOptions, Wait};

fn set_descriptor_limit(soft: u64) {
    let hard = corecast_ring::limits::raise_descriptors().unwrap().hard;
    let limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: the pointer is to a live `rlimit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

#[test]
fn accepting_resumes_when_descriptors_are_free_again() {
    let mut driver = Driver::new(&ReactorConfig { connections: 128, ..small() });
    let address = driver.listen(&TcpOptions::default());
    let _peers: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let highest = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    // Numbers below the limit are all taken: the kernel can give an accepted socket none.
    set_descriptor_limit(highest.saturating_sub(1).max(3));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        driver.turn(Wait::Until { deadline: Some(start + Duration::from_millis(300)), window: Duration::ZERO });
    }
    let stats = *driver.reactor.stats();
    assert!(stats.accepts < 100 && stats.accept_pauses > 0, "{stats:?}");
    // One attempt per 10 ms, each with a handful of calls; a machine under load makes fewer.
    assert!(stats.enters < 200, "it spins: {stats:?}");

    set_descriptor_limit(u64::MAX);
    driver.until_true("all connections", |driver| driver.reactor.stats().accepts == 100);
}

//! The servers: accept all connections, then send the same frame to each, as often as asked for.

mod glommio;
mod plain;
mod ring;
mod tokio;
mod tokio_uring;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::Result;
use corecast_benches::cpu;
use serde::{Deserialize, Serialize};

use crate::{Load, Runtime};

/// What one server measured, as it prints it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    deliveries: u64,
    cpu: Duration,
    wall: Duration,
}

impl Outcome {
    pub(crate) fn cpu_micros_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }

    pub(crate) fn deliveries_per_second(&self) -> f64 {
        self.deliveries as f64 / self.wall.as_secs_f64()
    }
}

/// Measures from the first send to the last; a server makes one when all connections are there.
struct Meter {
    cpu: Duration,
    begin: Instant,
    load: Load,
}

impl Meter {
    fn start(load: Load) -> Result<Self> {
        Ok(Self { cpu: cpu::time()?, begin: Instant::now(), load })
    }

    /// Call after the last send has been accepted by the kernel, before connections are closed.
    fn stop(self) -> Result<()> {
        let deliveries = (self.load.members * self.load.fanouts) as u64;
        let outcome = Outcome { deliveries, cpu: cpu::time()? - self.cpu, wall: self.begin.elapsed() };
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(())
    }
}

pub(crate) fn run(runtime: Runtime, load: Load, cpu: Option<usize>) -> Result<()> {
    match runtime {
        Runtime::Ring => ring::run(load),
        Runtime::Send => plain::run(load),
        Runtime::Tokio => tokio::run(load),
        Runtime::TokioUring => tokio_uring::run(load),
        Runtime::Glommio => glommio::run(load, cpu),
    }
}

/// A listener of the standard library whose backlog holds a burst of connects (4,096 since Rust 1.83 as somaxconn allows).
fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    Ok(listener)
}

/// A frame of the size asked for, for as long as the process lives.
fn frame(load: Load) -> &'static [u8] {
    Box::leak(vec![b'x'; load.bytes].into_boxed_slice())
}

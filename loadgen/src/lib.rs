//! `corecast load`: an open-loop load generator, checker and reporter for chat gateways.

#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the workers that use these modules follow")]

pub mod body;
mod check;
mod latency;
mod plan;
mod rng;
pub mod scenario;
mod schedule;
mod spread;
pub mod threshold;

pub use check::Truth;
pub use latency::Percentiles;

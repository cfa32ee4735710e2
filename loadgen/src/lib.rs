//! `corecast load`: an open-loop load generator, checker and reporter for chat gateways.

#![forbid(unsafe_code)]

pub mod agent;
pub mod body;
mod check;
pub mod cli;
mod clock;
mod collect;
mod hlog;
mod latency;
pub mod null;
mod outboxes;
pub mod output;
mod plan;
mod rng;
pub mod run;
pub mod scenario;
mod schedule;
pub mod search;
mod spread;
pub mod summary;
pub mod system;
mod target;
pub mod threshold;
mod worker;

pub use agent::remote::AgentInfo;
pub use check::Truth;
pub use latency::Percentiles;
pub use target::Protocol;
pub use worker::counts::Counts;

//! The internal port: server API, demo page, metrics, health. One ordinary tokio thread per process, off the data plane.

pub(crate) mod api;
pub(crate) mod demo;
mod upstream;

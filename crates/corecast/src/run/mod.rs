//! Runs the roles: starts what serves, then the admin thread (this one), waits for a signal or a failure, and ends in order.
//!
//! Invariants worth naming:
//! - Ports are taken and keys are read before anything is promised: what cannot work ends the start with a reason.
//! - SIGTERM and SIGINT: not ready, then closed over the drain window, then exit 0. A second one ends the process at once.
//! - A core that ends by itself takes the process with it: there is no half-dead server.

mod banner;
mod gateway;
mod listen;
mod router;
mod settings;
mod signals;
mod standalone;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub(crate) use gateway::gateway;
pub(crate) use router::router;
pub(crate) use standalone::standalone;

use crate::admin::health::Health;
use crate::admin::server::ConnectionLimits;
use crate::admin::{self, server};
use crate::config::Settings;
use crate::exit::Failure;

/// How often the running parts are looked at.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// What serves in this process, as far as waiting for its end goes.
trait Parts {
    /// Begins to end in order; returns at once.
    fn drain(&mut self);
    /// Whether the drain is over.
    fn drained(&self) -> bool;
    /// Why the process is of no more use, if a part has ended by itself.
    fn failure(&mut self) -> Option<Failure>;
    /// Ends what is left; called once, after the drain.
    fn end(self: Box<Self>) -> Result<(), Failure>;
}

/// The admin side of a process.
struct Admin {
    listener: std::net::TcpListener,
    routes: Router,
    health: Arc<Health>,
}

/// Serves until a signal or a failure, then ends in order. `patience` bounds the drain.
fn serve(settings: &Settings, admin_side: Admin, mut parts: Box<dyn Parts>, patience: Duration) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Runtime(format!("cannot start the admin thread: {error}")))?;
    let limits = ConnectionLimits {
        connections: settings.admin.connections as usize,
        head_timeout: settings.admin.timeout.0,
        write_timeout: settings.admin.write_timeout.0,
    };
    let outcome = runtime.block_on(async {
        let listener = TcpListener::from_std(admin_side.listener)
            .map_err(|error| Failure::Runtime(format!("cannot serve the admin port: {error}")))?;
        let mut signals = signals::Signals::new()?;
        tokio::spawn(server::serve(listener, admin::complete(admin_side.routes), limits));
        let mut watch = tokio::time::interval(WATCH_EVERY);
        loop {
            tokio::select! {
                name = signals.next() => {
                    tracing::info!(signal = name, "stopping: no new clients, closing those that are here");
                    break;
                }
                _ = watch.tick() => {
                    if let Some(failure) = parts.failure() {
                        return Err(failure);
                    }
                }
            }
        }
        admin_side.health.drain();
        parts.drain();
        let deadline = tokio::time::Instant::now() + patience;
        while !parts.drained() && tokio::time::Instant::now() < deadline {
            tokio::select! {
                name = signals.next() => {
                    return Err(Failure::Runtime(format!("{name} while stopping: ended at once")));
                }
                _ = watch.tick() => {}
            }
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {
            parts.end()?;
            tracing::info!("stopped");
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Log lines to the standard error, as the configuration says.
fn start_logging(settings: &Settings) -> Result<(), Failure> {
    use crate::config::{LogFormat, Problems};
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.node.log)
        .map_err(|error| Problems::one(format!("node.log = \"{}\": {error}", settings.node.log)))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.node.log_format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

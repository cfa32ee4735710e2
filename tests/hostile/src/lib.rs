//! Attacks on real `corecast` processes with raw sockets, beside a control client that must not notice.
//!
//! - [`stage`] starts a standalone node with the control client, and says at the end whether both are well.
//! - [`control`] is that client: it publishes and follows a chat all the time; a disconnect, a gap or a pause fails the test.
//! - [`socket`] is a blocking TCP connection that sends whatever it is told, in whatever pieces; [`frame`] and [`client`] build
//!   WebSocket frames and sessions on it, right and wrong ones; [`http`] reads answers.
//! - [`process`] looks at the process under attack from outside: descriptors, sockets, memory, CPU.
//!
//! Each file in `tests/` is one kind of attack; its first line says what must hold. Nothing here shares code with the server.

pub mod client;
pub mod control;
pub mod frame;
pub mod http;
pub mod process;
pub mod socket;
pub mod stage;
pub mod token;

use std::time::{Duration, Instant};

/// How long a test waits for something that should happen at once: two CPUs are shared with the server and other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `done` holds, looking every 10 ms.
///
/// # Panics
/// When it does not hold within `limit`; `what` says what was waited for.
pub fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

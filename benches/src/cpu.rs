//! CPU time and CPU placement of processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Time that all threads of a process have spent on a CPU, in nanosecond resolution (`/proc/PID/task/*/schedstat`, first
/// field). Threads that have ended are not counted: measure between two points at which the same threads run.
///
/// # Errors
/// If the process is gone or `/proc` is not readable.
pub fn time_of(pid: u32) -> Result<Duration> {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let mut total = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("{}", tasks.display()))? {
        // A thread may end while the folder is read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// CPU time of this process.
///
/// # Errors
/// If `/proc` is not readable.
pub fn time() -> Result<Duration> {
    time_of(std::process::id())
}

/// Pins the calling thread, and with it all threads that it will start.
///
/// # Errors
/// If there is no such CPU or the process may not run on it.
pub fn pin(cpu: usize) -> Result<()> {
    anyhow::ensure!(core_affinity::set_for_current(core_affinity::CoreId { id: cpu }), "cannot run on CPU {cpu}");
    Ok(())
}

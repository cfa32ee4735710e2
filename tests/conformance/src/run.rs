//! Starts the echo service, runs kosoku against it and judges the report.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::echo::Service;
use crate::verdict::Expected;

/// Either suite takes about 10 s on 2 cores; one that takes this long hangs.
const SUITE_TIME_MAX: Duration = Duration::from_secs(300);
/// How often to look whether kosoku has ended.
const CHILD_POLL: Duration = Duration::from_millis(50);

const HOW_TO_INSTALL: &str = "`cargo xtask test --only conformance` installs it; by hand: python3 -m venv DIR (Debian: package \
    python3-venv), DIR/bin/pip install --require-hashes -r tests/conformance/requirements.txt, and KOSOKU=DIR/bin/kosoku";

/// Runs a suite of `expected.json`. True if every verdict is as expected.
pub(crate) fn run(suite_name: &str, output: &Path, kosoku: &Path) -> Result<bool> {
    let expected = Expected::load()?;
    let suite = expected.suite(suite_name)?;
    let reports = output.join(suite_name);
    if reports.exists() {
        // A report of an earlier run must not pass for one of this run.
        fs::remove_dir_all(&reports).with_context(|| format!("cannot replace {}", reports.display()))?;
    }
    fs::create_dir_all(&reports).with_context(|| format!("cannot make {}", reports.display()))?;

    let service = Service::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{suite_name}: {}", suite.about);
    let started = Instant::now();
    let mut command = Command::new(kosoku);
    for pattern in &suite.include {
        command.args(["--include", pattern]);
    }
    command.arg("--outdir").arg(&reports).arg(service.address().to_string());
    let child = command.spawn().with_context(|| format!("cannot start {}: {HOW_TO_INSTALL}", kosoku.display()))?;
    let status = wait(child)?;
    let elapsed = started.elapsed();
    let leftover = service.stop()?;

    let index = reports.join("index.json");
    let index = fs::read_to_string(&index)
        .with_context(|| format!("kosoku ended with {status} and left no {}", index.display()))?;
    let comparison = expected.compare(suite, &index)?;
    println!("{suite_name}: {comparison}; {:.1} s; {}", elapsed.as_secs_f64(), reports.join("index.html").display());
    if !status.success() {
        println!("{suite_name}: kosoku ended with {status}");
    }
    if leftover > 0 {
        println!("{suite_name}: {leftover} connections were never ended");
    }
    Ok(comparison.differences.is_empty() && status.success() && leftover == 0)
}

/// Waits for kosoku, but not for ever.
fn wait(mut child: Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + SUITE_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("kosoku did not end within {SUITE_TIME_MAX:?}");
        }
        thread::sleep(CHILD_POLL);
    }
}

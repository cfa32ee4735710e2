//! `corecast load agent`: waits for controllers and does their part of a run, one run after the other.

use std::io::{self, BufReader, BufWriter, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::{Answer, Assignment, Interval, Order, VERSION, receive, send};
use crate::clock::{Clock, unix_ns};
use crate::run::conductor::{self, addresses};
use crate::run::crew::{LocalCrew, worker_count};
use crate::run::{RunError, RunOptions, preflight};
use crate::target::{Adapter, Names};
use crate::worker::driver::Report;
use crate::worker::shared::{Share, Shared};

const PUMP: Duration = Duration::from_millis(20);
/// How often the controller is told what is still expected.
const OUTSTANDING_PAUSE: Duration = Duration::from_millis(50);

/// How an agent is set up.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Where it waits for a controller.
    pub listen: SocketAddr,
    /// Controllers must know it; empty = any may come.
    pub secret: String,
    /// CPUs for its workers.
    pub cpus: Vec<usize>,
    /// Addresses to connect from.
    pub sources: Vec<IpAddr>,
}

/// A waiting agent.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    config: AgentConfig,
}

impl Agent {
    /// Binds.
    pub fn bind(config: AgentConfig) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(config.listen)?, config })
    }

    /// Where it waits.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `runs` controllers, or for ever. A run that goes wrong is the controller's to report.
    pub fn serve(&self, runs: Option<u32>, mut say: impl FnMut(&str)) -> io::Result<()> {
        let mut done = 0;
        while runs.is_none_or(|runs| done < runs) {
            let (stream, peer) = self.listener.accept()?;
            say(&format!("controller {peer}"));
            match session(stream, &self.config) {
                Ok(()) => say("done"),
                Err(error) => say(&format!("ended: {error}")),
            }
            done += 1;
        }
        Ok(())
    }
}

fn session(stream: TcpStream, config: &AgentConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut orders = BufReader::new(stream.try_clone()?);
    let mut out = BufWriter::new(stream);
    let assignment = loop {
        match receive(&mut orders)? {
            Some(Order::Clock) => {
                send(&mut out, &Answer::Clock { unix_ns: unix_ns() })?;
                out.flush()?;
            }
            Some(Order::Prepare(assignment)) => break assignment,
            Some(_) => return Err(io::Error::other("an order before the assignment")),
            None => return Ok(()),
        }
    };
    let (crew, shared) = match prepare(&assignment, config) {
        Ok(prepared) => prepared,
        Err(error) => {
            send(&mut out, &Answer::Refused { error: error.to_string(), exit_code: error.exit_code() })?;
            return out.flush();
        }
    };
    send(&mut out, &Answer::Ready { workers: crew.workers() as u32 })?;
    out.flush()?;
    let (sender, inbox) = mpsc::channel();
    let reader = std::thread::Builder::new().name("load-orders".to_owned()).spawn(move || {
        while let Ok(Some(order)) = receive::<Order>(&mut orders) {
            if sender.send(order).is_err() {
                break;
            }
        }
    })?;
    let result = work(&crew, &shared, &inbox, &mut out);
    drop(crew);
    // The controller hangs up after the last answer, which ends the reader.
    drop(out);
    let _ = reader.join();
    result
}

fn prepare(assignment: &Assignment, config: &AgentConfig) -> Result<(LocalCrew, Arc<Shared>), RunError> {
    if assignment.version != VERSION {
        let theirs = assignment.version;
        return Err(RunError::Usage(format!("the controller speaks version {theirs}, this agent {VERSION}")));
    }
    if !config.secret.is_empty() && config.secret != assignment.secret {
        return Err(RunError::Usage("the controller does not know this agent's secret".to_owned()));
    }
    let options = RunOptions {
        targets: assignment.targets.clone(),
        protocol: assignment.protocol,
        token: assignment.token.clone(),
        seed: assignment.seed,
        cpus: config.cpus.clone(),
        sources: config.sources.clone(),
        rings: assignment.rings,
        window: Duration::from_nanos(assignment.window_ns),
        ..RunOptions::new(assignment.scenario.clone())
    };
    options.scenario.check("controller")?;
    let targets = addresses(&options)?;
    let share = Share { index: assignment.index, of: assignment.of.max(1) };
    let members = share.count(options.scenario.connections() as u32);
    let publishers = u64::from(options.scenario.publish.connections);
    let (layout, findings) = preflight::check(&options, &targets, u64::from(members) + publishers);
    if let Some(fatal) = findings.iter().find(|finding| finding.fatal) {
        return Err(RunError::Setup(format!("{}; {}", fatal.problem, fatal.remedy)));
    }
    let adapter =
        Adapter { protocol: options.protocol, names: Names::new(&assignment.prefix), token: options.token.clone() };
    for target in &targets {
        crate::run::probe::probe(&adapter, target).map_err(Box::new)?;
    }
    let workers = worker_count(&options, &layout);
    let clock = Clock::shared(assignment.origin_unix_ns);
    let shared = conductor::shared(&options, targets, adapter, &layout, clock, share, assignment.run, workers);
    let crew = LocalCrew::start(shared.clone(), &options, &layout)?;
    Ok((crew, shared))
}

/// Passes reports on and follows orders until the end.
fn work(crew: &LocalCrew, shared: &Shared, inbox: &Receiver<Order>, out: &mut impl Write) -> io::Result<()> {
    let mut finished = 0;
    let mut foreign = 0;
    let mut told = Instant::now();
    while finished < crew.workers() {
        if let Some(report) = crew.hear(PUMP) {
            let answer = match report {
                Report::Started { .. } => continue,
                Report::Second(second) => Answer::Second(Interval::pack(&second)?),
                Report::Finished(second) => {
                    finished += 1;
                    foreign += second.counts.truth.foreign;
                    Answer::Finished(Interval::pack(&second)?)
                }
                Report::Failed { worker, error } => {
                    finished += 1;
                    Answer::Failed { worker, error }
                }
            };
            send(out, &answer)?;
        }
        if told.elapsed() >= OUTSTANDING_PAUSE {
            told = Instant::now();
            send(out, &Answer::Outstanding { count: crew.outstanding() })?;
        }
        match inbox.try_recv() {
            Ok(order) => follow(crew, shared, order, out)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) if shared.control.stop.load(Ordering::Acquire) => {}
            Err(TryRecvError::Disconnected) => return Err(io::Error::other("the controller is gone")),
        }
        out.flush()?;
    }
    let extra = if foreign == 0 { conductor::extra(shared) } else { 0 };
    send(out, &Answer::Done { fanouts_incomplete: shared.spreads.incomplete(), extra })?;
    out.flush()
}

fn follow(crew: &LocalCrew, shared: &Shared, order: Order, out: &mut impl Write) -> io::Result<()> {
    match order {
        Order::Begin { start_ns } => shared.control.begin(start_ns),
        Order::CutShort { now_ns } => shared.control.cut_short(now_ns),
        Order::Count => {
            let read = |part: fn(&crate::check::Ledger) -> u32| shared.ledgers.iter().map(part).collect();
            send(
                out,
                &Answer::Ledgers {
                    acked: read(|ledger| ledger.acked.load(Ordering::Relaxed)),
                    sent: read(|ledger| ledger.sent.load(Ordering::Relaxed)),
                },
            )?;
        }
        Order::Finish { acked, sent } => {
            for (ledger, (acked, sent)) in shared.ledgers.iter().zip(acked.into_iter().zip(sent)) {
                ledger.publishes(acked, sent);
            }
            crew.stop();
        }
        Order::Clock | Order::Prepare(_) => return Err(io::Error::other("an order that comes too late")),
    }
    Ok(())
}

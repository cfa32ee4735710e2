//! The controller's side: agents in place of local workers.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Answer, Assignment, Order, VERSION, receive, send};
use crate::clock::unix_ns;
use crate::run::crew::{Crew, Leftovers};
use crate::run::{RunError, RunOptions};
use crate::worker::driver::Report;
use crate::worker::shared::Shared;

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// An agent probes the target before it answers.
const PREPARE_PATIENCE: Duration = Duration::from_secs(30);
/// Round trips to compare clocks; the fastest counts.
const CLOCK_ROUNDS: usize = 16;
/// Agents tell what they published within this.
const COUNT_PATIENCE: Duration = Duration::from_secs(10);

/// One agent, for the summary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// As given.
    pub address: String,
    /// Its workers.
    pub workers: u32,
    /// Its clock minus the controller's, ns; corrected.
    pub clock_offset_ns: i64,
    /// What may remain of it: half of the fastest round trip, ns.
    pub clock_error_ns: u64,
}

struct Link {
    stream: TcpStream,
    reader: Option<JoinHandle<()>>,
    state: Arc<LinkState>,
}

#[derive(Default)]
struct LinkState {
    outstanding: AtomicU64,
    ledgers: Mutex<Option<(Vec<u32>, Vec<u32>)>>,
    leftovers: Mutex<Leftovers>,
}

/// See the module's documentation.
pub(crate) struct RemoteCrew {
    links: Vec<Link>,
    reports: Receiver<Report>,
    workers: usize,
    pub infos: Vec<AgentInfo>,
}

impl RemoteCrew {
    /// Gives every agent its part; they begin to connect.
    pub(crate) fn start(shared: &Shared, options: &RunOptions, secret: &str) -> Result<Self, RunError> {
        let (sender, reports) = mpsc::channel();
        let mut crew = Self { links: Vec::new(), reports, workers: 0, infos: Vec::new() };
        let mut prepared = Vec::new();
        for (index, address) in options.agents.iter().enumerate() {
            let wrong = |error: io::Error| RunError::Setup(format!("agent {address}: {error}"));
            let mut stream = connect(address).map_err(wrong)?;
            let mut input = BufReader::new(stream.try_clone().map_err(wrong)?);
            let (offset_ns, error_ns) = compare_clocks(&mut stream, &mut input).map_err(wrong)?;
            let origin_unix_ns = shared.clock.origin_unix_ns().saturating_add_signed(offset_ns);
            let assignment = assignment(shared, options, secret, index as u32, origin_unix_ns);
            send(&mut stream, &Order::Prepare(Box::new(assignment))).map_err(wrong)?;
            let info = AgentInfo {
                address: address.clone(),
                workers: 0,
                clock_offset_ns: offset_ns,
                clock_error_ns: error_ns,
            };
            prepared.push((stream, input, info));
        }
        // All prepare at the same time.
        for (stream, input, info) in prepared {
            crew.add(stream, input, info, &sender)?;
        }
        Ok(crew)
    }

    fn add(
        &mut self,
        stream: TcpStream,
        mut input: BufReader<TcpStream>,
        mut info: AgentInfo,
        sender: &Sender<Report>,
    ) -> Result<(), RunError> {
        let address = info.address.clone();
        let wrong = |error: io::Error| RunError::Setup(format!("agent {address}: {error}"));
        let first = self.workers as u32;
        match receive(&mut input).map_err(wrong)? {
            Some(Answer::Ready { workers }) => info.workers = workers,
            Some(Answer::Refused { error, .. }) => return Err(RunError::Setup(format!("agent {address}: {error}"))),
            _ => return Err(RunError::Setup(format!("agent {address} hung up, or is something else"))),
        }
        stream.set_read_timeout(None).map_err(wrong)?;
        self.workers += info.workers as usize;
        // There are no threads of ours to look at.
        for worker in first..first + info.workers {
            let _ = sender.send(Report::Started { worker, task: 0 });
        }
        let state = Arc::new(LinkState { outstanding: AtomicU64::new(u64::MAX), ..LinkState::default() });
        let (sender, seen, workers) = (sender.clone(), state.clone(), info.workers);
        let reader = std::thread::Builder::new().name("load-agent".to_owned()).spawn(move || {
            if let Err(error) = listen(&mut input, &seen, first, &sender) {
                for worker in first..first + workers {
                    let error = format!("agent {address}: {error}");
                    let _ = sender.send(Report::Failed { worker, error });
                }
            }
        });
        let reader = reader.map_err(|error| RunError::Setup(format!("starting a thread: {error}")))?;
        self.links.push(Link { stream, reader: Some(reader), state });
        self.infos.push(info);
        Ok(())
    }

    /// An agent that cannot be told is lost: its reader says so.
    fn tell(&mut self, order: &Order) {
        for link in &mut self.links {
            let _ = send(&mut link.stream, order).and_then(|()| link.stream.flush());
        }
    }

    /// Sums of what all agents published, by chat.
    fn count(&mut self) -> (Vec<u32>, Vec<u32>) {
        self.tell(&Order::Count);
        let deadline = Instant::now() + COUNT_PATIENCE;
        let (mut acked, mut sent) = (Vec::new(), Vec::new());
        for link in &self.links {
            let ledgers = loop {
                let ledgers = link.state.ledgers.lock().ok().and_then(|mut ledgers| ledgers.take());
                if ledgers.is_some() || Instant::now() > deadline {
                    break ledgers.unwrap_or_default();
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            add(&mut acked, &ledgers.0);
            add(&mut sent, &ledgers.1);
        }
        (acked, sent)
    }
}

impl Crew for RemoteCrew {
    fn workers(&self) -> usize {
        self.workers
    }

    fn hear(&self, patience: Duration) -> Option<Report> {
        self.reports.recv_timeout(patience).ok()
    }

    fn begin(&mut self, start_ns: u64) {
        self.tell(&Order::Begin { start_ns });
    }

    fn cut_short(&mut self, now_ns: u64) {
        self.tell(&Order::CutShort { now_ns });
    }

    fn outstanding(&self) -> u64 {
        self.links.iter().map(|link| link.state.outstanding.load(Ordering::Acquire)).fold(0, u64::saturating_add)
    }

    fn stop(&mut self) {
        let (acked, sent) = self.count();
        self.tell(&Order::Finish { acked, sent });
    }

    fn join(&mut self) -> Leftovers {
        let mut sum = Leftovers::default();
        for link in &mut self.links {
            if let Some(reader) = link.reader.take() {
                let _ = reader.join();
            }
            if let Ok(leftovers) = link.state.leftovers.lock() {
                sum.fanouts_incomplete += leftovers.fanouts_incomplete;
                sum.extra += leftovers.extra;
            }
        }
        sum
    }
}

impl Drop for RemoteCrew {
    fn drop(&mut self) {
        for link in &self.links {
            let _ = link.stream.shutdown(Shutdown::Both);
        }
    }
}

fn add(sums: &mut Vec<u32>, more: &[u32]) {
    if sums.len() < more.len() {
        sums.resize(more.len(), 0);
    }
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&resolved, CONNECT_PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PREPARE_PATIENCE))?;
    Ok(stream)
}

/// The agent's clock minus ours, and half of the fastest round trip.
fn compare_clocks(stream: &mut TcpStream, input: &mut BufReader<TcpStream>) -> io::Result<(i64, u64)> {
    let mut best = (0, u64::MAX);
    for _ in 0..CLOCK_ROUNDS {
        let (before, started) = (unix_ns(), Instant::now());
        send(stream, &Order::Clock)?;
        let Some(Answer::Clock { unix_ns }) = receive(input)? else {
            return Err(io::Error::other("it does not answer like an agent"));
        };
        let half = started.elapsed().as_nanos() as u64 / 2;
        if half < best.1 {
            best = (unix_ns as i64 - (before + half) as i64, half);
        }
    }
    Ok(best)
}

fn assignment(shared: &Shared, options: &RunOptions, secret: &str, index: u32, origin_unix_ns: u64) -> Assignment {
    Assignment {
        version: VERSION,
        secret: secret.to_owned(),
        scenario: shared.scenario.clone(),
        targets: options.targets.clone(),
        protocol: options.protocol,
        prefix: shared.adapter.names.prefix().to_owned(),
        token: options.token.clone(),
        seed: options.seed,
        run: shared.run,
        window_ns: options.window.as_nanos() as u64,
        rings: options.rings,
        index,
        of: options.agents.len() as u32,
        origin_unix_ns,
    }
}

/// Until the agent has said everything.
fn listen(input: &mut BufReader<TcpStream>, state: &LinkState, first: u32, sender: &Sender<Report>) -> io::Result<()> {
    loop {
        let answer: Answer = receive(input)?.ok_or_else(|| io::Error::other("it hung up in mid-run"))?;
        let report = match answer {
            Answer::Second(interval) => Report::Second(Box::new(interval.unpack(first)?)),
            Answer::Finished(interval) => Report::Finished(Box::new(interval.unpack(first)?)),
            Answer::Failed { worker, error } => Report::Failed { worker: first + worker, error },
            Answer::Outstanding { count } => {
                state.outstanding.store(count, Ordering::Release);
                continue;
            }
            Answer::Ledgers { acked, sent } => {
                if let Ok(mut ledgers) = state.ledgers.lock() {
                    *ledgers = Some((acked, sent));
                }
                continue;
            }
            Answer::Done { fanouts_incomplete, extra } => {
                if let Ok(mut leftovers) = state.leftovers.lock() {
                    *leftovers = Leftovers { fanouts_incomplete, extra };
                }
                return Ok(());
            }
            Answer::Clock { .. } | Answer::Ready { .. } | Answer::Refused { .. } => continue,
        };
        if sender.send(report).is_err() {
            return Ok(());
        }
    }
}

//! `c_msg`: what one more update costs a gateway beyond the sends, in wall time.
//!
//! The work of a gateway is `messages × c_msg + deliveries × c_send` (ARCHITECTURE.md). Only the second term shrinks as
//! gateways are added, so the planner needs the first. It has two parts: the core that owns the link pays for each
//! update once and for each core with members a little; each core with members pays for building the frame and handing
//! it to the ring.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use corecast_benches::cpu;
use corecast_centrifuge::Encoding;
use corecast_gateway::config::{RECENT_MESSAGES, RECENT_TOTAL};
use corecast_gateway::link::FromLink;
use corecast_gateway::measured::MeasuredCore;
use corecast_ring::mailbox::{Mailboxes, mesh};
use corecast_ring::{Reactor, ReactorConfig, Wait};
use corecast_wire::FrameEncoder;
use serde::Serialize;

use crate::paths::link::{Linked, Origin};
use crate::paths::{PAYLOAD_BYTES, UNIX_MS, interested, payload};

/// Name and version of the JSON form.
const SCHEMA: &str = "corecast.c_msg/1";
/// Updates that fit into a mailbox, and so into a batch.
const MAILBOX: usize = 4_096;
/// Most cores: 17² mailboxes of 4,096 updates of 100 bytes are 118 MB.
const CORES_MAX: u16 = 16;
/// Batches that differ by more than this ratio come from a machine that was busy with something else.
const BUSY: f64 = 1.5;
/// What the design allows on the link core, nanoseconds.
const LINK_CORE_NS: f64 = 300.0;
/// What the design allows on each core with members, nanoseconds.
const INTERESTED_CORE_NS: f64 = 1_000.0;

/// What one update costs, in nanoseconds of wall time.
///
/// Measured: on the link core, from the received chunk to the mailbox of a core with one member of the chat (frame check,
/// decoding, chat by handle, order, hand-over), with 1 and with `--cores` such cores; on a core with the member, from
/// the mailbox to the staged frame (position, frame of one encoding, recent messages, fan-out queue). Chats take turns, so
/// that each update finds its chat out of the CPU's cache if there are many.
///
/// Not measured: the system calls, so neither the receive on the link nor the sends; the wake-up of a core, which a batch
/// shares; the driver's counters; members that do not keep up; the router. Wall time on a busy machine is noise:
/// the median of the batches is what to use; the tenths beside it tell how far to trust it.
#[derive(Args)]
pub(crate) struct Options {
    /// Chats, each updated once in a round; a multiple of `--batch` is best, as a shorter last batch does not count.
    #[arg(long, default_value_t = 10_000)]
    chats: usize,
    /// Updates in one frame of the link, and in one turn of a core.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Cores with members, in the second measurement of the link core.
    #[arg(long, default_value_t = 4)]
    cores: u16,
    /// Rounds that count; as many as it takes to fill the caches of recent messages come before.
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Writes the result as JSON to this file; `-` is standard output, and nothing else is printed then.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Measured {
    schema: &'static str,
    version: &'static str,
    cpu: String,
    chats: usize,
    payload_bytes: usize,
    updates_per_frame: usize,
    rounds: usize,
    /// With one core that has members.
    link_core_ns: Spread,
    /// What each further core with members adds to it.
    link_core_further_ns: f64,
    /// On each core that has a member.
    interested_core_ns: Interest,
}

#[derive(Debug, Serialize)]
struct Interest {
    json: Spread,
    protobuf: Spread,
}

/// Of the batches.
#[derive(Debug, Serialize)]
struct Spread {
    p10: f64,
    median: f64,
    p90: f64,
}

impl Spread {
    /// Of at least one sample.
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |tenths: usize| rounded(samples[(samples.len() - 1) * tenths / 10]);
        Self { p10: at(1), median: at(5), p90: at(9) }
    }
}

/// To tenths of a nanosecond.
fn rounded(nanos: f64) -> f64 {
    (nanos * 10.0).round() / 10.0
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!((2..=CORES_MAX).contains(&options.cores), "--cores is 2 to {CORES_MAX}");
    ensure!(
        (1..=options.chats.min(MAILBOX)).contains(&options.batch),
        "--batch is 1 to {MAILBOX}, and at most --chats"
    );
    ensure!(options.rounds >= 1, "--rounds is at least 1");
    if let Some(cpu) = options.cpu {
        cpu::pin(cpu)?;
    }
    let one = measure(options, 1, Encoding::Json)?;
    let several = measure(options, options.cores, Encoding::Json)?;
    let protobuf = measure(options, 1, Encoding::Protobuf)?.interested_core;
    let further = (several.link_core.median - one.link_core.median) / f64::from(options.cores - 1);
    let measured = Measured {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        cpu: cpu_model(),
        chats: options.chats,
        payload_bytes: PAYLOAD_BYTES,
        updates_per_frame: options.batch,
        rounds: options.rounds,
        link_core_ns: one.link_core,
        link_core_further_ns: rounded(further),
        interested_core_ns: Interest { json: one.interested_core, protobuf },
    };
    match options.json.as_deref() {
        Some(file) if file == Path::new("-") => println!("{}", serde_json::to_string_pretty(&measured)?),
        Some(file) => {
            std::fs::write(file, serde_json::to_string_pretty(&measured)? + "\n")
                .with_context(|| format!("{}", file.display()))?;
            measured.print();
        }
        None => measured.print(),
    }
    Ok(())
}

impl Measured {
    fn print(&self) {
        println!(
            "{} chats, {} bytes, {} updates in a frame, {}",
            self.chats, self.payload_bytes, self.updates_per_frame, self.cpu
        );
        println!("{:42} {:>7} {:>7} {:>7} {:>7}", "nanoseconds per update", "p10", "median", "p90", "aim");
        let line = |what, spread: &Spread, aim: f64| {
            println!("{what:42} {:>7.0} {:>7.0} {:>7.0} {aim:>7.0}", spread.p10, spread.median, spread.p90);
        };
        line("link core, one core with members", &self.link_core_ns, LINK_CORE_NS);
        println!("{:42} {:>15.0}", "  and for each further core with members", self.link_core_further_ns);
        line("core with a JSON member", &self.interested_core_ns.json, INTERESTED_CORE_NS);
        line("core with a Protobuf member", &self.interested_core_ns.protobuf, INTERESTED_CORE_NS);
        let spreads = [&self.link_core_ns, &self.interested_core_ns.json, &self.interested_core_ns.protobuf];
        if spreads.iter().any(|spread| spread.median > BUSY * spread.p10) {
            println!("The batches differ widely: the machine was busy, and the medians are too high.");
        }
    }
}

/// Nanoseconds per update, a sample for each full batch.
struct Parts<T> {
    link_core: T,
    interested_core: T,
}

fn measure(options: &Options, cores: u16, encoding: Encoding) -> Result<Parts<Spread>> {
    let mut bench = Bench::new(options, cores, encoding)?;
    // Until the recent messages of all chats reach their limit and old ones are dropped: 64 MiB of about 200 bytes each.
    let warm_up = (RECENT_TOTAL / (2 * PAYLOAD_BYTES) / options.chats).clamp(2, RECENT_MESSAGES + 20) + 2;
    let mut samples = Parts { link_core: Vec::new(), interested_core: Vec::new() };
    for round in 0..warm_up + options.rounds {
        if round == warm_up {
            samples.link_core.clear();
            samples.interested_core.clear();
        }
        bench.round(&mut samples)?;
    }
    Ok(Parts { link_core: Spread::of(samples.link_core), interested_core: Spread::of(samples.interested_core) })
}

struct Bench {
    linked: Linked,
    interested: MeasuredCore,
    /// Core 0 owns the link; 1 and those after it have members. Only 1 is measured.
    mailboxes: Vec<Mailboxes<FromLink<Origin>>>,
    reactor: Reactor,
    /// In the order in which they are updated.
    chats: Vec<u32>,
    batch: usize,
    offset: u64,
}

impl Bench {
    fn new(options: &Options, cores: u16, encoding: Encoding) -> Result<Self> {
        let config = ReactorConfig { connections: 16, receive_buffers: 16, ..ReactorConfig::default() };
        let mut chats: Vec<u32> = (0..u32::try_from(options.chats)?).collect();
        // Neighbours in memory are not neighbours in time.
        chats.sort_by_key(|chat| chat.wrapping_mul(0x9e37_79b9));
        Ok(Self {
            linked: Linked::new(options.chats, cores)?,
            interested: interested::core(options.chats, &[encoding])?,
            mailboxes: mesh(usize::from(cores) + 1, MAILBOX),
            reactor: Reactor::new(&config)?,
            chats,
            batch: options.batch,
            offset: 0,
        })
    }

    /// Updates each chat once.
    fn round(&mut self, samples: &mut Parts<Vec<f64>>) -> Result<()> {
        self.offset += 1;
        let frames = self.chats.chunks(self.batch).map(|chats| Ok((chats.len(), frame(chats, self.offset)?)));
        let frames = frames.collect::<Result<Vec<_>>>()?;
        let mut events = Vec::new();
        for (count, frame) in frames {
            let (on_link, on_core) = self.batch(count, &frame)?;
            if count == self.batch {
                let nanos = |time: Duration| time.as_nanos() as f64 / count as f64;
                samples.link_core.push(nanos(on_link));
                samples.interested_core.push(nanos(on_core));
            }
            // Staged frames are dropped by the turn, which has nothing to submit.
            self.reactor.turn(Wait::Poll, &mut events, || true)?;
        }
        Ok(())
    }

    /// Time on the link core and time on the measured core with members.
    fn batch(&mut self, count: usize, frame: &[u8]) -> Result<(Duration, Duration)> {
        let (here, there) = self.mailboxes.split_at_mut(1);
        let begin = Instant::now();
        self.linked.receive(frame, |core, event| {
            // A full mailbox loses the update, which the count below shows.
            let _ = here[0].send(usize::from(core) + 1, event);
        });
        let on_link = begin.elapsed();
        let mut sends = 0;
        let begin = Instant::now();
        while let Some((_, event)) = there[0].receive() {
            if let FromLink::Update { local, offset, payload, .. } = event {
                self.interested.update(local.0, offset, &payload);
            }
        }
        self.interested.fan_out(|bytes, members| {
            let _ = black_box(self.reactor.stage(slice::from_ref(bytes)));
            sends += members.len();
        });
        let on_core = begin.elapsed();
        for others in &mut there[1..] {
            while others.receive().is_some() {}
        }
        ensure!(sends == count, "{sends} of {count} updates arrived");
        Ok((on_link, on_core))
    }
}

/// The update `offset` of these chats as the router sends it.
fn frame(chats: &[u32], offset: u64) -> Result<Vec<u8>> {
    let mut encoder = FrameEncoder::new();
    for chat in chats {
        encoder.push_update(*chat, offset, UNIX_MS, &payload(*chat as usize))?;
    }
    let mut bytes = Vec::new();
    while let Some(frame) = encoder.take() {
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes)
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    model.trim_start_matches([' ', '\t', ':']).to_owned()
}

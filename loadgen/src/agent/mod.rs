//! Several processes or hosts as one generator: a controller leads, agents hold connections and publish.
//!
//! The two talk in lines of JSON over TCP: `Order` one way, `Answer` the other. Agents share the run's plan by index, so
//! that nothing but numbers and histograms travels. The controller measures each agent's clock against its own and moves
//! the agent's zero accordingly; what remains is bounded by half of the fastest round trip, which the summary states.

pub(crate) mod remote;
pub mod serve;

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::hlog;
use crate::latency::Metric;
use crate::scenario::Scenario;
use crate::target::Protocol;
use crate::worker::counts::Counts;
use crate::worker::driver::Second;

/// Of this exchange; both sides must have the same.
const VERSION: u32 = 1;
/// A line: reports of 20,000 chats' ledgers are some 300 KB, histograms some 10 KB each.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Controller → agent.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// What time is it?
    Clock,
    /// Prepare this part of a run.
    Prepare(Box<Assignment>),
    /// First intended publish, ns of the run's clock.
    Begin { start_ns: u64 },
    /// Publish no more from that instant on.
    CutShort { now_ns: u64 },
    /// Tell what was published into each chat.
    Count,
    /// What all agents published; stop and report what is missing.
    Finish { acked: Vec<u32>, sent: Vec<u32> },
}

/// One agent's part.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Assignment {
    version: u32,
    secret: String,
    scenario: Scenario,
    targets: Vec<String>,
    protocol: Protocol,
    prefix: String,
    token: Option<String>,
    seed: u64,
    run: u32,
    window_ns: u64,
    rings: Option<u32>,
    /// Which part of how many.
    index: u32,
    of: u32,
    /// Zero of the run's clock by the agent's clock.
    origin_unix_ns: u64,
}

/// Agent → controller.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Unix time.
    Clock { unix_ns: u64 },
    /// Connecting now, with so many workers.
    Ready { workers: u32 },
    /// Cannot do it.
    Refused { error: String, exit_code: u8 },
    /// A worker's second.
    Second(Interval),
    /// A worker's last word.
    Finished(Interval),
    /// A worker ended by accident.
    Failed { worker: u32, error: String },
    /// Deliveries and answers still expected.
    Outstanding { count: u64 },
    /// By chat.
    Ledgers { acked: Vec<u32>, sent: Vec<u32> },
    /// The last answer: fan-outs that did not complete, positions beyond what was published.
    Done { fanouts_incomplete: u64, extra: u64 },
}

/// A [`Second`] that travels.
#[derive(Debug, Serialize, Deserialize)]
struct Interval {
    worker: u32,
    second: u64,
    counts: Counts,
    /// Tag, group, histogram.
    recorded: Vec<(String, u16, String)>,
}

impl Interval {
    fn pack(second: &Second) -> io::Result<Self> {
        let mut recorded = Vec::new();
        for ((metric, group), histogram) in &second.recorded {
            recorded.push((metric.tag().to_owned(), *group, hlog::encode(histogram)?));
        }
        Ok(Self { worker: second.worker, second: second.second, counts: second.counts.clone(), recorded })
    }

    /// `first`: the global index of that agent's first worker.
    fn unpack(self, first: u32) -> io::Result<Second> {
        let mut recorded = Vec::new();
        for (tag, group, text) in self.recorded {
            let metric = Metric::from_tag(&tag).ok_or_else(|| io::Error::other(format!("unknown histogram {tag}")))?;
            recorded.push(((metric, group), hlog::decode(&text)?));
        }
        Ok(Second { worker: first + self.worker, second: self.second, counts: self.counts, recorded })
    }
}

fn send(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// The next message; `None` at the end of the stream.
fn receive<T: for<'de> Deserialize<'de>>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let count = io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Recorder;

    #[test]
    fn a_second_survives_the_journey() {
        let mut recorder = Recorder::new(2);
        recorder.record(Metric::Deliver, 1, 5_000_000);
        let counts = Counts { live: 7, ..Counts::default() };
        let second = Second { worker: 1, second: 9, recorded: recorder.take(), counts };
        let mut wire = Vec::new();
        send(&mut wire, &Answer::Second(Interval::pack(&second).unwrap())).unwrap();
        let Some(Answer::Second(interval)) = receive(&mut wire.as_slice()).unwrap() else {
            panic!("a second was sent")
        };
        let back = interval.unpack(10).unwrap();
        assert_eq!((back.worker, back.second, back.counts.live), (11, 9, 7));
        assert_eq!(back.recorded[0].0, (Metric::Deliver, 1));
        assert_eq!(back.recorded[0].1.max(), second.recorded[0].1.max());
    }

    #[test]
    fn the_end_of_a_stream_is_no_message_and_half_a_line_an_error() {
        assert!(receive::<Order>(&mut &b""[..]).unwrap().is_none());
        assert!(receive::<Order>(&mut &b"{\"Begin\""[..]).is_err());
        assert!(receive::<Order>(&mut &b"nonsense\n"[..]).is_err());
    }
}

//! How many connections one process holds with several rings, what they cost in memory, and how fast they come and go.
//!
//! Each pair of threads has a server ring and a client ring on loopback; every connection sends one byte at the end, to
//! prove that it lives.
//!
//! `cargo run --release -p corecast-ring --example scale -- [pairs] [connections per pair]`
#![allow(clippy::unwrap_used)] // a measuring tool: any failure ends it

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_ring::{
    ConnId, Event, ListenAddr, Listener, Reactor, ReactorConfig, RingStats, SendOutcome, Target, TcpOptions, Wait,
    limits,
};

/// Connects under way at once, per pair: below every accept backlog.
const CONNECTING_MAX: u32 = 512;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>().expect("a number"));
    let pairs = arguments.next().unwrap_or(2);
    let connections = arguments.next().unwrap_or(10_000);
    let limit = limits::raise_descriptors().unwrap();
    println!("RLIMIT_NOFILE {}; {pairs} x 2 rings with {connections} connections each", limit.soft);
    let before = resident_bytes();
    let steps = Barrier::new(2 * pairs as usize + 1);
    std::thread::scope(|scope| {
        for pair in 0..pairs {
            let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
            let ListenAddr::Tcp(addr) = *listener.local_addr() else { unreachable!("it is TCP") };
            // A source address holds 28,232 ports of the default range.
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1, pair as u8 + 1));
            let steps = &steps;
            scope.spawn(move || serve(listener, connections, steps));
            scope.spawn(move || connect(addr, source, connections, steps));
        }
        let total = 2 * u64::from(pairs) * u64::from(connections);
        steps.wait();
        let empty = resident_bytes();
        println!("rings: {} KiB", (empty - before) >> 10);
        let start = Instant::now();
        steps.wait();
        let took = start.elapsed();
        println!(
            "{} connections in {took:.2?}, {:.0}/s; {} bytes of user memory per end",
            total / 2,
            total as f64 / 2.0 / took.as_secs_f64(),
            resident_bytes().saturating_sub(empty) / total,
        );
        let start = Instant::now();
        steps.wait();
        println!("a byte through each in {:.2?}", start.elapsed());
        let start = Instant::now();
        steps.wait();
        let took = start.elapsed();
        println!("all closed in {took:.2?}, {:.0} ends/s", total as f64 / took.as_secs_f64());
    });
}

fn config(connections: u32) -> ReactorConfig {
    ReactorConfig { connections, ..ReactorConfig::default() }
}

/// One turn that waits at most 10 ms.
fn turn(reactor: &mut Reactor, events: &mut Vec<Event>) {
    let deadline = Some(Instant::now() + Duration::from_millis(10));
    reactor.turn(Wait::Until { deadline, window: Duration::ZERO }, events, || true).unwrap();
}

fn serve(listener: Listener, connections: u32, steps: &Barrier) {
    let mut reactor = Reactor::new(&config(connections)).unwrap();
    reactor.listen(listener).unwrap();
    let mut events = Vec::new();
    steps.wait();
    let mut conns: Vec<ConnId> = Vec::new();
    while conns.len() < connections as usize {
        turn(&mut reactor, &mut events);
        conns.extend(events.iter().filter_map(|event| match event {
            Event::Accepted { conn, .. } => Some(*conn),
            _ => None,
        }));
    }
    steps.wait();
    let staged = reactor.stage(&[Bytes::from_static(b"x")]);
    for &conn in &conns {
        assert_eq!(reactor.send(conn, staged), SendOutcome::Queued);
    }
    reactor.turn(Wait::Poll, &mut events, || true).unwrap();
    steps.wait();
    conns.iter().for_each(|&conn| reactor.close(conn));
    while reactor.stats().open > 0 {
        turn(&mut reactor, &mut events);
    }
    report("server", reactor.stats());
    steps.wait();
}

fn connect(addr: SocketAddr, source: IpAddr, connections: u32, steps: &Barrier) {
    let mut reactor = Reactor::new(&config(connections)).unwrap();
    let mut events = Vec::new();
    let target = Target::Tcp { addr, source: Some(SocketAddr::new(source, 0)) };
    steps.wait();
    let (mut started, mut connected) = (0, 0);
    while connected < connections {
        while started < connections && started - connected < CONNECTING_MAX {
            reactor.connect(&target).unwrap();
            started += 1;
        }
        turn(&mut reactor, &mut events);
        for event in &events {
            match event {
                Event::Connected { .. } => connected += 1,
                Event::ConnectFailed { error, .. } => panic!("connect: {error}"),
                _ => {}
            }
        }
    }
    steps.wait();
    while reactor.stats().received_bytes < u64::from(connections) {
        turn(&mut reactor, &mut events);
    }
    steps.wait();
    while reactor.stats().open > 0 {
        turn(&mut reactor, &mut events);
        for event in &events {
            if let Event::Closed { conn, .. } = event {
                reactor.close(*conn);
            }
        }
    }
    report("client", reactor.stats());
    steps.wait();
}

fn report(who: &str, stats: &RingStats) {
    println!(
        "{who}: {} enters, {} overflows, {} enobufs, {} repeated cancels, {} stale",
        stats.enters, stats.cq_overflows, stats.enobufs, stats.repeated_cancels, stats.stale_completions
    );
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

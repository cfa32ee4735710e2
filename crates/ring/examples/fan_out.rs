//! What a send costs: one 100-byte frame to many loopback sockets, by the reactor, on one pinned CPU; another reactor on
//! another CPU reads.
//!
//! `cargo run --release -p corecast-ring --example fan_out -- [sockets] [rounds] [sq_entries]`
#![allow(clippy::unwrap_used)] // a measuring tool: any failure ends it

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_ring::{
    Event, ListenAddr, Listener, Reactor, ReactorConfig, SendOutcome, Target, TcpOptions, Wait, affinity, limits,
};

const FRAME_BYTES: usize = 100;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>().expect("a number"));
    let sockets = arguments.next().unwrap_or(1_000);
    let rounds = arguments.next().unwrap_or(500);
    let sq_entries = arguments.next().unwrap_or_else(|| ReactorConfig::default().sq_entries);
    limits::raise_descriptors().unwrap();
    let cpus = affinity::available().unwrap();
    let (server_cpu, reader_cpu) = (cpus[0], *cpus.last().unwrap());

    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let ListenAddr::Tcp(addr) = *listener.local_addr() else { unreachable!("it is TCP") };
    let received = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            affinity::pin(reader_cpu).unwrap();
            read_all(addr, sockets, &received, &stop);
        });
        scope.spawn(|| {
            affinity::pin(server_cpu).unwrap();
            let config = ReactorConfig { connections: sockets + 16, sq_entries, ..ReactorConfig::default() };
            send_all(&config, listener, rounds, &received);
            stop.store(true, Ordering::Relaxed);
        });
    });
}

fn read_all(addr: std::net::SocketAddr, sockets: u32, received: &AtomicU64, stop: &AtomicBool) {
    let config = ReactorConfig { connections: sockets + 16, receive_buffers: 4_096, ..ReactorConfig::default() };
    let mut reactor = Reactor::new(&config).unwrap();
    let mut events = Vec::new();
    for index in 0..sockets {
        reactor.connect(&Target::Tcp { addr, source: None }).unwrap();
        if index % 256 == 0 {
            reactor.turn(Wait::Poll, &mut events, || true).unwrap();
        }
    }
    while !stop.load(Ordering::Relaxed) {
        let deadline = Some(Instant::now() + Duration::from_millis(10));
        reactor.turn(Wait::Until { deadline, window: Duration::from_micros(500) }, &mut events, || true).unwrap();
        let mut bytes = 0;
        for event in &events {
            if let Event::Received { chunk, .. } = event {
                bytes += chunk.len() as u64;
            }
        }
        received.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn send_all(config: &ReactorConfig, listener: Listener, rounds: u32, received: &AtomicU64) {
    let sockets = config.connections - 16;
    let mut reactor = Reactor::new(config).unwrap();
    reactor.listen(listener).unwrap();
    let (mut events, mut conns) = (Vec::new(), Vec::new());
    while conns.len() < sockets as usize {
        let deadline = Some(Instant::now() + Duration::from_millis(10));
        reactor.turn(Wait::Until { deadline, window: Duration::ZERO }, &mut events, || true).unwrap();
        conns.extend(events.iter().filter_map(|event| match event {
            Event::Accepted { conn, .. } => Some(*conn),
            _ => None,
        }));
    }
    let frame = Bytes::from(vec![b'x'; FRAME_BYTES]);
    let mut expected = 0;
    let (mut queueing, mut queued) = (Duration::ZERO, 0_u64);
    let mut times = Vec::new();
    for round in 0..rounds {
        let begin = Instant::now();
        let staged = reactor.stage(std::slice::from_ref(&frame));
        if config.sq_entries < sockets || round % 2 == 0 {
            for &conn in &conns {
                assert_eq!(reactor.send(conn, staged), SendOutcome::Queued);
            }
        } else {
            // The whole round fits into the queue: what the reactor itself costs, without the kernel.
            let start = Instant::now();
            for &conn in &conns {
                assert_eq!(reactor.send(conn, staged), SendOutcome::Queued);
            }
            queueing += start.elapsed();
            queued += u64::from(sockets);
        }
        reactor.turn(Wait::Poll, &mut events, || true).unwrap();
        times.push(begin.elapsed());
        expected += u64::from(sockets) * FRAME_BYTES as u64;
        // One round at a time: nothing piles up in the sockets.
        while received.load(Ordering::Relaxed) < expected {
            std::hint::spin_loop();
        }
    }
    times.sort_unstable();
    let per_send = |time: Duration| time.as_nanos() / u128::from(sockets);
    let stats = reactor.stats();
    println!(
        "{sockets} sockets, sq {}: {} ns per send in the fastest round, {} in the median one; {:.1} sends per enter; \
         {} short, {} refused",
        config.sq_entries,
        per_send(times[0]),
        per_send(times[times.len() / 2]),
        stats.sends as f64 / stats.enters as f64,
        stats.short_sends,
        stats.refused_sends,
    );
    if queued > 0 {
        println!("of it in the reactor: {:.1} ns per send", queueing.as_nanos() as f64 / queued as f64);
    }
}

//! Claim: connections that all arrive at one core are visible as imbalance, and beyond the configured bound new ones are
//! served by the core with the fewest; a full core gives its connections to one with room; no connection is lost.

use std::net::{SocketAddr, TcpStream};

use corecast_gateway::config::{GatewayConfig, Steering};
use corecast_gateway::stats::{CoreSnapshot, imbalance};
use corecast_ring::affinity;

use crate::client::Client;
use crate::stall::{chats_of_both, stall};
use crate::{Edge, wait_until};

/// More than twice the number below which imbalance does not matter.
const CLIENTS: usize = 700;

/// Two cores on two CPUs, if there are as many, and connections steered by CPU.
fn steered(config: &mut GatewayConfig) {
    (config.cores, config.cpus, config.steering) = (2, affinity::available().unwrap(), Steering::Cpu);
}

fn can_steer() -> bool {
    let enough = affinity::available().unwrap().len() >= 2;
    if !enough {
        eprintln!("skipped: steering by CPU needs two CPUs");
    }
    enough
}

/// A socket connected from the CPU of core 0: loopback takes its packets there.
fn connected(cpu: usize, address: SocketAddr) -> TcpStream {
    let connect = move || {
        affinity::pin(cpu).unwrap();
        TcpStream::connect(address).unwrap()
    };
    std::thread::spawn(connect).join().unwrap()
}

fn clients(edge: &Edge, count: usize) -> Vec<Client> {
    let (cpu, address) = (affinity::available().unwrap()[0], edge.gateway().local_addr());
    let client = |_| {
        let mut client = Client::over(connected(cpu, address), "", None);
        client.connect_with("").unwrap();
        client
    };
    (0..count).map(client).collect()
}

/// The figures once this many connections are counted.
fn settled(edge: &Edge, count: usize) -> Vec<CoreSnapshot> {
    let stats = edge.gateway().stats();
    let all = || stats.snapshot().iter().map(|core| core.gauges.connections).sum::<u64>();
    wait_until("all connections are counted", || all() == count as u64);
    stats.snapshot()
}

fn everybody_is_served(edge: &Edge, clients: &mut [Client]) {
    let before = edge.router().position("a").offset;
    for client in clients.iter_mut() {
        client.subscribe("a");
    }
    for client in clients.iter_mut().step_by(10) {
        client.publish("a", "1").unwrap();
    }
    let top = before + clients.len().div_ceil(10) as u64;
    for client in clients.iter_mut() {
        client.read_to("a", top);
        client.unsubscribe("a");
    }
}

#[test]
fn clients_that_all_land_on_one_core_are_shared_out() {
    if !can_steer() {
        return;
    }
    let edge = Edge::with(1, steered);
    let mut clients = clients(&edge, CLIENTS);
    let cores = settled(&edge, CLIENTS);
    let held: Vec<u64> = cores.iter().map(|core| core.gauges.connections).collect();
    // Everything arrived at core 0, which kept what it may hold: 1.25 times the mean.
    assert!(imbalance(&cores) <= 1.25 && imbalance(&cores) > 1.2, "{held:?}");
    assert_eq!(cores[0].counters.connections_moved, held[1]);
    assert_eq!(cores[1].counters.connections_moved, 0);
    everybody_is_served(&edge, &mut clients);
}

#[test]
fn without_a_bound_the_skew_stays_and_is_visible() {
    if !can_steer() {
        return;
    }
    let edge = Edge::with(1, |config| {
        steered(config);
        config.imbalance = 0;
    });
    let mut clients = clients(&edge, 300);
    let cores = settled(&edge, 300);
    assert_eq!(imbalance(&cores), 2.0, "all on one of two cores");
    assert_eq!(cores[0].counters.connections_moved, 0);
    everybody_is_served(&edge, &mut clients);
}

#[test]
fn a_full_core_gives_its_connections_to_one_with_room_and_a_full_gateway_keeps_them_waiting() {
    const SLOTS: usize = 40;
    if !can_steer() {
        return;
    }
    let edge = Edge::with(1, |config| {
        steered(config);
        config.ring.connections = SLOTS as u32;
    });
    // Some slots are kept for the link.
    let room = 2 * (SLOTS - 8);
    let mut served = clients(&edge, room);
    assert!(settled(&edge, room)[1].counters.accepted > 0);
    everybody_is_served(&edge, &mut served);
    // So many that both cores are full: what has no place waits, and is served as others leave.
    let (cpu, address) = (affinity::available().unwrap()[0], edge.gateway().local_addr());
    let mut waiting: Vec<TcpStream> = (0..40).map(|_| connected(cpu, address)).collect();
    for stream in waiting.drain(..) {
        served.pop();
        served.pop();
        let mut client = Client::over(stream, "", None);
        client.connect_with("").unwrap();
        everybody_is_served(&edge, &mut [client]);
    }
}

#[test]
fn a_core_that_stands_still_is_given_what_its_mailbox_holds_and_no_connection_is_lost() {
    const MAILBOX: usize = 64;
    if !can_steer() {
        return;
    }
    let edge = Edge::with(2, |config| {
        steered(config);
        config.ring.mailbox = MAILBOX;
    });
    let mut scout = edge.client();
    let chats = chats_of_both(&edge, &mut scout);
    let resume = stall(edge.gateway(), &chats[1]);
    let (cpu, address) = (affinity::available().unwrap()[0], edge.gateway().local_addr());
    let mut streams: Vec<TcpStream> = (0..CLIENTS).map(|_| connected(cpu, address)).collect();
    let stats = edge.gateway().stats();
    let first = || stats.snapshot().swap_remove(0);
    wait_until("all are placed", || {
        let core = first();
        core.gauges.connections + core.counters.connections_moved >= CLIENTS as u64
    });
    let moved = first().counters.connections_moved;
    assert!((1..=MAILBOX as u64).contains(&moved), "{moved}");
    // The core that accepted them serves those that it kept.
    let mut kept = Client::over(streams.remove(0), "", None);
    kept.connect_with("").unwrap();
    kept.subscribe(&chats[0]);
    kept.publish(&chats[0], "1").unwrap();
    kept.read_to(&chats[0], 1);
    drop(resume);
    let mut served: Vec<Client> = streams.into_iter().map(|stream| Client::over(stream, "", None)).collect();
    for client in &mut served {
        client.connect_with("").unwrap();
        client.subscribe(&chats[0]);
    }
    kept.publish(&chats[0], "2").unwrap();
    served.iter_mut().for_each(|client| client.read_to(&chats[0], 2));
    settled(&edge, CLIENTS + 1);
}

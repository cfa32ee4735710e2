//! Claim: a process that has run out of descriptors neither spins nor falls over; those who are connected notice nothing, and as soon as
//! somebody leaves others get in.

use std::time::{Duration, Instant};

use corecast_hostile::client::{Client, PATH, upgrade_request};
use corecast_hostile::http::{self, Response};
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;
use corecast_hostile::{PATIENCE, eventually};

const DESCRIPTORS: u32 = 200;
const ATTACKERS: usize = 400;
/// A loop that spins uses a whole CPU; the control client and the attack itself need a little.
const CPU_SHARE_MAX: f64 = 0.2;
/// How long the CPU is watched.
const WATCH: Duration = Duration::from_secs(2);
/// Long deadlines: attackers are to stay.
const CONFIG: &str = "[timing]\nhandshake = \"60s\"\nconnect = \"60s\"\n[admin]\ntimeout = \"60s\"\n";

#[test]
fn more_clients_than_descriptors() {
    let stage = Stage::with_descriptors(CONFIG, DESCRIPTORS);
    let mut friend = Client::live(stage.websocket());
    let mut attackers = knock(&stage, ATTACKERS);
    // Those who find no room wait in the accept queue, or are refused; nobody hangs the others.
    let served = served(&mut attackers);
    assert!(served >= 100, "{served} of {ATTACKERS} got an answer with {DESCRIPTORS} descriptors");
    assert!(served < ATTACKERS, "{ATTACKERS} connections with {DESCRIPTORS} descriptors: the limit does not bite");
    let share = stage.process().cpu_share(WATCH);
    println!("{served} of {ATTACKERS} served, {share:.3} of a CPU while full");
    assert!(share < CPU_SHARE_MAX, "{share:.2} of a CPU while nothing can be accepted");
    works(&mut friend, "while full");

    // Half of those who were served leave: others get in, without a new attempt.
    let (mut waiting, mut kept): (Vec<_>, Vec<_>) = attackers.into_iter().partition(|socket| socket.input.is_empty());
    kept.truncate(served / 2);
    eventually("those who waited get in", PATIENCE, || self::served(&mut waiting) >= served / 4);
    works(&mut friend, "while others get in");
    drop((waiting, kept));
    let (process, websocket) = (stage.process(), stage.websocket());
    eventually("all attackers are gone", PATIENCE, || process.connections(websocket) == 2);
    works(&mut Client::live(stage.websocket()), "a newcomer afterwards");
    works(&mut friend, "afterwards");
    stage.finish();
}

/// All at once: the kernel hands over more connections in one go than there are descriptors for them, and fewer find a slot.
#[test]
fn a_burst_of_more_clients_than_descriptors() {
    let stage = Stage::with_descriptors(CONFIG, DESCRIPTORS);
    let process = stage.process();
    let mut friend = Client::live(stage.websocket());
    process.signal("STOP");
    let mut attackers = knock(&stage, ATTACKERS);
    process.signal("CONT");
    eventually("some are served", PATIENCE, || served(&mut attackers) >= 100);
    let share = process.cpu_share(WATCH);
    println!("{share:.3} of a CPU while full after a burst");
    assert!(share < CPU_SHARE_MAX, "{share:.2} of a CPU while nothing can be accepted");
    works(&mut friend, "while full");
    drop(attackers);
    let websocket = stage.websocket();
    eventually("all attackers are gone", PATIENCE, || process.connections(websocket) == 2);
    works(&mut Client::live(stage.websocket()), "a newcomer afterwards");
    works(&mut friend, "afterwards");
    stage.finish();
}

#[test]
fn no_descriptor_left_to_accept_with() {
    let stage = Stage::with_descriptors(CONFIG, DESCRIPTORS);
    let process = stage.process();
    let baseline = process.descriptors();
    let mut friend = Client::live(stage.websocket());
    // Connections of the admin port are ordinary descriptors: unlike registered ones they use the process's table up.
    // Not more than its accept queue takes beside them.
    let attackers = DESCRIPTORS + 50;
    let attackers: Vec<Socket> = (0..attackers).map(|_| Socket::connect(stage.admin()).expect("connect")).collect();
    eventually("the table of descriptors is full", PATIENCE, || process.descriptors() >= DESCRIPTORS as usize - 1);
    // Somebody who wants in must not drive the accept loop mad either.
    let mut newcomers = knock(&stage, 20);
    let share = process.cpu_share(WATCH);
    println!("{share:.3} of a CPU without a descriptor, {} newcomers served", served(&mut newcomers));
    assert!(share < CPU_SHARE_MAX, "{share:.2} of a CPU while nothing can be accepted");
    works(&mut friend, "without a descriptor");

    drop(attackers);
    let begin = Instant::now();
    for mut socket in newcomers {
        // Refused or upgraded, but answered: nobody who was let in by the kernel is forgotten.
        if let Some(response) = Response::read(&mut socket, PATIENCE) {
            assert!([101, 503].contains(&response.status), "{response:?}");
        }
    }
    println!("newcomers were answered {:?} after descriptors came free", begin.elapsed());
    works(&mut Client::live(stage.websocket()), "a newcomer afterwards");
    works(&mut friend, "afterwards");
    eventually("as many descriptors as before", PATIENCE, || process.descriptors() == baseline);
    assert_eq!(http::get(stage.admin(), "/healthz").status, 200);
    stage.finish();
}

/// So many who ask for an upgrade, and have not read the answer.
fn knock(stage: &Stage, count: usize) -> Vec<Socket> {
    let one = |_| {
        let mut socket = Socket::connect(stage.websocket()).expect("the kernel accepts");
        socket.send(upgrade_request(PATH, "").as_bytes()).expect("send");
        socket
    };
    (0..count).map(one).collect()
}

/// How many got an answer by the time that no more come.
fn served(sockets: &mut [Socket]) -> usize {
    let answered = |sockets: &mut [Socket]| {
        sockets.iter_mut().for_each(|socket| {
            socket.receive(Duration::ZERO);
        });
        sockets.iter().filter(|socket| !socket.input.is_empty()).count()
    };
    let (mut before, begin) = (usize::MAX, Instant::now());
    loop {
        let now = answered(sockets);
        if now == before || begin.elapsed() > PATIENCE {
            return now;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn works(client: &mut Client, when: &str) {
    let reply = client.ask(r#"{"id":7,"publish":{"channel":"friends","data":1}}"#);
    assert!(reply.get("error").is_none(), "{when}: {reply}");
}

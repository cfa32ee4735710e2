//! Claim: one core's stall never stops another. Its own members get everything afterwards, or are told that they were cut.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use corecast_gateway::Gateway;
use corecast_gateway::control::PresenceStats;

use crate::client::{Client, In};
use crate::{Edge, PATIENCE, wait_until};

/// Messages that fill the mailbox of 64 many times over, but not what is kept beyond it.
const FEW: usize = 2_000;
/// More than is kept for a core that takes no mail.
const MANY: usize = 20_000;

/// Two cores, each with the link of one router, and small mailboxes.
fn edge() -> Edge {
    Edge::with(2, |config| {
        config.cores = 2;
        config.ring.mailbox = 64;
        config.limits.recent_messages = 2 * MANY;
    })
}

/// A chat of each core: one whose link that core owns.
pub(crate) fn chats_of_both(edge: &Edge, scout: &mut Client) -> [String; 2] {
    [0, 1].map(|core| {
        let is_of = |chat: &String| {
            let subscribes = || edge.routers[core].seen().subscribes;
            let before = subscribes();
            scout.subscribe(chat);
            subscribes() > before
        };
        (0..).map(|n| format!("of:{core}:{n}")).find(is_of).unwrap()
    })
}

/// Stops a core where it stands, until what this returns is dropped: an answer of the server API is handed out on the
/// thread of the core that owns the chat, and this one's receiver does what it must not, it waits.
pub(crate) fn stall(gateway: &Gateway, chat: &str) -> mpsc::Sender<()> {
    let (resume, stalled) = mpsc::channel::<()>();
    let (report, begun) = mpsc::channel();
    let wait = move |_: Result<PresenceStats, _>| {
        report.send(()).unwrap();
        let _ = stalled.recv();
    };
    gateway.control().presence_stats(chat.to_owned(), Box::new(wait));
    begun.recv_timeout(PATIENCE).unwrap();
    resume
}

/// Clients by the core that serves them, at least two each, where `others` have connected before.
fn clients_of_both(edge: &Edge, others: u64) -> [Vec<Client>; 2] {
    let mut clients = [Vec::new(), Vec::new()];
    let stats = edge.gateway().stats();
    let connects = || [0, 1].map(|core: usize| stats.snapshot()[core].counters.connects);
    let mut made = others;
    let counted = |made: u64| {
        wait_until("the client is counted", || connects().iter().sum::<u64>() == made);
        connects()
    };
    while clients.iter().any(|of| of.len() < 2) {
        let before = counted(made);
        let client = edge.client();
        made += 1;
        clients[usize::from(counted(made)[1] > before[1])].push(client);
    }
    clients
}

/// What the members of a core that runs can do, whatever the other core does.
fn goes_on(edge: &Edge, here: &mut [Client], chat: &str, rounds: usize) {
    let before = edge.routers[0].position(chat).offset;
    let began = Instant::now();
    for round in 0..rounds {
        let publisher = round % here.len();
        here[publisher].publish(chat, "1").unwrap();
        for client in here.iter_mut() {
            read(client, chat, before + round as u64 + 1);
        }
    }
    let each = began.elapsed() / u32::try_from(rounds).unwrap();
    assert!(each < Duration::from_secs(1), "{each:?} for a publish and its delivery");
}

struct Stalled {
    edge: Edge,
    here: Vec<Client>,
    there: Vec<Client>,
    /// Chats whose links belong to the core that runs and to the one that stands.
    chats: [String; 2],
    resume: mpsc::Sender<()>,
}

/// Everybody is in both chats, and core 1 stands.
fn stalled() -> Stalled {
    let edge = edge();
    let mut scout = edge.client();
    let chats = chats_of_both(&edge, &mut scout);
    let [mut here, mut there] = clients_of_both(&edge, 1);
    for client in here.iter_mut().chain(&mut there) {
        chats.iter().for_each(|chat| drop(client.subscribe(chat)));
    }
    let resume = stall(edge.gateway(), &chats[1]);
    Stalled { edge, here, there, chats, resume }
}

#[test]
fn members_of_the_other_core_go_on_and_those_of_the_stalled_one_miss_nothing() {
    let Stalled { edge, mut here, mut there, chats, resume } = stalled();
    goes_on(&edge, &mut here, &chats[0], 20);
    // Far more than the stalled core's mailbox holds, and updates on its own link as well.
    edge.routers[0].publish_all(&chats[0], (0..FEW).map(|n| n.to_string()));
    edge.routers[1].publish_all(&chats[1], (0..100).map(|n| n.to_string()));
    let top = edge.routers[0].position(&chats[0]).offset;
    here.iter_mut().for_each(|client| read(client, &chats[0], top));
    // Its mailbox is full: requests to the stalled core are answered or wait, and hold nobody up.
    for client in &mut here {
        for _ in 0..100 {
            client.send([crate::client::publication(&chats[1], "1")]);
        }
    }
    goes_on(&edge, &mut here, &chats[0], 20);
    assert!(edge.counted("mailbox_full", 1) > 0);
    drop(resume);
    let top = edge.routers[0].position(&chats[0]).offset;
    for client in here.iter_mut().chain(&mut there) {
        read(client, &chats[0], top);
        // The link of the stalled core may have been given up as silent: then its members know.
        read_or_cut(client, &chats[1], 100);
    }
    assert_eq!(edge.counted("mailbox_lost", 0), 0);
}

/// Reads a chat to an offset; the client checks contiguity. Answers to earlier publishes may come in between, and the end
/// of another chat.
fn read(client: &mut Client, chat: &str, offset: u64) {
    read_or_cut(client, chat, offset);
    assert!(client.positions.contains_key(chat), "cut from {chat}");
}

/// The same for a chat that may end.
fn read_or_cut(client: &mut Client, chat: &str, offset: u64) {
    while client.positions.get(chat).is_some_and(|position| *position < offset) {
        match client.next() {
            In::Push(..) | In::Reply(_) | In::Unsubscribed(_, 2500) => {}
            other => panic!("{other:?} while reading {chat} to {offset}"),
        }
    }
}

#[test]
fn members_of_a_core_that_stalls_for_too_long_are_told_that_they_were_cut() {
    let Stalled { edge, mut here, mut there, chats, resume } = stalled();
    let chat = &chats[0];
    for _ in 0..MANY / 500 {
        edge.routers[0].publish_all(chat, (0..500).map(|n| n.to_string()));
        let top = edge.routers[0].position(chat).offset;
        here.iter_mut().for_each(|client| read(client, chat, top));
    }
    goes_on(&edge, &mut here, chat, 20);
    edge.counted("mailbox_lost", 1);
    drop(resume);
    there.iter_mut().for_each(|client| read_or_cut(client, chat, u64::MAX));
    let top = edge.routers[0].publish(chat, "1").offset;
    here.iter_mut().for_each(|client| read(client, chat, top));
    for client in &mut there {
        // Cut once more perhaps: first because so much waited for them at once, then because some of it was lost.
        while client.positions.get(chat).is_none_or(|position| *position < top) {
            if !client.positions.contains_key(chat) {
                client.subscribe(chat);
            }
            read_or_cut(client, chat, top);
        }
    }
}

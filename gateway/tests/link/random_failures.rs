//! Whatever happens to the link, `Joined` is followed by offset + 1, + 2, … or by one end; and afterwards all is well.
//!
//! Must never be deleted: it is the test of the promise that members see contiguous runs of offsets.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast_gateway::link::{CoreId, Link, LinkAction, LinkLimits, LocalChat, Publish};
use corecast_wire::Position;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cores::Cores;
use crate::harness::{CORES, chat, config};
use crate::script::{Fault, Router};

const CHATS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Publish(usize, Fault),
    DrainLag,
    Trim(usize, u64),
    End(usize),
    Restart,
    Cut,
    /// The connection breaks when this many bytes more have come through.
    CutAfter(usize),
    Mute(bool),
    RefuseHistory(bool),
    RefusePublishes(bool),
    Page(usize),
    Join(CoreId, usize, Option<u64>),
    Leave(CoreId, usize),
    Ask(CoreId, usize),
    ToGateway(usize),
    ToRouter(usize),
    PollEvents(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let chat = 0..CHATS.len();
    let fault = prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Drop),
        1 => Just(Fault::Repeat),
        2 => Just(Fault::Withhold)
    ];
    let step = prop_oneof![
        12 => (chat.clone(), fault).prop_map(|(chat, fault)| Step::Publish(chat, fault)),
        3 => Just(Step::DrainLag),
        1 => (chat.clone(), 0..6_u64).prop_map(|(chat, keep)| Step::Trim(chat, keep)),
        1 => chat.clone().prop_map(Step::End),
        1 => Just(Step::Restart),
        1 => Just(Step::Cut),
        1 => (0..400_usize).prop_map(Step::CutAfter),
        1 => any::<bool>().prop_map(Step::Mute),
        1 => any::<bool>().prop_map(Step::RefuseHistory),
        1 => any::<bool>().prop_map(Step::RefusePublishes),
        1 => (1..5_usize).prop_map(Step::Page),
        5 => (0..CORES, chat.clone(), proptest::option::weighted(0.2, 0..8_u64))
            .prop_map(|(core, chat, resume)| Step::Join(core, chat, resume)),
        3 => (0..CORES, chat.clone()).prop_map(|(core, chat)| Step::Leave(core, chat)),
        2 => (0..CORES, chat).prop_map(|(core, chat)| Step::Ask(core, chat)),
        8 => (1..500_usize).prop_map(Step::ToGateway),
        6 => (1..10_usize).prop_map(Step::ToRouter),
        6 => (1..30_usize).prop_map(Step::PollEvents),
        4 => prop_oneof![0..50_u64, 0..1_500_u64, 0..6_000_u64].prop_map(Step::Pass),
    ];
    vec(step, 1..250)
}

struct World {
    link: Link<u32>,
    router: Router,
    cores: Cores,
    now: Instant,
    frames: Vec<Bytes>,
    is_connecting: bool,
    publishes: u32,
}

impl World {
    fn new(seed: u8, linger: Duration) -> Self {
        let now = Instant::now();
        let limits = LinkLimits { linger, ..LinkLimits::default() };
        let router = Router::new(3);
        let link = Link::new(config(limits), now, [seed; 32]);
        let (cores, frames) = (Cores::default(), Vec::new());
        Self { link, router, cores, now, frames, is_connecting: false, publishes: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish(chat, fault) => self.router.publish(CHATS[chat], fault),
            Step::DrainLag => self.router.drain_lag(),
            Step::Trim(chat, keep) => self.router.trim(CHATS[chat], keep),
            Step::End(chat) => self.router.end(CHATS[chat]),
            Step::Restart => {
                self.cut();
                self.router.restart();
            }
            Step::Cut => self.cut(),
            Step::CutAfter(bytes) => {
                self.carry_inbound(bytes);
                self.cut();
            }
            Step::Mute(on) => self.router.mute(on),
            Step::RefuseHistory(on) => self.router.refuses_history = on,
            Step::RefusePublishes(on) => self.router.refuses_publishes = on,
            Step::Page(size) => self.router.page = size,
            Step::Join(core, index, resume) => {
                let epoch = self.router.chat(CHATS[index]).epoch;
                self.join(core, CHATS[index], resume.map(|offset| Position { epoch, offset }));
            }
            Step::Leave(core, index) => {
                if let Some(local) = self.cores.leave(core, CHATS[index]) {
                    self.link.leave(core, local, self.now);
                }
            }
            Step::Ask(core, index) => self.publish(core, CHATS[index]),
            Step::ToGateway(bytes) => self.carry_inbound(bytes),
            Step::ToRouter(frames) => self.carry_outbound(frames),
            Step::PollEvents(count) => self.poll_events(count),
            Step::Pass(ms) => self.pass(Duration::from_millis(ms)),
        }
    }

    fn join(&mut self, core: CoreId, name: &str, resume: Option<Position>) {
        if let Some(local) = self.cores.join(core, name) {
            self.link.join(&chat(name), core, local, resume, 2, self.now);
        }
    }

    fn publish(&mut self, core: CoreId, name: &str) {
        self.publishes += 1;
        let payload = format!("publish {}", self.publishes);
        let publish = Publish { chat: chat(name), key: None, payload: payload.clone().into() };
        if self.link.publish(publish, core, self.publishes, self.now).is_ok() {
            self.cores.publishes.insert(self.publishes, payload);
        } else {
            self.cores.undone.push(payload);
        }
    }

    fn cut(&mut self) {
        if self.router.is_connected() {
            self.router.cut();
            self.frames.clear();
            self.link.handle_disconnected(self.now);
        }
    }

    fn carry_inbound(&mut self, bytes: usize) {
        let chunk = self.router.bytes(bytes);
        for part in chunk.chunks(97) {
            self.link.handle_received(part, self.now).expect("the router keeps the protocol");
        }
        self.act();
    }

    fn carry_outbound(&mut self, frames: usize) {
        while self.frames.len() < frames
            && let Some(frame) = self.link.poll_transmit(self.now)
        {
            self.frames.push(frame);
        }
        for frame in self.frames.drain(..) {
            self.router.receive(frame);
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.link.poll_action() {
            match action {
                LinkAction::Connect => self.is_connecting = true,
                LinkAction::Disconnect => {
                    self.is_connecting = false;
                    self.router.cut();
                    self.frames.clear();
                }
            }
        }
    }

    fn poll_events(&mut self, count: usize) {
        for _ in 0..count {
            let Some((core, event)) = self.link.poll_event() else { break };
            self.cores.check(core, event);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.act();
        while let Some(next) = self.link.next_timeout()
            && next <= end
        {
            self.now = self.now.max(next);
            self.link.handle_timeout(self.now);
            self.act();
            let after = self.link.next_timeout();
            assert!(after.is_none_or(|after| after > self.now), "a timer that does not go off");
        }
        self.now = end;
        if std::mem::take(&mut self.is_connecting) {
            self.router.connect();
            self.link.handle_connected(self.now);
        }
    }

    /// Lets everything work for a while.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.pass(Duration::from_millis(20));
            self.carry_outbound(usize::MAX);
            self.carry_inbound(usize::MAX);
            self.poll_events(usize::MAX);
        }
    }

    /// Without faults everybody gets to the top, and every question an answer.
    fn heal(&mut self) {
        self.router.mute(false);
        self.router.refuses_history = false;
        self.router.refuses_publishes = false;
        self.settle();
        for name in CHATS {
            for core in 0..CORES {
                self.join(core, name, None);
            }
        }
        self.router.drain_lag();
        for name in CHATS {
            self.router.publish(name, Fault::None); // shows what was dropped before
        }
        self.settle();
        assert_eq!(self.link.open_requests(), 0);
        assert!(self.cores.publishes.is_empty());
        for payload in &self.cores.undone {
            assert!(!self.router.published.contains(payload.as_bytes()), "{payload} happened after all");
        }
        for payload in &self.cores.done {
            assert!(self.router.published.contains(payload.as_bytes()), "{payload} did not happen");
        }
        // Whoever misses something that is lost was reset in the last round; all others are at the top.
        for (&(core, _), join) in &self.cores.joins {
            let (epoch, offset) = (self.router.chat(&join.chat).epoch, self.router.chat(&join.chat).top);
            assert_eq!(join.position, Some(Position { epoch, offset }), "core {core}, {}", join.chat);
        }
    }
}

proptest! {
    #[test]
    fn contiguous_or_ended(steps in steps(), seed: u8, lingers: bool) {
        let mut world = World::new(seed, if lingers { Duration::from_secs(3) } else { Duration::ZERO });
        for step in &steps {
            world.step(step);
        }
        world.heal();
    }
}

#[test]
fn the_checker_notices_what_it_is_there_for() {
    let update = |offset| corecast_gateway::link::FromLink::Update {
        local: LocalChat(0),
        offset,
        time_ms: 0,
        payload: crate::script::payload("a", 1, offset),
    };
    let joined = || {
        let mut cores = Cores::default();
        cores.join(0, "a");
        cores.check(
            0,
            corecast_gateway::link::FromLink::Joined {
                local: LocalChat(0),
                position: Position { epoch: 1, offset: 4 },
                top: 4,
                oldest: 1,
                outcome: corecast_wire::message::SubscribeOutcome::Fresh,
            },
        );
        cores.check(0, update(5));
        cores
    };
    for offset in [4, 5, 7] {
        let outcome = std::panic::catch_unwind(|| joined().check(0, update(offset)));
        assert!(outcome.is_err(), "offset {offset} behind 5");
    }
    joined().check(0, update(6));
}

//! The link machine of a gateway: from the bytes of a chunk to an update for each core with members. And the way of these
//! updates through a mailbox.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use corecast_gateway::link::{FromLink, Link, LinkAction, LinkConfig, LinkLimits, LinkState, LocalChat};
use corecast_ring::mailbox::mesh;
use corecast_wire::auth::challenge_parts;
use corecast_wire::message::{SubscribeOutcome, Subscribed, Welcome};
use corecast_wire::{ChatName, Features, FrameDecoder, FrameEncoder, Messages, Text, ToGateway, ToRouter};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{BATCH, HotPath, Operation, UNIX_MS, chat, payload, wire};

/// Stands for the gateway's own note of who asked, which is as large.
pub(crate) type Origin = (u64, u32);

/// Cores with members of every chat, in the wider path.
const CORES: u16 = 4;

pub(super) fn paths() -> Vec<HotPath> {
    let path = |name, prepare, each| HotPath { name, prepare, each, warm_up: 20, operations: 500 };
    vec![
        path("link: 1 update to 1 core", |operations| receive(operations, 1, 1), 1),
        path("link: 64 updates to 1 core", |operations| receive(operations, BATCH, 1), BATCH),
        path("link: 64 updates to 4 cores", |operations| receive(operations, BATCH, CORES), BATCH * CORES as usize),
        path("mailbox: 64 updates to another core", |_| hand_over(), BATCH),
    ]
}

/// One operation: one frame with an update of each of `batch` chats.
fn receive(operations: usize, batch: usize, cores: u16) -> Result<Operation> {
    let mut linked = Linked::new(batch, cores)?;
    let chunks = (1..=operations).map(|offset| wire::updates(batch, offset as u64)).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |index| {
        let mut delivered = 0;
        linked.receive(&chunks[index], |_, event| delivered += usize::from(matches!(event, FromLink::Update { .. })));
        delivered
    }))
}

/// One operation: all updates of a batch go into the mailbox, and are taken out.
fn hand_over() -> Result<Operation> {
    let mut cores = mesh::<FromLink<Origin>>(2, 4_096);
    let mut there = cores.pop().context("a core")?;
    let mut here = cores.pop().context("a core")?;
    let payload = bytes::Bytes::from(payload(0));
    Ok(Box::new(move |index| {
        for local in 0..BATCH {
            let payload = payload.clone();
            let update =
                FromLink::Update { local: LocalChat(local as u32), offset: index as u64, time_ms: UNIX_MS, payload };
            if here.send(1, update).is_err() {
                return 0;
            }
        }
        let mut taken = 0;
        while let Some(mail) = there.receive() {
            black_box(mail);
            taken += 1;
        }
        taken
    }))
}

/// A link that is up, with the chats of the handles from 0 joined on every core under the same local index.
pub(crate) struct Linked {
    link: Link<Origin>,
    now: Instant,
}

impl Linked {
    pub(crate) fn new(chats: usize, cores: u16) -> Result<Self> {
        let now = Instant::now();
        let config = LinkConfig {
            node: Text::from_static("gateway"),
            node_incarnation: 1,
            secret: Vec::new(),
            slots: 1_024,
            topology: 1,
            endpoint_index: 0,
            cores,
            limits: LinkLimits::default(),
        };
        let mut linked = Self { link: Link::new(config, now, [5; 32]), now };
        linked.shake_hands()?;
        linked.join(chats, cores)?;
        Ok(linked)
    }

    /// Takes a chunk in and passes on what it holds for cores.
    pub(crate) fn receive(&mut self, chunk: &[u8], mut event: impl FnMut(u16, FromLink<Origin>)) {
        // An error ends the link, so that nothing comes out any more, which the count of updates shows.
        let _ = self.link.handle_received(chunk, self.now);
        while let Some((core, what)) = self.link.poll_event() {
            event(core, what);
        }
    }

    fn shake_hands(&mut self) -> Result<()> {
        ensure!(self.link.poll_action() == Some(LinkAction::Connect), "the link does not connect");
        self.link.handle_connected(self.now);
        let hello = self.sent()?;
        let [ToRouter::Hello(hello)] = &hello[..] else { anyhow::bail!("no hello: {hello:?}") };
        let nonce = [9; 16];
        let mut mac = Hmac::<Sha256>::new_from_slice(&[])?;
        challenge_parts(&hello.nonce, &nonce).iter().for_each(|part| mac.update(part));
        self.say(&[ToGateway::Challenge { nonce, mac: mac.finalize().into_bytes().into() }])?;
        ensure!(matches!(self.sent()?[..], [ToRouter::Proof { .. }]), "no proof");
        self.say(&[ToGateway::Welcome(Welcome {
            version: 1,
            features: Features::NONE,
            router_incarnation: 1,
            heartbeat_ms: 1_000,
            payload_bytes_max: 1 << 18,
            requests_max: 1_000,
        })])?;
        ensure!(self.link.state() == LinkState::Up, "the link is not up");
        Ok(())
    }

    fn join(&mut self, chats: usize, cores: u16) -> Result<()> {
        for number in 0..chats {
            let name = ChatName::new(&chat(number))?;
            for core in 0..cores {
                self.link.join(&name, core, LocalChat(u32::try_from(number)?), None, 0, self.now);
            }
        }
        let mut joined = 0;
        loop {
            let asked = self.sent()?;
            if asked.is_empty() {
                break;
            }
            let mut answers = Vec::new();
            for message in asked {
                // Member counts, heartbeats.
                let ToRouter::Subscribe(subscribe) = message else { continue };
                // Handles are the link's choice; everything here relies on the obvious one.
                ensure!(subscribe.chat.as_str() == chat(subscribe.handle as usize), "handles are not in order");
                answers.push(ToGateway::Subscribed(Subscribed {
                    handle: subscribe.handle,
                    epoch: 1,
                    offset: 0,
                    start: 0,
                    oldest: 1,
                    outcome: SubscribeOutcome::Fresh,
                }));
            }
            self.say(&answers)?;
            while let Some((_, event)) = self.link.poll_event() {
                joined += usize::from(matches!(event, FromLink::Joined { .. }));
            }
        }
        ensure!(joined == chats * usize::from(cores), "{joined} joins of {chats} chats on {cores} cores");
        Ok(())
    }

    /// What the router has been sent.
    fn sent(&mut self) -> Result<Vec<ToRouter>> {
        let mut decoder = FrameDecoder::new();
        while let Some(frame) = self.link.poll_transmit(self.now) {
            decoder.feed_shared(frame);
        }
        let mut messages = Vec::new();
        while let Some(body) = decoder.next_body()? {
            messages.extend(Messages::<ToRouter>::new(body).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(messages)
    }

    fn say(&mut self, messages: &[ToGateway]) -> Result<()> {
        let mut encoder = FrameEncoder::new();
        messages.iter().try_for_each(|message| encoder.push(message))?;
        while let Some(frame) = encoder.take() {
            self.link.handle_received(&frame, self.now)?;
        }
        Ok(())
    }
}

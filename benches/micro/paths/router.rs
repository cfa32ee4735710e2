//! A router core, from the bytes of publishes to the bytes of their updates and acknowledgements.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use corecast_router::core::{CoreConfig, LinkId, Now, RouterCore};
use corecast_router::log::MemoryLog;
use corecast_wire::auth::proof_parts;
use corecast_wire::message::{Hello, Publish, Subscribe};
use corecast_wire::version::SUPPORTED;
use corecast_wire::{ChatName, Features, FrameDecoder, FrameEncoder, Messages, Text, ToGateway, ToRouter};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{BATCH, HotPath, Operation, UNIX_MS, chat, payload};

/// Gateways that have members of every chat, in the wider path.
const GATEWAYS: usize = 10;
const NONCE: [u8; 16] = [7; 16];

pub(super) fn paths() -> Vec<HotPath> {
    let path = |name, prepare, each| HotPath { name, prepare, each, warm_up: 50, operations: 250 };
    vec![
        path("router: 1 publish to 1 update", |operations| publish(operations, 1, 1), 1),
        path(
            "router: 64 publishes to 640 updates for 10 gateways",
            |operations| publish(operations, BATCH, GATEWAYS),
            GATEWAYS,
        ),
    ]
}

/// One operation is one turn: a frame with a publish to each of `batch` chats comes in on the link of one gateway, and
/// what all `gateways` are sent is taken out. Returns how many links were sent something.
fn publish(operations: usize, batch: usize, gateways: usize) -> Result<Operation> {
    let mut router = Router::new()?;
    let links = (0..gateways).map(|number| router.link(number)).collect::<Result<Vec<_>>>()?;
    let names = (0..batch).map(|number| ChatName::new(&chat(number))).collect::<Result<Vec<_>, _>>()?;
    for link in &links {
        let subscribe = |(handle, chat): (usize, &ChatName)| {
            ToRouter::Subscribe(Subscribe { handle: handle as u32, chat: chat.clone(), resume: None, want: 0 })
        };
        let answers = router.say(*link, &names.iter().enumerate().map(subscribe).collect::<Vec<_>>())?;
        ensure!(answers.iter().all(|answer| matches!(answer, ToGateway::Subscribed(_))), "not subscribed: {answers:?}");
    }
    let chunks = (0..operations).map(|turn| {
        let publish = |(number, chat): (usize, &ChatName)| {
            let request = (turn * batch + number) as u64 + 1;
            ToRouter::Publish(Publish { request, chat: chat.clone(), key: None, payload: payload(number).into() })
        };
        encode(&names.iter().enumerate().map(publish).collect::<Vec<_>>())
    });
    let chunks = chunks.collect::<Result<Vec<_>>>()?;
    let mut frames = Vec::new();
    Ok(Box::new(move |turn| {
        router.core.handle_received(links[0], &chunks[turn], router.now);
        router.core.flush(router.now);
        let mut sent = 0;
        while let Some(link) = router.core.poll_transmit() {
            router.core.take_frames(link, &mut frames, router.now);
            sent += usize::from(!frames.is_empty());
            black_box(&frames);
            frames.clear();
        }
        sent
    }))
}

struct Router {
    core: RouterCore<MemoryLog>,
    now: Now,
}

impl Router {
    fn new() -> Result<Self> {
        let now = Now { instant: Instant::now(), unix_ms: UNIX_MS };
        Ok(Self { core: RouterCore::new(CoreConfig::new(1), MemoryLog::new())?, now })
    }

    /// The handshake of a gateway, with an empty secret.
    fn link(&mut self, number: usize) -> Result<LinkId> {
        let link = self.core.handle_accepted([9; 16], self.now).context("no room for a gateway")?;
        let hello = Hello {
            versions: SUPPORTED,
            features: Features::NONE,
            node: Text::truncated(&format!("gateway-{number}")),
            node_incarnation: 1,
            slots: CoreConfig::new(1).slots,
            topology: 1,
            endpoint_index: 0,
            nonce: NONCE,
        };
        let challenge = self.say(link, &[ToRouter::Hello(hello)])?;
        let [ToGateway::Challenge { nonce, .. }] = challenge[..] else { anyhow::bail!("no challenge: {challenge:?}") };
        let mut mac = Hmac::<Sha256>::new_from_slice(&[])?;
        proof_parts(&NONCE, &nonce).iter().for_each(|part| mac.update(part));
        let welcome = self.say(link, &[ToRouter::Proof { mac: mac.finalize().into_bytes().into() }])?;
        ensure!(matches!(welcome[..], [ToGateway::Welcome(_)]), "no welcome: {welcome:?}");
        Ok(link)
    }

    /// What the core answers on that link.
    fn say(&mut self, link: LinkId, messages: &[ToRouter]) -> Result<Vec<ToGateway>> {
        self.core.handle_received(link, &encode(messages)?, self.now);
        self.core.flush(self.now);
        let mut decoder = FrameDecoder::new();
        let mut frames: Vec<Bytes> = Vec::new();
        while let Some(link) = self.core.poll_transmit() {
            self.core.take_frames(link, &mut frames, self.now);
        }
        frames.into_iter().for_each(|frame| decoder.feed_shared(frame));
        let mut answers = Vec::new();
        while let Some(body) = decoder.next_body()? {
            answers.extend(Messages::<ToGateway>::new(body).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(answers)
    }
}

fn encode(messages: &[ToRouter]) -> Result<Vec<u8>> {
    let mut encoder = FrameEncoder::new();
    for message in messages {
        encoder.push(message)?;
    }
    let mut chunk = Vec::new();
    while let Some(frame) = encoder.take() {
        chunk.extend_from_slice(&frame);
    }
    Ok(chunk)
}

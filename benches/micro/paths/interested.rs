//! A core with members: from an update to the frames and members that are handed to the ring.
//!
//! The state machines are the gateway's. What its driver does between them (`core/membership.rs`, `core/delivery.rs`) is
//! done here as well, but for counters and error paths.

use std::hint::black_box;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use corecast_centrifuge::Encoding;
use corecast_gateway::config::{
    COALESCE_BYTES, COALESCE_FRAMES, RECENT_BYTES, RECENT_MESSAGES, RECENT_TOTAL, SLICE_SENDS, TURN_SENDS,
};
use corecast_wire::Position;

use super::{BATCH, HotPath, Operation, chat, payload};
use crate::chat::{BatchLimits, Chats, Pool, RecentLimits};
use crate::fanout::Fanout;

/// More than a chat keeps, so that each update drops the oldest one, as in a running gateway.
const WARM_UP: usize = RECENT_MESSAGES + 20;

pub(super) fn paths() -> Vec<HotPath> {
    use Encoding::{Json, Protobuf};
    let path = |name, prepare, each| HotPath { name, prepare, each, warm_up: WARM_UP, operations: 500 };
    vec![
        path("core: 64 updates of chats with 1 JSON member", |_| turn(&[Json]), BATCH),
        path("core: 64 updates of chats with 1 Protobuf member", |_| turn(&[Protobuf]), BATCH),
        path(
            "core: 64 updates of chats with 3 JSON and 2 Protobuf members",
            |_| turn(&[Json, Json, Json, Protobuf, Protobuf]),
            5 * BATCH,
        ),
    ]
}

/// One operation is one turn: an update in each of [`BATCH`] chats.
fn turn(members: &[Encoding]) -> Result<Operation> {
    let mut core = Interested::new(BATCH, members)?;
    let payload = payload(0);
    Ok(Box::new(move |index| {
        for local in 0..BATCH {
            core.update(local as u32, index as u64 + 1, &payload);
        }
        let mut sends = 0;
        core.fan_out(|frames, members| {
            black_box(frames);
            sends += black_box(members).len();
        });
        sends
    }))
}

/// The chats of one core.
pub(crate) struct Interested {
    chats: Chats<u32>,
    fanout: Fanout,
    pool: Pool,
}

impl Interested {
    /// So many live chats, each with members of these encodings.
    pub(crate) fn new(chats: usize, members: &[Encoding]) -> Result<Self> {
        let mut core =
            Self { chats: Chats::new(7), fanout: Fanout::new(SLICE_SENDS, TURN_SENDS), pool: Pool::default() };
        for number in 0..chats {
            let index = core.chats.find_or_insert(&chat(number), || 0);
            ensure!(index as usize == number, "indices are not in order");
            let chat = core.chats.get_mut(index).context("a chat just made")?;
            chat.begin_join();
            chat.handle_joined(Position { epoch: 1, offset: 0 }, 0);
            for (member, encoding) in members.iter().enumerate() {
                chat.join(u32::try_from(number * members.len() + member)?, *encoding);
            }
        }
        Ok(core)
    }

    /// The next update of a chat.
    pub(crate) fn update(&mut self, local: u32, offset: u64, payload: &[u8]) {
        let limits = RecentLimits { messages: RECENT_MESSAGES, bytes: RECENT_BYTES };
        let pool = &mut self.pool;
        let scheduled = self.chats.change(local, |chat| {
            let queued = chat.handle_update(offset, payload, limits, pool).is_ok_and(|queued| queued);
            black_box(chat.backlog());
            queued && !std::mem::replace(&mut chat.scheduled, true)
        });
        if scheduled == Some(true) {
            self.fanout.push(local);
        }
    }

    /// Whether something is left for another turn.
    pub(crate) fn has_work(&self) -> bool {
        !self.fanout.is_idle()
    }

    /// Ends a turn: gives frames and the members that are to get them to `send`.
    pub(crate) fn fan_out(&mut self, mut send: impl FnMut(&Bytes, &[u32])) {
        let limits = BatchLimits { frames: COALESCE_FRAMES, bytes: COALESCE_BYTES };
        self.fanout.begin_turn();
        while let Some((index, allowance)) = self.fanout.next() {
            let Some(chat) = self.chats.get_mut(index) else { continue };
            let mut sends = 0;
            for encoding in Encoding::ALL {
                while sends < allowance
                    && let Some(slice) = chat.next_slice(encoding, allowance - sends, limits, &mut self.pool)
                {
                    let members = chat.slice_members(&slice, encoding);
                    send(&slice.bytes, members);
                    sends += members.len();
                    if slice.ends_batch {
                        break;
                    }
                }
            }
            chat.scheduled = !chat.is_drained();
            let more = chat.scheduled;
            self.fanout.visited(index, sends, more);
        }
        self.chats.trim_recent(RECENT_TOTAL);
    }
}

//! A core with members: from an update to the frames and members that are handed to the ring.
//!
//! The gateway itself runs (`corecast_gateway::measured`), but for its driver's counters and error paths.

use std::hint::black_box;

use anyhow::{Result, ensure};
use corecast_centrifuge::Encoding;
use corecast_gateway::config::RECENT_MESSAGES;
use corecast_gateway::measured::MeasuredCore;

use super::{BATCH, HotPath, Operation, chat, payload};

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
    let mut core = core(BATCH, members)?;
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

/// A core with so many live chats, each with members of these encodings; indices ascend from 0.
pub(crate) fn core(chats: usize, members: &[Encoding]) -> Result<MeasuredCore> {
    let mut core = MeasuredCore::default();
    for number in 0..chats {
        let first = u32::try_from(number * members.len())?;
        let index = core.add_chat(&chat(number), (first..).zip(members.iter().copied()));
        ensure!(index as usize == number, "indices are not in order");
    }
    Ok(core)
}

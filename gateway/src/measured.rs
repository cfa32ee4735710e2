//! The chats and the fan-out of one core, for `benches/micro` alone: what a core with members does with an update, without
//! the ring and without sessions.
//!
//! Not part of the API: hidden from the documentation, and free to change with what it wraps. It stands here, and not in
//! the benches, so that `chat` and `fanout` stay private and are compiled once, as they are served. A public module and
//! not a cargo feature, because a feature would build the gateway a second time beside the one that users get.
//!
//! The steps between the state machines are those of `core/membership.rs` (`update`) and `core/delivery.rs` (`fan_out`),
//! but for counters and error paths: whoever changes them there changes them here.

use bytes::Bytes;
use corecast_centrifuge::Encoding;
use corecast_wire::Position;

use crate::chat::{BatchLimits, Chats, Pool, RecentLimits};
use crate::config::{
    COALESCE_BYTES, COALESCE_FRAMES, RECENT_BYTES, RECENT_MESSAGES, RECENT_TOTAL, SLICE_SENDS, TURN_SENDS,
};
use crate::fanout::Fanout;

/// Any number: the hash of chat names is the same in each run.
const SEED: u64 = 7;

/// One core's chats, whose members are mere numbers.
#[derive(Debug)]
pub struct MeasuredCore {
    chats: Chats<u32>,
    fanout: Fanout,
    pool: Pool,
}

impl Default for MeasuredCore {
    fn default() -> Self {
        Self { chats: Chats::new(SEED), fanout: Fanout::new(SLICE_SENDS, TURN_SENDS), pool: Pool::default() }
    }
}

impl MeasuredCore {
    /// Adds a live chat with these members and returns its index: 0, 1, 2, …
    pub fn add_chat(&mut self, name: &str, members: impl IntoIterator<Item = (u32, Encoding)>) -> u32 {
        let index = self.chats.find_or_insert(name, || 0);
        if let Some(chat) = self.chats.get_mut(index) {
            chat.begin_join();
            chat.handle_joined(Position { epoch: 1, offset: 0 }, 0);
            for (member, encoding) in members {
                chat.join(member, encoding);
            }
        }
        index
    }

    /// The next update of a chat; one that is out of order is not queued.
    pub fn update(&mut self, index: u32, offset: u64, payload: &[u8]) {
        let limits = RecentLimits { messages: RECENT_MESSAGES, bytes: RECENT_BYTES };
        let pool = &mut self.pool;
        let scheduled = self.chats.change(index, |chat| {
            let queued = chat.handle_update(offset, payload, limits, pool).is_ok_and(|queued| queued);
            std::hint::black_box(chat.backlog());
            queued && !std::mem::replace(&mut chat.scheduled, true)
        });
        if scheduled == Some(true) {
            self.fanout.push(index);
        }
    }

    /// Whether something is left for another turn.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.fanout.is_idle()
    }

    /// Ends a turn: gives frames and the members that are to get them to `send`.
    pub fn fan_out(&mut self, mut send: impl FnMut(&Bytes, &[u32])) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_gets_each_update_once() {
        let mut core = MeasuredCore::default();
        let members = 3 * SLICE_SENDS as u32;
        assert_eq!(core.add_chat("large", (0..members).map(|member| (member, Encoding::Json))), 0);
        assert_eq!(core.add_chat("small", [(members, Encoding::Protobuf), (members + 1, Encoding::Json)]), 1);
        core.update(0, 1, b"{}");
        core.update(1, 1, b"{}");
        core.update(1, 3, b"{}");
        let mut reached = Vec::new();
        while core.has_work() {
            core.fan_out(|_, members| reached.extend_from_slice(members));
        }
        reached.sort_unstable();
        assert_eq!(reached, (0..members + 2).collect::<Vec<_>>());
    }
}

//! What a session writes into its outbox.

use std::time::Duration;

use bytes::Bytes;
use corecast_centrifuge::codes::ErrorCode;
use corecast_centrifuge::{
    Command, ConnectResult, Encoding, Publication, ReplyBody, SubscribeResult, encode_error, encode_reply,
    sanitize_json,
};
use corecast_wire::Position;
use corecast_wire::epoch::EpochText;

use super::{Phase, Profile, Session};
use crate::chat::{Admission, Wish};
use crate::config::Timing;
use crate::time::{Now, Tick};

/// A subscriber that a chat took in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The chat's position at that moment.
    pub(crate) position: Position,
    pub(crate) admission: Admission,
    pub(crate) wish: Wish,
    /// What was missed, ascending.
    pub(crate) publications: Vec<Publication>,
    pub(crate) data: Bytes,
    /// When the subscription's token and its grace run out.
    pub(crate) expires: Tick,
}

/// The result of `subscribe`: the same for client-side and server-side subscriptions.
pub(crate) fn subscribe_result(admitted: Admitted, encoding: Encoding, timing: &Timing, now: Now) -> SubscribeResult {
    let was_recovering = matches!(admitted.wish, Wish::Recover { .. });
    let (recovered, offset) = match admitted.admission {
        // The client advances through the publications, so it gets its own offset back.
        Admission::Recovered { offset, .. } => (true, offset),
        Admission::Fresh | Admission::Lost | Admission::Wait => (false, admitted.position.offset),
    };
    // A token may carry any bytes, which would break a JSON frame: then there is no data.
    let data = match encoding {
        Encoding::Json if !admitted.data.is_empty() => sanitize_json(admitted.data).unwrap_or_default(),
        _ => admitted.data,
    };
    let expires = admitted.expires != Tick::NEVER;
    let left = admitted.expires.since(now.tick()).saturating_sub(timing.expiry_grace);
    SubscribeResult {
        expires,
        ttl: if expires { ttl_seconds(left) } else { 0 },
        // In every reply: without it a client forgets its position.
        recoverable: true,
        positioned: true,
        epoch: EpochText::new(admitted.position.epoch).as_str().to_owned(),
        offset,
        was_recovering,
        recovered,
        publications: admitted.publications,
        data,
    }
}

fn ttl_seconds(left: Duration) -> u32 {
    u32::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

impl Session {
    /// Writes the successful reply to command `id`.
    pub(crate) fn reply_with(&mut self, id: u32, body: &ReplyBody) {
        let encoding = self.encoding;
        encode_reply(encoding, id, body, self.replies());
    }

    /// Writes the error reply to command `id`.
    pub(crate) fn reply_error(&mut self, id: u32, code: ErrorCode) {
        let encoding = self.encoding;
        encode_error(encoding, id, &code.into(), self.replies());
    }

    fn replies(&mut self) -> &mut Vec<u8> {
        self.outbox.get_or_insert_with(Box::default).replies()
    }

    /// Refuses `connect` with an error reply; the client closes, or is closed after a short time.
    pub(super) fn refuse_connect(&mut self, id: u32, code: ErrorCode, timing: &Timing, now: Now) {
        self.reply_error(id, code);
        self.phase = Phase::Refused;
        self.next = now.tick().after(timing.close);
    }

    /// Answers `connect` with success.
    pub(super) fn finish_connect(
        &mut self,
        id: u32,
        result: ConnectResult,
        profile: Option<Box<Profile>>,
        timing: &Timing,
        random: u64,
        now: Now,
    ) {
        self.phase = Phase::Live(profile);
        self.reply_with(id, &ReplyBody::Connect(result));
        self.next = now.tick().after(first_ping(timing.ping, random));
    }

    /// A server-side subscription was made. When it was the last one `connect` is answered, and the commands that
    /// waited for that are returned.
    pub(crate) fn handle_server_joined(
        &mut self,
        chat: String,
        result: SubscribeResult,
        timing: &Timing,
        random: u64,
        now: Now,
    ) -> Option<Vec<Command>> {
        let Phase::Connecting(connecting) = &mut self.phase else { return None };
        connecting.result.subs.insert(chat, result);
        connecting.left = connecting.left.saturating_sub(1);
        if connecting.left > 0 {
            return None;
        }
        let Phase::Connecting(connecting) = std::mem::replace(&mut self.phase, Phase::Greeted) else { return None };
        let super::Connecting { id, result, profile, backlog, .. } = *connecting;
        self.finish_connect(id, result, profile, timing, random, now);
        Some(backlog)
    }

    /// A server-side subscription could not be made now: `connect` fails with a temporary error, and the client comes
    /// back. The caller removes the subscriptions made so far.
    pub(crate) fn handle_server_join_failed(&mut self, timing: &Timing, now: Now) {
        if let Phase::Connecting(connecting) = &self.phase {
            let id = connecting.id;
            self.refuse_connect(id, ErrorCode::Internal, timing, now);
        }
    }
}

/// A random time between half an interval and all of it: pings of clients that came together spread out.
fn first_ping(interval: Duration, random: u64) -> Duration {
    let half = interval / 2;
    let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_millis(random % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_pings_spread_over_the_second_half() {
        let interval = Duration::from_secs(25);
        for random in [0, 1, 12_499, 12_500, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let first = first_ping(interval, random);
            assert!((interval / 2..=interval).contains(&first), "{first:?}");
        }
        assert_ne!(first_ping(interval, 1), first_ping(interval, 5_000));
    }

    #[test]
    fn ttl_is_the_time_left_before_the_grace() {
        let timing = Timing::default();
        let now = Now { nanos: 0, unix_s: 0 };
        let admitted = Admitted {
            position: Position { epoch: 36, offset: 5 },
            admission: Admission::Fresh,
            wish: Wish::Now,
            publications: Vec::new(),
            data: Bytes::new(),
            expires: now.tick().after(Duration::from_secs(60) + timing.expiry_grace),
        };
        let result = subscribe_result(admitted.clone(), Encoding::Json, &timing, now);
        assert_eq!((result.expires, result.ttl, result.epoch.as_str(), result.offset), (true, 60, "10", 5));
        assert!(result.recoverable && result.positioned && !result.recovered && !result.was_recovering);
        let binary = Admitted { expires: Tick::NEVER, data: Bytes::from_static(b"\xff"), ..admitted };
        let result = subscribe_result(binary.clone(), Encoding::Json, &timing, now);
        assert_eq!((result.expires, result.ttl, result.data.len()), (false, 0, 0));
        let result = subscribe_result(binary, Encoding::Protobuf, &timing, now);
        assert_eq!(result.data, &b"\xff"[..]);
    }
}

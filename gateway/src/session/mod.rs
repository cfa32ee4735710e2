//! One connection: upgrade → connect → live → closing, as a pure state machine.
//!
//! ```text
//! Upgrade ──request──▶ Greeted ──connect──▶ [Connecting ──server-side subscriptions──▶] Live
//!    │                    │ └─error reply──▶ Refused                                     │
//!    └──────refusal───────┴──────────────────────▶ Closing ◀────────────────────────────┘
//! ```
//! Input comes as parsed requests and commands; replies go into the session's own outbox; what concerns others comes
//! back as [`Effect`] for the driver, which answers through the methods here.
//!
//! Invariants worth naming:
//! * The first command is `connect`, and it comes once; until it was accepted nothing else is looked at.
//! * Every command but pong and send gets exactly one reply, unless the connection ends.
//! * Nothing is written after the close frame.
//! * An idle session with one chat is [`SESSION_BYTES`] at most, all inline, and owns no heap memory (an anonymous one)
//!   or one small allocation (a user's name).

mod command;
mod end;
mod replies;
mod subs;
pub(crate) mod upgrade;

use bytes::Bytes;
use corecast_centrifuge::codes::CloseCode;
use corecast_centrifuge::{Command, ConnectResult, Encoding};
use corecast_websocket::handshake::{HandshakeLimits, RequestParser};
use corecast_websocket::{Decoder, Opcode};

pub(crate) use command::{Cx, Effect, HistoryWish, Names, Outcome, ServerJoin, SubscribeWish};
pub(crate) use end::End;
pub(crate) use replies::{Admitted, subscribe_result};
pub(crate) use subs::{Place, Sub, Subs};

use crate::chat::opcode;
use crate::config::{Limits, Timing};
use crate::outbox::Outbox;
use crate::pace::{Gcra, Rate};
use crate::time::{Now, Tick};

/// Upper bound of a session's size.
pub(crate) const SESSION_BYTES: usize = 144;
const _: () = assert!(size_of::<Session>() <= SESSION_BYTES);

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Frames in. The driver takes it out while it decodes.
    pub(crate) decoder: Decoder,
    /// Frames out, while there are any.
    pub(crate) outbox: Option<Box<Outbox>>,
    phase: Phase,
    /// Chats.
    pub(crate) subs: Subs,
    input: Gcra,
    publishes: Gcra,
    /// Bytes of input that this connection holds while it is not authenticated, for the core's limit.
    pub(crate) held_input: u32,
    /// The driver's handle of the client's address, for limits.
    pub(crate) address: u32,
    /// The deadline of the phase; while live the next ping, or the end of waiting for a pong.
    next: Tick,
    /// When the connection's token and its grace have run out.
    expiry: Tick,
    /// The tick at which the calendar will visit this session.
    pub(crate) armed: Tick,
    /// Begin of the window in which rounds of falling behind are counted.
    behind_since: Tick,
    behind_rounds: u8,
    flags: Flags,
    encoding: Encoding,
}

/// Where a session stands.
#[derive(Debug)]
enum Phase {
    /// The HTTP request has not ended.
    Upgrade(Box<RequestParser>),
    /// `connect` is awaited.
    Greeted,
    /// `connect` is being answered: its server-side subscriptions are being made.
    Connecting(Box<Connecting>),
    /// `connect` was answered.
    Live(Option<Box<Profile>>),
    /// `connect` was answered with an error; the client is expected to close.
    Refused,
    /// Nothing is read or written any more but what is in the outbox.
    Closing,
}

/// What is known of a user who is not anonymous.
#[derive(Debug)]
struct Profile {
    user: Box<str>,
}

/// A `connect` whose reply waits for server-side subscriptions.
#[derive(Debug)]
struct Connecting {
    id: u32,
    result: ConnectResult,
    /// Subscriptions that are not answered yet.
    left: usize,
    profile: Option<Box<Profile>>,
    /// Commands that came meanwhile, to be handled behind the reply.
    backlog: Vec<Command>,
}

/// One-bit facts.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// A ping was sent and its pong is awaited.
    awaiting_pong: bool,
    /// Pings are WebSocket frames.
    native_ping: bool,
    /// The peer has ended its side; what is in the outbox may still reach it.
    peer_ended: bool,
}

/// What a passed deadline asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Send a ping; the deadline of its pong is set.
    Ping,
    /// End the connection. In the upgrade phase an HTTP answer is due.
    End(End),
    /// This chat's subscription has expired: tell the client 2501.
    Expired(u32),
}

/// Limits of a connection's input and publications, computed once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    input: Rate,
    publishes: Rate,
}

/// Seconds of a rate that may be spent at once.
const BURST_SECONDS: u64 = 2;

impl Rates {
    /// From the configuration.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            input: Rate::new(limits.input_rate, BURST_SECONDS),
            publishes: Rate::new(limits.publish_rate, BURST_SECONDS),
        }
    }
}

impl Session {
    /// A connection that was just accepted. `address` is its handle for limits.
    pub(crate) fn new(address: u32, limits: &Limits, timing: &Timing, now: Now) -> Self {
        let request = HandshakeLimits {
            head_bytes: limits.upgrade,
            headers: limits.upgrade_headers,
            ..HandshakeLimits::default()
        };
        Self {
            decoder: Decoder::server(limits.first_frame),
            outbox: None,
            phase: Phase::Upgrade(Box::new(RequestParser::new(request))),
            subs: Subs::default(),
            input: Gcra::default(),
            publishes: Gcra::default(),
            held_input: 0,
            address,
            next: now.tick().after(timing.handshake),
            expiry: Tick::NEVER,
            armed: Tick::NEVER,
            behind_since: Tick(0),
            behind_rounds: 0,
            flags: Flags::default(),
            encoding: Encoding::Json,
        }
    }

    /// How the session's messages are written.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The kind of its data frames.
    pub(crate) fn opcode(&self) -> Opcode {
        opcode(self.encoding)
    }

    /// The parser of the upgrade request, until it has ended.
    pub(crate) fn upgrade_parser(&mut self) -> Option<&mut RequestParser> {
        match &mut self.phase {
            Phase::Upgrade(parser) => Some(parser),
            _ => None,
        }
    }

    /// Whether frames are to be read: upgraded and not closing.
    pub(crate) fn reads_frames(&self) -> bool {
        !matches!(self.phase, Phase::Upgrade(_) | Phase::Closing)
    }

    /// Whether the close handshake has begun, or the answer that refuses the upgrade was queued.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }

    /// The peer has ended its side. True if something is left to be said before the connection is closed.
    pub(crate) fn handle_end_of_stream(&mut self) -> bool {
        self.flags.peer_ended = true;
        self.is_closing() && self.outbox.as_ref().is_some_and(|outbox| !outbox.is_idle())
    }

    /// Whether the peer has ended its side.
    pub(crate) fn has_peer_ended(&self) -> bool {
        self.flags.peer_ended
    }

    /// Whether `connect` was answered with success.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// Whether input still counts as unauthenticated.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(self.phase, Phase::Upgrade(_) | Phase::Greeted | Phase::Refused)
    }

    /// Whether pings are WebSocket frames.
    pub(crate) fn has_native_ping(&self) -> bool {
        self.flags.native_ping
    }

    /// The user; empty while unknown or anonymous.
    pub(crate) fn user(&self) -> &str {
        let profile = match &self.phase {
            Phase::Live(profile) => profile,
            Phase::Connecting(connecting) => &connecting.profile,
            _ => &None,
        };
        profile.as_ref().map_or("", |profile| &profile.user)
    }

    /// The upgrade was accepted: frames follow, `connect` first.
    pub(crate) fn handle_upgraded(&mut self, upgraded: &upgrade::Upgraded, timing: &Timing, now: Now) {
        debug_assert!(matches!(self.phase, Phase::Upgrade(_)));
        self.encoding = upgraded.encoding;
        self.flags.native_ping = upgraded.native_ping;
        self.phase = Phase::Greeted;
        self.next = now.tick().after(timing.connect);
    }

    /// Spends input budget: `frames` frames begun, of which `messages` were completed data messages and `controls`
    /// control frames.
    pub(crate) fn charge_input(
        &mut self,
        frames: u32,
        messages: u32,
        controls: u32,
        rates: &Rates,
        now: Now,
    ) -> Result<(), End> {
        let fragments = frames.saturating_sub(messages).saturating_sub(controls);
        let units = messages
            .saturating_add(controls.saturating_mul(crate::config::CONTROL_COST))
            .saturating_add(fragments.saturating_mul(crate::config::FRAGMENT_COST));
        if self.input.take(units, rates.input, now) {
            Ok(())
        } else if self.is_unauthenticated() {
            Err(End::Flood)
        } else {
            Err(CloseCode::TooManyRequests.into())
        }
    }

    /// A WebSocket pong arrived; it counts only where pings are WebSocket frames.
    pub(crate) fn handle_native_pong(&mut self, timing: &Timing) {
        if self.flags.native_ping && self.flags.awaiting_pong {
            self.handle_pong(timing);
        }
    }

    fn handle_pong(&mut self, timing: &Timing) {
        self.flags.awaiting_pong = false;
        // The interval counts from ping to ping, and the deadline of the pong knows when that was.
        self.next = self.next.after(timing.ping.saturating_sub(timing.pong));
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Tick {
        let outbox = self.outbox.as_ref().map_or(Tick::NEVER, |outbox| outbox.deadline());
        if self.is_closing() {
            return self.next;
        }
        self.next.min(self.expiry).min(self.subs.expiry()).min(outbox)
    }

    /// Handles one passed deadline. To be called until it returns [`Due::Nothing`].
    pub(crate) fn handle_timeout(&mut self, limits: &Limits, timing: &Timing, now: Now) -> Due {
        let tick = now.tick();
        if self.is_closing() {
            return if self.next <= tick { Due::End(End::Drop) } else { Due::Nothing };
        }
        if let Some(outbox) = &mut self.outbox
            && !outbox.handle_timeout(tick, limits)
        {
            return Due::End(CloseCode::Slow.into());
        }
        if self.expiry <= tick {
            return Due::End(CloseCode::Expired.into());
        }
        if let Some(chat) = self.subs.expired(tick) {
            return Due::Expired(chat);
        }
        if self.next > tick {
            return Due::Nothing;
        }
        match &self.phase {
            Phase::Upgrade(_) => Due::End(End::Refused),
            Phase::Greeted | Phase::Refused => Due::End(CloseCode::Stale.into()),
            Phase::Connecting(_) => Due::End(CloseCode::ServerError.into()),
            Phase::Closing => Due::End(End::Drop),
            Phase::Live(_) if self.flags.awaiting_pong => Due::End(CloseCode::NoPong.into()),
            Phase::Live(_) => {
                self.flags.awaiting_pong = true;
                self.next = tick.after(timing.pong);
                Due::Ping
            }
        }
    }

    /// One more round of falling behind and recovering ends; false if there were too many within the window.
    pub(crate) fn count_behind(&mut self, limits: &Limits, now: Now) -> bool {
        let tick = now.tick();
        if tick.since(self.behind_since) > limits.circle_window {
            self.behind_since = tick;
            self.behind_rounds = 0;
        }
        self.behind_rounds = self.behind_rounds.saturating_add(1);
        self.behind_rounds <= limits.circle_rounds
    }

    /// Begins to close: from now on only what is in the outbox goes out.
    pub(crate) fn begin_closing(&mut self, timing: &Timing, now: Now) {
        self.phase = Phase::Closing;
        self.next = now.tick().after(timing.close);
        // Input is thrown away from now on: after a violation it could not be decoded anyway.
        self.decoder = Decoder::server(0);
    }
}

/// A frame with a ping in each encoding, and as a WebSocket ping.
#[derive(Debug)]
pub(crate) struct Pings {
    /// By [`Encoding::index`].
    pub(crate) protocol: [Bytes; 2],
    /// An empty WebSocket ping.
    pub(crate) native: Bytes,
}

impl Pings {
    /// The constant frames.
    pub(crate) fn new() -> Self {
        let frame = |encoding: Encoding| corecast_websocket::server_frame(opcode(encoding), encoding.ping());
        Self { protocol: Encoding::ALL.map(frame), native: corecast_websocket::server_frame(Opcode::Ping, &[]) }
    }
}

#[cfg(test)]
mod tests;

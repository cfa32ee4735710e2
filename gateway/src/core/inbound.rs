//! What clients send: accepted connections, upgrade requests, frames, commands.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use corecast_centrifuge::codes::CloseCode;
use corecast_centrifuge::{Command, DecodeLimits, decode_commands};
use corecast_ring::{CloseReason, ConnId, PeerAddr};
use corecast_websocket::handshake::{Progress, Request, Status};
use corecast_websocket::{Decoder, Message, Opcode, server_frame};

use super::state::{NO_ADDRESS, State};
use crate::session::upgrade::{self, Rejected, Upgraded};
use crate::session::{Cx, End, Outcome, Session};

impl State {
    /// A connection was accepted. False if it is to be closed at once.
    pub(super) fn accepted(&mut self, conn: ConnId, peer: PeerAddr) -> bool {
        self.counters.accepted += 1;
        let address = match peer {
            PeerAddr::Tcp(peer) => peer.ip(),
            PeerAddr::Unix => IpAddr::from([127, 0, 0, 1]),
        };
        let handle = if self.draining.is_some() { None } else { self.enter_address(address) };
        let Some(handle) = handle else {
            self.counters.turned_away += 1;
            return false;
        };
        let session = self.new_session(handle);
        self.sessions.insert(conn, session);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.arm(conn);
        true
    }

    /// Counts a connection for its address, if addresses are limited; `None` if there are too many from there.
    fn enter_address(&mut self, address: IpAddr) -> Option<u32> {
        if !self.shared.addresses.counts(address) {
            return Some(NO_ADDRESS);
        }
        // A trusted proxy stands for many clients, who are counted once their request names them.
        let is_proxy = self.config().trusted_proxies.iter().any(|network| network.contains(address));
        if !is_proxy {
            self.shared.addresses.enter(address, self.now).ok()?;
        }
        u32::try_from(self.addresses.insert((address, !is_proxy))).ok()
    }

    /// The peer's side ended.
    pub(super) fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        // Whoever asks and shuts its side down, as simple tools do, still gets the answer.
        if reason != CloseReason::Eof || !session.handle_end_of_stream() {
            self.remove(conn);
        }
    }

    /// Bytes arrived. They are unmasked where they lie.
    pub(super) fn received(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.upgrade_parser().is_some() {
            if let Some(consumed) = self.upgrade(conn, bytes)
                && let Some(frames) = bytes.get_mut(consumed..)
                && !frames.is_empty()
            {
                self.frames(conn, frames);
            }
        } else if session.reads_frames() {
            self.frames(conn, bytes);
        }
        self.arm(conn);
    }

    /// Feeds the upgrade request. Returns how many bytes belonged to it, once it was accepted.
    fn upgrade(&mut self, conn: ConnId, bytes: &[u8]) -> Option<usize> {
        let session = self.sessions.get_mut(conn)?;
        let parser = session.upgrade_parser()?;
        let progress = parser.feed(bytes);
        let held = parser.buffered();
        match progress {
            Ok(Progress::Incomplete) => {
                if !self.hold_input(conn, held) {
                    self.reject(conn, upgrade::rejected(Status::ServiceUnavailable, "too busy, try again later\n"));
                }
                None
            }
            Ok(Progress::Complete { request, consumed }) => match self.decide(conn, &request) {
                Ok(upgraded) => {
                    self.accept_upgrade(conn, upgraded);
                    Some(consumed)
                }
                Err(rejected) => {
                    self.reject(conn, rejected);
                    None
                }
            },
            Err(refusal) => {
                let rejected = upgrade::refused(refusal, self.config());
                self.reject(conn, rejected);
                None
            }
        }
    }

    /// Whether this request becomes a session here and now.
    fn decide(&mut self, conn: ConnId, request: &Request) -> Result<Upgraded, Rejected> {
        let upgraded = upgrade::upgrade(request, self.config(), self.shared.auth.origins())?;
        let (limit, total) = (self.limits().connections, self.shared.connections.load(Ordering::Relaxed));
        if self.draining.is_some() || (limit > 0 && total > limit) {
            return Err(upgrade::rejected(Status::ServiceUnavailable, "full, try again later\n"));
        }
        if !self.handshakes.0.take(1, self.handshakes.1, self.now) {
            return Err(upgrade::rejected(Status::ServiceUnavailable, "too many handshakes, try again later\n"));
        }
        self.count_forwarded(conn, request)?;
        Ok(upgraded)
    }

    /// Counts a connection that came through a trusted proxy for the address that the proxy names.
    fn count_forwarded(&mut self, conn: ConnId, request: &Request) -> Result<(), Rejected> {
        let Some(session) = self.sessions.get(conn) else { return Ok(()) };
        let Some((address, counted)) = self.addresses.get_mut(session.address as usize) else { return Ok(()) };
        if *counted {
            return Ok(());
        }
        let client = upgrade::client_address(*address, request, &self.shared.config.trusted_proxies);
        if !self.shared.addresses.counts(client) {
            return Ok(());
        }
        if self.shared.addresses.enter(client, self.now).is_err() {
            return Err(upgrade::rejected(Status::TooManyRequests, "too many connections from your address\n"));
        }
        (*address, *counted) = (client, true);
        Ok(())
    }

    fn accept_upgrade(&mut self, conn: ConnId, mut upgraded: Upgraded) {
        self.release_input(conn);
        self.counters.upgraded += 1;
        let response = std::mem::take(&mut upgraded.response);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.handle_upgraded(&upgraded, &self.shared.config.timing, self.now);
        self.push_frame(conn, response.into());
    }

    /// Answers an upgrade request with an HTTP status and closes.
    pub(super) fn reject(&mut self, conn: ConnId, rejected: Rejected) {
        self.counters.upgrades_refused += 1;
        self.push_frame(conn, rejected.response.into());
        self.end(conn, End::Refused);
    }

    /// Accounts for the input that an unauthenticated connection holds. False if all of them together hold too much.
    fn hold_input(&mut self, conn: ConnId, held: usize) -> bool {
        let Some(session) = self.sessions.get_mut(conn) else { return true };
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        self.unauthenticated -= std::mem::replace(&mut session.held_input, held) as usize;
        self.unauthenticated += held as usize;
        self.unauthenticated <= self.shared.config.limits.unauthenticated
    }

    /// Decodes and handles frames.
    fn frames(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        // Out of the session while messages that it lends are handled.
        let mut decoder = std::mem::replace(&mut session.decoder, Decoder::server(0));
        let was_live = session.is_live();
        let (mut at, mut messages, mut controls) = (0, 0, 0);
        // Only the last ping of a chunk is answered (RFC 6455 section 5.5.3).
        let mut pong = None;
        let mut result = Ok(());
        while let Some(rest) = bytes.get_mut(at..) {
            let message = match decoder.decode(rest) {
                Ok((_, None)) => break,
                Ok((used, Some(message))) => {
                    at += used;
                    message
                }
                Err(violation) => {
                    result = Err(End::Violation(violation));
                    break;
                }
            };
            let handled = match message {
                Message::Data { payload, .. } => {
                    messages += 1;
                    self.message(conn, payload)
                }
                Message::Ping(payload) => {
                    controls += 1;
                    pong = Some(server_frame(Opcode::Pong, payload));
                    Ok(())
                }
                Message::Pong(_) => {
                    controls += 1;
                    self.native_pong(conn);
                    Ok(())
                }
                Message::Close { code, .. } => Err(End::Peer(code)),
            };
            if let Err(end) = handled {
                result = Err(end);
                break;
            }
            if !was_live && self.sessions.get(conn).is_some_and(Session::is_live) {
                decoder.set_max_message(self.limits().message);
            }
        }
        self.counters.messages += u64::from(messages);
        let frames = decoder.take_frames();
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let held = decoder.buffered();
        if !session.is_closing() {
            session.decoder = decoder;
        }
        let is_unauthenticated = session.is_unauthenticated();
        result = result.and_then(|()| session.charge_input(frames, messages, controls, &self.rates, self.now));
        if is_unauthenticated && !self.hold_input(conn, held) {
            // Not the client's fault: others may hold the core's share. It comes back (3013), unlike after a flood of its own.
            result = result.and(Err(End::Close(CloseCode::TooManyRequests)));
        }
        if let Some(pong) = pong {
            self.answer_ping(conn, pong);
        }
        match result {
            Ok(()) => self.settle(conn),
            Err(end) => self.end(conn, end),
        }
    }

    /// At most one pong waits: a client that does not read gets none.
    fn answer_ping(&mut self, conn: ConnId, pong: bytes::Bytes) {
        let stuck = self.sessions.get(conn).and_then(|session| session.outbox.as_ref()).is_some_and(|o| o.is_stuck());
        if !stuck {
            self.push_frame(conn, pong);
        }
    }

    fn native_pong(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(conn) {
            session.handle_native_pong(&self.shared.config.timing);
        }
    }

    /// Handles the commands of one message.
    fn message(&mut self, conn: ConnId, payload: &[u8]) -> Result<(), End> {
        let Some(session) = self.sessions.get_mut(conn) else { return Ok(()) };
        for command in decode_commands(session.encoding(), payload, DecodeLimits::default()) {
            let command = command.map_err(|_| End::from(CloseCode::BadRequest))?;
            if let Outcome::Refused = self.command(conn, command)? {
                // The rest of the frame is void.
                break;
            }
        }
        Ok(())
    }

    /// Handles one command, with what it means for others.
    pub(super) fn command(&mut self, conn: ConnId, command: Command) -> Result<Outcome, End> {
        self.counters.commands += 1;
        let random = self.random();
        let ids = self.ids;
        let Some(session) = self.sessions.get_mut(conn) else { return Ok(Outcome::Done) };
        if session.outbox.is_none() {
            session.outbox = Some(self.spares.take());
        }
        let cx = Cx {
            auth: &self.shared.auth,
            limits: &self.shared.config.limits,
            timing: &self.shared.config.timing,
            rates: &self.rates,
            now: self.now,
            random,
            client: &|| ids.text(conn),
            names: &self.chats,
        };
        match session.handle_command(command, &cx) {
            Outcome::Do(effect) => {
                self.execute(conn, effect);
                Ok(Outcome::Done)
            }
            Outcome::End(end) => Err(end),
            outcome => {
                match outcome {
                    Outcome::Connected => self.connected(conn),
                    Outcome::Refused => self.counters.connects_refused += 1,
                    _ => {}
                }
                Ok(outcome)
            }
        }
    }

    /// `connect` was answered with success.
    pub(super) fn connected(&mut self, conn: ConnId) {
        self.counters.connects += 1;
        self.gauges.clients += 1;
        self.release_input(conn);
    }
}

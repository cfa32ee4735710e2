//! What happens because time passes: session deadlines, pings, the drain.

use corecast_centrifuge::codes::CloseCode;
use corecast_ring::ConnId;
use corecast_websocket::handshake::Status;

use super::state::State;
use crate::session::{Due, End, upgrade};
use crate::time::Tick;

impl State {
    /// Visits the sessions whose deadlines may have passed.
    pub(super) fn visit_sessions(&mut self, slots: &mut Vec<u32>) {
        slots.clear();
        self.calendar.visit(self.now.tick(), slots);
        for &slot in slots.iter() {
            let Some((conn, session)) = self.sessions.in_slot(slot) else { continue };
            if session.armed > self.now.tick() {
                continue; // a stale entry: the session is visited at another time
            }
            session.armed = Tick::NEVER;
            self.visit(conn);
            self.arm(conn);
        }
    }

    fn visit(&mut self, conn: ConnId) {
        while let Some(session) = self.sessions.get_mut(conn) {
            match session.handle_timeout(&self.shared.config.limits, &self.shared.config.timing, self.now) {
                Due::Nothing => break,
                Due::Ping => self.ping(conn),
                Due::Expired(chat) => self.expire_subscription(conn, chat),
                Due::End(End::Refused) => {
                    self.reject(conn, upgrade::rejected(Status::RequestTimeout, "the request took too long\n"));
                }
                Due::End(end) => self.end(conn, end),
            }
        }
    }

    /// Pings go through the outbox like everything that belongs to one session alone.
    fn ping(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let frame = if session.has_native_ping() {
            self.pings.native.clone()
        } else {
            self.pings.protocol[session.encoding().index()].clone()
        };
        self.push_frame(conn, frame);
    }

    /// Closes as many connections as the drain's pace says. A connection's place in the window is its slot.
    pub(super) fn drain(&mut self) {
        let Some(drain) = self.draining else { return };
        let window = self.shared.config.drain_window.as_millis().max(1);
        let elapsed = u128::from(self.now.millis().saturating_sub(drain.since.millis()));
        let slots = drain.slots.max(self.sessions.slots());
        let due = usize::try_from(slots as u128 * (elapsed + 1) / window).unwrap_or(usize::MAX).min(slots);
        for slot in drain.next_slot..due {
            let slot = u32::try_from(slot).unwrap_or(u32::MAX);
            if let Some((conn, session)) = self.sessions.in_slot(slot) {
                if session.upgrade_parser().is_some() {
                    self.reject(conn, upgrade::rejected(Status::ServiceUnavailable, "shutting down\n"));
                } else {
                    self.end(conn, CloseCode::Shutdown.into());
                }
            }
        }
        if let Some(drain) = &mut self.draining {
            drain.next_slot = drain.next_slot.max(due);
        }
    }

    /// Whether the drain still has connections to close on its own time.
    pub(super) fn is_pacing(&self) -> bool {
        let drains = self.draining.is_some_and(|drain| drain.next_slot < drain.slots && self.sessions.len() > 0);
        drains || !self.cuts.is_empty()
    }
}

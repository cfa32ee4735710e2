//! New connections: which core each of them goes to.
//!
//! Invariants worth naming:
//! * An accepted connection is admitted here, handed over, or put back to be tried again in the next turn. It is closed
//!   only with the listener.
//! * Nothing waits for another core: one that has no room in its mailbox is not given any.

use corecast_ring::{Arrival, NotAdmitted};

use super::Core;

impl Core {
    /// Gives each connection that was accepted a place. Returns how many were looked at.
    pub(super) fn place_arrivals(&mut self) -> usize {
        let mut placed = 0;
        while let Some(arrival) = self.reactor.next_arrival() {
            placed += 1;
            if let Err(arrival) = self.hand_over(arrival).or_else(|arrival| self.admit(arrival)) {
                self.reactor.put_back(arrival);
                break;
            }
        }
        placed
    }

    /// A connection that another core accepted.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        self.state.shared.loads.arrive(self.state.core);
        if let Err(arrival) = self.admit(arrival) {
            self.reactor.put_back(arrival);
        }
    }

    /// Sends it to a core that has fewer, if this one has too many.
    fn hand_over(&mut self, arrival: Arrival) -> Result<(), Arrival> {
        let loads = &self.state.shared.loads;
        let Some(core) = loads.elsewhere(self.state.core, self.reactor.room() == 0) else { return Err(arrival) };
        loads.depart(core);
        self.post.hand_over(core, arrival).inspect_err(|_| loads.arrive(core))?;
        self.state.counters.connections_moved += 1;
        Ok(())
    }

    fn admit(&mut self, arrival: Arrival) -> Result<(), Arrival> {
        match self.reactor.admit(arrival) {
            Ok((conn, peer)) => {
                if !self.state.accepted(conn, peer) {
                    self.reactor.close(conn);
                }
                self.state.shared.loads.hold(self.state.core, self.state.sessions.len());
            }
            Err(NotAdmitted::Full(arrival)) => return Err(arrival),
            Err(NotAdmitted::Gone) => {}
        }
        Ok(())
    }
}

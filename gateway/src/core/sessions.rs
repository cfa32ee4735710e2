//! The sessions of one core, by slot of the ring.

use corecast_ring::ConnId;

use crate::session::Session;

/// Sessions, found by connection with one comparison of the generation.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slots: Vec<Option<Entry>>,
    count: usize,
}

#[derive(Debug)]
struct Entry {
    conn: ConnId,
    session: Session,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// One more than the highest slot used so far.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The session of a connection.
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        let entry = self.slots.get_mut(conn.slot() as usize)?.as_mut()?;
        (entry.conn == conn).then_some(&mut entry.session)
    }

    /// The session of a connection.
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Session> {
        let entry = self.slots.get(conn.slot() as usize)?.as_ref()?;
        (entry.conn == conn).then_some(&entry.session)
    }

    /// Whoever is in a slot.
    pub(crate) fn in_slot(&mut self, slot: u32) -> Option<(ConnId, &mut Session)> {
        let entry = self.slots.get_mut(slot as usize)?.as_mut()?;
        Some((entry.conn, &mut entry.session))
    }

    /// Adds a session. The connection's slot is free.
    pub(crate) fn insert(&mut self, conn: ConnId, session: Session) {
        let slot = conn.slot() as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        debug_assert!(self.slots[slot].is_none(), "a closed connection left its session behind");
        if self.slots[slot].replace(Entry { conn, session }).is_none() {
            self.count += 1;
        }
    }

    /// Removes a session.
    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Session> {
        let slot = self.slots.get_mut(conn.slot() as usize)?;
        if slot.as_ref()?.conn != conn {
            return None;
        }
        let entry = slot.take()?;
        self.count -= 1;
        Some(entry.session)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        self.slots.iter().flatten().map(|entry| (entry.conn, &entry.session))
    }
}

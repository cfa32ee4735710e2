//! Names of connections, as clients and the server API see them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corecast_ring::ConnId;

/// Makes and reads the client ids of one core: 24 characters that say where the connection is, so that none has to be
/// stored and a disconnect by id needs no search. They are names, not secrets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientIds {
    incarnation: u64,
    core: u16,
}

/// Incarnation 8 bytes, core 2, slot 4, generation 4.
const BYTES: usize = 18;

impl ClientIds {
    /// `incarnation` differs at each start of each node.
    pub(crate) fn new(incarnation: u64, core: u16) -> Self {
        Self { incarnation, core }
    }

    /// The id of a connection.
    pub(crate) fn text(&self, conn: ConnId) -> String {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.core.to_be_bytes());
        bytes[10..14].copy_from_slice(&conn.slot().to_be_bytes());
        bytes[14..].copy_from_slice(&conn.generation().to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The slot of the connection with this id, if it may be one of this core's. The caller compares the id of whoever
    /// is there.
    pub(crate) fn slot(&self, text: &str) -> Option<u32> {
        let mut bytes = [0; BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let ours =
            length == BYTES && bytes[..8] == self.incarnation.to_be_bytes() && bytes[8..10] == self.core.to_be_bytes();
        ours.then(|| u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]))
    }
}

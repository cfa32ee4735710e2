//! Which router endpoint owns a chat, precomputed per slot.

use corecast_wire::placement as wire;

use crate::config::GatewayConfig;

/// Slot → endpoint for one list of endpoints. A lookup hashes the chat's name once.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    owners: Vec<u16>,
    fingerprint: u64,
}

impl Placement {
    /// `config` must have passed its check: at least one endpoint and one slot, at most 4,096 endpoints.
    pub(crate) fn new(config: &GatewayConfig) -> Self {
        let hashes: Vec<u64> = config.routers.iter().map(|router| wire::endpoint_hash(&router.name)).collect();
        let names: Vec<&str> = config.routers.iter().map(|router| router.name.as_str()).collect();
        let owner = |slot| u16::try_from(wire::endpoint_of(slot, &hashes)).unwrap_or(0);
        Self { owners: (0..config.slots).map(owner).collect(), fingerprint: wire::fingerprint(&names) }
    }

    /// Index of the endpoint that owns `chat`.
    pub(crate) fn endpoint_of(&self, chat: &str) -> usize {
        let slots = u16::try_from(self.owners.len()).unwrap_or(u16::MAX);
        let slot = wire::slot_of(chat.as_bytes(), slots);
        usize::from(self.owners.get(usize::from(slot)).copied().unwrap_or(0))
    }

    /// Identity of the endpoint list, stated in the hello of every link.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

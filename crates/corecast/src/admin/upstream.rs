//! What the server API asks of the gateway, as a seam: the running gateway's [`ControlHandle`], or a scripted one in tests.

use corecast_gateway::control::{
    ControlError, ControlHandle, DisconnectRequest, History, HistoryRequest, NodeInfo, PresenceStats, PublishRequest,
    Published, Reply,
};

/// Answers requests of the server API. Every call returns at once; answers come through the callbacks.
pub(crate) trait Upstream: Send + Sync + 'static {
    fn publish(&self, request: PublishRequest, reply: Reply<Published>);
    fn history(&self, request: HistoryRequest, reply: Reply<History>);
    fn presence_stats(&self, chat: String, reply: Reply<PresenceStats>);
    fn disconnect(&self, request: DisconnectRequest) -> Result<(), ControlError>;
    fn nodes(&self, reply: Reply<Vec<NodeInfo>>);
}

impl Upstream for ControlHandle {
    fn publish(&self, request: PublishRequest, reply: Reply<Published>) {
        Self::publish(self, request, reply);
    }

    fn history(&self, request: HistoryRequest, reply: Reply<History>) {
        Self::history(self, request, reply);
    }

    fn presence_stats(&self, chat: String, reply: Reply<PresenceStats>) {
        Self::presence_stats(self, chat, reply);
    }

    fn disconnect(&self, request: DisconnectRequest) -> Result<(), ControlError> {
        Self::disconnect(self, request)
    }

    fn nodes(&self, reply: Reply<Vec<NodeInfo>>) {
        Self::nodes(self, reply);
    }
}

//! Metrics of router cores.

use corecast_router::StatsHandle;
use corecast_router::core::CoreStats;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use super::ring::RING;
use super::{FromSnapshot, Metric, encode, numbered};

/// Adds the metrics of a router's cores to a registry.
pub(crate) fn register(registry: &mut Registry, stats: StatsHandle) {
    let collect = move |mut encoder: DescriptorEncoder<'_>| {
        let cores = stats.snapshot();
        let counted = numbered(cores.iter().map(|core| &core.core));
        let rings = numbered(cores.iter().map(|core| &core.ring));
        encode(&mut encoder, "router", CORE, &counted)?;
        encode(&mut encoder, "router_ring", RING, &rings)
    };
    registry.register_collector(Box::new(FromSnapshot(collect)));
}

const CORE: &[Metric<CoreStats>] = &[
    Metric::gauge("links", "Links that are up", |core| core.links),
    Metric::counter("links_opened", "Links that were up at some time", |core| core.links_total),
    Metric::counter("links_refused", "Links refused in the handshake", |core| core.links_refused),
    Metric::counter("links_cut", "Links ended because they were silent, broke the protocol or did not read", |core| {
        core.links_cut
    }),
    Metric::gauge("chats", "Chats in memory", |core| core.chats),
    Metric::counter("chats_forgotten", "Chats that left memory because nobody used them", |core| core.chats_forgotten),
    Metric::gauge("subscriptions", "Subscriptions of all links", |core| core.subscriptions),
    Metric::counter("subscriptions_resumed", "Subscriptions continued from their position", |core| core.resumed),
    Metric::counter("subscriptions_reset", "Subscriptions that could not be continued", |core| core.reset),
    Metric::counter("publishes_received", "Publishes received", |core| core.publishes),
    Metric::counter("publishes_duplicate", "Publishes answered with the offset of an earlier one", |core| {
        core.duplicates
    }),
    Metric::counter("messages_committed", "Messages that became durable", |core| core.committed),
    Metric::counter("messages_committed_bytes", "Bytes of the messages that became durable", |core| {
        core.committed_bytes
    }),
    Metric::gauge("messages_pending", "Messages that wait for durability now", |core| core.pending),
    Metric::counter("requests_refused", "Requests refused", |core| core.refused),
    Metric::counter("publishes_unknown", "Publishes whose outcome the log did not know", |core| core.unknown_outcomes),
    Metric::counter("updates_queued", "Updates queued for gateways", |core| core.updates),
    Metric::counter("updates_withheld", "Updates withheld because their link was behind", |core| core.withheld),
    Metric::counter("chats_lagged", "Times that a (link, chat) fell behind", |core| core.lagged),
    Metric::counter("histories", "History questions answered", |core| core.histories),
    Metric::gauge("idempotency_keys", "Idempotency keys in their window now", |core| core.keys),
    Metric::gauge("kept_bytes", "Memory of all kept messages now, in bytes", |core| core.kept_bytes),
    Metric::counter("chats_shrunk", "Chats that lost the older half of their messages to the memory budget", |core| {
        core.shrunk
    }),
    Metric::counter("received_bytes", "Bytes received on links", |core| core.received_bytes),
    Metric::counter("sent_frames", "Frames handed out for sending", |core| core.sent_frames),
    Metric::counter("sent_bytes", "Bytes handed out for sending", |core| core.sent_bytes),
    Metric::gauge("queued_bytes", "Bytes queued for all links now", |core| core.queued_bytes),
    Metric::counter("slots_lost", "Slots that another owner has taken", |core| core.slots_lost),
];

//! Metrics of the io_uring of a core, the same for gateway and router.

use corecast_router::RingStats;

use super::Metric;

pub(super) const RING: &[Metric<RingStats>] = &[
    Metric::counter("enters", "`io_uring_enter` calls", |ring| ring.enters),
    Metric::counter("sqes", "Submission entries that the kernel consumed", |ring| ring.sqes),
    Metric::counter("cqes", "Completions reaped", |ring| ring.cqes),
    Metric::counter(
        "partial_submissions",
        "Submissions of which `enter` took only a part, or that it refused with EAGAIN, EBUSY or EINTR; retried",
        |ring| ring.partial_submissions,
    ),
    Metric::counter(
        "cq_overflows",
        "Times the completion queue was found overflowing; the kernel kept the events and they were fetched",
        |ring| ring.cq_overflows,
    ),
    Metric::counter(
        "stale_completions",
        "Completions for an operation of an earlier holder of their slot; ignored",
        |ring| ring.stale_completions,
    ),
    Metric::counter("sends", "Sends queued to the kernel", |ring| ring.sends),
    Metric::counter("busy_sends", "Sends answered `Busy`", |ring| ring.busy_sends),
    Metric::counter("short_sends", "Sends of which the kernel took only a part", |ring| ring.short_sends),
    Metric::counter("refused_sends", "Sends of which the kernel took nothing since the socket was full", |ring| {
        ring.refused_sends
    }),
    Metric::counter("failed_sends", "Sends that failed since the connection was gone", |ring| ring.failed_sends),
    Metric::counter("writable", "Writability events", |ring| ring.writable),
    Metric::counter("receives", "Receive completions with data", |ring| ring.receives),
    Metric::counter("received_bytes", "Bytes received", |ring| ring.received_bytes),
    Metric::counter("enobufs", "Receives that found no free buffer; armed again as buffers came back", |ring| {
        ring.enobufs
    }),
    Metric::counter("rearmed_receives", "Receives armed again after the kernel had ended a multishot one", |ring| {
        ring.rearmed_receives
    }),
    Metric::counter("accepts", "Connections accepted", |ring| ring.accepts),
    Metric::counter(
        "failed_accepts",
        "Accepted sockets given up: the peer had left again, or the file table refused them",
        |ring| ring.failed_accepts,
    ),
    Metric::counter("accept_pauses", "Times accepting was suspended since no slot or descriptor was free", |ring| {
        ring.accept_pauses
    }),
    Metric::counter("connects", "Outgoing connects started", |ring| ring.connects),
    Metric::counter("failed_connects", "Outgoing connects that failed", |ring| ring.failed_connects),
    Metric::counter("closes", "Connections closed and their slots freed", |ring| ring.closes),
    Metric::counter(
        "repeated_cancels",
        "Cancellations repeated since the first one met its target on the move",
        |ring| ring.repeated_cancels,
    ),
    Metric::counter("wakes_sent", "Wake-ups sent to other reactors", |ring| ring.wakes_sent),
    Metric::counter("woken", "Times this reactor was woken", |ring| ring.woken),
    Metric::gauge("connections", "Connections that hold a slot now (the one gauge here)", |ring| ring.open),
];

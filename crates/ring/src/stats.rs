//! Plain per-reactor counters. One thread writes them; the owner copies them out for the metrics page.

/// What one reactor has done since it was made. All counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingStats {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Submission entries that the kernel consumed.
    pub sqes: u64,
    /// Completions reaped.
    pub cqes: u64,
    /// Submissions of which `enter` took only a part, or that it refused with EAGAIN, EBUSY or EINTR; retried.
    pub partial_submissions: u64,
    /// Times the completion queue was found overflowing; the kernel kept the events and they were fetched.
    pub cq_overflows: u64,
    /// Completions for an operation of an earlier holder of their slot; ignored.
    pub stale_completions: u64,

    /// Sends queued to the kernel.
    pub sends: u64,
    /// Sends answered `Busy`.
    pub busy_sends: u64,
    /// Sends of which the kernel took only a part.
    pub short_sends: u64,
    /// Sends of which the kernel took nothing since the socket was full.
    pub refused_sends: u64,
    /// Sends that failed since the connection was gone.
    pub failed_sends: u64,
    /// Writability events.
    pub writable: u64,

    /// Receive completions with data.
    pub receives: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Receives that found no free buffer; armed again as buffers came back.
    pub enobufs: u64,
    /// Receives armed again after the kernel had ended a multishot one.
    pub rearmed_receives: u64,

    /// Connections accepted.
    pub accepts: u64,
    /// Accepted sockets given up: the peer had left again, or the file table refused them.
    pub failed_accepts: u64,
    /// Times accepting was suspended since no slot or descriptor was free.
    pub accept_pauses: u64,
    /// Outgoing connects started.
    pub connects: u64,
    /// Outgoing connects that failed.
    pub failed_connects: u64,
    /// Connections closed and their slots freed.
    pub closes: u64,
    /// Cancellations repeated since the first one met its target on the move.
    pub repeated_cancels: u64,

    /// Wake-ups sent to other reactors.
    pub wakes_sent: u64,
    /// Times this reactor was woken.
    pub woken: u64,
    /// Connections that hold a slot now (the one gauge here).
    pub open: u64,
}

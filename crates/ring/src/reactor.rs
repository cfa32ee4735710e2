//! The reactor: one `io_uring_enter` per turn submits, waits and reaps; completions are copied out, then translated.
//!
//! Invariants worth naming:
//! - Nothing runs inside the completion loop: translating a completion may queue operations but never submits. Hence no
//!   recursion, a bounded stack, and every event of a turn reflects the same moment.
//! - Failed sends are settled before anything else of the same submission, and before the staged frames are dropped
//!   (`settle_sends`, trap 3 of `send.rs`).
//! - Every operation that can wait in the kernel (accept, receive, writability, connect, shutdown) is accounted for by a
//!   flag until its terminal completion; a slot is closed only without any, and freed only by its close's completion.
//! - Whatever does not fit into the submission queue waits in `deferred`, in order; only `send` submits on its own.
//! - Nothing spins: what the kernel refused for lack of something (buffers, slots, descriptors) is tried again when some
//!   of it came back, or after `RETRY_DELAY`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use io_uring::{opcode, squeue, types};

use crate::accept::{Arrival, ListenerSlot};
use crate::buffers::ReceiveBuffers;
use crate::event::{Chunk, ConnId, Event, ListenerId, Staged, WINDOW_MAX, Wait};
use crate::ring::{Completion, Patience, Ring};
use crate::setup::{self, Features, ReactorConfig, SetupError};
use crate::socket::RawAddress;
use crate::stage::Stage;
use crate::stats::RingStats;
use crate::table::Table;
use crate::user_data::{self, Kind};
use crate::waker::Waker;

/// With a batching window, this many completions end the wait before the window does.
const WINDOW_BATCH: u32 = 256;
/// A turn stops asking the kernel for more once it has this many completions, so that its own work stays bounded.
const COMPLETIONS_PER_TURN: usize = 4_096;
/// How often a turn offers the queue to a kernel that refuses it for lack of memory, before it goes on without.
const SUBMIT_ATTEMPTS: usize = 8;
/// Pause before trying again what failed for a reason that no event of this ring will end.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(10);
/// With more entries than this in front of it, a wake-up does not wait for the submission: each may be a send.
const WAKE_BEHIND_MAX: usize = 16;
/// Bound for kernel threads that run the few operations that cannot run inline (shutdown).
const KERNEL_WORKERS_MAX: u32 = 2;

/// A ring with everything that one core needs of the kernel. Belongs to the thread that made it.
///
/// Order of use: `new` on the pinned thread, `listen` and `connect`, then for ever: [`turn`](Self::turn), dispatch the
/// events, `send`. What is queued between turns is submitted by the next one.
pub struct Reactor {
    // Dropped first, which ends all operations, before the memory that they use.
    pub(crate) ring: Ring,
    pub(crate) buffers: ReceiveBuffers,
    pub(crate) stage: Stage,
    /// Addresses of connects that the kernel has not read yet.
    #[allow(clippy::vec_box)] // they must not move when the vector grows
    pub(crate) addresses: Vec<Box<RawAddress>>,
    /// Target of the read of the eventfd.
    wake_count: Box<u64>,

    pub(crate) table: Table,
    /// The number of the submission being filled; a connection that carries it has a send in it.
    pub(crate) submission: u32,
    /// The number of this turn; staged frames and chunks of another one are not valid any more.
    pub(crate) turn: u32,
    completions: Vec<Completion>,
    /// Events found while submitting between turns, and outcomes of sends.
    pub(crate) ready: Vec<Event>,
    /// Entries that found the submission queue full.
    deferred: VecDeque<squeue::Entry>,

    pub(crate) listeners: Vec<ListenerSlot>,
    /// Accepted while no slot was free.
    pub(crate) surplus: VecDeque<(ListenerId, OwnedFd)>,
    /// Accepted for the caller to place.
    pub(crate) arrivals: VecDeque<Arrival>,
    pub(crate) accept_retry: Option<Instant>,
    pub(crate) connect_reserve: u32,
    /// Connections whose receive awaits free buffers.
    pub(crate) starved: VecDeque<ConnId>,

    /// Connections whose direction ends once everything was sent.
    pub(crate) shutdowns: Vec<ConnId>,

    waker: Waker,
    /// Reactors that this one has sent messages to.
    peers: Vec<Waker>,
    wake_armed: bool,
    pub(crate) stats: RingStats,
}

impl Reactor {
    /// Sets up a ring for the calling thread, which should be pinned already; only this thread can use it. Refuses a
    /// kernel or a sandbox that cannot work, with the reason and the fix.
    pub fn new(config: &ReactorConfig) -> Result<Self, SetupError> {
        let (instance, features) = setup::create(config)?;
        let ring = Ring::enable(instance, features)?;
        let submitter = ring.submitter();
        submitter
            .register_files_sparse(config.connections)
            .map_err(|error| setup::table_refused(config.connections, error))?;
        let buffers = ReceiveBuffers::register(submitter, config.receive_buffers, config.receive_buffer_bytes)?;
        // A bound, not a need: a kernel that refuses it works all the same.
        let _ = submitter.register_iowq_max_workers(&mut [0, KERNEL_WORKERS_MAX]);
        let waker = Waker::new(ring.fd()).map_err(|error| setup::refused("eventfd", error))?;
        Ok(Self {
            ring,
            buffers,
            stage: Stage::new(),
            addresses: Vec::new(),
            wake_count: Box::new(0),
            table: Table::new(config.connections),
            submission: 1,
            turn: 1,
            completions: Vec::new(),
            ready: Vec::new(),
            deferred: VecDeque::new(),
            listeners: Vec::new(),
            surplus: VecDeque::new(),
            arrivals: VecDeque::new(),
            accept_retry: None,
            connect_reserve: config.connect_reserve,
            starved: VecDeque::new(),
            shutdowns: Vec::new(),
            waker,
            peers: Vec::new(),
            wake_armed: false,
            stats: RingStats::default(),
        })
    }

    /// Submits everything queued, waits as asked, and replaces the contents of `events` by what happened.
    ///
    /// `may_sleep` is asked once, after the reactor has announced that it is about to sleep and only then: it checks
    /// again whether other threads left work where the reactor does not see it (mailboxes), and forbids the sleep by
    /// returning `false`. What other threads do after that wakes the reactor.
    ///
    /// Chunks and staged frames of the last turn become invalid. May return without events. An error means that the
    /// ring is of no more use.
    pub fn turn(&mut self, wait: Wait, events: &mut Vec<Event>, may_sleep: impl FnOnce() -> bool) -> io::Result<()> {
        events.clear();
        self.begin_turn()?;
        let shuts_down = self.start_shutdowns();
        let has_work = shuts_down || !self.ready.is_empty() || !self.completions.is_empty();
        let sleep = match wait {
            Wait::Until { deadline, window } if !has_work => {
                (self.waker.announce_sleep() && may_sleep()).then_some((deadline, window))
            }
            _ => None,
        };
        let entered = match sleep {
            Some((deadline, window)) => self.sleep(deadline, window),
            None => self.poll(),
        };
        if self.waker.take_notification() {
            self.stats.woken += 1;
            events.push(Event::Woken);
        }
        entered?;
        self.finish_submission();
        if shuts_down {
            self.start_shutdowns();
            self.flush()?;
        }
        self.translate(events);
        Ok(())
    }

    /// Prepares frames (one, or several to go out as one vectored send) for any number of sends until the next
    /// [`turn`](Self::turn). Frames must be complete messages of the layer above; the reactor only sees bytes.
    ///
    /// # Panics
    /// With 2 GiB of frames or more.
    pub fn stage(&mut self, frames: &[Bytes]) -> Staged {
        self.stage.add(frames, self.turn)
    }

    /// The bytes of a chunk, to be changed in place at will (unmasking). They stay readable until the next
    /// [`turn`](Self::turn), which gives the buffer back to the kernel.
    ///
    /// # Panics
    /// If the chunk is of an earlier turn.
    pub fn received(&mut self, chunk: &Chunk) -> &mut [u8] {
        assert_eq!(chunk.turn, self.turn, "the chunk's buffer was given back to the kernel");
        self.buffers.bytes(chunk.buffer, chunk.length)
    }

    /// Wakes this reactor from any thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Wakes another core's reactor if it sleeps, at the latest with this reactor's next submission, in front of what is
    /// queued after it. For queues that the other one inspects in `may_sleep`; see
    /// [`Mailboxes::flush`](crate::mailbox::Mailboxes::flush).
    ///
    /// A message between rings rides along with the submission: no system call of its own here, no read there
    /// (measured: 12 % less CPU and up to 40 % less time per wake-up than an eventfd).
    pub fn wake(&mut self, other: &Waker) {
        if !other.claim_sleeping() {
            return;
        }
        self.stats.wakes_sent += 1;
        match other.ring() {
            Some(ring) if self.ring.pending() <= WAKE_BEHIND_MAX => {
                let peer = self.peers.iter().position(|peer| peer.is_same(other)).unwrap_or_else(|| {
                    self.peers.push(other.clone());
                    self.peers.len() - 1
                });
                let message = user_data::of(Kind::Message, 0, 0);
                let send = opcode::MsgRingData::new(types::Fd(ring), 0, message, None).build();
                let name = user_data::of(Kind::MessageSent, peer as u32, 0);
                self.push(send.flags(squeue::Flags::SKIP_SUCCESS).user_data(name));
            }
            _ => other.write_eventfd(),
        }
    }

    /// Counters.
    pub fn stats(&self) -> &RingStats {
        &self.stats
    }

    /// What the kernel was found to offer.
    pub fn features(&self) -> Features {
        self.ring.features()
    }

    /// Everything that waited for this moment: buffers go back, what starved for them is armed again.
    fn begin_turn(&mut self) -> io::Result<()> {
        self.turn = self.turn.wrapping_add(1);
        self.buffers.give_back();
        if !self.wake_armed {
            self.wake_armed = true;
            let target = (&raw mut *self.wake_count).cast();
            let read = opcode::Read::new(types::Fd(self.waker.eventfd()), target, size_of::<u64>() as u32);
            self.push(read.build().user_data(user_data::of(Kind::Wake, 0, 0)));
        }
        self.feed_starved();
        self.resume_accepting();
        self.push_deferred()
    }

    /// Queues an operation for the next submission. Never submits: the queue may be full, then it waits its turn.
    ///
    /// What the entry points to must be owned by the reactor and stay until `deferred` and the queue are empty; what the
    /// operation uses, until its terminal completion. All callers use slots, boxed addresses or `wake_count` only.
    pub(crate) fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: see above; the fields concerned are dropped after the ring.
        if !self.deferred.is_empty() || !unsafe { self.ring.push(&entry) } {
            self.deferred.push_back(entry);
        }
    }

    /// Moves what did not fit into the queue, submitting as often as it fills up.
    fn push_deferred(&mut self) -> io::Result<()> {
        while !self.deferred.is_empty() {
            while let Some(entry) = self.deferred.front() {
                // SAFETY: as in `push`.
                if !unsafe { self.ring.push(entry) } {
                    break;
                }
                self.deferred.pop_front();
            }
            if self.deferred.is_empty() || !self.flush()? {
                break;
            }
        }
        Ok(())
    }

    /// Submits without waiting and settles failed sends, so that their connections are known as blocked at once. All
    /// other completions wait for the turn. `false` if the kernel did not take everything.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let first_new = self.completions.len();
        let complete = self.submit(false)?;
        self.settle_sends(first_new);
        Ok(complete)
    }

    /// Offers the queue to the kernel until it took all, or refused it [`SUBMIT_ATTEMPTS`] times in a row. All
    /// completions of what was taken are reaped then.
    fn submit(&mut self, process: bool) -> io::Result<bool> {
        let mut refusals = 0;
        loop {
            let entered = self.ring.submit(process);
            self.account(entered)?;
            if self.ring.pending() == 0 {
                break;
            }
            // EAGAIN or EBUSY: completions had to be reaped first, or memory is short.
            self.stats.partial_submissions += 1;
            refusals += 1;
            if refusals == SUBMIT_ATTEMPTS {
                return Ok(false);
            }
        }
        self.submission = self.submission.wrapping_add(1);
        Ok(true)
    }

    /// Counts one system call and reaps what it brought, also beyond an overflow. Passes on only errors after which the
    /// ring is of no use.
    fn account(&mut self, entered: io::Result<usize>) -> io::Result<()> {
        self.stats.enters += 1;
        match entered {
            Ok(consumed) => self.stats.sqes += consumed as u64,
            Err(error) if is_transient(&error) => {}
            // Includes EBADR: completions were lost for lack of memory, so that connections would hang for ever.
            Err(error) => return Err(error),
        }
        self.stats.cqes += self.ring.reap(&mut self.completions) as u64;
        while self.ring.is_overflowing() {
            self.stats.cq_overflows += 1;
            self.stats.enters += 1;
            match self.ring.submit(true) {
                Ok(consumed) => self.stats.sqes += consumed as u64,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
            self.stats.cqes += self.ring.reap(&mut self.completions) as u64;
        }
        Ok(())
    }

    fn poll(&mut self) -> io::Result<()> {
        if self.ring.pending() > 0 || self.ring.has_deferred_work() {
            self.submit(true)?;
            self.reap_more()?;
        } else {
            self.stats.cqes += self.ring.reap(&mut self.completions) as u64;
        }
        Ok(())
    }

    fn sleep(&mut self, deadline: Option<Instant>, window: Duration) -> io::Result<()> {
        let deadline = match (deadline, self.accept_retry) {
            (Some(deadline), Some(retry)) => Some(deadline.min(retry)),
            (deadline, retry) => deadline.or(retry),
        };
        let mut timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if !self.deferred.is_empty() {
            // The kernel is out of memory for now, and this is not all that it was to do.
            timeout = Some(timeout.map_or(RETRY_DELAY, |timeout| timeout.min(RETRY_DELAY)));
        }
        let window = window.min(WINDOW_MAX).min(timeout.unwrap_or(WINDOW_MAX));
        let patience = if window.is_zero() {
            Patience { want: 1, window, timeout }
        } else if timeout.is_some_and(|timeout| timeout <= window) {
            Patience { want: WINDOW_BATCH, window: Duration::ZERO, timeout }
        } else if self.ring.features().min_wait {
            Patience { want: WINDOW_BATCH, window, timeout }
        } else {
            return self.sleep_twice(window, timeout);
        };
        let entered = self.ring.submit_and_wait(patience);
        self.account(entered)?;
        self.after_sleep(timeout)
    }

    /// The batching window on kernels before 6.12: first for the window, then for anything.
    fn sleep_twice(&mut self, window: Duration, timeout: Option<Duration>) -> io::Result<()> {
        let patience = Patience { want: WINDOW_BATCH, window: Duration::ZERO, timeout: Some(window) };
        let entered = self.ring.submit_and_wait(patience);
        self.account(entered)?;
        if self.completions.is_empty() && self.ring.pending() == 0 {
            let timeout = timeout.map(|timeout| timeout.saturating_sub(window));
            let entered = self.ring.submit_and_wait(Patience { want: 1, window: Duration::ZERO, timeout });
            self.account(entered)?;
        }
        self.after_sleep(timeout)
    }

    /// The kernel does not wait if it could not take all: offer the rest, and do not spin on a refusal.
    fn after_sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.ring.pending() == 0 {
            self.submission = self.submission.wrapping_add(1);
        } else {
            self.stats.partial_submissions += 1;
            if !self.submit(true)? && self.completions.is_empty() {
                let pause = timeout.unwrap_or(RETRY_DELAY).min(RETRY_DELAY);
                let entered = self.ring.wait_only(pause);
                self.account(entered)?;
            }
        }
        self.reap_more()
    }

    /// One call processes only so much of the kernel's deferred work; ask for more up to a bound. The flag alone must not
    /// keep the loop going: an interrupt on another CPU sets it after it queued the work, perhaps when this thread has
    /// done that work already, and then it stays set until there is more.
    fn reap_more(&mut self) -> io::Result<()> {
        let mut before = usize::MAX;
        while self.ring.has_deferred_work()
            && self.completions.len() != before
            && self.completions.len() < COMPLETIONS_PER_TURN
        {
            before = self.completions.len();
            let entered = self.ring.submit(true);
            self.account(entered)?;
        }
        Ok(())
    }

    /// Settles failed sends; then what the submission pointed to can go.
    fn finish_submission(&mut self) {
        self.settle_sends(0);
        if self.ring.pending() == 0 {
            self.stage.clear();
            if self.deferred.is_empty() {
                self.addresses.clear();
            }
        }
    }

    /// Handles the failed sends among the completions from `first` on and takes them out of the list.
    fn settle_sends(&mut self, first: usize) {
        let mut completions = std::mem::take(&mut self.completions);
        let mut kept = first;
        for index in first..completions.len() {
            let completion = completions[index];
            match user_data::decode(completion.user_data) {
                Some(name) if name.kind == Kind::Send => self.settle_send(name, completion.result),
                _ => {
                    completions[kept] = completion;
                    kept += 1;
                }
            }
        }
        completions.truncate(kept);
        self.completions = completions;
    }

    /// Turns completions into events.
    fn translate(&mut self, events: &mut Vec<Event>) {
        for event in std::mem::take(&mut self.ready) {
            if self.is_wanted(&event) {
                events.push(event);
            }
        }
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.translate_one(completion, events);
        }
        self.completions = completions;
    }

    fn translate_one(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let Completion { user_data, result, flags } = completion;
        let Some(name) = user_data::decode(user_data) else {
            self.stats.stale_completions += 1;
            return;
        };
        let conn = ConnId { slot: name.index, generation: name.generation };
        match name.kind {
            Kind::Receive => self.handle_received(conn, result, flags, events),
            Kind::Writable => self.handle_writable(conn, events),
            Kind::Connect => self.handle_connected(conn, result, events),
            Kind::Close => self.handle_closed(conn),
            Kind::Shutdown => self.handle_shut_down(conn),
            Kind::CancelReceive | Kind::CancelWritable | Kind::CancelConnect => {
                self.handle_cancel_failed(name.kind, conn);
            }
            Kind::Accept => {
                let id = ListenerId { index: name.index, generation: name.generation };
                self.handle_accepted(id, result, flags, events);
            }
            Kind::CancelAccept => {
                self.handle_cancel_accept_failed(ListenerId { index: name.index, generation: name.generation });
            }
            Kind::Wake => self.wake_armed = false,
            // The message did not arrive: the other way does.
            Kind::MessageSent => self.peers[name.index as usize].write_eventfd(),
            // Sends were settled before. A message only ends the sleep: the notification says the rest.
            Kind::Send | Kind::Message => {}
        }
    }

    /// Whether an event found between turns still concerns somebody.
    fn is_wanted(&self, event: &Event) -> bool {
        match event {
            Event::Unsent { conn, .. } | Event::Closed { conn, .. } => self.is_open(*conn),
            _ => true,
        }
    }
}

/// The call did nothing, and may be repeated once completions were reaped or memory is free.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.waker.retire();
        // A message that was never submitted must not leave its receiver asleep; one wake-up too many does no harm.
        self.peers.iter().for_each(Waker::write_eventfd);
        // From here on the kernel writes to no receive buffer, whatever is still armed. Closing the ring ends the rest.
        let _ = self.ring.submitter().unregister_buf_ring(crate::buffers::GROUP);
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor")
            .field("features", &self.features())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn reactor() -> Reactor {
        Reactor::new(&ReactorConfig { connections: 4, ..ReactorConfig::default() }).unwrap()
    }

    fn until(milliseconds: u64, window_milliseconds: u64) -> Wait {
        Wait::Until {
            deadline: Some(Instant::now() + Duration::from_millis(milliseconds)),
            window: Duration::from_millis(window_milliseconds),
        }
    }

    /// The path of kernels before 6.12, on any kernel.
    #[test]
    fn a_window_works_without_the_kernel_s_help() {
        let mut reactor = reactor();
        reactor.ring.pretend_without_min_wait();
        let mut events = Vec::new();
        // Nothing happens: both waits pass, and the deadline is kept.
        let start = Instant::now();
        reactor.turn(until(20, 2), &mut events, || true).unwrap();
        assert!(events.is_empty() && start.elapsed() >= Duration::from_millis(20));
        // Something happens after the window, long before the deadline.
        let waker = reactor.waker();
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        while !matches!(events[..], [Event::Woken]) {
            reactor.turn(until(60_000, 1), &mut events, || true).unwrap();
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        thread.join().unwrap();
    }

    /// Whether somebody wrote to the eventfd of a sleeper, within a moment.
    fn is_woken(sleeper: &Waker) -> bool {
        let mut poll = libc::pollfd { fd: sleeper.eventfd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live `pollfd`.
        unsafe { libc::poll(&raw mut poll, 1, 100) == 1 }
    }

    /// A ring may refuse a message, and its descriptor's number may belong to something else by now.
    #[test]
    fn a_message_that_fails_is_replaced_by_the_eventfd() {
        let mut reactor = reactor();
        let mut events = Vec::new();
        reactor.turn(Wait::Poll, &mut events, || true).unwrap();
        let no_ring = std::fs::File::open("/dev/null").unwrap();
        let sleeper = Waker::new(no_ring.as_raw_fd()).unwrap();
        assert!(sleeper.announce_sleep());
        reactor.wake(&sleeper);
        for _ in 0..10 {
            reactor.turn(Wait::Poll, &mut events, || true).unwrap();
            if is_woken(&sleeper) {
                assert!(sleeper.take_notification());
                return;
            }
        }
        panic!("the sleeper was not woken");
    }

    #[test]
    fn a_message_that_is_never_submitted_leaves_nobody_asleep() {
        let mut sender = reactor();
        let other = reactor();
        let sleeper = other.waker();
        assert!(sleeper.announce_sleep());
        sender.wake(&sleeper);
        assert!(!is_woken(&sleeper), "the message waits for the next submission");
        drop(sender);
        assert!(is_woken(&sleeper));
    }
}

//! Waking a reactor that sleeps in the kernel.
//!
//! A reactor is in one of three states: `AWAKE`, `SLEEPING` (announced just before it enters the kernel to wait) and
//! `NOTIFIED` (somebody wants a [`Woken`](crate::Event::Woken) event). Only the reactor moves to `SLEEPING` and back to
//! `AWAKE`; only others move to `NOTIFIED`. Whoever moves it from `SLEEPING` to `NOTIFIED` pays for the system call;
//! everybody else has one atomic operation on a line that is mostly read. Between reactors the wake-up is a message
//! that rides along with the waker's next submission, so a reactor must go on turning after it woke another (and makes
//! good for it when it is dropped).
//!
//! Two ways to wake, two arguments why none is lost:
//! - [`Waker::wake`] always exchanges the state for `NOTIFIED`. The reactor sleeps only after exchanging `AWAKE` for
//!   `SLEEPING`, which fails if it is `NOTIFIED`. All are read-modify-writes of one atomic, so they have one order.
//! - [`Waker::wake_if_sleeping`], for mailboxes, first only *reads* the state, so that a busy reactor's cache line is
//!   not taken away. This is Dekker's pattern and needs both fences: the sender stores the message, fence, loads the
//!   state; the reactor stores `SLEEPING`, fence, looks into its mailboxes (`may_sleep`). The fences are ordered one
//!   way or the other: either the reactor's look sees the message, or the sender's load sees `SLEEPING` (or a later
//!   state, after which the reactor looks into its mailboxes again before it sleeps).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};

use crate::socket::check;

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// Wakes one reactor from any thread. Cheap to clone; may outlive its reactor.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

/// On cache lines of its own: senders on other cores read it while the reactor works.
#[derive(Debug)]
#[repr(align(128))]
struct Shared {
    state: AtomicU32,
    /// The ring's descriptor, for messages from other rings; −1 once the reactor is gone. If the number is used again
    /// between a look at it and the message, the message fails, or another ring has a wake-up too many: both harmless.
    ring: AtomicI32,
    eventfd: OwnedFd,
}

impl Waker {
    pub(crate) fn new(ring: RawFd) -> io::Result<Self> {
        // Blocking, since io_uring would answer a read of a non-blocking one with EAGAIN. A write never blocks: the
        // counter holds 2^64 − 2 and there is one write per sleep.
        // SAFETY: no pointers are passed.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { shared: Arc::new(Shared { state: AtomicU32::new(AWAKE), ring: AtomicI32::new(ring), eventfd }) })
    }

    /// Makes the reactor deliver one [`Woken`](crate::Event::Woken) event, in its current turn or the next. Everything
    /// that happened before this call is visible to the thread that handles the event. A system call only if the
    /// reactor sleeps.
    pub fn wake(&self) {
        if self.shared.state.swap(NOTIFIED, Ordering::SeqCst) == SLEEPING {
            self.write_eventfd();
        }
    }

    /// Like [`wake`](Self::wake), but does nothing (not even an event) if the reactor is awake: for queues that it
    /// inspects in `may_sleep` of every [`turn`](crate::Reactor::turn) anyway. Returns whether it slept.
    pub fn wake_if_sleeping(&self) -> bool {
        let asleep = self.claim_sleeping();
        if asleep {
            self.write_eventfd();
        }
        asleep
    }

    /// If the reactor sleeps: becomes the one who has to wake it.
    pub(crate) fn claim_sleeping(&self) -> bool {
        fence(Ordering::SeqCst);
        let state = &self.shared.state;
        state.load(Ordering::Relaxed) == SLEEPING
            && state.compare_exchange(SLEEPING, NOTIFIED, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn write_eventfd(&self) {
        let one = 1_u64;
        let fd = self.shared.eventfd.as_raw_fd();
        // SAFETY: pointer and length describe `one`, which lives across the call.
        let written = unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
        // Can fail only by EINTR before anything happened, which eventfd writes that do not wait never return.
        debug_assert_eq!(written, size_of::<u64>() as isize);
    }

    /// Where to send a message to; `None` once the reactor is gone.
    pub(crate) fn ring(&self) -> Option<RawFd> {
        let fd = self.shared.ring.load(Ordering::Relaxed);
        (fd >= 0).then_some(fd)
    }

    /// Whether both wake the same reactor.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn eventfd(&self) -> RawFd {
        self.shared.eventfd.as_raw_fd()
    }

    /// Reactor's side: announces sleep. `false` = a wake-up is waiting, do not sleep.
    pub(crate) fn announce_sleep(&self) -> bool {
        let announced =
            self.shared.state.compare_exchange(AWAKE, SLEEPING, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        fence(Ordering::SeqCst);
        announced
    }

    /// Reactor's side: awake again, or simply polling. Returns whether somebody wanted a `Woken` event.
    pub(crate) fn take_notification(&self) -> bool {
        let state = &self.shared.state;
        state.load(Ordering::Relaxed) != AWAKE && state.swap(AWAKE, Ordering::SeqCst) == NOTIFIED
    }

    /// Reactor's side: it is being dropped.
    pub(crate) fn retire(&self) {
        self.shared.ring.store(-1, Ordering::Relaxed);
        self.shared.state.store(NOTIFIED, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_while_awake_forbids_the_next_sleep_once() {
        let waker = Waker::new(-1).unwrap();
        assert!(!waker.take_notification());
        waker.wake();
        waker.wake();
        assert!(!waker.announce_sleep());
        assert!(waker.take_notification());
        assert!(!waker.take_notification());
        assert!(waker.announce_sleep());
    }

    #[test]
    fn only_the_first_of_several_wakers_claims_a_sleeping_reactor() {
        let waker = Waker::new(-1).unwrap();
        assert!(!waker.wake_if_sleeping(), "awake: nothing to do");
        assert!(!waker.take_notification());
        assert!(waker.announce_sleep());
        assert!(waker.wake_if_sleeping());
        assert!(!waker.wake_if_sleeping());
        assert!(waker.take_notification());
    }
}

//! The two queues of one io_uring instance, and the one system call.
//!
//! Invariants worth naming:
//! - Head and tail of both queues are kept here between calls, so that queueing an operation is one 64-byte store and an
//!   increment; they are exchanged with the kernel's copies only around `io_uring_enter`.
//! - Memory that an entry points to must stay until the kernel has consumed the entry: `push` is `unsafe` for it.
//! - Bound to the thread that enabled it (SINGLE_ISSUER); the type is not `Send`.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, squeue};

use crate::setup::{self, Features, SetupError};

/// A completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// How long an `enter` may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Completions to wait for.
    pub(crate) want: u32,
    /// Return with fewer after this long, if there is any.
    pub(crate) window: Duration,
    /// Return without any after this long.
    pub(crate) timeout: Option<Duration>,
}

pub(crate) struct Ring {
    // The order matters: fields are dropped from the top, and the first three borrow from the last.
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    #[allow(dead_code)] // held for what the fields above borrow from it
    instance: Instance,
    fd: RawFd,
    features: Features,
    not_send: PhantomData<*const ()>,
}

/// The instance at an address that never changes, freed after everything that borrows from it.
struct Instance(*mut IoUring);

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` and nothing else frees it; the borrowers, fields of `Ring` that
        // are declared before this one, are gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Ring {
    /// Takes a disabled ring and enables it for the calling thread.
    pub(crate) fn enable(ring: IoUring, mut features: Features) -> Result<Self, SetupError> {
        let fd = ring.as_raw_fd();
        let instance = Instance(Box::into_raw(Box::new(ring)));
        // SAFETY: the pointer is valid and unaliased: this is the only reference made from it, until `Instance::drop`.
        // It does not outlive the instance, see the order of the fields of `Ring`.
        let pinned: &'static mut IoUring = unsafe { &mut *instance.0 };
        let (mut submitter, submissions, completions) = pinned.split();
        submitter
            .register_enable_rings()
            .map_err(|error| setup::step_refused("enabling the ring", "rings that start disabled", error))?;
        features.registered_ring = submitter.register_ring_fd().is_ok();
        Ok(Self { submitter, submissions, completions, instance, fd, features, not_send: PhantomData })
    }

    pub(crate) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// What other rings send messages to.
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(crate) fn features(&self) -> Features {
        self.features
    }

    #[cfg(test)]
    pub(crate) fn pretend_without_min_wait(&mut self) {
        self.features.min_wait = false;
    }

    /// Queues an operation; `false` if the queue is full.
    ///
    /// # Safety
    /// What the entry points to must stay valid until the kernel has consumed it ([`pending`](Self::pending) = 0), and
    /// what the operation itself uses (buffers) until its terminal completion was read.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: passed on to the caller.
        unsafe { self.submissions.push(entry) }.is_ok()
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.submissions.is_full()
    }

    /// Entries that the kernel has not consumed.
    pub(crate) fn pending(&self) -> usize {
        self.submissions.len()
    }

    /// Whether the kernel has something that an `enter` would bring: completions to process, or an overflow to flush.
    pub(crate) fn has_deferred_work(&self) -> bool {
        self.submissions.taskrun() || self.submissions.cq_overflow()
    }

    pub(crate) fn is_overflowing(&self) -> bool {
        self.submissions.cq_overflow()
    }

    /// Submits what is queued; completions of what ends at once are in the queue afterwards. With `process`, also runs
    /// the kernel's deferred work. Returns the number of entries consumed.
    pub(crate) fn submit(&mut self, process: bool) -> io::Result<usize> {
        let flags = if process { EnterFlags::GETEVENTS } else { EnterFlags::empty() };
        self.enter(true, 0, flags, None)
    }

    /// Submits what is queued, then waits. A time-out is not an error.
    pub(crate) fn submit_and_wait(&mut self, patience: Patience) -> io::Result<usize> {
        self.wait(true, patience)
    }

    /// Waits without submitting.
    pub(crate) fn wait_only(&mut self, timeout: Duration) -> io::Result<usize> {
        self.wait(false, Patience { want: 1, window: Duration::ZERO, timeout: Some(timeout) })
    }

    fn wait(&mut self, submit: bool, patience: Patience) -> io::Result<usize> {
        let Patience { want, window, timeout } = patience;
        let mut flags = EnterFlags::GETEVENTS;
        if self.features.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        let limit = timeout.map(Timespec::from);
        let mut arguments = SubmitArgs::new();
        if let Some(limit) = &limit {
            arguments = arguments.timespec(limit);
        }
        if !window.is_zero() {
            arguments = arguments.min_wait_usec(u32::try_from(window.as_micros()).unwrap_or(u32::MAX));
        }
        match self.enter(submit, want, flags | EnterFlags::EXT_ARG, Some(&arguments)) {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(0),
            other => other,
        }
    }

    fn enter(
        &mut self,
        submit: bool,
        want: u32,
        flags: EnterFlags,
        arguments: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<usize> {
        self.submissions.sync();
        let queued = if submit { self.submissions.len() as u32 } else { 0 };
        // SAFETY: the arguments, if any, live across the call, and EXT_ARG is set if and only if there are any. What
        // the entries point to is valid by the contract of `push`.
        let result = unsafe { self.submitter.enter(queued, want, flags.bits(), arguments) };
        self.submissions.sync();
        result
    }

    /// Copies out all completions that are there. Returns their number.
    pub(crate) fn reap(&mut self, into: &mut Vec<Completion>) -> usize {
        let before = into.len();
        self.completions.sync();
        into.extend((&mut self.completions).map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
        self.completions.sync();
        into.len() - before
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.features.registered_ring {
            // Otherwise the registration would keep the ring alive until the thread ends. Nothing to do on failure.
            let _ = self.submitter.unregister_ring_fd();
        }
    }
}

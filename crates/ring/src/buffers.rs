//! The receive buffers, shared by all connections of a core through one provided-buffer ring.
//!
//! Invariants worth naming:
//! - A buffer belongs either to the kernel (given) or to us (taken); `taken` never holds one twice, and a buffer is
//!   read or written by us only while it is taken.
//! - One hot set per core: never a buffer per connection.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::setup::{self, SetupError};

/// The only buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

pub(crate) struct ReceiveBuffers {
    ring: Mapping,
    data: Mapping,
    count: u16,
    bytes: u32,
    tail: u16,
    /// Buffers with us, in the order in which they came.
    taken: Vec<u16>,
    is_taken: Box<[bool]>,
}

impl ReceiveBuffers {
    /// Maps `count` buffers (a power of two) of `bytes` each and gives all of them to the kernel.
    pub(crate) fn register(submitter: &Submitter<'_>, count: u16, bytes: u32) -> Result<Self, SetupError> {
        let entries = usize::from(count);
        let mapped = |length| Mapping::new(length).map_err(|error| setup::refused("mmap of receive buffers", error));
        let mut buffers = Self {
            ring: mapped(entries * size_of::<BufRingEntry>())?,
            data: mapped(entries * bytes as usize)?,
            count,
            bytes,
            tail: 0,
            taken: Vec::with_capacity(entries),
            is_taken: vec![false; entries].into_boxed_slice(),
        };
        let address = buffers.ring.start.as_ptr() as u64;
        // SAFETY: the mapping holds `count` entries, is page-aligned, and stays until after the ring was closed or the
        // group unregistered (order of the fields of `Reactor`).
        unsafe { submitter.register_buf_ring_with_flags(address, count, GROUP, 0) }
            .map_err(|error| setup::step_refused("registering receive buffers", "provided-buffer rings", error))?;
        for buffer in 0..count {
            buffers.place(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Notes that the kernel filled a buffer. `false` if it cannot be: out of range or with us already.
    pub(crate) fn take(&mut self, buffer: u16) -> bool {
        match self.is_taken.get_mut(usize::from(buffer)) {
            Some(taken) if !*taken => {
                *taken = true;
                self.taken.push(buffer);
                true
            }
            _ => false,
        }
    }

    /// Gives all buffers back to the kernel. Returns their number.
    pub(crate) fn give_back(&mut self) -> usize {
        let returned = self.taken.len();
        if returned > 0 {
            for index in 0..returned {
                let buffer = self.taken[index];
                self.is_taken[usize::from(buffer)] = false;
                self.place(buffer);
            }
            self.taken.clear();
            self.publish();
        }
        returned
    }

    /// The first `length` bytes of a taken buffer.
    ///
    /// # Panics
    /// If the buffer is not with us, or is shorter.
    #[allow(clippy::needless_pass_by_ref_mut)] // the exclusive borrow is what makes the slice exclusive
    pub(crate) fn bytes(&mut self, buffer: u16, length: u32) -> &mut [u8] {
        assert!(self.is_taken[usize::from(buffer)] && length <= self.bytes, "buffer {buffer} is not readable");
        let start = self.address(buffer);
        // SAFETY: the range lies within the mapping; the buffer is with us, so the kernel does not write to it; the
        // exclusive borrow of `self` keeps it from being given back or lent a second time meanwhile.
        unsafe { std::slice::from_raw_parts_mut(start, length as usize) }
    }

    /// How many buffers the kernel has, as far as the completions read so far tell.
    pub(crate) fn given(&self) -> usize {
        usize::from(self.count) - self.taken.len()
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        let offset = usize::from(buffer) * self.bytes as usize;
        // SAFETY: `buffer` < `count`, so the offset lies within the mapping.
        unsafe { self.data.start.as_ptr().add(offset) }
    }

    /// Writes a buffer to the next place of the ring; the kernel sees it after `publish`.
    fn place(&mut self, buffer: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        let address = self.address(buffer) as u64;
        // SAFETY: the index is within the ring of `count` entries.
        let entry = unsafe { self.ring.start.as_ptr().cast::<BufRingEntry>().add(index) };
        // SAFETY: the place is free: there are as many places as buffers, and this buffer is with us. The kernel reads
        // only places before the tail, and never the bytes of the first entry that hold the tail, which the setters
        // below leave alone.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        let base = self.ring.start.as_ptr().cast::<BufRingEntry>().cast_const();
        // SAFETY: the ring's first entry is initialised (the mapping starts zeroed).
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is an aligned u16 inside the mapping; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Anonymous private memory.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: asks for fresh memory anywhere.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

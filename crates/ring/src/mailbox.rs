//! Mailboxes between cores: one single-producer single-consumer ring per ordered pair of cores.
//!
//! Invariants worth naming:
//! - Messages from one core to another keep their order. Between different senders there is none.
//! - A full mailbox is a return value ([`Full`]), never a wait: two cores waiting for each other would stand still.
//! - A wake-up is sent at most once per peer and [`flush`](Mailboxes::flush), and only if that peer sleeps. None is
//!   lost provided that the owner passes `|| mailboxes.is_empty()` as `may_sleep` to every
//!   [`turn`](crate::Reactor::turn) and flushes before it; the argument is in `waker.rs`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::reactor::Reactor;
use crate::waker::Waker;

/// So many messages are taken from one sender before the next one has its turn.
const BURST: u32 = 32;

/// One core's ends of the mesh.
#[derive(Debug)]
pub struct Mailboxes<T> {
    core: usize,
    to: Vec<Producer<T>>,
    from: Vec<Consumer<T>>,
    /// Everybody's wakers; a core that has not started yet has none and will look before its first sleep.
    wakers: Arc<[OnceLock<Waker>]>,
    /// Cores that were sent something since the last flush, each once.
    unflushed: Vec<usize>,
    is_unflushed: Vec<bool>,
    /// The sender being drained and what is left of its burst.
    cursor: usize,
    burst_left: u32,
}

/// The mailbox is full; the message is handed back.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mailbox is full")
    }
}

impl<T: fmt::Debug> std::error::Error for Full<T> {}

/// Mailboxes for `cores` cores, `capacity` messages for each ordered pair (also from a core to itself); element `i`
/// belongs to core `i`. Memory: cores² × capacity × size of `T`.
pub fn mesh<T>(cores: usize, capacity: usize) -> Vec<Mailboxes<T>> {
    let wakers: Arc<[OnceLock<Waker>]> = (0..cores).map(|_| OnceLock::new()).collect();
    let mut all: Vec<Mailboxes<T>> = (0..cores)
        .map(|core| Mailboxes {
            core,
            to: Vec::with_capacity(cores),
            from: Vec::with_capacity(cores),
            wakers: Arc::clone(&wakers),
            unflushed: Vec::with_capacity(cores),
            is_unflushed: vec![false; cores],
            cursor: 0,
            burst_left: BURST,
        })
        .collect();
    for sender in 0..cores {
        for receiver in 0..cores {
            let (producer, consumer) = RingBuffer::new(capacity);
            all[sender].to.push(producer);
            all[receiver].from.push(consumer);
        }
    }
    all
}

impl<T> Mailboxes<T> {
    /// Which core this is.
    pub fn core(&self) -> usize {
        self.core
    }

    /// The number of cores in the mesh.
    pub fn cores(&self) -> usize {
        self.to.len()
    }

    /// Tells the others how to wake this core. Call it once, as soon as the core has its reactor.
    ///
    /// # Panics
    /// If called twice.
    pub fn attach(&self, reactor: &Reactor) {
        let first = self.wakers[self.core].set(reactor.waker()).is_ok();
        assert!(first, "core {} has a reactor already", self.core);
    }

    /// Leaves a message for a core. It is seen at the latest after the next [`flush`](Self::flush).
    ///
    /// # Panics
    /// If there is no such core.
    pub fn send(&mut self, core: usize, message: T) -> Result<(), Full<T>> {
        self.to[core].push(message).map_err(|PushError::Full(message)| Full(message))?;
        if !self.is_unflushed[core] && core != self.core {
            self.is_unflushed[core] = true;
            self.unflushed.push(core);
        }
        Ok(())
    }

    /// How many more messages for a core fit at least.
    pub fn room(&self, core: usize) -> usize {
        self.to[core].slots()
    }

    /// Wakes those cores that were sent something and sleep, with the reactor's next submission. Call it after each batch
    /// of messages, before queueing a fan-out, and before the reactor's next turn at the latest.
    pub fn flush(&mut self, reactor: &mut Reactor) {
        for core in self.unflushed.drain(..) {
            self.is_unflushed[core] = false;
            if let Some(waker) = self.wakers[core].get() {
                reactor.wake(waker);
            }
        }
    }

    /// The next message and the core that sent it. Senders take turns of a few dozen messages, so a busy one does not
    /// starve the others; the caller bounds how much it handles per turn.
    pub fn receive(&mut self) -> Option<(usize, T)> {
        for _ in 0..=self.from.len() {
            if self.burst_left > 0
                && let Ok(message) = self.from[self.cursor].pop()
            {
                self.burst_left -= 1;
                return Some((self.cursor, message));
            }
            self.cursor = (self.cursor + 1) % self.from.len();
            self.burst_left = BURST;
        }
        None
    }

    /// Whether no message waits for this core: what to pass as `may_sleep`.
    pub fn is_empty(&self) -> bool {
        self.from.iter().all(Consumer::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_hands_the_message_back() {
        let mut all = mesh::<u32>(2, 2);
        assert_eq!(all[0].send(1, 1), Ok(()));
        assert_eq!(all[0].send(1, 2), Ok(()));
        assert_eq!(all[0].send(1, 3), Err(Full(3)));
        assert_eq!(all[0].room(1), 0);
        assert_eq!(all[1].receive(), Some((0, 1)));
        assert_eq!(all[0].send(1, 3), Ok(()));
        assert_eq!(all[1].receive(), Some((0, 2)));
        assert_eq!(all[1].receive(), Some((0, 3)));
        assert_eq!(all[1].receive(), None);
    }

    #[test]
    fn a_core_may_write_to_itself() {
        let mut all = mesh::<u32>(1, 2);
        all[0].send(0, 7).unwrap();
        assert!(!all[0].is_empty());
        assert_eq!(all[0].receive(), Some((0, 7)));
        assert!(all[0].is_empty());
    }

    #[test]
    fn a_busy_sender_does_not_starve_the_others() {
        let mut all = mesh::<u32>(3, 1_000);
        for message in 0..1_000 {
            all[1].send(0, message).unwrap();
        }
        all[2].send(0, 0).unwrap();
        let mut before = 0;
        while let Some((sender, _)) = all[0].receive() {
            if sender == 2 {
                break;
            }
            before += 1;
        }
        assert!(before <= BURST, "{before} messages of the busy sender came first");
    }

    #[test]
    fn every_message_arrives_once_and_in_order() {
        let mut all = mesh::<u64>(2, 64);
        let mut receiver = all.pop().unwrap();
        let mut sender = all.pop().unwrap();
        const MESSAGES: u64 = 100_000;
        let producing = std::thread::spawn(move || {
            for message in 0..MESSAGES {
                while sender.send(1, message).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            match receiver.receive() {
                Some(received) => {
                    assert_eq!(received, (0, expected));
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        producing.join().unwrap();
    }
}

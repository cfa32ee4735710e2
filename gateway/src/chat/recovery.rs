//! Joining a chat: from now on, or from where the client stopped.

use corecast_centrifuge::Encoding;
use corecast_wire::Position;

use bytes::Bytes;

use super::{Chat, Phase, RecentLimits};
use crate::time::Tick;

/// Which epoch a recovering client believes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochWish {
    /// It sent none: the epoch is not compared.
    Any,
    /// A text that no epoch of ours has.
    Foreign,
    /// This one.
    Known(u64),
}

impl EpochWish {
    /// From the text of a request.
    pub(crate) fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::Any;
        }
        corecast_wire::epoch::parse(text).map_or(Self::Foreign, Self::Known)
    }

    fn accepts(self, epoch: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Foreign => false,
            Self::Known(known) => known == epoch,
        }
    }
}

/// Where a subscriber wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// With what comes next.
    Now,
    /// After the last publication that it has.
    Recover {
        /// Epoch of that publication.
        epoch: EpochWish,
        /// Its offset.
        offset: u64,
    },
}

/// How much one recovery may return.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecoveryLimits {
    /// Publications.
    pub(crate) messages: usize,
    /// Bytes of payload.
    pub(crate) bytes: usize,
}

/// What a subscriber is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Join at the current position.
    Fresh,
    /// Join at the current position, after the `missed` newest publications, which are kept.
    Recovered {
        /// The client's own offset, to be returned to it.
        offset: u64,
        /// How many publications it missed, perhaps none.
        missed: usize,
    },
    /// Join at the current position; what was missed cannot be had.
    Lost,
    /// Wait: for the join of the chat, or for history from the router.
    Wait,
}

/// A subscriber that waits for the chat to become live or for history.
#[derive(Debug, Clone)]
pub(crate) struct Waiter<M> {
    /// Who.
    pub(crate) member: M,
    /// Names the subscribe request, so that the answer to an abandoned one is dropped.
    pub(crate) ticket: u32,
    /// Of the connection.
    pub(crate) encoding: Encoding,
    /// Where to begin.
    pub(crate) wish: Wish,
    /// Wants error 112 in place of "not recovered".
    pub(crate) error_if_lost: bool,
    /// From the subscription's token, to be sent with the reply.
    pub(crate) data: Bytes,
    /// When to give up.
    pub(crate) deadline: Tick,
}

/// Who waits, and for what.
#[derive(Debug)]
pub(crate) struct Waiting<M> {
    waiters: Vec<Entry<M>>,
    /// Offset after which the history under way begins.
    asked_since: Option<u64>,
}

#[derive(Debug)]
struct Entry<M> {
    waiter: Waiter<M>,
    /// The history under way, or the one that arrived last, serves this one: it gets no second one.
    asked: bool,
}

impl<M: Copy> Chat<M> {
    /// What to tell a subscriber with this wish now.
    pub(crate) fn admit(&self, wish: Wish, limits: RecoveryLimits) -> Admission {
        if self.phase != Phase::Live {
            return Admission::Wait;
        }
        let Wish::Recover { epoch, offset } = wish else { return Admission::Fresh };
        let Position { epoch: current, offset: top } = self.position;
        if !epoch.accepts(current) || offset > top {
            return Admission::Lost;
        }
        let missed = usize::try_from(top - offset).unwrap_or(usize::MAX);
        if missed > limits.messages {
            Admission::Lost
        } else if missed > self.recent.len() {
            Admission::Wait
        } else if self.recent.newest(missed).map(Bytes::len).sum::<usize>() > limits.bytes {
            Admission::Lost
        } else {
            Admission::Recovered { offset, missed }
        }
    }

    /// The newest `count` payloads with their offsets, ascending.
    pub(crate) fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = (u64, &Bytes)> {
        let payloads = self.recent.newest(count);
        let first = self.position.offset + 1 - payloads.len() as u64;
        payloads.enumerate().map(move |(index, payload)| (first + index as u64, payload))
    }

    /// Lets a subscriber wait.
    pub(crate) fn wait(&mut self, waiter: Waiter<M>) {
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting { waiters: Vec::new(), asked_since: None }));
        let asked = match (waiting.asked_since, waiter.wish) {
            (Some(since), Wish::Recover { offset, .. }) => offset >= since,
            _ => false,
        };
        waiting.waiters.push(Entry { waiter, asked });
    }

    /// Takes out at most `max` subscribers whose wish can be answered now, in order of arrival. To be called, until it
    /// returns nothing, when the chat has become live and when history has arrived or failed to.
    pub(crate) fn serve(&mut self, limits: RecoveryLimits, max: usize) -> Vec<(Waiter<M>, Admission)> {
        let mut answers = Vec::new();
        if self.phase != Phase::Live {
            return answers;
        }
        let Some(mut waiting) = self.waiting.take() else { return answers };
        let arrived = waiting.asked_since.is_none();
        waiting.waiters = std::mem::take(&mut waiting.waiters)
            .into_iter()
            .filter_map(|entry| {
                if answers.len() >= max {
                    return Some(entry);
                }
                match self.admit(entry.waiter.wish, limits) {
                    // The history that was to serve it did not reach back.
                    Admission::Wait if entry.asked && arrived => answers.push((entry.waiter, Admission::Lost)),
                    Admission::Wait => return Some(entry),
                    admission => answers.push((entry.waiter, admission)),
                }
                None
            })
            .collect();
        self.restore(waiting);
        answers
    }

    /// The offset after which history is to be asked for, if a live chat has waiters that none under way will serve.
    /// The caller asks the router; the answer comes to [`Self::handle_history`] or [`Self::handle_no_history`].
    pub(crate) fn next_ask(&mut self, limits: RecoveryLimits) -> Option<u64> {
        if self.phase != Phase::Live {
            return None;
        }
        let mut waiting = self.waiting.take()?;
        if waiting.asked_since.is_none() {
            for entry in &mut waiting.waiters {
                let Wish::Recover { offset, .. } = entry.waiter.wish else { continue };
                if self.admit(entry.waiter.wish, limits) == Admission::Wait {
                    entry.asked = true;
                    waiting.asked_since = Some(waiting.asked_since.map_or(offset, |since| since.min(offset)));
                }
            }
            let since = waiting.asked_since;
            self.restore(waiting);
            return since;
        }
        self.restore(waiting);
        None
    }

    /// History that was asked for, ascending; empty if the router does not keep it. What joins the kept publications
    /// seamlessly is kept as well, as far as the limits allow; then [`Self::serve`] has answers.
    pub(crate) fn handle_history<'a>(
        &mut self,
        epoch: u64,
        publications: impl DoubleEndedIterator<Item = (u64, &'a [u8])>,
        limits: RecentLimits,
    ) {
        self.end_ask();
        if self.phase != Phase::Live || epoch != self.position.epoch {
            return;
        }
        for (offset, payload) in publications.rev() {
            let oldest = self.position.offset + 1 - self.recent.len() as u64;
            if offset >= oldest {
                continue;
            }
            if offset + 1 != oldest || !self.recent.push_older(Bytes::copy_from_slice(payload), limits) {
                break;
            }
        }
    }

    /// The router could not be asked. Takes out those who waited for it, to be answered with a temporary error.
    pub(crate) fn handle_no_history(&mut self) -> Vec<Waiter<M>> {
        self.end_ask();
        self.take_waiters_if(|entry| entry.asked)
    }

    /// Takes out those who have waited too long.
    pub(crate) fn expire_waiters(&mut self, now: Tick) -> Vec<Waiter<M>> {
        self.take_waiters_if(|entry| entry.waiter.deadline <= now)
    }

    /// Whether subscribers wait, or history for them is under way.
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes out everyone, in order of arrival.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter<M>> {
        self.take_waiters_if(|_| true)
    }

    fn take_waiters_if(&mut self, mut condition: impl FnMut(&Entry<M>) -> bool) -> Vec<Waiter<M>> {
        let Some(mut waiting) = self.waiting.take() else { return Vec::new() };
        let taken = waiting.waiters.extract_if(.., |entry| condition(entry)).map(|entry| entry.waiter).collect();
        self.restore(waiting);
        taken
    }

    fn end_ask(&mut self) {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.asked_since = None;
            self.restore(waiting);
        }
    }

    fn restore(&mut self, waiting: Box<Waiting<M>>) {
        if !waiting.waiters.is_empty() || waiting.asked_since.is_some() {
            self.waiting = Some(waiting);
        }
    }
}

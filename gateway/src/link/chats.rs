//! The chats of a link: handles, who wants them, and where each stands.
//!
//! Invariants:
//! * A handle is an index. It is given away again only after the router has said its last word on it, or the link is
//!   gone and all handles with it.
//! * While a chat is `Live` or `Repairing`, all its targets are joined and hold the position `last`.
//! * What an update needs lies in its lane (one cache line); names, epochs and repairs lie apart.

use std::collections::VecDeque;

use corecast_wire::message::{Publication, Subscribe};
use corecast_wire::{ChatName, Position};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::time::Instant;

use super::types::{CoreId, LocalChat};

/// Where a chat stands with the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No chat has this handle.
    Free,
    /// Wanted; `Subscribe` is not written yet.
    Waiting,
    /// `Subscribe` is written and not answered.
    Subscribing,
    /// Updates come in order.
    Live,
    /// Updates are missing and being fetched.
    Repairing,
    /// `Unsubscribe` is written and not answered. The name is forgotten already.
    Unsubscribing,
}

/// A core that wants a chat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) core: CoreId,
    /// The core has been told its position.
    pub(super) joined: bool,
    pub(super) local: LocalChat,
    /// Members on this core.
    pub(super) members: u32,
}

/// What an update needs.
#[derive(Debug)]
pub(super) struct Lane {
    /// Offset of the last update passed on.
    pub(super) last: u64,
    pub(super) phase: Phase,
    pub(super) targets: SmallVec<[Target; 2]>,
}

const _: () = assert!(size_of::<Lane>() <= 64);

/// The rest.
#[derive(Debug, Default)]
pub(super) struct Detail {
    name: Option<ChatName>,
    /// Epoch of `last`, once the chat has been subscribed.
    pub(super) epoch: Option<u64>,
    /// Position to resume from before that.
    wish: Option<Position>,
    pub(super) want: u16,
    /// Top at the time of the subscription.
    pub(super) top: u64,
    pub(super) oldest: u64,
    /// A `Subscribe` is not answered; when that becomes too long.
    pub(super) unanswered: Option<Instant>,
    /// It has become too long.
    pub(super) is_overdue: bool,
    /// Stands in the queue of subscriptions to write.
    pub(super) queued: bool,
    /// Stands in the list of member counts to send.
    pub(super) dirty: bool,
    /// Member count that the router was told last.
    pub(super) members_sent: u32,
    /// When to unsubscribe, if nobody joins before.
    pub(super) linger_until: Option<Instant>,
    pub(super) repair: Option<Box<Repair>>,
}

/// Updates that are being fetched.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// The question that is not answered.
    pub(super) asked: Option<u64>,
    /// Everything up to here has to be there before the chat is live again.
    pub(super) target: u64,
    /// Updates that came meanwhile, ascending.
    pub(super) kept: VecDeque<Publication>,
    pub(super) kept_bytes: usize,
    /// Questions asked.
    pub(super) rounds: u8,
}

impl Repair {
    /// The highest offset that is known to exist.
    pub(super) fn highest(&self) -> u64 {
        self.kept.back().map_or(0, |update| update.offset).max(self.target)
    }
}

const UNBOUND: u32 = u32::MAX;

/// The table.
#[derive(Default)]
pub(super) struct Chats {
    lanes: Vec<Lane>,
    details: Vec<Detail>,
    free: Vec<u32>,
    by_name: HashMap<ChatName, u32>,
    /// Per core and local index the handle.
    bound: Vec<Vec<u32>>,
}

impl Chats {
    /// Chats that are wanted.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// One more than the largest handle ever given.
    pub(super) fn handles(&self) -> u32 {
        u32::try_from(self.lanes.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn find(&self, name: &ChatName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// A handle for a chat that has none.
    pub(super) fn allocate(&mut self, name: &ChatName, wish: Option<Position>, want: u16) -> u32 {
        let handle = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane { last: 0, phase: Phase::Free, targets: SmallVec::new() });
            self.details.push(Detail::default());
            self.handles() - 1
        });
        self.by_name.insert(name.clone(), handle);
        if let Some(lane) = self.lanes.get_mut(handle as usize) {
            lane.phase = Phase::Waiting;
            lane.last = 0;
        }
        if let Some(detail) = self.details.get_mut(handle as usize) {
            // An old entry in one of the queues now stands for this chat.
            let Detail { queued, dirty, .. } = *detail;
            *detail = Detail { name: Some(name.clone()), wish, want, queued, dirty, ..Detail::default() };
        }
        handle
    }

    /// Gives a handle back. The chat has no targets any more.
    pub(super) fn free(&mut self, handle: u32) {
        self.forget_name(handle);
        let Some(lane) = self.lanes.get_mut(handle as usize) else { return };
        debug_assert!(lane.phase != Phase::Free && lane.targets.is_empty());
        lane.phase = Phase::Free;
        lane.targets.shrink_to_fit();
        if let Some(detail) = self.details.get_mut(handle as usize) {
            detail.name = None;
            detail.repair = None;
            detail.linger_until = None;
            detail.unanswered = None;
        }
        self.free.push(handle);
    }

    /// From now on a join for this name makes another chat.
    pub(super) fn forget_name(&mut self, handle: u32) {
        if let Some(name) = self.details.get(handle as usize).and_then(|detail| detail.name.as_ref())
            && self.by_name.get(name) == Some(&handle)
        {
            self.by_name.remove(name);
        }
    }

    #[inline]
    pub(super) fn lane(&mut self, handle: u32) -> Option<&mut Lane> {
        self.lanes.get_mut(handle as usize)
    }

    pub(super) fn detail(&mut self, handle: u32) -> Option<&mut Detail> {
        self.details.get_mut(handle as usize)
    }

    pub(super) fn both(&mut self, handle: u32) -> Option<(&mut Lane, &mut Detail)> {
        Some((self.lanes.get_mut(handle as usize)?, self.details.get_mut(handle as usize)?))
    }

    pub(super) fn phase(&self, handle: u32) -> Phase {
        self.lanes.get(handle as usize).map_or(Phase::Free, |lane| lane.phase)
    }

    /// The `Subscribe` for a chat.
    pub(super) fn subscribe(&self, handle: u32) -> Option<Subscribe> {
        let (lane, detail) = (self.lanes.get(handle as usize)?, self.details.get(handle as usize)?);
        let known = detail.epoch.map(|epoch| Position { epoch, offset: lane.last });
        let chat = detail.name.clone()?;
        Some(Subscribe { handle, chat, resume: known.or(detail.wish), want: detail.want })
    }

    /// Name and position of a chat that has been subscribed.
    pub(super) fn position(&self, handle: u32) -> Option<(ChatName, Position)> {
        let (lane, detail) = (self.lanes.get(handle as usize)?, self.details.get(handle as usize)?);
        Some((detail.name.clone()?, Position { epoch: detail.epoch?, offset: lane.last }))
    }

    /// The handle that a core's chat stands for.
    pub(super) fn bound(&self, core: CoreId, local: LocalChat) -> Option<u32> {
        let handle = self.bound.get(usize::from(core))?.get(local.0 as usize).copied()?;
        (handle != UNBOUND).then_some(handle)
    }

    /// Adds a core's chat to a handle.
    pub(super) fn bind(&mut self, handle: u32, target: Target) {
        let core = usize::from(target.core);
        if self.bound.len() <= core {
            self.bound.resize_with(core + 1, Vec::new);
        }
        if let Some(locals) = self.bound.get_mut(core) {
            let local = target.local.0 as usize;
            if locals.len() <= local {
                locals.resize(local + 1, UNBOUND);
            }
            if let Some(entry) = locals.get_mut(local) {
                *entry = handle;
            }
        }
        if let Some(lane) = self.lanes.get_mut(handle as usize) {
            lane.targets.push(target);
        }
    }

    /// Removes a core's chat; the handle it stood for, and whether that was the last one.
    pub(super) fn unbind(&mut self, core: CoreId, local: LocalChat) -> Option<(u32, bool)> {
        let handle = self.bound(core, local)?;
        if let Some(entry) = self.bound.get_mut(usize::from(core)).and_then(|locals| locals.get_mut(local.0 as usize)) {
            *entry = UNBOUND;
        }
        let lane = self.lanes.get_mut(handle as usize)?;
        lane.targets.retain(|target| (target.core, target.local) != (core, local));
        Some((handle, lane.targets.is_empty()))
    }
}

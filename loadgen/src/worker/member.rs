//! One connection of a worker: a member of chats, or a publisher. 32 bytes, and a box while something is unfinished.

use corecast_websocket::Decoder;
use corecast_websocket::handshake::ClientHandshake;

use crate::check::Track;
use crate::plan::Plan;
use crate::worker::shared::Share;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected; the pace knows when it will try.
    Waiting,
    /// TCP connect under way.
    Connecting,
    /// Upgrade requested.
    Upgrading,
    /// Session and subscriptions requested.
    Joining,
    /// In all its chats (a publisher: ready).
    Live,
    /// Asked for another chat.
    Switching,
    /// Given up for good.
    Gone,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Member {
    pub phase: Phase,
    /// In a row.
    pub failures: u8,
    /// Counts connects, so that an old deadline does not hit a new connection.
    pub attempt: u16,
    pub first_track: u32,
    pub tracks: u16,
    /// Subscriptions not confirmed yet.
    pub awaiting: u16,
    /// When the current step (connect, join, switch) began.
    pub since_ns: u64,
    pub extra: Option<Box<Extra>>,
}

/// What only a few connections need at a time.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub handshake: Option<ClientHandshake>,
    /// Present while a frame or message is split over chunks.
    pub decoder: Option<Decoder>,
    /// Present while a protocol line is split over messages.
    pub carry: Option<Vec<u8>>,
    /// When the connection was lost, until the member is back.
    pub lost_ns: Option<u64>,
}

impl Member {
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Gives the box back once nothing is in it.
    pub(crate) fn tidy(&mut self) {
        let empty = |extra: &Extra| {
            extra.handshake.is_none() && extra.decoder.is_none() && extra.carry.is_none() && extra.lost_ns.is_none()
        };
        if self.extra.as_deref().is_some_and(empty) {
            self.extra = None;
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Live | Phase::Switching)
    }
}

/// All connections of one worker: first its members, then its publishers.
#[derive(Debug)]
pub(crate) struct Members {
    pub all: Vec<Member>,
    pub tracks: Vec<Track>,
    /// How many of them are members.
    pub members: u32,
}

impl Members {
    pub(crate) fn new(plan: &Plan, share: Option<Share>, publishers: u32) -> Self {
        let members = share.map_or(0, |share| share.count(plan.members));
        let mut all = Vec::with_capacity((members + publishers) as usize);
        let subscriptions: usize = share
            .map_or(0, |share| (0..members).map(|local| usize::from(plan.subscriptions_of(share.item(local)))).sum());
        let mut tracks = Vec::with_capacity(subscriptions);
        for local in 0..members + publishers {
            let first_track = tracks.len() as u32;
            if let Some(share) = share.filter(|_| local < members) {
                tracks.extend(plan.chats_of(share.item(local)).map(Track::new));
            }
            all.push(Member {
                phase: Phase::Waiting,
                failures: 0,
                attempt: 0,
                first_track,
                tracks: (tracks.len() as u32 - first_track) as u16,
                awaiting: 0,
                since_ns: 0,
                extra: None,
            });
        }
        Self { all, tracks, members }
    }

    pub(crate) fn is_publisher(&self, local: u32) -> bool {
        local >= self.members
    }

    /// Indices of a member's tracks.
    pub(crate) fn track_range(&self, local: u32) -> std::ops::Range<usize> {
        let member = &self.all[local as usize];
        let first = member.first_track as usize;
        first..first + usize::from(member.tracks)
    }

    /// Index of the member's track of that chat.
    #[inline]
    pub(crate) fn track_of(&self, local: u32, chat: u32) -> Option<usize> {
        self.track_range(local).find(|index| self.tracks[*index].chat == chat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::library;

    #[test]
    fn an_idle_member_is_small() {
        assert!(size_of::<Member>() <= 32, "{}", size_of::<Member>());
        let plan = Plan::new(&library::find("idle").unwrap().load());
        let share = Share::WHOLE.part(1, 6);
        let members = Members::new(&plan, Some(share), 0);
        let bytes = members.all.capacity() * size_of::<Member>() + members.tracks.capacity() * size_of::<Track>();
        assert!(bytes / members.all.len() <= 56, "{} bytes per member", bytes / members.all.len());
    }

    #[test]
    fn the_box_goes_when_it_is_empty() {
        let plan = Plan::new(&library::find("idle").unwrap().load());
        let mut members = Members::new(&plan, None, 2);
        let member = &mut members.all[0];
        member.extra().lost_ns = Some(1);
        member.tidy();
        assert!(member.extra.is_some());
        member.extra().lost_ns = None;
        member.tidy();
        assert!(member.extra.is_none());
    }
}

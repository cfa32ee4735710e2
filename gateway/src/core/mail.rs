//! What cores tell each other.
//!
//! Invariants worth naming:
//! * Nothing waits for a full mailbox. What must not be lost (joins, leaves, counts, ends of joins, answers) is kept in
//!   an overflow that is bounded by the number of chats and open requests; updates are kept up to [`OVERFLOW_UPDATES`]
//!   and beyond that their chat is given up on the stalled core: it is told `Reset` once it takes mail again.
//! * Mail from one core to another keeps its order, overflow included.
//! * A connection is handed over only into a mailbox with room: it never waits behind a core that does not move.

use std::collections::{HashSet, VecDeque};

use corecast_ring::Arrival;
use corecast_ring::mailbox::{Full, Mailboxes};
use corecast_wire::ChatName;

use super::origin::Origin;
use crate::link::{CoreId, FromLink, HistoryQuery, LocalChat, Publish, RequestRefused, ResetReason};

/// What a core asks of a link.
#[derive(Debug)]
pub(crate) enum LinkRequest {
    Join { chat: ChatName, local: LocalChat, want: u16 },
    Leave { local: LocalChat },
    Members { local: LocalChat, count: u32 },
    Publish { publish: Publish, origin: Origin },
    History { query: HistoryQuery, origin: Origin },
    PresenceStats { chat: ChatName, origin: Origin },
}

/// Which request a link refused to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Publish,
    History,
    PresenceStats,
}

impl LinkRequest {
    /// Who waits for the answer, if anybody does.
    pub(crate) fn asker(&self) -> Option<(Asked, Origin)> {
        match self {
            Self::Publish { origin, .. } => Some((Asked::Publish, *origin)),
            Self::History { origin, .. } => Some((Asked::History, *origin)),
            Self::PresenceStats { origin, .. } => Some((Asked::PresenceStats, *origin)),
            Self::Join { .. } | Self::Leave { .. } | Self::Members { .. } => None,
        }
    }
}

/// One message between cores.
#[derive(Debug)]
pub(crate) enum Mail {
    /// To the core that owns the link of this endpoint.
    ToLink(u16, LinkRequest),
    /// From the core that owns a link.
    FromLink(FromLink<Origin>),
    /// From the core that owns a link: it did not take the request.
    Declined(Asked, Origin, RequestRefused),
    /// From a core with more connections: it has accepted this one.
    Arrived(Arrival),
}

/// Updates that may wait for one core beyond its mailbox.
pub(crate) const OVERFLOW_UPDATES: usize = 16_384;

/// Sends mail to the other cores.
#[derive(Debug)]
pub(crate) struct Post {
    mailboxes: Mailboxes<Mail>,
    peers: Vec<Overflow>,
    /// Messages that had to wait.
    pub(crate) waited: u64,
}

#[derive(Debug, Default)]
struct Overflow {
    waiting: VecDeque<Mail>,
    /// Chats of that core which lost an update, by endpoint.
    lost: HashSet<(u16, LocalChat)>,
}

/// What became of an event for another core.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It is on its way.
    Sent,
    /// It was an update and there is no room: the link must leave the chat for that core.
    GiveUp(LocalChat),
}

impl Post {
    /// Over this core's mailboxes.
    pub(crate) fn new(mailboxes: Mailboxes<Mail>) -> Self {
        let peers = (0..mailboxes.cores()).map(|_| Overflow::default()).collect();
        Self { mailboxes, peers, waited: 0 }
    }

    /// The mailboxes themselves, to receive and to flush.
    pub(crate) fn mailboxes(&mut self) -> &mut Mailboxes<Mail> {
        &mut self.mailboxes
    }

    /// Whether nothing is to be received.
    pub(crate) fn is_empty(&self) -> bool {
        self.mailboxes.is_empty()
    }

    /// Whether some mail still waits to be sent.
    pub(crate) fn has_waiting(&self) -> bool {
        self.peers.iter().any(|peer| !peer.waiting.is_empty())
    }

    /// Asks something of a link on another core. Hands back what may be refused if there is no room.
    pub(crate) fn ask(&mut self, core: CoreId, endpoint: u16, request: LinkRequest) -> Result<(), LinkRequest> {
        if self.is_full(core) && request.asker().is_some() {
            return Err(request);
        }
        self.send(core, Mail::ToLink(endpoint, request));
        Ok(())
    }

    /// Gives a connection to another core. Hands it back if there is no room.
    pub(crate) fn hand_over(&mut self, core: CoreId, arrival: Arrival) -> Result<(), Arrival> {
        if self.is_full(core) {
            return Err(arrival);
        }
        self.send(core, Mail::Arrived(arrival));
        Ok(())
    }

    /// Whether what is sent now would have to wait.
    fn is_full(&self, core: CoreId) -> bool {
        let core = usize::from(core);
        !self.peers[core].waiting.is_empty() || self.mailboxes.room(core) == 0
    }

    /// Passes an answer on to the core that asked.
    pub(crate) fn decline(&mut self, core: CoreId, asked: Asked, origin: Origin, refused: RequestRefused) {
        self.send(core, Mail::Declined(asked, origin, refused));
    }

    /// Passes an event of the link of `endpoint` on.
    pub(crate) fn event(&mut self, core: CoreId, endpoint: u16, event: FromLink<Origin>) -> Posted {
        let peer = &mut self.peers[usize::from(core)];
        let event = match event {
            FromLink::Update { local, .. } | FromLink::Joined { local, .. }
                if peer.lost.contains(&(endpoint, local)) =>
            {
                return Posted::Sent;
            }
            FromLink::Update { local, .. } if peer.waiting.len() >= OVERFLOW_UPDATES => {
                peer.lost.insert((endpoint, local));
                return Posted::GiveUp(local);
            }
            FromLink::Left { local } | FromLink::Reset { local, .. } if peer.lost.remove(&(endpoint, local)) => {
                FromLink::Reset { local, reason: ResetReason::Lost }
            }
            event => event,
        };
        self.send(core, Mail::FromLink(event));
        Posted::Sent
    }

    /// Sends what waited, as far as there is room now.
    pub(crate) fn retry(&mut self) {
        for (core, peer) in self.peers.iter_mut().enumerate() {
            while let Some(mail) = peer.waiting.pop_front() {
                if let Err(Full(mail)) = self.mailboxes.send(core, mail) {
                    peer.waiting.push_front(mail);
                    break;
                }
            }
        }
    }

    fn send(&mut self, core: CoreId, mail: Mail) {
        let peer = &mut self.peers[usize::from(core)];
        let mail = if peer.waiting.is_empty() {
            match self.mailboxes.send(usize::from(core), mail) {
                Ok(()) => return,
                Err(Full(mail)) => mail,
            }
        } else {
            mail
        };
        self.waited += 1;
        peer.waiting.push_back(mail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use corecast_ring::mailbox::mesh;

    fn update(local: u32, offset: u64) -> FromLink<Origin> {
        FromLink::Update { local: LocalChat(local), offset, time_ms: 0, payload: Bytes::new() }
    }

    fn received(post: &mut Post) -> Vec<String> {
        let mut all = Vec::new();
        while let Some((_, mail)) = post.mailboxes().receive() {
            all.push(match mail {
                Mail::FromLink(FromLink::Update { local, offset, .. }) => format!("{}:{offset}", local.0),
                Mail::FromLink(FromLink::Reset { local, .. }) => format!("{}:reset", local.0),
                Mail::FromLink(FromLink::Left { local }) => format!("{}:left", local.0),
                other => format!("{other:?}"),
            });
        }
        all
    }

    #[test]
    fn order_survives_a_full_mailbox() {
        let mut posts: Vec<Post> = mesh(2, 2).into_iter().map(Post::new).collect();
        for offset in 1..=5 {
            assert_eq!(posts[0].event(1, 0, update(7, offset)), Posted::Sent);
        }
        assert!(posts[0].has_waiting());
        assert_eq!(received(&mut posts[1]), ["7:1", "7:2"]);
        posts[0].retry();
        assert_eq!(received(&mut posts[1]), ["7:3", "7:4"]);
        posts[0].retry();
        assert_eq!(received(&mut posts[1]), ["7:5"]);
        assert!(!posts[0].has_waiting());
        assert_eq!(posts[0].waited, 3);
    }

    #[test]
    fn a_stalled_core_loses_chats_but_is_told_which() {
        let mut posts: Vec<Post> = mesh(2, 1).into_iter().map(Post::new).collect();
        for offset in 0..=OVERFLOW_UPDATES as u64 {
            assert_eq!(posts[0].event(1, 0, update(7, offset)), Posted::Sent);
        }
        assert_eq!(posts[0].event(1, 3, update(8, 1)), Posted::GiveUp(LocalChat(8)));
        // What the link still had queued for that chat, and the end of the join that it was made to leave.
        assert_eq!(posts[0].event(1, 3, update(8, 2)), Posted::Sent);
        assert_eq!(posts[0].event(1, 3, FromLink::Left { local: LocalChat(8) }), Posted::Sent);
        let mut all = Vec::new();
        while posts[0].has_waiting() {
            all.append(&mut received(&mut posts[1]));
            posts[0].retry();
        }
        all.append(&mut received(&mut posts[1]));
        assert_eq!(all.len(), OVERFLOW_UPDATES + 2);
        assert_eq!(all.last().unwrap(), "8:reset");
        assert!(!all.iter().any(|mail| mail == "8:1" || mail == "8:2"));
    }

    #[test]
    fn requests_that_may_be_refused_are() {
        let mut posts: Vec<Post> = mesh(2, 1).into_iter().map(Post::new).collect();
        let stats = || LinkRequest::PresenceStats { chat: ChatName::new("c").unwrap(), origin: Origin::Control(1) };
        assert!(posts[0].ask(1, 0, stats()).is_ok());
        assert!(posts[0].ask(1, 0, stats()).is_err());
        assert!(posts[0].ask(1, 0, LinkRequest::Leave { local: LocalChat(1) }).is_ok());
        assert!(posts[0].has_waiting());
    }
}

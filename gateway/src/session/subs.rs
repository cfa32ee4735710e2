//! The chats of one connection.
//!
//! Invariants worth naming:
//! * A chat is listed at most once, by its index on the core.
//! * Only a live entry has a place in the chat's member list, and it knows which: the chat reports every move.
//! * Once a client was told unsubscribe, the entry is gone; until then it stays (behind, cut) so that nothing of the chat
//!   reaches the client in between and a new subscribe does not overtake the notice.

use corecast_centrifuge::codes::ErrorCode;
use smallvec::SmallVec;

use crate::time::Tick;

/// A connection's relation to one chat: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sub {
    /// Index of the chat on this core.
    pub(crate) chat: u32,
    /// While joining: the ticket of the request. While live: the index in the chat's member list.
    value: u32,
    /// When the subscription's token and its grace have run out.
    pub(crate) expires: Tick,
    place: Place,
    /// Made by the server at connect, not by the client.
    pub(crate) server_side: bool,
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The request waits for the chat or for history.
    Joining,
    /// In the chat's member list.
    Live,
    /// Fell behind and left the list; to be told 2500 once the outbox is drained.
    Behind,
    /// The chat was reset; to be told 2500 when its turn comes.
    Cut,
}

impl Sub {
    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The index in the member list, if it is in there.
    pub(crate) fn index(&self) -> Option<u32> {
        (self.place == Place::Live).then_some(self.value)
    }

    /// Whether this is the joining entry of the request with this ticket.
    pub(crate) fn awaits(&self, ticket: u32) -> bool {
        self.place == Place::Joining && self.value == ticket
    }

    /// The ticket of the request that waits.
    pub(crate) fn ticket(&self) -> Option<u32> {
        (self.place == Place::Joining).then_some(self.value)
    }
}

/// All chats of one connection; one of them fits without an allocation.
#[derive(Debug, Default)]
pub(crate) struct Subs {
    list: SmallVec<[Sub; 1]>,
}

impl Subs {
    /// The entry of a chat.
    pub(crate) fn get(&self, chat: u32) -> Option<&Sub> {
        self.list.iter().find(|sub| sub.chat == chat)
    }

    /// The entry of a chat.
    pub(crate) fn get_mut(&mut self, chat: u32) -> Option<&mut Sub> {
        self.list.iter_mut().find(|sub| sub.chat == chat)
    }

    /// Whether the connection gets, or is about to get again, the chat's messages.
    pub(crate) fn is_member(&self, chat: u32) -> bool {
        self.get(chat).is_some_and(|sub| sub.place != Place::Joining)
    }

    /// Lists a chat that is being joined.
    ///
    /// # Errors
    /// 105 if it is listed already, 106 if there are `limit` chats.
    pub(crate) fn begin(&mut self, chat: u32, ticket: u32, server_side: bool, limit: usize) -> Result<(), ErrorCode> {
        if self.get(chat).is_some() {
            return Err(ErrorCode::AlreadySubscribed);
        }
        if self.list.len() >= limit {
            return Err(ErrorCode::LimitExceeded);
        }
        self.list.push(Sub { chat, value: ticket, expires: Tick::NEVER, place: Place::Joining, server_side });
        Ok(())
    }

    /// The chat took the connection into its member list.
    pub(crate) fn set_live(&mut self, chat: u32, index: u32) {
        if let Some(sub) = self.get_mut(chat) {
            sub.place = Place::Live;
            sub.value = index;
        }
    }

    /// The chat moved the connection within its member list.
    pub(crate) fn moved(&mut self, chat: u32, index: u32) {
        let sub = self.get_mut(chat).filter(|sub| sub.place == Place::Live);
        debug_assert!(sub.is_some(), "a member that moved is live");
        if let Some(sub) = sub {
            sub.value = index;
        }
    }

    /// The connection left the member list and is still to be told.
    pub(crate) fn set_leaving(&mut self, chat: u32, place: Place) {
        debug_assert!(matches!(place, Place::Behind | Place::Cut));
        if let Some(sub) = self.get_mut(chat) {
            sub.place = place;
        }
    }

    /// Removes a chat.
    pub(crate) fn remove(&mut self, chat: u32) -> Option<Sub> {
        let index = self.list.iter().position(|sub| sub.chat == chat)?;
        let sub = self.list.swap_remove(index);
        if self.list.len() <= 1 {
            self.list.shrink_to_fit();
        }
        Some(sub)
    }

    /// Removes and returns any one chat.
    pub(crate) fn pop(&mut self) -> Option<Sub> {
        self.list.pop()
    }

    /// A chat that is behind.
    pub(crate) fn behind(&self) -> Option<u32> {
        self.list.iter().find(|sub| sub.place == Place::Behind).map(|sub| sub.chat)
    }

    /// The next time at which a subscription expires.
    pub(crate) fn expiry(&self) -> Tick {
        self.list.iter().map(|sub| sub.expires).min().unwrap_or(Tick::NEVER)
    }

    /// A chat whose subscription has expired.
    pub(crate) fn expired(&self, now: Tick) -> Option<u32> {
        self.list.iter().find(|sub| sub.expires <= now).map(|sub| sub.chat)
    }
}

const _: () = assert!(size_of::<Sub>() == 16 && size_of::<Subs>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_is_listed_once_and_only_so_many() {
        let mut subs = Subs::default();
        assert_eq!(subs.begin(1, 10, false, 2), Ok(()));
        assert_eq!(subs.begin(1, 11, false, 2), Err(ErrorCode::AlreadySubscribed));
        assert_eq!(subs.begin(2, 12, false, 2), Ok(()));
        assert_eq!(subs.begin(3, 13, false, 2), Err(ErrorCode::LimitExceeded));
        assert!(subs.get(1).unwrap().awaits(10) && !subs.get(1).unwrap().awaits(11));
        assert!(!subs.is_member(1));
        subs.set_live(1, 7);
        assert!(subs.is_member(1));
        assert_eq!(subs.get(1).unwrap().index(), Some(7));
        subs.moved(1, 3);
        assert_eq!(subs.remove(1).unwrap().index(), Some(3));
        assert_eq!(subs.remove(1), None);
        assert_eq!(subs.begin(3, 13, false, 2), Ok(()));
    }

    #[test]
    fn behind_and_expired_chats_are_found() {
        let mut subs = Subs::default();
        for chat in 0..3 {
            subs.begin(chat, chat, false, 9).unwrap();
            subs.set_live(chat, 0);
        }
        assert_eq!((subs.behind(), subs.expiry()), (None, Tick::NEVER));
        subs.set_leaving(2, Place::Behind);
        subs.get_mut(1).unwrap().expires = Tick(5);
        assert_eq!((subs.behind(), subs.expiry()), (Some(2), Tick(5)));
        assert_eq!((subs.expired(Tick(4)), subs.expired(Tick(5))), (None, Some(1)));
    }
}

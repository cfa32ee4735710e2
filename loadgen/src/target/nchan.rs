//! nchan: the chat is the last part of the path of a `pubsub` location; what a member sends is published, what it receives
//! was published. Neither subscriptions nor publishes are acknowledged.

use super::{Incoming, Names, Unreadable};

pub(super) fn path(names: &Names, base: &str, chat: u32) -> String {
    format!("{}/{}", base.trim_end_matches('/'), names.name(chat))
}

pub(super) fn read(payload: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), Unreadable> {
    if payload.first() == Some(&b'"') {
        sink(Incoming::Publication { chat: None, position: None, body: payload });
    } else {
        sink(Incoming::Other);
    }
    Ok(())
}

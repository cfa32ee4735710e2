//! The cores of a gateway, which believe nothing: they check what each join brings.

use std::collections::BTreeMap;

use corecast_gateway::link::{CoreId, FromLink, LocalChat, PublishError};
use corecast_wire::Position;

use crate::harness::Event;
use crate::script::payload;

#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) chat: String,
    /// What the core holds, once it is joined.
    pub(crate) position: Option<Position>,
    pub(crate) is_leaving: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Cores {
    pub(crate) joins: BTreeMap<(CoreId, u32), Join>,
    /// Open publishes by origin: their payload.
    pub(crate) publishes: BTreeMap<u32, String>,
    /// Payloads that the link said did not happen.
    pub(crate) undone: Vec<String>,
    /// Payloads that the link said did happen.
    pub(crate) done: Vec<String>,
}

impl Cores {
    /// A join of a chat on a core, unless there is one: the lowest free index, so that indices are reused at once.
    pub(crate) fn join(&mut self, core: CoreId, chat: &str) -> Option<LocalChat> {
        if self.find(core, chat).is_some() {
            return None;
        }
        let local = (0..).find(|&local| !self.joins.contains_key(&(core, local))).expect("a free index");
        self.joins.insert((core, local), Join { chat: chat.to_owned(), position: None, is_leaving: false });
        Some(LocalChat(local))
    }

    /// The join to be left, if there is one.
    pub(crate) fn leave(&mut self, core: CoreId, chat: &str) -> Option<LocalChat> {
        let local = self.find(core, chat)?;
        self.joins.get_mut(&(core, local)).expect("just found").is_leaving = true;
        Some(LocalChat(local))
    }

    fn find(&self, core: CoreId, chat: &str) -> Option<u32> {
        let mut joins = self.joins.iter();
        joins.find(|((on, _), join)| *on == core && join.chat == chat && !join.is_leaving).map(|((_, local), _)| *local)
    }

    /// The rule: `Joined` is followed by offset + 1, + 2, … and ends in one `Reset` or `Left`.
    pub(crate) fn check(&mut self, core: CoreId, event: Event) {
        match event {
            FromLink::Joined { local, position, top, .. } => {
                let join = self.joins.get_mut(&(core, local.0)).expect("a join that was asked for");
                assert_eq!(join.position, None, "joined twice");
                assert!(top >= position.offset);
                join.position = Some(position);
            }
            FromLink::Update { local, offset, payload: body, .. } => {
                let join = self.joins.get_mut(&(core, local.0)).expect("an update of a join that is not over");
                let position = join.position.as_mut().expect("an update before Joined");
                assert_eq!(offset, position.offset + 1, "not contiguous in {}", join.chat);
                assert_eq!(body, payload(&join.chat, position.epoch, offset), "another message than the router's");
                position.offset = offset;
            }
            FromLink::Reset { local, .. } => {
                self.joins.remove(&(core, local.0)).expect("a reset of a join that is not over");
            }
            FromLink::Left { local } => {
                let join = self.joins.remove(&(core, local.0)).expect("the end of a join that is not over");
                assert!(join.is_leaving, "left without being asked");
            }
            FromLink::Published { origin, result } => {
                let payload = self.publishes.remove(&origin).expect("one answer to each publish");
                match result {
                    Ok(_) => self.done.push(payload),
                    Err(PublishError::NotSent | PublishError::Refused { .. }) => self.undone.push(payload),
                    Err(PublishError::Unknown) => {}
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

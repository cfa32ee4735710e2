//! What clients may do in which chats without a subscription token: lists of names and prefixes, denied by default.

use std::str::FromStr;

/// Something a client may want to do in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read its past.
    History,
    /// Ask who or how many are there.
    Presence,
    /// Send to it.
    Publish,
    /// Receive its messages.
    Subscribe,
}

/// Who wants it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// User id; empty = anonymous.
    pub user: &'a str,
    /// Whether this connection is subscribed to the chat.
    pub member: bool,
}

/// Chats by name (`news`), by prefix (`chat:*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChatPattern {
    /// Every chat.
    All,
    /// The chat of this name.
    Exact(Box<str>),
    /// Every chat whose name begins so and is longer.
    Prefix(Box<str>),
}

/// A pattern with `*` elsewhere than at its end, or an empty one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad chat pattern {0:?}: expected a name, a prefix followed by *, or * alone")]
pub struct BadPattern(pub String);

/// The lists of one kind of user. The default allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Chats to subscribe to.
    pub subscribe: Vec<ChatPattern>,
    /// Chats to publish to.
    pub publish: Vec<ChatPattern>,
    /// Chats to publish to while subscribed.
    pub publish_for_member: Vec<ChatPattern>,
    /// Chats whose history may be read.
    pub history: Vec<ChatPattern>,
    /// Chats whose history may be read while subscribed.
    pub history_for_member: Vec<ChatPattern>,
    /// Chats whose members may be counted.
    pub presence: Vec<ChatPattern>,
    /// Chats whose members may be counted while subscribed.
    pub presence_for_member: Vec<ChatPattern>,
}

impl FromStr for ChatPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::All),
            Some(prefix) if !prefix.contains('*') => Ok(Self::Prefix(prefix.into())),
            None if !text.is_empty() && !text.contains('*') => Ok(Self::Exact(text.into())),
            _ => Err(BadPattern(text.to_owned())),
        }
    }
}

impl ChatPattern {
    /// Whether `channel` is meant.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(name) => **name == *channel,
            Self::Prefix(prefix) => channel.strip_prefix(&**prefix).is_some_and(|rest| !rest.is_empty()),
        }
    }
}

impl Permissions {
    /// Everything in every chat.
    #[must_use]
    pub fn all() -> Self {
        let all = || vec![ChatPattern::All];
        Self {
            subscribe: all(),
            publish: all(),
            publish_for_member: Vec::new(),
            history: all(),
            history_for_member: Vec::new(),
            presence: all(),
            presence_for_member: Vec::new(),
        }
    }

    pub(super) fn allow(&self, action: Action, channel: &str, member: bool) -> bool {
        let (anyone, members): (&[_], &[_]) = match action {
            Action::History => (&self.history, &self.history_for_member),
            Action::Presence => (&self.presence, &self.presence_for_member),
            Action::Publish => (&self.publish, &self.publish_for_member),
            Action::Subscribe => (&self.subscribe, &[]),
        };
        let listed = |patterns: &[ChatPattern]| patterns.iter().any(|pattern| pattern.matches(channel));
        listed(anyone) || member && listed(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ChatPattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns() {
        assert!(pattern("*").matches("anything"));
        assert!(pattern("news").matches("news"));
        for other in ["news2", "new", "News", "", "news:1"] {
            assert!(!pattern("news").matches(other), "{other}");
        }
        assert!(pattern("chat:*").matches("chat:1"));
        assert!(pattern("chat:*").matches("chat:a:b"));
        for other in ["chat:", "chat", "xchat:1", "Chat:1", ""] {
            assert!(!pattern("chat:*").matches(other), "{other}");
        }
        for bad in ["", "**", "a*b", "*a", "a**", "*a*"] {
            assert_eq!(bad.parse::<ChatPattern>(), Err(BadPattern(bad.to_owned())));
        }
    }

    #[test]
    fn nothing_is_allowed_unless_listed() {
        let nothing = Permissions::default();
        let everything = Permissions::all();
        for action in [Action::History, Action::Presence, Action::Publish, Action::Subscribe] {
            assert!(!nothing.allow(action, "chat:1", true));
            assert!(everything.allow(action, "chat:1", false));
        }
    }

    #[test]
    fn each_action_has_its_own_lists_and_members_may_have_more() {
        let permissions = Permissions {
            subscribe: vec![pattern("chat:*"), pattern("news")],
            publish: vec![pattern("inbox")],
            publish_for_member: vec![pattern("chat:*")],
            history_for_member: vec![pattern("news")],
            ..Permissions::default()
        };
        assert!(permissions.allow(Action::Subscribe, "news", false));
        assert!(!permissions.allow(Action::Subscribe, "inbox", true));
        assert!(permissions.allow(Action::Publish, "inbox", false));
        assert!(!permissions.allow(Action::Publish, "chat:1", false));
        assert!(permissions.allow(Action::Publish, "chat:1", true));
        assert!(!permissions.allow(Action::Publish, "news", true));
        assert!(permissions.allow(Action::History, "news", true));
        assert!(!permissions.allow(Action::History, "news", false));
        assert!(!permissions.allow(Action::Presence, "news", true));
    }
}

//! The loads of the comparison.

use clap::ValueEnum;

/// What every server gets in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// Chats of 5 members, 10,000 messages a second: what a large fleet puts on each node.
    Small,
    /// The same at 20,000 messages a second: who is still in time?
    SmallFast,
    /// One chat with all members, at a rate that all servers carry: CPU per delivery.
    Big,
    /// One chat with all members, at a rate that none carries: deliveries per second at saturation.
    BigMax,
}

impl Load {
    pub(crate) const DEFAULT: [Self; 4] = [Self::Small, Self::SmallFast, Self::Big, Self::BigMax];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::SmallFast => "small-fast",
            Self::Big => "big",
            Self::BigMax => "big-max",
        }
    }

    pub(crate) fn title(self, connections: u32) -> String {
        match self {
            Self::Small => format!("{} chats of 5 members, 10,000 messages/s", connections / 5),
            Self::SmallFast => format!("{} chats of 5 members, 20,000 messages/s", connections / 5),
            Self::Big => format!("one chat of {connections} members, {:.2} messages/s", self.rate(connections)),
            Self::BigMax => {
                format!("one chat of {connections} members, {:.0} messages/s offered", self.rate(connections))
            }
        }
    }

    /// The ready scenario that it starts from.
    pub(crate) fn scenario(self) -> &'static str {
        match self {
            Self::Small | Self::SmallFast => "article-node",
            Self::Big | Self::BigMax => "big-chat",
        }
    }

    /// Messages per second.
    pub(crate) fn rate(self, connections: u32) -> f64 {
        match self {
            Self::Small => 10_000.0,
            Self::SmallFast => 20_000.0,
            // 60,000 deliveries a second.
            Self::Big => 60_000.0 / f64::from(connections),
            // 450,000 deliveries a second: beyond one core of anything known here.
            Self::BigMax => 450_000.0 / f64::from(connections),
        }
    }
}

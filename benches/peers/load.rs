//! The loads of the comparison.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::install;

/// Members of each chat of the small loads.
const SMALL_CHAT: u32 = 5;
/// Members of each chat of the storm, as in its file.
const STORM_CHAT: u32 = 20;

/// What every server gets in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// Chats of 5 members, 10,000 messages a second: what a large fleet puts on each node.
    Small,
    /// The same at 2,000 messages a second: nobody is near a limit, not even a slow generator.
    SmallSlow,
    /// The same at 20,000 messages a second: who is still in time?
    SmallFast,
    /// The same at 40,000 messages a second: deliveries per second at saturation.
    SmallMax,
    /// One chat with all members, at a rate that all servers carry: CPU per delivery.
    Big,
    /// One chat with all members, at a rate that none carries: deliveries per second at saturation.
    BigMax,
    /// All members are cut off at once and reconnect: connects per second, and what they cost.
    Storm,
}

impl Load {
    pub(crate) const DEFAULT: [Self; 5] = [Self::Small, Self::SmallFast, Self::SmallMax, Self::Big, Self::BigMax];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::SmallSlow => "small-slow",
            Self::SmallFast => "small-fast",
            Self::SmallMax => "small-max",
            Self::Big => "big",
            Self::BigMax => "big-max",
            Self::Storm => "storm",
        }
    }

    pub(crate) fn title(self, connections: u32) -> String {
        let rate = self.rate(connections);
        match self {
            Self::Small => format!("{} chats of {SMALL_CHAT} members, 10,000 messages/s", connections / SMALL_CHAT),
            Self::SmallSlow => format!("{} chats of {SMALL_CHAT} members, 2,000 messages/s", connections / SMALL_CHAT),
            Self::SmallFast => format!("{} chats of {SMALL_CHAT} members, 20,000 messages/s", connections / SMALL_CHAT),
            Self::SmallMax => {
                format!("{} chats of {SMALL_CHAT} members, 40,000 messages/s offered", connections / SMALL_CHAT)
            }
            Self::Big => format!("one chat of {connections} members, {rate:.2} messages/s"),
            Self::BigMax => format!("one chat of {connections} members, {rate:.0} messages/s offered"),
            Self::Storm => format!("{connections} members cut off at once, without recovery"),
        }
    }

    /// The scenario that it starts from: the name of a ready one, or a file.
    pub(crate) fn scenario(self) -> PathBuf {
        match self {
            Self::Small | Self::SmallSlow | Self::SmallFast | Self::SmallMax => "article-node".into(),
            Self::Big | Self::BigMax => "big-chat".into(),
            Self::Storm => install::source().join("storm.toml"),
        }
    }

    /// Messages per second.
    pub(crate) fn rate(self, connections: u32) -> f64 {
        match self {
            Self::Small => 10_000.0,
            Self::SmallSlow => 2_000.0,
            Self::SmallFast => 20_000.0,
            // 200,000 deliveries a second: at 3 to 7 µs each, what a member's own send costs in the kernel alone or with what is
            // around it, one CPU is full before. Who still carries it lets several updates of a member wait for one send.
            Self::SmallMax => 40_000.0,
            // 60,000 deliveries a second.
            Self::Big => 60_000.0 / f64::from(connections),
            // 3,000,000 deliveries a second: servers that write many updates of a member at once need 0.35 µs for each, so one
            // CPU is full at 2,900,000, and the generator at 0.26 µs soon after. Not far beyond: what is offered and not
            // carried waits in the memory of the server, 100 MB and more for each million.
            Self::BigMax => 3_000_000.0 / f64::from(connections),
            Self::Storm => 1.0,
        }
    }

    /// Members of each chat.
    pub(crate) fn members(self, connections: u32) -> u32 {
        match self {
            Self::Small | Self::SmallSlow | Self::SmallFast | Self::SmallMax => SMALL_CHAT,
            Self::Big | Self::BigMax => connections,
            Self::Storm => STORM_CHAT,
        }
    }

    /// Deliveries per second that are asked for.
    pub(crate) fn offered(self, connections: u32) -> f64 {
        self.rate(connections) * f64::from(self.members(connections))
    }

    /// Whether it asks for more than a server carries: what comes through is the figure, and losses are no surprise.
    pub(crate) fn saturates(self) -> bool {
        matches!(self, Self::SmallMax | Self::BigMax)
    }
}

#[cfg(test)]
mod tests {
    use corecast_loadgen::scenario::Scenario;

    use super::*;

    #[test]
    fn the_storm_s_file_is_a_scenario_with_chats_of_that_size() {
        let path = Load::Storm.scenario();
        let scenario = Scenario::parse(&std::fs::read_to_string(&path).unwrap(), &path.display().to_string()).unwrap();
        assert_eq!(scenario.chats[0].members, STORM_CHAT);
        assert!(scenario.storm.is_some_and(|storm| !storm.recover));
    }
}

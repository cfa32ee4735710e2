//! A scenario: who connects, which chats exist, what is published when, and what happens to the members meanwhile.
//!
//! Written as TOML with a default for every key, so that a file states only what it is about. Unknown keys are errors with
//! their line. The ready ones live in `loadgen/scenarios/`; their text is part of the binary ([`library`]).

mod adjust;
pub mod library;
mod span;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub use adjust::Adjust;
pub use span::Span;

use crate::body;

/// The in-flight table keys messages by 32 bits and counts a chat's members in 24.
const MEMBERS_PER_CHAT_MAX: u32 = (1 << 24) - 1;
/// Chat indices are 32 bits everywhere; this bound keeps per-chat tables (about 16 bytes each) below 256 MiB.
const CHATS_MAX: u32 = 1 << 24;
/// One process would need 50 rings of 20,000 sockets for a million; beyond that use agents.
const CONNECTIONS_MAX: u64 = 4_000_000;
/// Messages per second that one schedule accepts: one each 100 ns is far beyond any server's receive path.
const RATE_MAX: f64 = 10_000_000.0;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Short name, shown in reports. Default: `custom`.
    pub name: String,
    /// One sentence: what the scenario stands for.
    pub about: String,
    /// New connections per second while connecting. Default: 2,000.
    pub connect_rate: f64,
    /// Connections that may be on their way at the same time. Default: 512. Beyond it connecting slows down.
    pub connecting_max: u32,
    /// Published but not measured, so that caches, buffers and clocks settle. Default: 5 s. The checker works here too.
    pub warmup: Span,
    /// Measured time after the warm-up. Default: 30 s.
    pub duration: Span,
    /// How long deliveries may trickle in after the last publish before they count as missing. Default: 5 s.
    pub drain: Span,
    /// When messages are due: evenly spaced or as a Poisson process. Default: `fixed`.
    pub arrivals: Arrivals,
    /// Groups of like chats, reported apart. At least one.
    pub chats: Vec<Group>,
    /// Who publishes.
    pub publish: Publish,
    /// Rate over time: each stage multiplies the rates of all groups. Empty = factor 1 all the time.
    /// The last factor stays until the end.
    pub stages: Vec<Stage>,
    /// Members that leave and come back all the time.
    pub churn: Option<Churn>,
    /// All members lose their connection at once.
    pub storm: Option<Storm>,
    /// Members that open another chat again and again, on the same socket.
    pub switch: Option<Switch>,
    /// Members that read too slowly.
    pub slow: Option<Slow>,
    /// The run is invalid (exit code 98) when the generator's own p99 lateness exceeds this. Default: 10 ms.
    pub lateness_max: Span,
    /// A connection that the target closes without being asked fails the run. Default: true.
    pub disconnects_fail: bool,
    /// Conditions such as `deliver.p99 < 50ms`; a broken one ends with exit code 99.
    pub thresholds: Vec<String>,
}

/// A group of like chats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Name in reports and histogram tags; letters, digits, `-` and `_`. Default: `chats`.
    pub name: String,
    /// Number of chats. Default: 1.
    pub count: u32,
    /// Members of each chat (their mean, when skewed). Default: 5.
    pub members: u32,
    /// Chats that each member is in at the same time. Default: 1.
    pub chats_per_member: u16,
    /// Messages per second, over all chats of the group. Default: 1.
    pub rate: f64,
    /// Bytes of the published body, quotes included. Default: 100.
    pub size: usize,
    /// Zipf exponent of members over chats: 0 = all alike, 1 = the second chat has half of the first. Default: 0.
    pub member_skew: f64,
    /// Zipf exponent of messages over chats. Default: 0.
    pub rate_skew: f64,
}

/// How intended publish times are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Evenly, interleaved over the chats.
    Fixed,
    /// Independent: exponentially distributed gaps, chats drawn at random.
    Poisson,
}

/// Who publishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    /// `dedicated`: a few connections that are in no chat carry all messages, those due together in one write. This is
    /// the least extra work that a server can have with a message. `member`: the first member of each chat publishes on
    /// its own socket and receives its own message: one more socket read for each message, as in real chats.
    pub by: Publisher,
    /// Number of dedicated connections. A chat always uses the same one, so that its order is defined. Default: 4.
    pub connections: u16,
}

/// See [`Publish::by`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Publisher {
    /// A few connections that are in no chat.
    Dedicated,
    /// The first member of each chat.
    Member,
}

/// One step of the rate over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How long it lasts; counted from the start of the warm-up.
    pub lasting: Span,
    /// Factor on the rates of all groups.
    pub factor: f64,
}

/// Members that leave and come back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Reconnects per second, over all members.
    pub rate: f64,
    /// Ask for what was missed in between (and check it). Default: true.
    #[serde(default = "yes")]
    pub recover: bool,
}

/// All (or a share of the) members are cut off at once and reconnect as fast as they can.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// When, counted from the start of the measured time.
    pub at: Span,
    /// Share of the members, 0..=1. Default: 1.
    #[serde(default = "one")]
    pub fraction: f64,
    /// Ask for what was missed in between (and check it). Default: true.
    #[serde(default = "yes")]
    pub recover: bool,
}

/// Members that open another chat.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Mean time that a member stays in a chat.
    pub every: Span,
}

/// Members that read too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// How many, in addition to the members of the groups; spread over the chats of the first group.
    pub members: u32,
    /// What each of them reads per second. 0 = nothing at all.
    pub bytes_per_second: u32,
}

/// A scenario that cannot be run. Blame: whoever wrote the file or the flags.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, an unknown key or a value of the wrong type; the text carries line and column.
    #[error("{origin}: {message}")]
    Parse {
        /// File name or library name.
        origin: String,
        /// From the TOML parser.
        message: String,
    },
    /// Values that contradict each other or are out of range.
    #[error("{origin}: {}", problems.join("\n  "))]
    Values {
        /// File name or library name.
        origin: String,
        /// One line each, with the key's path.
        problems: Vec<String>,
    },
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "custom".to_owned(),
            about: String::new(),
            connect_rate: 2_000.0,
            connecting_max: 512,
            warmup: Span::seconds(5),
            duration: Span::seconds(30),
            drain: Span::seconds(5),
            arrivals: Arrivals::Fixed,
            chats: Vec::new(),
            publish: Publish::default(),
            stages: Vec::new(),
            churn: None,
            storm: None,
            switch: None,
            slow: None,
            lateness_max: Span::millis(10),
            disconnects_fail: true,
            thresholds: Vec::new(),
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: "chats".to_owned(),
            count: 1,
            members: 5,
            chats_per_member: 1,
            rate: 1.0,
            size: 100,
            member_skew: 0.0,
            rate_skew: 0.0,
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self { by: Publisher::Dedicated, connections: 4 }
    }
}

impl Scenario {
    /// Reads and checks a scenario. `origin` names the source in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text)
            .map_err(|error| ScenarioError::Parse { origin: origin.to_owned(), message: error.to_string() })?;
        scenario.check(origin)?;
        Ok(scenario)
    }

    /// The values, one problem per line.
    pub fn check(&self, origin: &str) -> Result<(), ScenarioError> {
        let mut problems = Problems(Vec::new());
        problems.unless(!self.chats.is_empty(), "chats: at least one [[chats]] group is needed");
        problems.rate("connect_rate", self.connect_rate);
        problems.unless(self.connect_rate > 0.0, "connect_rate: must be above 0");
        problems.unless(self.connecting_max > 0, "connecting_max: must be at least 1");
        problems.unless(self.duration.nanos() > 0, "duration: must be above 0");
        problems.unless(self.publish.connections > 0, "publish.connections: must be at least 1");
        for (index, group) in self.chats.iter().enumerate() {
            problems.group(index, group);
            let twin = self.chats[..index].iter().any(|other| other.name == group.name);
            problems.unless(!twin, &format!("chats[{index}].name: {:?} is used twice", group.name));
        }
        let connections: u64 = self.chats.iter().map(Group::connections).sum();
        problems.unless(connections > 0, "chats: no group has members");
        problems.unless(
            connections <= CONNECTIONS_MAX,
            &format!("chats: {connections} connections, at most {CONNECTIONS_MAX} from one process"),
        );
        let chats: u64 = self.chats.iter().map(|group| u64::from(group.count)).sum();
        problems.unless(chats <= u64::from(CHATS_MAX), &format!("chats: {chats} chats, at most {CHATS_MAX}"));
        self.check_behaviour(&mut problems);
        if problems.0.is_empty() {
            return Ok(());
        }
        Err(ScenarioError::Values { origin: origin.to_owned(), problems: problems.0 })
    }

    fn check_behaviour(&self, problems: &mut Problems) {
        for (index, stage) in self.stages.iter().enumerate() {
            problems.rate(&format!("stages[{index}].factor"), stage.factor);
            problems.unless(stage.lasting.nanos() > 0, &format!("stages[{index}].lasting: must be above 0"));
        }
        if let Some(churn) = self.churn {
            problems.rate("churn.rate", churn.rate);
        }
        if let Some(storm) = self.storm {
            problems.unless((0.0..=1.0).contains(&storm.fraction), "storm.fraction: must be within 0 and 1");
            problems.unless(storm.at < self.duration, "storm.at: must lie within the measured time");
        }
        if let Some(switch) = self.switch {
            problems.unless(switch.every.nanos() > 0, "switch.every: must be above 0");
            let single = self.chats.iter().all(|group| group.chats_per_member == 1);
            problems.unless(single, "switch: members of several chats at once cannot switch; set chats_per_member = 1");
        }
        for text in &self.thresholds {
            if let Err(error) = crate::threshold::Threshold::parse(text) {
                problems.0.push(format!("thresholds: {error}"));
            }
        }
    }

    /// Member connections, without publishers and slow readers.
    pub fn connections(&self) -> u64 {
        self.chats.iter().map(Group::connections).sum()
    }

    /// Messages per second over all groups at factor 1.
    pub fn rate(&self) -> f64 {
        self.chats.iter().map(|group| group.rate).sum()
    }

    /// Deliveries per second over all groups at factor 1, for members spread as the groups say.
    pub fn deliveries(&self) -> f64 {
        self.chats.iter().map(|group| group.rate * f64::from(group.members)).sum()
    }

    /// As TOML, defaults included.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be written as TOML: {error}\n"))
    }

    /// One line for lists: connections, chats and rates.
    pub fn outline(&self) -> String {
        let mut line = String::new();
        for group in &self.chats {
            if !line.is_empty() {
                line.push_str(" + ");
            }
            let (count, members) = (group.count, group.members);
            let _ = write!(line, "{count} × {members} members, {} msg/s of {} B", group.rate, group.size);
        }
        line
    }
}

impl Group {
    /// Connections that the group needs.
    pub fn connections(&self) -> u64 {
        (u64::from(self.count) * u64::from(self.members)).div_ceil(u64::from(self.chats_per_member.max(1)))
    }
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

struct Problems(Vec<String>);

impl Problems {
    fn unless(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.0.push(problem.to_owned());
        }
    }

    fn rate(&mut self, path: &str, rate: f64) {
        let holds = rate.is_finite() && (0.0..=RATE_MAX).contains(&rate);
        self.unless(holds, &format!("{path}: {rate} is not within 0 and {RATE_MAX}"));
    }

    fn group(&mut self, index: usize, group: &Group) {
        let path = |key: &str| format!("chats[{index}].{key}");
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let named = !group.name.is_empty() && group.name.len() <= 32 && group.name.chars().all(letters);
        self.unless(named, &format!("{}: 1 to 32 letters, digits, '-' or '_'", path("name")));
        self.unless(group.count > 0, &format!("{}: must be at least 1", path("count")));
        self.unless(
            group.members <= MEMBERS_PER_CHAT_MAX,
            &format!("{}: at most {MEMBERS_PER_CHAT_MAX}", path("members")),
        );
        let each = u32::from(group.chats_per_member);
        self.unless(
            (1..=128).contains(&each) && each <= group.count,
            &format!("{}: within 1 and 128, and at most the group's {} chats", path("chats_per_member"), group.count),
        );
        self.rate(&path("rate"), group.rate);
        self.unless(
            (body::SIZE_MIN..=body::SIZE_MAX).contains(&group.size),
            &format!("{}: {} is not within {} and {}", path("size"), group.size, body::SIZE_MIN, body::SIZE_MAX),
        );
        for (key, skew) in [("member_skew", group.member_skew), ("rate_skew", group.rate_skew)] {
            self.unless((0.0..=4.0).contains(&skew), &format!("{}: {skew} is not within 0 and 4", path(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_states_only_what_it_is_about() {
        let scenario = Scenario::parse("[[chats]]\ncount = 10\nrate = 20", "test").unwrap();
        assert_eq!(scenario.connections(), 50);
        assert_eq!(scenario.rate(), 20.0);
        assert_eq!(scenario.warmup, Span::seconds(5));
        assert_eq!(scenario.publish.by, Publisher::Dedicated);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = Scenario::parse("name = \"x\"\n\n[[chats]]\nmember = 7\n", "my.toml").unwrap_err().to_string();
        assert!(error.contains("my.toml"), "{error}");
        assert!(error.contains("line 4"), "{error}");
        assert!(error.contains("member"), "{error}");
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "connect_rate = 0\n[[chats]]\nsize = 20\ncount = 0\nname = \"a b\"\n[storm]\nat = \"2h\"\n";
        let error = Scenario::parse(text, "bad").unwrap_err().to_string();
        for part in ["connect_rate", "chats[0].size", "chats[0].count", "chats[0].name", "storm.at"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn the_shown_text_reads_back() {
        for entry in library::ALL {
            let scenario = entry.load();
            let again = Scenario::parse(&scenario.to_toml(), entry.name).unwrap();
            assert_eq!(again, scenario, "{}", entry.name);
        }
    }

    #[test]
    fn a_wrong_threshold_is_found_before_the_run() {
        let error = Scenario::parse("thresholds = [\"deliver.p99 ~ 5\"]\n[[chats]]\n", "t").unwrap_err();
        assert!(error.to_string().contains("thresholds"), "{error}");
    }
}

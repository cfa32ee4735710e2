//! The ready scenarios: files in `loadgen/scenarios/`, carried in the binary.

use super::Scenario;

/// One ready scenario.
#[derive(Debug)]
pub struct Entry {
    /// As given on the command line.
    pub name: &'static str,
    /// The TOML file, comments included.
    pub text: &'static str,
}

macro_rules! entries {
    ($($name:literal),* $(,)?) => {
        /// All of them, in the order in which `list` shows them.
        pub const ALL: &[Entry] = &[$(Entry {
            name: $name,
            text: include_str!(concat!("../../scenarios/", $name, ".toml")),
        }),*];
    };
}

entries![
    "article-node",
    "big-chat",
    "hot-chat",
    "zipf",
    "ramp",
    "storm",
    "churn",
    "slow-readers",
    "chat-switch",
    "idle",
    "mixed",
];

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// The scenario. The texts are fixed, and a test reads each of them.
    pub fn load(&self) -> Scenario {
        match Scenario::parse(self.text, self.name) {
            Ok(scenario) => scenario,
            Err(error) => unreachable!("a ready scenario is wrong: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ready_scenario_is_valid_named_and_explained() {
        for entry in ALL {
            let scenario = Scenario::parse(entry.text, entry.name).unwrap();
            assert_eq!(scenario.name, entry.name);
            assert!(scenario.about.len() > 20, "{} says what it stands for", entry.name);
        }
        assert!(find("nothing").is_none());
    }

    #[test]
    fn article_node_is_the_node_load_of_the_problem_statement() {
        let scenario = find("article-node").unwrap().load();
        assert_eq!(scenario.connections(), 100_000);
        assert_eq!(scenario.rate(), 10_000.0);
        assert_eq!(scenario.deliveries(), 50_000.0);
        assert_eq!(scenario.chats[0].size, 100);
    }
}

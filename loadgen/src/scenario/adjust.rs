//! Flags that change a scenario from the command line, so that a ready one fits another machine.

use super::{Arrivals, Publisher, Scenario, Span};

/// What the command line may override. `None` = as the scenario says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adjust {
    /// Member connections in total; groups of several chats get more or fewer chats, single chats more or fewer members.
    pub connections: Option<u64>,
    /// Messages per second in total; groups keep their shares.
    pub rate: Option<f64>,
    /// Bytes per body, for all groups.
    pub size: Option<usize>,
    /// See [`Scenario::connect_rate`].
    pub connect_rate: Option<f64>,
    /// See [`Scenario::warmup`].
    pub warmup: Option<Span>,
    /// See [`Scenario::duration`].
    pub duration: Option<Span>,
    /// See [`Scenario::drain`].
    pub drain: Option<Span>,
    /// See [`Scenario::arrivals`].
    pub arrivals: Option<Arrivals>,
    /// See [`super::Publish::by`].
    pub publish_by: Option<Publisher>,
    /// See [`super::Publish::connections`].
    pub publishers: Option<u16>,
    /// See [`Scenario::lateness_max`].
    pub lateness_max: Option<Span>,
    /// Added to the scenario's own.
    pub thresholds: Vec<String>,
}

impl Adjust {
    /// Applies the flags. The result still has to pass [`Scenario::check`].
    pub fn apply(&self, scenario: &mut Scenario) {
        if let Some(connections) = self.connections {
            resize(scenario, connections);
        }
        if let Some(rate) = self.rate {
            let factor = if scenario.rate() > 0.0 { rate / scenario.rate() } else { 0.0 };
            let share = rate / scenario.chats.len().max(1) as f64;
            let silent = scenario.rate() <= 0.0;
            for group in &mut scenario.chats {
                group.rate = if silent { share } else { group.rate * factor };
            }
        }
        for group in &mut scenario.chats {
            group.size = self.size.unwrap_or(group.size);
        }
        scenario.connect_rate = self.connect_rate.unwrap_or(scenario.connect_rate);
        scenario.warmup = self.warmup.unwrap_or(scenario.warmup);
        self.shorten(scenario);
        scenario.drain = self.drain.unwrap_or(scenario.drain);
        scenario.arrivals = self.arrivals.unwrap_or(scenario.arrivals);
        scenario.publish.by = self.publish_by.unwrap_or(scenario.publish.by);
        scenario.publish.connections = self.publishers.unwrap_or(scenario.publish.connections);
        scenario.lateness_max = self.lateness_max.unwrap_or(scenario.lateness_max);
        scenario.thresholds.extend(self.thresholds.iter().cloned());
    }

    /// A new duration moves a storm along, so that it stays at the same share of the run.
    fn shorten(&self, scenario: &mut Scenario) {
        let Some(duration) = self.duration else { return };
        let share = duration.as_seconds() / scenario.duration.as_seconds().max(1e-9);
        if let Some(storm) = &mut scenario.storm {
            storm.at = Span::from_nanos((storm.at.nanos() as f64 * share) as u64);
        }
        for stage in &mut scenario.stages {
            stage.lasting = Span::from_nanos(((stage.lasting.nanos() as f64 * share) as u64).max(1));
        }
        scenario.duration = duration;
    }
}

fn resize(scenario: &mut Scenario, connections: u64) {
    let factor = connections as f64 / scenario.connections().max(1) as f64;
    let scaled = |number: u32| ((f64::from(number) * factor).round() as u32).max(1);
    for group in &mut scenario.chats {
        if group.count > 1 {
            group.count = scaled(group.count).max(u32::from(group.chats_per_member));
        } else {
            group.members = scaled(group.members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::library;
    use super::*;

    #[test]
    fn article_node_fits_15000_sockets_at_the_same_rate() {
        let mut scenario = library::find("article-node").unwrap().load();
        Adjust { connections: Some(15_000), ..Adjust::default() }.apply(&mut scenario);
        assert_eq!((scenario.chats[0].count, scenario.chats[0].members), (3_000, 5));
        assert_eq!(scenario.rate(), 10_000.0);
    }

    #[test]
    fn a_single_chat_grows_by_members() {
        let mut scenario = library::find("big-chat").unwrap().load();
        Adjust { connections: Some(1_234), ..Adjust::default() }.apply(&mut scenario);
        assert_eq!((scenario.chats[0].count, scenario.chats[0].members), (1, 1_234));
    }

    #[test]
    fn groups_keep_their_share_of_the_rate() {
        let mut scenario = library::find("mixed").unwrap().load();
        let before: Vec<f64> = scenario.chats.iter().map(|group| group.rate / scenario.rate()).collect();
        Adjust { rate: Some(100.0), ..Adjust::default() }.apply(&mut scenario);
        let after: Vec<f64> = scenario.chats.iter().map(|group| group.rate / scenario.rate()).collect();
        assert!((scenario.rate() - 100.0).abs() < 1e-9);
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn a_shorter_storm_run_still_has_its_storm() {
        let mut scenario = library::find("storm").unwrap().load();
        Adjust { duration: Some(Span::seconds(3)), ..Adjust::default() }.apply(&mut scenario);
        scenario.check("storm").unwrap();
    }
}

//! When which chat gets its next message: an open loop that no answer of the target can slow down.
//!
//! Pure: the caller asks what is due up to an instant. A late caller gets everything that became due meanwhile, with the
//! *intended* instants, so that waiting shows up as latency instead of hiding it (no coordinated omission).
//!
//! Invariants: intended instants never decrease; over any time the number of messages follows the rate, however seldom the
//! caller asks; two schedules that share a plan (`owns`) together publish what one would; equal seeds give equal schedules.

use crate::plan::{Plan, cumulated};
use crate::rng::Rng;
use crate::scenario::{Arrivals, Stage};

/// One message that is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Intended instant, ns of the run's clock.
    pub at_ns: u64,
    pub chat: u32,
    pub group: u16,
}

/// All groups' messages in order of their intended instants.
#[derive(Debug)]
pub(crate) struct Schedule {
    streams: Vec<Stream>,
    profile: Profile,
}

/// The messages of one group.
#[derive(Debug)]
struct Stream {
    group: u16,
    chooser: Chooser,
    arrivals: Arrivals,
    /// Messages per ns at factor 1.
    rate: f64,
    /// Position of the next message on the axis of intended work, in ns at factor 1.
    work: f64,
    next_ns: u64,
    rng: Rng,
}

/// Chooses the chat of the next message.
#[derive(Debug)]
enum Chooser {
    /// Round-robin in a shuffled order: each chat has an even gap.
    Turns { order: Vec<u32>, at: usize },
    /// By weight.
    Weighted { chats: Vec<u32>, cumulated: Vec<f64> },
}

impl Schedule {
    /// Starts at `start_ns`. Only chats for which `owns` holds are published into; each owner gets its share of the rate.
    pub(crate) fn new(
        plan: &Plan,
        arrivals: Arrivals,
        stages: &[Stage],
        start_ns: u64,
        seed: u64,
        owns: impl Fn(u32) -> bool,
    ) -> Self {
        let profile = Profile::new(start_ns, stages);
        let rng = Rng::new(seed);
        let mut streams = Vec::new();
        for (index, group) in plan.groups.iter().enumerate() {
            let all: Vec<u32> = (group.first_chat..group.first_chat + group.chats).collect();
            let weights = weights(group.chats, group.rate_skew);
            let owned: Vec<(u32, f64)> = all.into_iter().zip(weights).filter(|(chat, _)| owns(*chat)).collect();
            let share: f64 = owned.iter().map(|(_, weight)| weight).sum();
            let mut stream = Stream {
                group: index as u16,
                rate: group.rate * share / 1e9,
                chooser: Chooser::new(&owned, group.rate_skew > 0.0, &mut rng.fork(index as u64)),
                arrivals,
                work: 0.0,
                next_ns: 0,
                // The first owned chat tells owners apart, so that their Poisson processes are independent.
                rng: rng.fork(u64::from(owned.first().map_or(0, |(chat, _)| *chat)) << 16 | index as u64),
            };
            if stream.rate > 0.0 {
                stream.start(&profile);
                streams.push(stream);
            }
        }
        Self { streams, profile }
    }

    /// Instant of the next message, or `None` if nothing is ever due.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.streams.iter().map(|stream| stream.next_ns).min().filter(|at| *at != u64::MAX)
    }

    /// The next message, if it is due at or before `now_ns`.
    pub(crate) fn pop(&mut self, now_ns: u64) -> Option<Due> {
        let stream = self.streams.iter_mut().min_by_key(|stream| stream.next_ns)?;
        if stream.next_ns > now_ns {
            return None;
        }
        let fixed = stream.arrivals == Arrivals::Fixed;
        let due = Due { at_ns: stream.next_ns, chat: stream.chooser.next(&mut stream.rng, fixed), group: stream.group };
        stream.advance(&self.profile);
        Some(due)
    }
}

impl Stream {
    /// A fixed stream starts anywhere within its first gap, so that groups and owners interleave.
    fn start(&mut self, profile: &Profile) {
        let first = match self.arrivals {
            Arrivals::Fixed => self.rng.unit(),
            Arrivals::Poisson => self.rng.exponential(),
        };
        self.work = first / self.rate;
        self.next_ns = profile.instant(self.work);
    }

    fn advance(&mut self, profile: &Profile) {
        let gap = match self.arrivals {
            Arrivals::Fixed => 1.0,
            Arrivals::Poisson => self.rng.exponential(),
        };
        self.work += gap / self.rate;
        self.next_ns = profile.instant(self.work).max(self.next_ns);
    }
}

impl Chooser {
    fn new(owned: &[(u32, f64)], skewed: bool, rng: &mut Rng) -> Self {
        if skewed {
            let total: f64 = owned.iter().map(|(_, weight)| weight).sum();
            let mut sum = 0.0;
            let cumulated = owned
                .iter()
                .map(|(_, weight)| {
                    sum += weight / total;
                    sum
                })
                .collect();
            return Self::Weighted { chats: owned.iter().map(|(chat, _)| *chat).collect(), cumulated };
        }
        let mut order: Vec<u32> = owned.iter().map(|(chat, _)| *chat).collect();
        rng.shuffle(&mut order);
        Self::Turns { order, at: 0 }
    }

    fn next(&mut self, rng: &mut Rng, in_turn: bool) -> u32 {
        match self {
            Self::Turns { order, at } if in_turn => {
                let chat = order[*at];
                *at = (*at + 1) % order.len();
                chat
            }
            Self::Turns { order, .. } => order[rng.below(order.len() as u32) as usize],
            Self::Weighted { chats, cumulated } => {
                let share = rng.unit();
                chats[cumulated.partition_point(|sum| *sum < share).min(chats.len() - 1)]
            }
        }
    }
}

/// The rate factor over time: maps work (ns at factor 1) to instants.
#[derive(Debug)]
struct Profile(Vec<Piece>);

/// From `from_ns` on, where `work` has been done, the factor holds until the next piece.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from_ns: u64,
    work: f64,
    factor: f64,
}

impl Profile {
    fn new(start_ns: u64, stages: &[Stage]) -> Self {
        let first = stages.first().map_or(1.0, |stage| stage.factor);
        let mut profile = Self(vec![Piece { from_ns: start_ns, work: 0.0, factor: first }]);
        let mut at = start_ns;
        for pair in stages.windows(2) {
            at += pair[0].lasting.nanos();
            profile.change(at, pair[1].factor);
        }
        profile
    }

    /// From `at_ns` on, which is not before the last change.
    fn change(&mut self, at_ns: u64, factor: f64) {
        let last = self.0[self.0.len() - 1];
        let work = last.work + at_ns.saturating_sub(last.from_ns) as f64 * last.factor;
        self.0.push(Piece { from_ns: at_ns.max(last.from_ns), work, factor });
    }

    /// When `work` will have been done; `u64::MAX` if never.
    fn instant(&self, work: f64) -> u64 {
        let index = self.0.partition_point(|piece| piece.work <= work).max(1) - 1;
        let piece = self.0[index];
        if piece.factor <= 0.0 {
            // Pieces of factor 0 do no work: `partition_point` has already skipped all but a last one.
            return u64::MAX;
        }
        piece.from_ns.saturating_add(((work - piece.work).max(0.0) / piece.factor) as u64)
    }
}

/// Shares of the group's rate by chat; they add up to 1.
fn weights(chats: u32, skew: f64) -> Vec<f64> {
    if skew <= 0.0 {
        return vec![1.0 / f64::from(chats); chats as usize];
    }
    let sums = cumulated(chats, skew);
    sums.iter().scan(0.0, |before, sum| Some(sum - std::mem::replace(before, *sum))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Group, Scenario, Span};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SECOND: u64 = 1_000_000_000;

    fn plan(groups: Vec<Group>) -> Plan {
        Plan::new(&Scenario { chats: groups, ..Scenario::default() })
    }

    fn group(count: u32, rate: f64) -> Group {
        Group { name: format!("g{count}"), count, rate, ..Group::default() }
    }

    fn drain(schedule: &mut Schedule, until: u64) -> Vec<Due> {
        std::iter::from_fn(|| schedule.pop(until)).collect()
    }

    #[test]
    fn fixed_messages_come_evenly_and_each_chat_in_turn() {
        let plan = plan(vec![group(10, 1_000.0)]);
        let mut schedule = Schedule::new(&plan, Arrivals::Fixed, &[], SECOND, 1, |_| true);
        let due = drain(&mut schedule, 2 * SECOND);
        assert!((999..=1_001).contains(&due.len()), "{}", due.len());
        for pair in due.windows(2) {
            let gap = pair[1].at_ns - pair[0].at_ns;
            assert!((999_998..=1_000_002).contains(&gap), "{gap}");
        }
        let chats: Vec<u32> = due[..10].iter().map(|due| due.chat).collect();
        let mut sorted = chats.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert_eq!(due[10].chat, chats[0]);
    }

    #[test]
    fn a_late_caller_gets_the_intended_instants() {
        let plan = plan(vec![group(3, 100.0)]);
        let make = || Schedule::new(&plan, Arrivals::Poisson, &[], 0, 5, |_| true);
        let (mut often, mut once) = (make(), make());
        let asked_often: Vec<Due> = (0..1_000).flat_map(|step| drain(&mut often, step * SECOND / 100)).collect();
        assert_eq!(asked_often, drain(&mut once, 999 * SECOND / 100));
    }

    #[test]
    fn poisson_has_the_rate_and_varying_gaps() {
        let plan = plan(vec![group(100, 1_000.0)]);
        let mut schedule = Schedule::new(&plan, Arrivals::Poisson, &[], 0, 9, |_| true);
        let due = drain(&mut schedule, 20 * SECOND);
        assert!((19_400..20_600).contains(&due.len()), "{}", due.len());
        let short = due.windows(2).filter(|pair| pair[1].at_ns - pair[0].at_ns < SECOND / 1_000).count();
        let share = short as f64 / due.len() as f64;
        assert!((share - 0.632).abs() < 0.02, "gaps below their mean: {share}");
    }

    #[test]
    fn owners_together_publish_what_one_would() {
        let plan = plan(vec![group(10, 1_000.0)]);
        let mut both = 0;
        for owner in 0..2 {
            let mut schedule = Schedule::new(&plan, Arrivals::Fixed, &[], 0, 1, |chat| chat % 2 == owner);
            let due = drain(&mut schedule, SECOND);
            assert!(due.iter().all(|due| due.chat % 2 == owner));
            both += due.len();
        }
        assert!((998..=1_002).contains(&both), "{both}");
    }

    #[test]
    fn skewed_rates_follow_zipf() {
        let skewed = Group { rate_skew: 1.0, ..group(10, 10_000.0) };
        let plan = plan(vec![skewed]);
        let mut schedule = Schedule::new(&plan, Arrivals::Poisson, &[], 0, 1, |_| true);
        let mut counts: HashMap<u32, f64> = HashMap::new();
        for due in drain(&mut schedule, 10 * SECOND) {
            *counts.entry(due.chat).or_default() += 1.0;
        }
        let ratio = counts[&0] / counts[&1];
        assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
    }

    #[test]
    fn stages_set_the_rate() {
        let plan = plan(vec![group(1, 1_000.0)]);
        let stage = |factor| Stage { lasting: Span::seconds(1), factor };
        let stages = [stage(0.5), stage(0.0), stage(2.0)];
        let mut schedule = Schedule::new(&plan, Arrivals::Fixed, &stages, 0, 1, |_| true);
        let count = |schedule: &mut Schedule, until| drain(schedule, until).len() as i64;
        let near = |actual: i64, wanted: i64| assert!((actual - wanted).abs() <= 1, "{actual} not near {wanted}");
        near(count(&mut schedule, SECOND), 500);
        near(count(&mut schedule, 2 * SECOND), 0);
        near(count(&mut schedule, 4 * SECOND), 4_000);
    }

    proptest! {
        #[test]
        fn intended_instants_never_decrease(
            rates in prop::collection::vec(0.0..5_000.0_f64, 1..4),
            poisson: bool,
            seed: u64,
            asks in prop::collection::vec(0_u64..SECOND / 10, 1..30),
        ) {
            let groups = rates.iter().enumerate()
                .map(|(index, rate)| Group { name: format!("g{index}"), ..group(index as u32 + 1, *rate) }).collect();
            let plan = plan(groups);
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Fixed };
            let mut schedule = Schedule::new(&plan, arrivals, &[], 0, seed, |_| true);
            let (mut now, mut last) = (0, 0);
            for ask in asks {
                now += ask;
                for due in drain(&mut schedule, now) {
                    prop_assert!(due.at_ns >= last && due.at_ns <= now);
                    prop_assert_eq!(plan.group_of_chat(due.chat), due.group);
                    last = due.at_ns;
                }
            }
        }
    }
}

//! Who is where: chats, members and their subscriptions, worked out from a scenario before anything connects.
//!
//! Nothing is stored per member: a member's chats are computed from its index. Invariants: chats and members of a group are
//! consecutive; in an even group whose numbers divide, every chat has exactly the asked number of members; the members of a
//! chat are spread over the connecting order (and so over the workers and the server's cores).

use crate::scenario::{Group, Scenario};

/// The plan of a run. About 8 bytes per chat of skewed groups, else constant.
#[derive(Debug)]
pub(crate) struct Plan {
    pub groups: Vec<PlannedGroup>,
    pub chats: u32,
    pub members: u32,
}

#[derive(Debug)]
pub(crate) struct PlannedGroup {
    pub name: String,
    pub first_chat: u32,
    pub chats: u32,
    pub first_member: u32,
    pub members: u32,
    pub per_member: u16,
    pub rate: f64,
    pub size: usize,
    pub rate_skew: f64,
    /// Cumulated shares of members by chat; empty when even.
    shares: Vec<f64>,
    /// Coprime to `members`: visits every member position once, out of order.
    stride: u64,
}

impl Plan {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut plan = Self { groups: Vec::new(), chats: 0, members: 0 };
        for group in &scenario.chats {
            let planned = PlannedGroup::new(group, plan.chats, plan.members);
            plan.chats += planned.chats;
            plan.members += planned.members;
            plan.groups.push(planned);
        }
        plan
    }

    /// Members that stand aside, one chat each: spread over the chats of this plan's first group.
    pub(crate) fn aside(&self, members: u32) -> Self {
        let group = Group { name: "slow".to_owned(), count: self.groups[0].chats, rate: 0.0, ..Group::default() };
        let planned = PlannedGroup { members, ..PlannedGroup::new(&group, self.groups[0].first_chat, 0) };
        Self { groups: vec![planned], chats: self.chats, members }
    }

    pub(crate) fn group_of_chat(&self, chat: u32) -> u16 {
        // Few groups: the last one that starts at or before the chat.
        (self.groups.partition_point(|group| group.first_chat <= chat).max(1) - 1) as u16
    }

    fn group_of_member(&self, member: u32) -> &PlannedGroup {
        &self.groups[self.groups.partition_point(|group| group.first_member <= member).max(1) - 1]
    }

    /// Chats that a member joins at first.
    pub(crate) fn chats_of(&self, member: u32) -> impl Iterator<Item = u32> + use<> {
        let group = self.group_of_member(member);
        let first = group.first_chat_of(member - group.first_member);
        let (start, chats) = (group.first_chat, group.chats);
        (0..u32::from(group.per_member)).map(move |next| start + (first + next) % chats)
    }

    pub(crate) fn subscriptions_of(&self, member: u32) -> u16 {
        self.group_of_member(member).per_member
    }

    /// Another chat of the same group, by a random number.
    pub(crate) fn another_chat(&self, chat: u32, random: u32) -> u32 {
        let group = &self.groups[usize::from(self.group_of_chat(chat))];
        if group.chats < 2 {
            return chat;
        }
        let step = 1 + random % (group.chats - 1);
        group.first_chat + (chat - group.first_chat + step) % group.chats
    }

    /// For each chat the member that publishes into it (its first), or `None` where it has no members.
    pub(crate) fn publishing_members(&self) -> Vec<Option<u32>> {
        let mut first = vec![None; self.chats as usize];
        for member in 0..self.members {
            for chat in self.chats_of(member) {
                first[chat as usize].get_or_insert(member);
            }
        }
        first
    }
}

impl PlannedGroup {
    fn new(group: &Group, first_chat: u32, first_member: u32) -> Self {
        let members = group.connections() as u32;
        Self {
            name: group.name.clone(),
            first_chat,
            chats: group.count,
            first_member,
            members,
            per_member: group.chats_per_member,
            rate: group.rate,
            size: group.size,
            rate_skew: group.rate_skew,
            shares: if group.member_skew > 0.0 { cumulated(group.count, group.member_skew) } else { Vec::new() },
            stride: coprime_near(u64::from(members) * 618 / 1_000, u64::from(members)),
        }
    }

    /// Index within the group of the first chat of the group's `member`.
    fn first_chat_of(&self, member: u32) -> u32 {
        if self.shares.is_empty() {
            let position = u64::from(member) * u64::from(self.per_member);
            return (position % u64::from(self.chats)) as u32;
        }
        let position = u64::from(member) * self.stride % u64::from(self.members);
        let share = (position as f64 + 0.5) / f64::from(self.members);
        (self.shares.partition_point(|cumulated| *cumulated < share) as u32).min(self.chats - 1)
    }
}

/// Cumulated Zipf shares of `count` items, ending at 1.
pub(crate) fn cumulated(count: u32, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (0..count)
        .map(|index| {
            sum += f64::from(index + 1).powf(-exponent);
            sum
        })
        .collect();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

fn coprime_near(wanted: u64, modulus: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (wanted.max(1)..).find(|candidate| gcd(*candidate, modulus.max(1)) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::library;
    use proptest::prelude::*;

    fn sizes(plan: &Plan) -> Vec<u32> {
        let mut sizes = vec![0; plan.chats as usize];
        for member in 0..plan.members {
            plan.chats_of(member).for_each(|chat| sizes[chat as usize] += 1);
        }
        sizes
    }

    #[test]
    fn every_chat_of_article_node_has_five_members() {
        let plan = Plan::new(&library::find("article-node").unwrap().load());
        assert!(sizes(&plan).iter().all(|size| *size == 5));
        assert_eq!(plan.members, 100_000);
    }

    #[test]
    fn slow_readers_join_the_chats_of_the_first_group() {
        let plan = Plan::new(&library::find("slow-readers").unwrap().load());
        let aside = plan.aside(50);
        assert_eq!((aside.members, aside.chats), (50, plan.chats));
        assert_eq!(aside.chats_of(49).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn zipf_halves_from_the_first_chat_to_the_second() {
        let plan = Plan::new(&library::find("zipf").unwrap().load());
        let sizes = sizes(&plan);
        assert_eq!(sizes.iter().sum::<u32>(), 10_000);
        let ratio = f64::from(sizes[0]) / f64::from(sizes[1]);
        assert!((ratio - 2.0).abs() < 0.05, "{ratio}");
    }

    #[test]
    fn groups_do_not_share_chats() {
        let plan = Plan::new(&library::find("mixed").unwrap().load());
        assert_eq!(plan.chats_of(49_999).collect::<Vec<_>>(), [0]);
        assert_eq!(plan.chats_of(50_000).collect::<Vec<_>>(), [1]);
        assert_eq!(plan.group_of_chat(0), 0);
        assert_eq!(plan.group_of_chat(1), 1);
        assert_eq!(plan.group_of_chat(10_000), 1);
    }

    proptest! {
        #[test]
        fn any_plan_keeps_members_in_their_group(
            count in 1_u32..200, members in 1_u32..50, each in 1_u16..8, skew in 0.0..2.0_f64, random: u32
        ) {
            let each = each.min(count as u16);
            let group = Group { count, members, chats_per_member: each, member_skew: skew, ..Group::default() };
            let other = Group { name: "other".to_owned(), ..Group::default() };
            let plan = Plan::new(&Scenario { chats: vec![other, group], ..Scenario::default() });
            for member in 5..plan.members {
                let chats: Vec<u32> = plan.chats_of(member).collect();
                prop_assert_eq!(chats.len(), usize::from(each));
                let mut distinct = chats.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), chats.len());
                prop_assert!(chats.iter().all(|chat| (1..=count).contains(chat)));
                let other = plan.another_chat(chats[0], random);
                prop_assert!(count == 1 || other != chats[0]);
                prop_assert!((1..=count).contains(&other));
            }
            let publishing = plan.publishing_members();
            for (chat, member) in publishing.iter().enumerate() {
                if let Some(member) = member {
                    prop_assert!(plan.chats_of(*member).any(|joined| joined as usize == chat));
                }
            }
        }
    }
}

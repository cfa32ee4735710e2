//! What happens to members while messages flow: churn, a storm, switching chats.

use super::desk::{Desk, Intent};
use super::member::Phase;
use crate::check::Track;

/// Members looked at to find a live one before an action is dropped for this time.
const TRIES: u32 = 16;

/// When what is due; one per worker.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    churned: u64,
    switched: u64,
    stormed: bool,
}

impl Behaviour {
    /// When to look again.
    pub(crate) fn next_at(&self, desk: &Desk) -> Option<u64> {
        let times = desk.times?;
        let scenario = &desk.shared.scenario;
        let churn = churn_gap_ns(desk).map(|gap| times.start_ns + ((self.churned + 1) as f64 * gap) as u64);
        let switch = switch_gap_ns(desk).map(|gap| times.start_ns + ((self.switched + 1) as f64 * gap) as u64);
        let storm = scenario.storm.filter(|_| !self.stormed).map(|storm| times.measure_from_ns + storm.at.nanos());
        let next = [churn, switch, storm].into_iter().flatten().min();
        next.filter(|at_ns| *at_ns < times.measure_to_ns)
    }

    /// Does what is due.
    pub(crate) fn act(&mut self, desk: &mut Desk) {
        let Some(times) = desk.times else { return };
        if desk.members.members == 0 || desk.now_ns >= times.measure_to_ns || desk.now_ns < times.start_ns {
            return;
        }
        let elapsed = (desk.now_ns - times.start_ns) as f64;
        if let Some(gap) = churn_gap_ns(desk) {
            while (self.churned as f64 + 1.0) * gap <= elapsed {
                self.churned += 1;
                churn(desk);
            }
        }
        if let Some(gap) = switch_gap_ns(desk) {
            while (self.switched as f64 + 1.0) * gap <= elapsed {
                self.switched += 1;
                switch(desk);
            }
        }
        let storm_at = desk.shared.scenario.storm.map(|storm| times.measure_from_ns + storm.at.nanos());
        if !self.stormed && storm_at.is_some_and(|at_ns| at_ns <= desk.now_ns) {
            self.stormed = true;
            storm(desk);
        }
    }
}

/// Gap between this worker's reconnects.
fn churn_gap_ns(desk: &Desk) -> Option<f64> {
    let churn = desk.shared.scenario.churn?;
    gap_ns(desk, churn.rate * f64::from(desk.members.members) / f64::from(desk.shared.plan.members.max(1)))
}

/// Gap between this worker's switches.
fn switch_gap_ns(desk: &Desk) -> Option<f64> {
    let switch = desk.shared.scenario.switch?;
    gap_ns(desk, f64::from(desk.members.members) / switch.every.as_seconds())
}

fn gap_ns(desk: &Desk, per_second: f64) -> Option<f64> {
    (desk.members.members > 0 && per_second > 0.0).then(|| 1e9 / per_second)
}

fn live_member(desk: &mut Desk) -> Option<u32> {
    for _ in 0..TRIES {
        let local = desk.rng.below(desk.members.members);
        if desk.members.all[local as usize].phase == Phase::Live {
            return Some(local);
        }
    }
    None
}

fn churn(desk: &mut Desk) {
    let recover = desk.shared.scenario.churn.is_none_or(|churn| churn.recover);
    if let Some(local) = live_member(desk) {
        cut(desk, local, recover);
    }
}

fn storm(desk: &mut Desk) {
    let Some(storm) = desk.shared.scenario.storm else { return };
    for local in 0..desk.members.members {
        if desk.members.all[local as usize].phase == Phase::Live && desk.rng.unit() < storm.fraction {
            cut(desk, local, storm.recover);
        }
    }
}

/// Cuts a member's connection without a farewell, as a lost network does; it comes back at once.
fn cut(desk: &mut Desk, local: u32, recover: bool) {
    desk.counts.cut += 1;
    desk.intents.push(Intent::Close(local));
    desk.lost(local);
    if !recover {
        for index in desk.members.track_range(local) {
            desk.members.tracks[index] = Track::new(desk.members.tracks[index].chat);
        }
    }
    desk.pace.retry_at(local, desk.now_ns);
}

/// A member leaves its chat and opens another one on the same socket.
fn switch(desk: &mut Desk) {
    let Some(local) = live_member(desk) else { return };
    let shared = desk.shared.clone();
    let Some(index) = desk.members.track_range(local).next() else { return };
    let old = desk.members.tracks[index];
    let random = desk.rng.next_u64() as u32;
    let chat = shared.plan.another_chat(old.chat, random);
    if chat == old.chat {
        return;
    }
    if old.joined {
        shared.left(old.chat);
    }
    desk.members.tracks[index] = Track::new(chat);
    shared.adapter.unsubscribe(0, old.chat, &mut desk.frames);
    shared.adapter.subscribe(0, crate::target::Join { chat, resume: None }, &mut desk.frames);
    let member = &mut desk.members.all[local as usize];
    member.phase = Phase::Switching;
    member.awaiting = 1;
    member.since_ns = desk.now_ns;
    let bytes = desk.frames.take();
    desk.intents.push(Intent::Send(local, bytes));
}

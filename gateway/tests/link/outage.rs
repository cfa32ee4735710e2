//! Members are told within 5 s that their router is gone: each chat once, spread over time; a short outage goes unseen.

use std::collections::BTreeMap;
use std::time::Duration;

use corecast_gateway::link::{FromLink, LinkNotice};
use corecast_wire::message::SubscribeOutcome;

use crate::harness::{BEAT, Harness, subscribed};

const CHATS: u32 = 2_000;

fn with_chats() -> Harness {
    let mut harness = Harness::up();
    for local in 0..CHATS {
        harness.join(&format!("chat {local}"), (local % 2) as u16, local);
    }
    let mut answered = 0;
    while answered < CHATS {
        let asked = harness.asked().len() as u32;
        let answers: Vec<_> =
            (answered..answered + asked).map(|handle| subscribed(handle, 3, 7, 7, SubscribeOutcome::Fresh)).collect();
        harness.say(&answers);
        answered += asked;
    }
    assert_eq!(harness.events().len(), CHATS as usize);
    harness
}

/// Lets time pass in steps and notes when each chat is reset.
fn resets(harness: &mut Harness, time: Duration) -> BTreeMap<(u16, u32), Duration> {
    let start = harness.now;
    let mut resets = BTreeMap::new();
    while harness.now - start < time {
        harness.pass(Duration::from_millis(10));
        for (core, event) in harness.events() {
            let FromLink::Reset { local, .. } = event else { panic!("{event:?}") };
            assert_eq!(resets.insert((core, local.0), harness.now - start), None, "each once");
        }
    }
    resets
}

#[test]
fn after_a_broken_connection_everything_is_reset_from_two_seconds_on() {
    let mut harness = with_chats();
    harness.cut();
    let resets = resets(&mut harness, Duration::from_secs(10));
    assert_eq!(resets.len(), CHATS as usize);
    let (first, last) = (resets.values().min().expect("some"), resets.values().max().expect("some"));
    assert!(*first >= Duration::from_secs(2) && *last <= Duration::from_secs(3), "{first:?} to {last:?}");
    assert!(*last - *first >= Duration::from_millis(100), "spread");
    assert_eq!(harness.link.chats(), 0);
    let announced = harness.notices.iter().filter(|notice| matches!(notice, LinkNotice::Resetting { .. })).count();
    assert_eq!(announced, 1);
}

#[test]
fn after_silence_everything_is_reset_within_five_seconds_of_the_last_byte() {
    let mut harness = with_chats();
    let resets = resets(&mut harness, Duration::from_secs(10));
    assert_eq!(resets.len(), CHATS as usize);
    assert!(resets.values().all(|&at| at <= Duration::from_secs(5)));
    assert!(resets.values().all(|&at| at >= BEAT * 3));
}

#[test]
fn a_short_outage_resets_nothing() {
    let mut harness = with_chats();
    harness.cut();
    harness.pass(Duration::from_millis(1_900));
    harness.come_up();
    let mut answered = 0;
    while answered < CHATS {
        let asked = harness.asked().len() as u32;
        let answers: Vec<_> =
            (answered..answered + asked).map(|handle| subscribed(handle, 3, 7, 7, SubscribeOutcome::Resumed)).collect();
        harness.say(&answers);
        answered += asked;
    }
    assert_eq!(harness.seen(), [""; 0]);
}

#[test]
fn a_link_that_comes_back_during_the_resets_ends_them() {
    let mut harness = with_chats();
    harness.cut();
    harness.pass(Duration::from_millis(2_020));
    let reset = harness.events().len();
    assert!(reset > 0 && reset < CHATS as usize, "{reset}");
    harness.come_up();
    harness.pass(Duration::from_millis(500));
    assert_eq!(harness.seen(), [""; 0]);
    assert_eq!(harness.link.chats(), CHATS as usize - reset);
}

#[test]
fn joins_are_refused_at_once_while_the_link_is_down_for_longer() {
    let mut harness = Harness::new();
    harness.cut();
    harness.join("early", 0, 0);
    assert_eq!(harness.seen(), [""; 0]);
    harness.pass(Duration::from_secs(3));
    assert_eq!(harness.seen(), ["0/0 reset LinkDown"]);
    harness.join("late", 0, 1);
    assert_eq!(harness.seen(), ["0/1 reset LinkDown"]);
    harness.come_up();
    harness.join("in time", 0, 2);
    assert_eq!(harness.asked().len(), 1);
    assert_eq!(harness.seen(), [""; 0]);
}

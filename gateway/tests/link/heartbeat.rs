//! A router that falls silent, or only talks, is found out within its heartbeats; one that is alive is left alone.

use std::time::Duration;

use corecast_gateway::link::{LinkAction, LinkError, LinkNotice, LinkState};
use corecast_wire::message::{ToGateway, ToRouter};

use crate::harness::{BEAT, Harness};

fn error(harness: &Harness) -> Option<LinkError> {
    harness.notices.iter().rev().find_map(|notice| match notice {
        LinkNotice::Down { error, .. } => Some(*error),
        _ => None,
    })
}

#[test]
fn a_silent_router_is_left_after_three_beats() {
    let mut harness = Harness::up();
    harness.pass(BEAT * 3 - Duration::from_millis(1));
    assert_eq!(harness.link.state(), LinkState::Up);
    harness.actions.clear();
    harness.pass(Duration::from_millis(1));
    assert_eq!(error(&harness), Some(LinkError::Silent));
    assert_eq!(harness.actions.first(), Some(&LinkAction::Disconnect));
}

#[test]
fn any_byte_is_a_sign_of_life_but_pongs_are_wanted_too() {
    let mut harness = Harness::up();
    for beat in 0_u64.. {
        if harness.link.state() != LinkState::Up {
            break;
        }
        assert!(beat < 20, "a router that never answers is not found out");
        harness.say(&[ToGateway::Ping { nonce: beat }]);
        harness.pass(BEAT);
    }
    assert_eq!(error(&harness), Some(LinkError::NoPong));
    assert!(harness.now - harness.start <= BEAT * 7);
}

#[test]
fn a_router_that_answers_is_left_alone_for_an_hour() {
    let mut harness = Harness::up();
    harness.pass_in_health(Duration::from_secs(600));
    assert_eq!(harness.link.state(), LinkState::Up);
    assert_eq!(harness.link.stats().failures, 0);
}

#[test]
fn pings_come_every_beat_and_pings_are_answered() {
    let mut harness = Harness::up();
    harness.pass(BEAT * 2);
    let pings = harness.sent().into_iter().filter(|message| matches!(message, ToRouter::Ping { .. })).count();
    assert_eq!(pings, 2);
    harness.say(&[ToGateway::Ping { nonce: 99 }]);
    assert_eq!(harness.sent(), [ToRouter::Pong { nonce: 99 }]);
}

#[test]
fn the_round_trip_is_measured() {
    let mut harness = Harness::up();
    harness.pass(BEAT);
    let sent = harness.sent();
    let [ToRouter::Ping { nonce }] = sent.as_slice() else { panic!("{sent:?}") };
    harness.now += Duration::from_millis(7);
    harness.say(&[ToGateway::Pong { nonce: *nonce }, ToGateway::Pong { nonce: 12_345 }]);
    assert_eq!(harness.link.stats().round_trip_us, 7_000);
}

#[test]
fn a_router_that_does_not_read_is_left() {
    let mut harness = Harness::up();
    harness.socket_is_full = true;
    let flood: Vec<_> = (0..10_000).map(|index| ToGateway::Ping { nonce: u64::MAX - index }).collect();
    let mut floods = 0;
    while harness.try_say(&flood).is_ok() {
        floods += 1;
        assert!(floods < 100, "queued {} bytes", harness.link.queued_bytes());
    }
    harness.drain();
    assert_eq!(error(&harness), Some(LinkError::Overflow));
}

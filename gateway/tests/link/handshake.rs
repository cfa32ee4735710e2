//! A link comes up only with a router that knows the secret, accepts this node and speaks its version.

use std::time::Duration;

use corecast_gateway::link::{LinkAction, LinkBlame, LinkError, LinkNotice, LinkState};
use corecast_wire::message::{HelloRefusal, Refused, ToGateway, ToRouter};
use corecast_wire::version::{Features, VersionRange};
use corecast_wire::{MessageError, Text, WireError};

use crate::harness::{Harness, ROUTER_NONCE, welcome};

fn failure(harness: &mut Harness, messages: &[ToGateway]) -> LinkError {
    let error = harness.try_say(messages).expect_err("the link does not come up");
    harness.drain();
    assert_eq!(harness.link.state(), LinkState::Waiting);
    assert_eq!(harness.actions, [LinkAction::Disconnect]);
    error
}

#[test]
fn the_hello_says_who_and_with_which_placement() {
    let mut harness = Harness::new();
    assert_eq!(harness.actions, [LinkAction::Connect]);
    harness.connect();
    let hello = harness.expect_hello();
    assert_eq!((hello.node.as_str(), hello.node_incarnation), ("gateway-1", 77));
    assert_eq!((hello.slots, hello.topology, hello.endpoint_index), (1_024, 0xfeed, 1));
    assert!(hello.versions.contains(1));
}

#[test]
fn nonces_differ_from_connection_to_connection() {
    let mut harness = Harness::new();
    harness.connect();
    let first = harness.expect_hello().nonce;
    harness.cut();
    harness.connect();
    assert_ne!(harness.expect_hello().nonce, first);
}

#[test]
fn a_router_with_another_secret_gets_no_proof() {
    let mut harness = Harness::new();
    harness.connect();
    harness.expect_hello();
    let error = failure(&mut harness, &[ToGateway::Challenge { nonce: ROUTER_NONCE, mac: [1; 32] }]);
    assert_eq!(error, LinkError::RouterUnproved);
    assert_eq!(error.blame(), LinkBlame::Configuration);
    assert_eq!(harness.sent(), []);
}

#[test]
fn a_router_that_skips_its_proof_is_not_believed() {
    for message in [ToGateway::Welcome(welcome()), ToGateway::Ping { nonce: 1 }, crate::harness::update(0, 1)] {
        let mut harness = Harness::new();
        harness.connect();
        harness.expect_hello();
        let error = failure(&mut harness, &[message]);
        assert_eq!(error.blame(), LinkBlame::Router);
        assert!(matches!(harness.sent().as_slice(), [ToRouter::GoAway(_)]));
    }
}

#[test]
fn a_second_challenge_is_refused() {
    let mut harness = Harness::new();
    harness.connect();
    let hello = harness.expect_hello();
    let challenge = harness.challenge(&hello);
    let error = failure(&mut harness, &[challenge.clone(), challenge]);
    assert_eq!(error.blame(), LinkBlame::Router);
}

#[test]
fn versions_and_features_that_were_not_offered_are_refused() {
    for terms in [
        corecast_wire::message::Welcome { version: 2, ..welcome() },
        corecast_wire::message::Welcome { features: Features::MOVES, ..welcome() },
    ] {
        let mut harness = Harness::new();
        harness.connect();
        let hello = harness.expect_hello();
        let challenge = harness.challenge(&hello);
        let error = failure(&mut harness, &[challenge, ToGateway::Welcome(terms)]);
        assert_eq!(error, LinkError::Wire(WireError::Message(MessageError::OutOfRange { field: "version" })));
    }
}

#[test]
fn each_refusal_is_reported_with_its_words_and_tried_again_at_its_pace() {
    for &reason in HelloRefusal::ALL {
        let mut harness = Harness::new();
        harness.connect();
        harness.expect_hello();
        let refused = Refused {
            reason,
            versions: VersionRange { min: 1, max: 1 },
            message: Text::from_static("says the router"),
        };
        assert_eq!(failure(&mut harness, &[ToGateway::Refused(refused)]), LinkError::Refused(reason));
        let Some(LinkNotice::Down { error, message, retry_in }) = harness.notices.pop() else { panic!("no notice") };
        assert_eq!((error, message.as_str()), (LinkError::Refused(reason), "says the router"));
        if reason.is_permanent() {
            assert_eq!(error.blame(), LinkBlame::Configuration);
            assert!(retry_in >= Duration::from_secs(1), "{reason:?} after {retry_in:?}");
        } else {
            assert!(retry_in <= Duration::from_millis(50));
        }
        assert!(retry_in <= Duration::from_secs(2));
        // It may have been put right meanwhile.
        harness.actions.clear();
        harness.come_up();
    }
}

#[test]
fn a_topology_mismatch_keeps_the_link_down_for_as_long_as_it_lasts() {
    let mut harness = Harness::new();
    for attempt in 1..=5 {
        harness.connect();
        harness.expect_hello();
        let refused = Refused {
            reason: HelloRefusal::TopologyMismatch,
            versions: VersionRange { min: 1, max: 1 },
            message: Text::default(),
        };
        harness.try_say(&[ToGateway::Refused(refused)]).expect_err("refused");
        harness.drain();
        harness.actions.clear();
        assert_eq!(harness.link.stats().failures, attempt);
    }
    assert!(harness.now - harness.start >= Duration::from_secs(4), "five attempts at least a second apart");
}

#[test]
fn a_handshake_or_connection_without_end_is_given_up() {
    let mut harness = Harness::new();
    harness.connect();
    harness.pass(Duration::from_secs(5));
    assert!(matches!(
        harness.notices.iter().find(|notice| matches!(notice, LinkNotice::Down { .. })),
        Some(LinkNotice::Down { error: LinkError::HandshakeTimeout, .. })
    ));

    let mut harness = Harness::new();
    harness.actions.clear();
    harness.pass(Duration::from_secs(4));
    assert!(harness.actions.contains(&LinkAction::Disconnect));
    assert!(matches!(
        harness.notices.iter().find(|notice| matches!(notice, LinkNotice::Down { .. })),
        Some(LinkNotice::Down { error: LinkError::ConnectTimeout, .. })
    ));
}

#[test]
fn before_the_welcome_only_small_frames_are_taken() {
    let mut harness = Harness::new();
    harness.connect();
    let mut frame = vec![0; 8];
    frame[..4].copy_from_slice(&4_097_u32.to_le_bytes());
    let error = harness.link.handle_received(&frame, harness.now).expect_err("too large");
    assert_eq!(error.blame(), LinkBlame::Path);
}

#[test]
fn failures_in_a_row_are_spaced_ever_wider_and_differently_by_seed() {
    let waits = |seed| {
        let mut harness = Harness::new();
        let config = crate::harness::config(corecast_gateway::link::LinkLimits::default());
        harness.link = corecast_gateway::link::Link::new(config, harness.now, [seed; 32]);
        let mut waits = Vec::new();
        for _ in 0..40 {
            harness.wait_until(|harness| harness.actions.last() == Some(&LinkAction::Connect));
            harness.actions.clear();
            harness.cut();
            let Some(LinkNotice::Down { retry_in, .. }) = harness.notices.pop() else { panic!("no notice") };
            waits.push(retry_in);
        }
        waits
    };
    let first = waits(1);
    assert_eq!(first, waits(1));
    assert_ne!(first, waits(2));
    assert!(first[0] <= Duration::from_millis(50));
    assert!(first.iter().all(|&wait| wait <= Duration::from_secs(2)));
    assert!(first[6..].iter().any(|&wait| wait > Duration::from_secs(1)));
}

#[test]
fn a_stopped_link_says_goodbye_and_stays_down() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    harness.link.stop(harness.now);
    assert!(matches!(harness.sent().as_slice(), [ToRouter::GoAway(_)]));
    assert_eq!(harness.seen(), ["0/0 reset LinkDown"]);
    assert_eq!(harness.actions, [LinkAction::Disconnect]);
    assert_eq!((harness.link.state(), harness.link.next_timeout()), (LinkState::Stopped, None));
    harness.join("chat", 0, 1);
    assert_eq!(harness.seen(), ["0/1 reset LinkDown"]);
}

//! A damaged or cut stream ends the link at once; no message is made of what was damaged, and nothing is lost by it.

use std::time::Duration;

use bytes::Bytes;
use corecast_gateway::link::{LinkAction, LinkBlame, LinkError, LinkState, Publish};
use corecast_wire::message::{GoAway, GoAwayReason, SubscribeOutcome, ToGateway, ToRouter};
use corecast_wire::{FrameError, WireError};

use crate::harness::{Harness, chat, encode, subscribed, update};

/// Longest wait before the first attempt to connect again, as the protocol states it.
const RETRY_MAX: Duration = Duration::from_millis(50);

#[test]
fn a_link_cut_in_mid_frame_goes_on_where_it_was() {
    let mut harness = Harness::up();
    harness.live("chat", 3, 7);
    let frame = encode(&[update(0, 8), update(0, 9)]);
    for chunk in frame.chunks(5) {
        harness.link.handle_received(chunk, harness.now).expect("intact");
    }
    assert_eq!(harness.seen(), ["0/0 update 8", "0/0 update 9"]);
    let cut = encode(&[update(0, 10), update(0, 11)]);
    harness.link.handle_received(&cut[..cut.len() - 1], harness.now).expect("not complete");
    assert_eq!(harness.seen(), [""; 0], "a frame counts as a whole");
    harness.cut();

    // The rest of the old frame must not be taken for the beginning of the new stream.
    harness.come_up();
    let sent = harness.asked();
    let [ToRouter::Subscribe(subscribe)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(subscribe.resume.map(|position| (position.epoch, position.offset)), Some((3, 9)));
    harness.say(&[subscribed(0, 3, 9, 11, SubscribeOutcome::Resumed), update(0, 10), update(0, 11)]);
    assert_eq!(harness.seen(), ["0/0 update 10", "0/0 update 11"]);
}

#[test]
fn a_flipped_bit_never_makes_a_message() {
    let frame = encode(&[update(0, 8)]);
    for bit in 0..frame.len() * 8 {
        let mut harness = Harness::up();
        harness.live("chat", 3, 7);
        let mut damaged = frame.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // A larger length swallows what follows; then the checksum fails.
        damaged.extend_from_slice(&[0; 64]);
        let outcome = harness.link.handle_received(&damaged, harness.now);
        assert_eq!(harness.seen(), [""; 0], "bit {bit}");
        match outcome {
            Err(error) => {
                assert_eq!(error.blame(), LinkBlame::Path);
                assert_eq!(harness.link.state(), LinkState::Waiting);
            }
            Ok(()) => assert!(bit < 32, "only a larger length leaves anything to wait for"),
        }
    }
}

#[test]
fn the_router_is_told_what_was_wrong() {
    let mut harness = Harness::up();
    let mut damaged = encode(&[update(0, 8)]).to_vec();
    damaged[9] ^= 1;
    let error = harness.link.handle_received(&damaged, harness.now).expect_err("damaged");
    assert!(matches!(error, LinkError::Wire(WireError::Frame(FrameError::Checksum { .. }))));
    assert_eq!(goodbye(&mut harness), GoAwayReason::Corrupt);

    let mut harness = Harness::up();
    let error = harness.try_say(&[update(4, 1)]).expect_err("nobody asked for handle 4");
    assert_eq!(error.blame(), LinkBlame::Router);
    assert_eq!(goodbye(&mut harness), GoAwayReason::Protocol);
}

fn goodbye(harness: &mut Harness) -> GoAwayReason {
    let frame = harness.link.poll_transmit(harness.now).expect("a last frame");
    harness.on_the_way.push(frame);
    let sent = harness.sent();
    let [ToRouter::GoAway(away)] = sent.as_slice() else { panic!("{sent:?}") };
    away.reason
}

#[test]
fn a_router_that_ends_the_link_is_left_at_once() {
    for reason in [GoAwayReason::Corrupt, GoAwayReason::Protocol, GoAwayReason::Slow, GoAwayReason::Replaced] {
        let mut harness = Harness::up();
        harness.live("chat", 3, 7);
        let publish = Publish { chat: chat("chat"), key: None, payload: Bytes::from_static(b"hi") };
        harness.link.publish(publish, 0, 1, harness.now).expect("taken");
        harness.drain();
        harness.on_the_way.clear();

        let told = harness.now;
        let away = ToGateway::GoAway(GoAway { reason, drain_ms: 0 });
        let error = harness.try_say(&[update(0, 8), away, update(0, 9)]).expect_err("over");
        assert_eq!(error, LinkError::Disconnected);
        assert_eq!(harness.seen(), ["0/0 update 8", "0 published 1 Err(Unknown)"]);
        assert_eq!(harness.actions, [LinkAction::Disconnect]);
        assert_eq!(harness.sent(), [], "there is nothing to say to it");

        // No second passes until it serves again, and nobody was reset.
        harness.come_up();
        assert!(harness.now - told <= RETRY_MAX, "{reason:?}: {:?}", harness.now - told);
        let sent = harness.asked();
        let [ToRouter::Subscribe(subscribe)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(subscribe.resume.map(|position| (position.epoch, position.offset)), Some((3, 8)));
        assert_eq!(harness.seen(), [""; 0]);
    }
}

#[test]
fn messages_out_of_place_end_the_link() {
    let unasked = [
        update(0, 1),
        update(u32::MAX, 1),
        subscribed(0, 1, 0, 0, SubscribeOutcome::Fresh),
        ToGateway::Lagged { handle: 0, epoch: 1, offset: 1 },
        ToGateway::Unsubscribed {
            handle: 0,
            reason: corecast_wire::message::UnsubscribedReason::Requested,
            retry_after_ms: 0,
        },
        ToGateway::Moved { slot: 1, endpoint: 1 },
        ToGateway::Challenge { nonce: [0; 16], mac: [0; 32] },
        ToGateway::Welcome(crate::harness::welcome()),
    ];
    for message in unasked {
        let mut harness = Harness::up();
        let error = harness.try_say(std::slice::from_ref(&message)).expect_err("out of place");
        assert_eq!(error.blame(), LinkBlame::Router, "{message:?}");
    }
}

#[test]
fn a_resumption_that_is_none_ends_the_link() {
    // The router claims to resume what was not asked for, or from elsewhere.
    for (epoch, start) in [(4, 7), (3, 8)] {
        let mut harness = Harness::up();
        harness.live("chat", 3, 7);
        harness.cut();
        harness.come_up();
        harness.asked();
        let claim = subscribed(0, epoch, start, 10, SubscribeOutcome::Resumed);
        assert_eq!(harness.try_say(&[claim]).expect_err("no").blame(), LinkBlame::Router);
        assert_eq!(harness.seen(), [""; 0]);
    }
}

//! Only a gateway that has the secret and the same placement is served, and it is told why not.

use corecast_wire::VersionRange;
use corecast_wire::message::{GoAwayReason, HelloRefusal, NodeStats, Refused};

use super::*;

fn refusal(answer: ToGateway) -> HelloRefusal {
    match answer {
        ToGateway::Refused(Refused { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_gateway_with_the_secret_is_welcome() {
    let mut world = World::plain();
    let gateway = world.accept();
    let ToGateway::Welcome(welcome) = world.greet(gateway, hello("a"), SECRET) else { panic!("not welcome") };
    assert_eq!((welcome.version, welcome.heartbeat_ms, welcome.router_incarnation), (1, 1_000, 0xc0ffee));
    assert_eq!(world.core.stats().links, 1);
}

#[test]
fn another_secret_is_refused_and_nothing_else_is_told() {
    let mut world = World::plain();
    world.link("a");
    let gateway = world.accept();
    let strange = Hello { slots: 99, topology: 1, ..hello("b") };
    assert_eq!(refusal(world.greet(gateway, strange, b"guess")), HelloRefusal::Unauthenticated);
    assert!(!world.gateways[gateway].gone, "it may read the refusal");
    world.live(Duration::from_secs(2));
    assert!(world.gateways[gateway].gone);
    assert_eq!((world.core.stats().links, world.core.stats().links_refused), (1, 1));
}

#[test]
fn a_proof_for_another_nonce_does_not_count() {
    let mut world = World::plain();
    let gateway = world.accept();
    world.send(gateway, ToRouter::Hello(hello("a")));
    assert!(matches!(world.answer(gateway), ToGateway::Challenge { .. }));
    let replayed = mac(SECRET, proof_parts(&[7; 16], &[99; 16]));
    world.send(gateway, ToRouter::Proof { mac: replayed });
    assert_eq!(refusal(world.answer(gateway)), HelloRefusal::Unauthenticated);
}

#[test]
fn without_a_common_version_there_is_no_challenge() {
    let mut world = World::plain();
    let gateway = world.accept();
    let later = Hello { versions: VersionRange { min: 90, max: 95 }, ..hello("a") };
    assert_eq!(refusal(world.greet(gateway, later, SECRET)), HelloRefusal::Version);
    let gateway = world.accept();
    let wide = Hello { versions: VersionRange { min: 1, max: 95 }, ..hello("a") };
    assert!(matches!(world.greet(gateway, wide, SECRET), ToGateway::Welcome(_)));
}

#[test]
fn gateways_with_another_map_are_refused_while_others_are_linked() {
    let mut world = World::plain();
    let first = world.link("a");
    let attempt = |world: &mut World, hello: Hello| {
        let gateway = world.accept();
        world.greet(gateway, hello, SECRET)
    };
    let other_list = Hello { topology: 1, ..hello("b") };
    let other_index = Hello { endpoint_index: 3, ..hello("b") };
    let other_slots = Hello { slots: 17, ..hello("b") };
    assert_eq!(refusal(attempt(&mut world, other_list.clone())), HelloRefusal::TopologyMismatch);
    assert_eq!(refusal(attempt(&mut world, other_index)), HelloRefusal::EndpointMismatch);
    assert_eq!(refusal(attempt(&mut world, other_slots.clone())), HelloRefusal::SlotsMismatch);
    world.core.handle_closed(world.gateways[first].link, world.now);
    assert!(matches!(attempt(&mut world, other_list), ToGateway::Welcome(_)), "the map may change when none is linked");
    assert_eq!(refusal(attempt(&mut world, other_slots)), HelloRefusal::SlotsMismatch);
}

#[test]
fn a_configured_index_holds_from_the_first_gateway_on() {
    let mut world = World::new(|config| config.endpoint_index = Some(5));
    let gateway = world.accept();
    assert_eq!(refusal(world.greet(gateway, hello("a"), SECRET)), HelloRefusal::EndpointMismatch);
}

#[test]
fn a_second_link_of_a_node_replaces_the_first() {
    let mut world = World::new(|config| config.limits.links = 1);
    let old = world.link("a");
    world.subscribe(old, 1, "chat", None, 0);
    world.send(old, ToRouter::Members { handle: 1, count: 10 });
    let new = world.link("a");
    assert!(matches!(&world.inbox(old)[..], [ToGateway::GoAway(notice)] if notice.reason == GoAwayReason::Replaced));
    assert_eq!(world.presence(new, "chat"), 0, "the old link's members do not count any more");
    assert_eq!(world.core.stats().links, 1);
    let other = world.accept();
    assert_eq!(refusal(world.greet(other, hello("b"), SECRET)), HelloRefusal::TooManyLinks);
}

#[test]
fn silent_and_chatty_strangers_are_cut() {
    let mut world = World::new(|config| config.limits.links_before_proof = 2);
    let silent = world.accept();
    let early = world.accept();
    assert_eq!(world.core.handle_accepted([1; 16], world.now), None, "no room for a third stranger");
    world.send(early, ToRouter::NodeStats(NodeStats::default()));
    assert!(matches!(&world.inbox(early)[..], [ToGateway::GoAway(notice)] if notice.reason == GoAwayReason::Protocol));
    world.advance(Duration::from_millis(4_999));
    assert!(world.gateways[early].gone && !world.gateways[silent].gone);
    world.advance(Duration::from_millis(1));
    assert!(world.gateways[silent].gone);
    world.link("a");
}

#[test]
fn a_large_frame_before_the_proof_is_cut_at_its_header() {
    let mut world = World::plain();
    let gateway = world.accept();
    let mut header = [0; 8];
    header[..4].copy_from_slice(&5_000_u32.to_le_bytes());
    world.core.handle_received(world.gateways[gateway].link, &header, world.now);
    world.turn();
    assert!(matches!(&world.inbox(gateway)[..], [ToGateway::GoAway(notice)] if notice.reason == GoAwayReason::Corrupt));
}

#[test]
fn a_hello_on_a_linked_connection_breaks_the_protocol() {
    let mut world = World::plain();
    let gateway = world.link("a");
    world.subscribe(gateway, 1, "chat", None, 0);
    world.send(gateway, ToRouter::Hello(hello("a")));
    assert!(
        matches!(&world.inbox(gateway)[..], [ToGateway::GoAway(notice)] if notice.reason == GoAwayReason::Protocol)
    );
    assert_eq!((world.core.stats().links, world.core.stats().subscriptions), (0, 0));
    let request = world.request();
    world.send(gateway, ToRouter::Nodes { request });
    assert_eq!(world.inbox(gateway), [], "nothing is read any more");
}

//! Claim: against a server that does everything right a run passes, in every protocol, and all its figures agree.

mod common;

use common::{execute, scenario, small_chats};
use corecast_loadgen::Protocol;
use corecast_loadgen::null::Faults;
use corecast_loadgen::run::Finished;
use corecast_loadgen::scenario::{Arrivals, Churn, Group, Publish, Publisher, Slow, Span, Storm, Switch};
use corecast_loadgen::summary::Outcome;

fn assert_clean(finished: &Finished) {
    let summary = &finished.summary;
    assert_eq!(summary.verdict.outcome, Outcome::Passed, "{:?} {:#?}", summary.verdict, summary.counts);
    assert!(summary.counts.truth.is_clean() && summary.counts.published > 0);
    assert_eq!(summary.counts.acked, summary.counts.published);
}

#[test]
fn every_protocol_of_the_null_server_is_clean_and_complete() {
    for protocol in [Protocol::CentrifugeJson, Protocol::CentrifugeProtobuf, Protocol::Raw] {
        let finished = execute(small_chats(), protocol, Faults::default()).unwrap();
        assert_clean(&finished);
        let summary = &finished.summary;
        assert_eq!(summary.counts.truth.received, summary.counts.published * 5, "{protocol:?}");
        assert!((700..=900).contains(&summary.counts.published), "{}", summary.counts.published);
        let count = |tag: &str| summary.latencies[tag].percentiles.count;
        assert_eq!(count("deliver"), summary.counts.truth.received);
        assert_eq!((count("first"), count("last")), (summary.counts.published, summary.counts.published));
        assert_eq!((count("connect"), count("subscribe")), (104, 100));
        assert_eq!(summary.fanouts_incomplete, 0);
    }
}

#[test]
fn groups_are_reported_apart() {
    let groups = vec![
        Group { name: "big".to_owned(), members: 60, rate: 20.0, ..Group::default() },
        Group { name: "small".to_owned(), count: 10, members: 3, rate: 100.0, ..Group::default() },
    ];
    let finished = execute(scenario(groups), Protocol::CentrifugeProtobuf, Faults::default()).unwrap();
    assert_clean(&finished);
    let latencies = &finished.summary.latencies;
    let count = |tag: &str| latencies[tag].percentiles.count;
    assert_eq!(count("deliver.big") + count("deliver.small"), count("deliver"));
    assert_eq!(count("deliver.big"), count("last.big") * 60);
    assert!(latencies["last.big"].percentiles.p50 >= latencies["first.big"].percentiles.p50);
}

#[test]
fn members_may_publish_and_poisson_arrivals_are_clean() {
    let mut scenario = small_chats();
    scenario.arrivals = Arrivals::Poisson;
    scenario.publish = Publish { by: Publisher::Member, ..Publish::default() };
    assert_clean(&execute(scenario, Protocol::CentrifugeJson, Faults::default()).unwrap());
}

#[test]
fn members_of_several_chats_check_each_of_them() {
    let group = Group { count: 10, members: 6, chats_per_member: 3, rate: 200.0, ..Group::default() };
    let finished = execute(scenario(vec![group]), Protocol::CentrifugeJson, Faults::default()).unwrap();
    assert_clean(&finished);
    assert_eq!(finished.summary.members.wanted, 20);
    assert_eq!(finished.summary.counts.truth.received, finished.summary.counts.published * 6);
}

#[test]
fn churning_members_recover_what_they_missed() {
    let mut scenario = small_chats();
    scenario.churn = Some(Churn { rate: 100.0, recover: true });
    let finished = execute(scenario, Protocol::CentrifugeProtobuf, Faults::default()).unwrap();
    assert_clean(&finished);
    let counts = &finished.summary.counts;
    assert!(counts.cut > 20 && counts.back == counts.cut, "{counts:#?}");
    assert_eq!(counts.truth.received, counts.published * 5, "everything missed came by recovery");
}

#[test]
fn a_storm_brings_everybody_back_complete() {
    let mut scenario = small_chats();
    scenario.storm = Some(Storm { at: Span::millis(300), fraction: 1.0, recover: true });
    let finished = execute(scenario, Protocol::CentrifugeJson, Faults::default()).unwrap();
    assert_clean(&finished);
    let counts = &finished.summary.counts;
    assert_eq!((counts.cut, counts.back), (100, 100));
    assert_eq!(counts.truth.received, counts.published * 5);
    assert!(finished.summary.latencies["recover"].percentiles.count == 100);
}

#[test]
fn switching_members_stay_on_their_sockets() {
    let mut scenario = small_chats();
    scenario.switch = Some(Switch { every: Span::millis(250) });
    for protocol in [Protocol::CentrifugeJson, Protocol::Raw] {
        let finished = execute(scenario.clone(), protocol, Faults::default()).unwrap();
        assert_clean(&finished);
        assert!(finished.summary.counts.switches > 100, "{:#?}", finished.summary.counts);
        assert_eq!(finished.summary.counts.upgrades, 104);
    }
}

#[test]
fn zipf_chats_without_members_do_no_harm() {
    let group = Group { count: 50, members: 2, rate: 200.0, member_skew: 1.2, rate_skew: 1.2, ..Group::default() };
    assert_clean(&execute(scenario(vec![group]), Protocol::CentrifugeJson, Faults::default()).unwrap());
}

#[test]
fn slow_readers_are_judged_apart_and_disturb_nobody() {
    let mut scenario = small_chats();
    scenario.slow = Some(Slow { members: 7, bytes_per_second: 4_000 });
    let finished = execute(scenario, Protocol::CentrifugeProtobuf, Faults::default()).unwrap();
    assert_clean(&finished);
    let summary = &finished.summary;
    assert_eq!(summary.counts.truth.received, summary.counts.published * 5);
    let slow = summary.slow.as_ref().unwrap();
    assert_eq!((slow.counts.live, slow.counts.truth.is_clean()), (7, true));
    // About 40 messages are due for each, at 140 bytes; what 4,000 bytes per second leave of them has come in order.
    assert!(slow.counts.truth.received > 7, "{:?}", slow.counts.truth);
}

//! Claim: one wrong delivery among all is caught, counted under its kind and fails the run. Never delete these: a checker
//! that cannot fail proves nothing.

mod common;

use common::{execute, small_chats};
use corecast_loadgen::null::{DeliveryFault, Faults};
use corecast_loadgen::summary::{Outcome, Summary};
use corecast_loadgen::{Protocol, Truth};

const PROTOCOLS: [Protocol; 3] = [Protocol::CentrifugeJson, Protocol::CentrifugeProtobuf, Protocol::Raw];

fn with_fault(protocol: Protocol, fault: DeliveryFault) -> Summary {
    // Somewhere in the middle of about 4,000 deliveries.
    let faults = Faults { delivery: Some((1_777, fault)), ..Faults::default() };
    let summary = execute(small_chats(), protocol, faults).expect("the target can be used").summary;
    assert_eq!(summary.verdict.outcome, Outcome::Failed, "{protocol:?} {fault:?}: {:?}", summary.verdict);
    assert_eq!(summary.verdict.outcome.exit_code(), 1);
    summary
}

/// The violations, everything else set aside.
fn violations(truth: &Truth) -> Vec<(&'static str, u64)> {
    truth.violations().into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn one_dropped_delivery_is_missing() {
    for protocol in PROTOCOLS {
        let summary = with_fault(protocol, DeliveryFault::Drop);
        let truth = &summary.counts.truth;
        assert_eq!(truth.missing, 1, "{protocol:?} {truth:?}");
        assert!(truth.gaps <= 1 && truth.duplicates == 0 && truth.reordered == 0, "{truth:?}");
        assert_eq!(truth.received, summary.counts.published * 5 - 1);
    }
}

#[test]
fn one_duplicated_delivery_is_a_duplicate() {
    for protocol in PROTOCOLS {
        let summary = with_fault(protocol, DeliveryFault::Duplicate);
        assert_eq!(violations(&summary.counts.truth), [("duplicates", 1)], "{protocol:?}");
    }
}

#[test]
fn one_swapped_pair_is_a_reordering() {
    for protocol in PROTOCOLS {
        let summary = with_fault(protocol, DeliveryFault::Swap);
        assert_eq!(violations(&summary.counts.truth), [("gaps", 1), ("reordered", 1)], "{protocol:?}");
    }
}

#[test]
fn one_changed_byte_is_corruption() {
    for protocol in PROTOCOLS {
        let summary = with_fault(protocol, DeliveryFault::Corrupt);
        assert_eq!(summary.counts.truth.corrupt, 1, "{protocol:?} {:?}", summary.counts.truth);
    }
}

#[test]
fn one_message_of_another_chat_is_caught() {
    for protocol in [Protocol::CentrifugeJson, Protocol::CentrifugeProtobuf] {
        let summary = with_fault(protocol, DeliveryFault::Misroute);
        assert_eq!(violations(&summary.counts.truth), [("misrouted", 1)], "{protocol:?}");
    }
    // Without names on deliveries it is one that the member never asked for, and its own is missing.
    let summary = with_fault(Protocol::Raw, DeliveryFault::Misroute);
    assert_eq!((summary.counts.truth.unexpected, summary.counts.truth.missing), (1, 1));
}

//! Judges a finished run. Pure: facts in, outcome and sentences out.
//!
//! The order of outcomes: a run that ended early is partial whatever else; wrong deliveries fail it; a late generator makes
//! it invalid; only then do thresholds count.

use crate::latency::Percentiles;
use crate::scenario::Scenario;
use crate::summary::{Members, Outcome, Stolen, Verdict};
use crate::threshold::Judged;
use crate::worker::counts::Counts;

/// What the judgement rests on.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub scenario: &'a Scenario,
    pub counts: &'a Counts,
    pub slow: Option<&'a Counts>,
    pub members: &'a Members,
    pub late: &'a Percentiles,
    pub thresholds: &'a [Judged],
    /// Why it ended early, if it did.
    pub ended_early: Option<&'a str>,
    /// Share of the busiest generator thread.
    pub busiest: f64,
    /// Publishing should have happened.
    pub expects_messages: bool,
    /// What the hypervisor took, if rows were measured.
    pub stolen: Option<Stolen>,
}

/// A generator thread above this share of its CPU may have been the bottleneck.
const BUSY_MAX: f64 = 0.95;
/// Shares of stolen CPU time above which latencies are the host's as much as the target's: over all, and in one second.
const STOLEN_MEAN_MAX: f64 = 0.02;
const STOLEN_WORST_MAX: f64 = 0.1;

/// The outcome, its reasons, and remarks that change nothing but should be read.
pub(crate) fn judge(facts: &Facts<'_>) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    let mut outcome = Outcome::Passed;
    let mut raise = |worse: Outcome, reason: String| {
        let rank = |outcome: Outcome| match outcome {
            Outcome::Passed => 0,
            Outcome::ThresholdsBroken => 1,
            Outcome::Invalid => 2,
            Outcome::Failed => 3,
            Outcome::Partial => 4,
        };
        if rank(worse) > rank(outcome) {
            outcome = worse;
        }
        reasons.push(reason);
    };
    if let Some(why) = facts.ended_early {
        raise(Outcome::Partial, format!("the run ended early: {why}"));
    }
    for reason in failures(facts) {
        raise(Outcome::Failed, reason);
    }
    let limit = facts.scenario.lateness_max;
    if facts.late.count > 0 && facts.late.p99 > limit.nanos() {
        let late = facts.late.p99 as f64 / 1e6;
        raise(
            Outcome::Invalid,
            format!("the generator was late: p99 {late:.2} ms behind its own schedule, at most {limit} is allowed"),
        );
    }
    if facts.expects_messages && facts.late.count == 0 && facts.ended_early.is_none() {
        raise(Outcome::Invalid, "nothing was published in the measured time".to_owned());
    }
    for broken in facts.thresholds.iter().filter(|judged| !judged.holds) {
        let actual =
            broken.actual.map_or_else(|| "no such figure in this run".to_owned(), |actual| shown(broken, actual));
        raise(Outcome::ThresholdsBroken, format!("threshold {} is broken: {actual}", broken.condition));
    }
    let mut remarks = Vec::new();
    if facts.busiest > BUSY_MAX {
        let share = facts.busiest * 100.0;
        remarks.push(format!(
            "the busiest generator thread used {share:.0} % of a CPU: it may have been the bottleneck, not the target"
        ));
    }
    if let Some(Stolen { mean, worst }) = facts.stolen
        && (mean > STOLEN_MEAN_MAX || worst > STOLEN_WORST_MAX)
    {
        remarks.push(format!(
            "the hypervisor gave {:.1} % of this host's CPU time to others, {:.0} % in the worst second: latencies contain that",
            mean * 100.0,
            worst * 100.0
        ));
    }
    (Verdict { outcome, reasons }, remarks)
}

fn failures(facts: &Facts<'_>) -> Vec<String> {
    let counts = facts.counts;
    let mut reasons = Vec::new();
    reasons.extend(violations(counts, ""));
    reasons.extend(facts.slow.into_iter().flat_map(|slow| violations(slow, "slow readers: ")));
    if counts.disconnected() > 0 && facts.scenario.disconnects_fail {
        let kinds: Vec<String> = counts.disconnects.iter().map(|(how, count)| format!("{count} × {how}")).collect();
        reasons.push(format!("{} connections were ended by the target: {}", counts.disconnected(), kinds.join(", ")));
    }
    if counts.refused > 0 {
        reasons.push(format!("{} publishes were refused by the target", counts.refused));
    }
    if counts.skipped > 0 {
        reasons.push(format!(
            "{} messages could not be published: their connection was down or the target did not read it",
            counts.skipped
        ));
    }
    if facts.ended_early.is_none() && facts.members.at_end < facts.members.wanted {
        let away = facts.members.wanted - facts.members.at_end;
        reasons.push(format!("{away} of {} members were not in their chats at the end", facts.members.wanted));
    }
    reasons
}

fn violations(counts: &Counts, who: &str) -> Vec<String> {
    let kinds = counts.truth.violations().into_iter();
    // Gaps are the same messages, said better by "missing" and "reordered".
    let wrong = kinds.filter(|(kind, count)| *count > 0 && *kind != "gaps");
    wrong.map(|(kind, count)| format!("{who}{count} {}", explain(kind))).collect()
}

fn explain(kind: &str) -> &'static str {
    match kind {
        "missing" => "messages never reached a member that should have got them",
        "duplicates" => "messages came twice",
        "reordered" => "messages came after a later one of the same chat",
        "corrupt" => "messages were damaged (wrong body hash)",
        "misrouted" => "messages were delivered for another chat than their own",
        "unexpected" => "deliveries could not be read, or came for a chat that the member is not in",
        "extra" => "positions exist beyond what was published: messages were sequenced twice",
        _ => "violations of an unknown kind",
    }
}

/// Times in ms, the rest as it is.
fn shown(judged: &Judged, actual: f64) -> String {
    if judged.condition.trim_end().ends_with('s') { format!("{:.3} ms", actual / 1e6) } else { format!("{actual}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::library;

    struct Case {
        counts: Counts,
        members: Members,
        late_p99: u64,
        thresholds: Vec<Judged>,
        early: Option<&'static str>,
        stolen: Option<Stolen>,
    }

    fn fine() -> Case {
        let members = Members { wanted: 10, at_start: 10, at_end: 10, per_second_max: 1 };
        Case {
            counts: Counts::default(),
            members,
            late_p99: 100_000,
            thresholds: Vec::new(),
            early: None,
            stolen: None,
        }
    }

    fn outcome(case: &Case) -> (Outcome, String) {
        let (verdict, _) = judged(case);
        (verdict.outcome, verdict.reasons.join("; "))
    }

    fn judged(case: &Case) -> (Verdict, Vec<String>) {
        let scenario = library::find("big-chat").unwrap().load();
        let late = Percentiles { count: 9, p99: case.late_p99, ..Percentiles::default() };
        let facts = Facts {
            scenario: &scenario,
            counts: &case.counts,
            slow: None,
            members: &case.members,
            late: &late,
            thresholds: &case.thresholds,
            ended_early: case.early,
            busiest: 0.1,
            expects_messages: true,
            stolen: case.stolen,
        };
        judge(&facts)
    }

    #[test]
    fn a_clean_run_passes() {
        assert_eq!(outcome(&fine()), (Outcome::Passed, String::new()));
    }

    #[test]
    fn each_trouble_has_its_outcome_and_the_worst_wins() {
        let mut case = fine();
        case.thresholds = vec![Judged { condition: "deliver.p99<5ms".to_owned(), actual: Some(7e6), holds: false }];
        let (found, reasons) = outcome(&case);
        assert_eq!(found, Outcome::ThresholdsBroken);
        assert!(reasons.contains("7.000 ms"), "{reasons}");
        case.late_p99 = 11_000_000;
        assert_eq!(outcome(&case).0, Outcome::Invalid);
        case.counts.truth.missing = 1;
        let (found, reasons) = outcome(&case);
        assert_eq!(found, Outcome::Failed);
        assert!(reasons.contains("1 messages never reached"), "{reasons}");
        case.early = Some("the target died");
        assert_eq!(outcome(&case).0, Outcome::Partial);
    }

    #[test]
    fn a_host_that_was_not_alone_is_remarked_upon_and_changes_nothing_else() {
        let mut case = fine();
        for (mean, worst, remarks) in [(0.01, 0.09, 0), (0.03, 0.05, 1), (0.001, 0.5, 1)] {
            case.stolen = Some(Stolen { mean, worst });
            let (verdict, said) = judged(&case);
            assert_eq!((verdict.outcome, said.len()), (Outcome::Passed, remarks), "{said:?}");
        }
    }

    #[test]
    fn disconnects_and_members_that_stay_away_fail_a_run() {
        let mut case = fine();
        case.counts.disconnects.insert("close 3008 slow".to_owned(), 2);
        assert!(outcome(&case).1.contains("2 × close 3008 slow"));
        let mut case = fine();
        case.members.at_end = 9;
        assert_eq!(outcome(&case).0, Outcome::Failed);
    }
}

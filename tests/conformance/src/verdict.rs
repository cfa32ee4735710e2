//! Compares kosoku's report with what is expected. No I/O.
//!
//! Every case has to be OK in both verdicts, behaviour and close, except those that `expected.json` names with the verdict
//! they have to have and the reason. An exception that is not needed any more fails too, so the file stays true.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What is expected, checked in as `expected.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    suites: BTreeMap<String, Suite>,
    /// Case patterns that no suite runs, with the reason.
    excluded: BTreeMap<String, String>,
    /// Cases whose verdict is not OK.
    exceptions: BTreeMap<String, Exception>,
}

/// A set of cases that run together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    pub(crate) about: String,
    /// Patterns for kosoku.
    pub(crate) include: Vec<String>,
    /// How many cases each group has.
    pub(crate) cases: BTreeMap<String, usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    verdict: String,
    reason: String,
}

/// One case of kosoku's `index.json`.
#[derive(Clone, Debug, Deserialize)]
struct Case {
    behavior: String,
    #[serde(rename = "behaviorClose")]
    behavior_close: String,
    reportfile: String,
}

/// The comparison: how many cases had which verdict, and everything that is not as expected.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    wanted: usize,
    as_expected: usize,
    verdicts: BTreeMap<String, usize>,
    /// Cases that are excepted and as expected.
    excepted: Vec<String>,
    pub(crate) differences: Vec<String>,
}

impl Expected {
    /// The checked-in file.
    pub(crate) fn load() -> Result<Self> {
        let expected: Self = serde_json::from_str(include_str!("../expected.json")).context("expected.json")?;
        let reasons = expected.exceptions.values().map(|exception| &exception.reason).chain(expected.excluded.values());
        for reason in reasons {
            ensure!(!reason.is_empty(), "expected.json: an exception without a reason");
        }
        Ok(expected)
    }

    pub(crate) fn suite(&self, name: &str) -> Result<&Suite> {
        self.suites.get(name).with_context(|| format!("expected.json: no suite {name}"))
    }

    /// Compares the text of an `index.json` with a suite.
    pub(crate) fn compare(&self, suite: &Suite, index: &str) -> Result<Comparison> {
        let agents: BTreeMap<String, BTreeMap<String, Case>> =
            serde_json::from_str(index).context("kosoku's index.json")?;
        ensure!(agents.len() == 1, "kosoku's index.json names {} servers, not one", agents.len());
        let cases = agents.into_values().next().unwrap_or_default();
        let mut comparison = Comparison { wanted: suite.cases.values().sum(), ..Comparison::default() };
        for (id, case) in &cases {
            self.compare_case(id, case, &mut comparison);
        }
        let mut groups = suite.cases.clone();
        for id in cases.keys() {
            let group = group_of(id);
            match groups.get_mut(group) {
                Some(left) if *left > 0 => *left -= 1,
                _ => comparison.differences.push(format!("{id}: not expected in this suite")),
            }
        }
        for (group, left) in groups {
            if left > 0 {
                comparison.differences.push(format!("group {group}: {left} cases were not run"));
            }
        }
        for id in self.exceptions.keys() {
            if suite.cases.contains_key(group_of(id)) && !cases.contains_key(id) {
                comparison.differences.push(format!("{id}: excepted, but not run"));
            }
        }
        Ok(comparison)
    }

    fn compare_case(&self, id: &str, case: &Case, comparison: &mut Comparison) {
        let exception = self.exceptions.get(id);
        let wanted = exception.map_or("OK", |exception| &exception.verdict);
        let worse = if case.behavior == "OK" { &case.behavior_close } else { &case.behavior };
        *comparison.verdicts.entry(worse.clone()).or_default() += 1;
        if case.behavior == wanted && case.behavior_close == wanted {
            comparison.as_expected += 1;
            comparison.excepted.extend(exception.map(|_| id.to_owned()));
            return;
        }
        comparison.differences.push(format!(
            "{id}: {} and, closing, {}; expected {wanted}; see {}",
            case.behavior, case.behavior_close, case.reportfile
        ));
    }
}

fn group_of(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        let verdicts: Vec<String> = self.verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        write!(f, "{} of {} cases as expected: {}", self.as_expected, self.wanted, verdicts.join(", "))?;
        if !self.excepted.is_empty() {
            write!(f, " (not OK, and why, in expected.json: {})", self.excepted.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviour and close of each case.
    type Cases = BTreeMap<String, (String, String)>;

    /// A report in which everything is as expected.
    fn good(expected: &Expected, suite: &Suite) -> Cases {
        let exceptions: Vec<&String> =
            expected.exceptions.keys().filter(|id| suite.cases.contains_key(group_of(id))).collect();
        let mut cases = Cases::new();
        for id in &exceptions {
            let verdict = &expected.exceptions[*id].verdict;
            cases.insert((*id).clone(), (verdict.clone(), verdict.clone()));
        }
        for (group, &count) in &suite.cases {
            let excepted = exceptions.iter().filter(|id| group_of(id) == group).count();
            for number in 0..count - excepted {
                cases.insert(format!("{group}.99.{number}"), ("OK".into(), "OK".into()));
            }
        }
        cases
    }

    fn index(cases: &Cases) -> String {
        let cases: Vec<String> = cases
            .iter()
            .map(|(id, (behavior, close))| {
                format!(r#""{id}":{{"behavior":"{behavior}","behaviorClose":"{close}","duration":1,"reportfile":"r"}}"#)
            })
            .collect();
        format!(r#"{{"server":{{{}}}}}"#, cases.join(","))
    }

    #[test]
    fn the_numbers_of_cases_are_those_of_the_goal() {
        let expected = Expected::load().unwrap();
        let count = |suite: &str| expected.suite(suite).unwrap().cases.values().sum::<usize>();
        assert_eq!((count("strict"), count("group9")), (247, 54));
        assert_eq!(expected.exceptions.keys().collect::<Vec<_>>(), ["7.1.6", "7.13.1", "7.13.2"]);
    }

    #[test]
    fn a_report_as_expected_passes() {
        let expected = Expected::load().unwrap();
        for suite in ["strict", "group9"] {
            let suite = expected.suite(suite).unwrap();
            let comparison = expected.compare(suite, &index(&good(&expected, suite))).unwrap();
            assert_eq!(comparison.differences, Vec::<String>::new());
        }
    }

    #[test]
    fn every_kind_of_difference_fails() {
        let expected = Expected::load().unwrap();
        let suite = expected.suite("strict").unwrap();
        let differences = |change: &dyn Fn(&mut Cases)| {
            let mut cases = good(&expected, suite);
            change(&mut cases);
            expected.compare(suite, &index(&cases)).unwrap().differences.len()
        };
        for verdict in ["NON-STRICT", "FAILED", "UNIMPLEMENTED", "INFORMATIONAL", "UNCLEAN"] {
            assert_eq!(differences(&|cases| cases.get_mut("6.99.3").unwrap().0 = verdict.into()), 1);
            assert_eq!(differences(&|cases| cases.get_mut("6.99.3").unwrap().1 = verdict.into()), 1);
        }
        assert_eq!(differences(&|cases| *cases.get_mut("7.13.1").unwrap() = ("OK".into(), "OK".into())), 1);
        assert_eq!(differences(&|cases| _ = cases.remove("1.99.1")), 1, "a case that was not run");
        assert_eq!(differences(&|cases| _ = cases.insert("10.5".into(), ("OK".into(), "OK".into()))), 1);
        assert_eq!(differences(&|cases| _ = cases.insert("12.1".into(), ("OK".into(), "OK".into()))), 1);
        assert_eq!(
            differences(&|cases| _ = cases.remove("7.1.6")),
            2,
            "one case too few and an exception without a case"
        );
    }

    #[test]
    fn a_report_that_is_none_is_an_error() {
        let expected = Expected::load().unwrap();
        let suite = expected.suite("strict").unwrap();
        for index in ["", "{}", "[]", r#"{"a":{},"b":{}}"#, r#"{"a":{"1.1.1":{"behavior":"OK"}}}"#] {
            assert!(expected.compare(suite, index).is_err(), "{index}");
        }
    }
}

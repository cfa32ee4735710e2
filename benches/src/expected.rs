//! A checked-in table of what operations cost, and what a measurement says about it.
//!
//! Invariants worth naming:
//! * The comparison is by ratio: more than `instructions × tolerance` is a regression. Fewer than `instructions ÷
//!   tolerance` is not one, but is reported, so that what was won is kept.
//! * Nothing passes unseen: an operation without a row and a row without an operation are failures as well.
//! * A table says which compiler it is of, and another compiler gets wider limits, not another verdict on the same code.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// How far a count may exceed the expected one, unless its row says otherwise. Below it are the other code generation of
/// a patch release of the compiler and the small moves that any change makes; one more allocation or copy is above it.
const TOLERANCE: f64 = 1.10;
/// What another compiler than the table's multiplies limits by: its inlining differs, while a change that doubles a path still
/// shows.
const OTHER_COMPILER: f64 = 1.25;

/// What operations are expected to cost.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Expected {
    /// Version of the compiler that the counted code came from.
    rustc: Option<String>,
    #[serde(flatten)]
    rows: BTreeMap<String, Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Of one operation.
    instructions: u64,
    /// A ratio from 1.0 on.
    tolerance: Option<f64>,
}

/// What one count means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Fine,
    /// So much less than expected that the row can be tightened.
    Loose,
    /// More than the tolerance allows.
    Regression,
    /// There is no row to compare with.
    Unknown,
    /// There is a row, but nothing was counted.
    Missing,
}

impl Verdict {
    /// Whether the check fails because of it.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Regression | Self::Unknown | Self::Missing)
    }
}

/// All counts of a run beside what was expected.
#[derive(Debug)]
pub struct Report {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name: String,
    counted: Option<u64>,
    expected: Option<u64>,
    tolerance: f64,
    verdict: Verdict,
}

impl Expected {
    /// Reads a table: one `["name"]` with `instructions` and perhaps `tolerance` for each operation.
    ///
    /// # Errors
    /// If it is not TOML of that form, or a number makes no sense.
    pub fn parse(text: &str) -> Result<Self> {
        let table: Self = toml::from_str(text)?;
        for (name, row) in &table.rows {
            ensure!(row.instructions > 0, "{name}: instructions must be at least 1");
            ensure!(
                row.tolerance.is_none_or(|ratio| (1.0..10.0).contains(&ratio)),
                "{name}: tolerance is a ratio from 1"
            );
        }
        Ok(table)
    }

    /// Whether the table is of code from this version of the compiler; one that names none is of any.
    #[must_use]
    pub fn is_of(&self, rustc: &str) -> bool {
        self.rustc.as_deref().is_none_or(|version| version == rustc)
    }

    /// Compares counts of code from this version of the compiler, in their order, with the table. `all`: every operation was
    /// counted, so that a row without a count names something that does not exist any more.
    #[must_use]
    pub fn compare(&self, counts: &[(String, u64)], rustc: &str, all: bool) -> Report {
        let wider = if self.is_of(rustc) { 1.0 } else { OTHER_COMPILER };
        let limit = |row: Option<&Row>| row.and_then(|row| row.tolerance).unwrap_or(TOLERANCE) * wider;
        let mut lines: Vec<_> = counts
            .iter()
            .map(|(name, counted)| {
                let row = self.rows.get(name);
                let tolerance = limit(row);
                let verdict = row.map_or(Verdict::Unknown, |row| judge(*counted, row.instructions, tolerance));
                let expected = row.map(|row| row.instructions);
                Line { name: name.clone(), counted: Some(*counted), expected, tolerance, verdict }
            })
            .collect();
        let missing = self.rows.iter().filter(|(name, _)| all && counts.iter().all(|(counted, _)| counted != *name));
        lines.extend(missing.map(|(name, row)| Line {
            name: name.clone(),
            counted: None,
            expected: Some(row.instructions),
            tolerance: limit(Some(row)),
            verdict: Verdict::Missing,
        }));
        Report { lines }
    }

    /// This table with the given counts of code from this version of the compiler: rows keep their tolerance. `all`: rows
    /// without a count go.
    ///
    /// # Errors
    /// If rows without a count would stay that are of another compiler.
    pub fn updated(&self, counts: &[(String, u64)], rustc: &str, all: bool) -> Result<Self> {
        ensure!(all || self.is_of(rustc), "the table is not of rustc {rustc}: count all paths");
        let mut rows = if all { BTreeMap::new() } else { self.rows.clone() };
        for (name, instructions) in counts {
            let tolerance = self.rows.get(name).and_then(|row| row.tolerance);
            rows.insert(name.clone(), Row { instructions: *instructions, tolerance });
        }
        Ok(Self { rustc: Some(rustc.to_owned()), rows })
    }

    /// The table as TOML, behind the comments that `old` begins with.
    ///
    /// # Errors
    /// None that can be reached: writing to a string does not fail.
    pub fn write(&self, old: &str) -> Result<String> {
        let mut text: String = old
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with('#'))
            .flat_map(|line| [line, "\n"])
            .collect();
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        if let Some(rustc) = &self.rustc {
            writeln!(text, "rustc = {rustc:?}\n")?;
        }
        for (name, row) in &self.rows {
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.push('\n');
            }
            writeln!(text, "[{name:?}]\ninstructions = {}", row.instructions)?;
            if let Some(tolerance) = row.tolerance {
                writeln!(text, "tolerance = {tolerance:.2}")?;
            }
        }
        Self::parse(&text).context("the table just written")?;
        Ok(text)
    }
}

fn judge(counted: u64, expected: u64, tolerance: f64) -> Verdict {
    let ratio = ratio(counted, expected);
    if ratio > tolerance {
        Verdict::Regression
    } else if ratio < 1.0 / tolerance {
        Verdict::Loose
    } else {
        Verdict::Fine
    }
}

/// Counts are far below 2^53.
fn ratio(counted: u64, expected: u64) -> f64 {
    counted as f64 / expected as f64
}

impl Report {
    /// How many operations fail the check.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.lines.iter().filter(|line| line.verdict.is_failure()).count()
    }

    /// How many operations cost so much less that their rows can be tightened.
    #[must_use]
    pub fn loose(&self) -> usize {
        self.lines.iter().filter(|line| line.verdict == Verdict::Loose).count()
    }

    /// The verdicts by name, in the order of the table.
    pub fn verdicts(&self) -> impl Iterator<Item = (&str, Verdict)> {
        self.lines.iter().map(|line| (line.name.as_str(), line.verdict))
    }

    /// One line for each operation, and what is to be done about it.
    #[must_use]
    pub fn table(&self) -> String {
        let width = self.lines.iter().map(|line| line.name.len()).max().unwrap_or(0).max("operation".len());
        let mut text = format!(
            "{:width$}  {:>12}  {:>8}  {:>5}  {:>5}\n",
            "operation", "instructions", "expected", "ratio", "limit"
        );
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        for line in &self.lines {
            let counted = or_dash(line.counted.map(|count| count.to_string()));
            let expected = or_dash(line.expected.map(|count| count.to_string()));
            let ratio = or_dash(line.counted.zip(line.expected).map(|(a, b)| format!("{:.3}", ratio(a, b))));
            let remark = match line.verdict {
                Verdict::Fine => "",
                Verdict::Loose => "  can be tightened",
                Verdict::Regression => "  REGRESSION",
                Verdict::Unknown => "  NO EXPECTATION",
                Verdict::Missing => "  NO SUCH OPERATION",
            };
            let limit = line.tolerance;
            let line = format!("{:width$}  {counted:>12}  {expected:>8}  {ratio:>5}  {limit:>5.2}{remark}", line.name);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUSTC: &str = "1.95.0";
    const TABLE: &str = r#"
        ["wire: decode"]
        instructions = 1000

        ["ring: send"]
        instructions = 100
        tolerance = 1.5
    "#;

    fn counts(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn verdicts(measured: &[(&str, u64)], all: bool) -> Vec<(String, Verdict)> {
        let report = Expected::parse(TABLE).unwrap().compare(&counts(measured), RUSTC, all);
        report.verdicts().map(|(name, verdict)| (name.to_owned(), verdict)).collect()
    }

    fn verdict(name: &str, count: u64) -> Verdict {
        verdicts(&[(name, count)], false)[0].1
    }

    #[test]
    fn a_count_is_judged_by_its_ratio_to_the_expected_one() {
        assert_eq!(verdict("wire: decode", 1_000), Verdict::Fine);
        assert_eq!(verdict("wire: decode", 1_100), Verdict::Fine);
        assert_eq!(verdict("wire: decode", 1_101), Verdict::Regression);
        assert_eq!(verdict("wire: decode", 910), Verdict::Fine);
        assert_eq!(verdict("wire: decode", 909), Verdict::Loose);
        assert_eq!(verdict("ring: send", 150), Verdict::Fine);
        assert_eq!(verdict("ring: send", 151), Verdict::Regression);
        assert_eq!(verdict("ring: send", 66), Verdict::Loose);
    }

    #[test]
    fn nothing_passes_unseen() {
        assert_eq!(verdict("new", 1), Verdict::Unknown);
        assert_eq!(
            verdicts(&[("ring: send", 100)], true),
            [("ring: send".to_owned(), Verdict::Fine), ("wire: decode".to_owned(), Verdict::Missing)]
        );
        assert!(Verdict::Regression.is_failure() && Verdict::Unknown.is_failure() && Verdict::Missing.is_failure());
        assert!(!Verdict::Fine.is_failure() && !Verdict::Loose.is_failure());
    }

    #[test]
    fn the_printed_table_names_what_failed() {
        let measured = counts(&[("wire: decode", 2_000), ("ring: send", 50), ("new", 7)]);
        let report = Expected::parse(TABLE).unwrap().compare(&measured, RUSTC, true);
        assert_eq!(report.failures(), 2);
        let table = report.table();
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("wire: decode").contains("2.000   1.10  REGRESSION"), "{table}");
        assert!(line("ring: send").ends_with("0.500   1.50  can be tightened"), "{table}");
        assert!(line("new").ends_with("NO EXPECTATION"), "{table}");
    }

    #[test]
    fn an_update_keeps_comments_and_tolerances() {
        let old = format!("# Why.\n\n{TABLE}");
        let table = Expected::parse(&old).unwrap();
        let some = table.updated(&counts(&[("ring: send", 90)]), RUSTC, false).unwrap().write(&old).unwrap();
        let expected =
            "# Why.\n\nrustc = \"1.95.0\"\n\n[\"ring: send\"]\ninstructions = 90\ntolerance = 1.50\n\n[\"wire";
        assert!(some.starts_with(expected), "{some}");
        let all = table.updated(&counts(&[("ring: send", 90)]), RUSTC, true).unwrap();
        assert_eq!(Expected::parse(&all.write("").unwrap()).unwrap(), all);
        assert!(!all.write("").unwrap().contains("wire"));
    }

    #[test]
    fn another_compiler_gets_wider_limits_and_no_mixed_table() {
        let table = Expected::parse("rustc = '1.95.0'\n[a]\ninstructions = 1000\n[b]\ninstructions = 1").unwrap();
        let verdict = |count, rustc| table.compare(&counts(&[("a", count)]), rustc, false).verdicts().next().unwrap().1;
        assert_eq!(verdict(1_300, "1.95.0"), Verdict::Regression);
        assert_eq!(verdict(1_300, "1.96.0"), Verdict::Fine);
        assert_eq!(verdict(1_400, "1.96.0"), Verdict::Regression);
        assert!(table.updated(&counts(&[("a", 1)]), "1.96.0", false).is_err());
        assert!(table.updated(&counts(&[("a", 1)]), "1.96.0", true).unwrap().is_of("1.96.0"));
    }

    #[test]
    fn tables_that_could_never_fail_are_refused() {
        for broken in [
            "[a]\ninstructions = 0",
            "[a]\ninstructions = 1\ntolerance = 0.9",
            "[a]\ninstructions = 1\nlimit = 2",
            "a = 1",
        ] {
            assert!(Expected::parse(broken).is_err(), "{broken}");
        }
    }
}

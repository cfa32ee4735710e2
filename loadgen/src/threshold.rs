//! Conditions on the result: `deliver.p99 < 50ms`, `deliver.small.p99.9<=5ms`, `missing == 0`, `server.rss_per_connection < 512`.
//!
//! Left: a histogram tag with a statistic (`min`, `mean`, `max`, `count`, `pNN.N`), or a plain figure of the summary. Right:
//! a time (`us`, `ms`, `s`) for histograms, a number for figures.

use std::fmt;

use crate::scenario::Span;

/// One parsed condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    metric: String,
    statistic: Option<Statistic>,
    relation: Relation,
    /// Nanoseconds if it was written with a unit, else the number as written.
    bound: f64,
    is_time: bool,
}

/// What is read off a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// Smallest value, ns.
    Min,
    /// Mean, ns.
    Mean,
    /// Largest value, ns.
    Max,
    /// Number of values.
    Count,
    /// Percentile 0..=100, ns.
    Percentile(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
}

/// Longest spelling first.
const RELATIONS: [(&str, Relation); 5] = [
    ("<=", Relation::LessOrEqual),
    (">=", Relation::MoreOrEqual),
    ("==", Relation::Equal),
    ("<", Relation::Less),
    (">", Relation::More),
];

/// What a run has to say about its figures.
pub trait Figures {
    /// A statistic of the histogram with that tag; `None` if there is no such histogram or it is empty.
    fn histogram(&self, tag: &str, statistic: Statistic) -> Option<f64>;
    /// A plain figure.
    fn figure(&self, name: &str) -> Option<f64>;
}

/// A condition with what the run showed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Judged {
    /// As written.
    pub condition: String,
    /// Nanoseconds or a plain number; absent if the run has no such figure.
    pub actual: Option<f64>,
    /// A figure that does not exist never holds.
    pub holds: bool,
}

impl Threshold {
    /// Reads one condition.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?}: {why}; write for example 'deliver.p99<50ms' or 'missing==0'");
        let (at, spelling, relation) = RELATIONS
            .iter()
            .filter_map(|(spelling, relation)| text.find(spelling).map(|at| (at, *spelling, *relation)))
            .min_by_key(|(at, spelling, _)| (*at, usize::MAX - spelling.len()))
            .ok_or_else(|| wrong("no <, <=, >, >= or =="))?;
        let left = text[..at].trim();
        let right = text[at + spelling.len()..].trim();
        if left.is_empty() || !left.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            return Err(wrong("the left side is not a figure"));
        }
        let is_time = right.ends_with('s');
        let bound = if is_time {
            right.parse::<Span>().map(|span| span.nanos() as f64).map_err(|error| wrong(&error))?
        } else {
            right.parse::<f64>().map_err(|_| wrong("the right side is neither a number nor a time"))?
        };
        let (metric, statistic) = split_statistic(left);
        let counts = matches!(statistic, None | Some(Statistic::Count));
        if !counts && !is_time {
            return Err(wrong("a latency is compared with a time, with its unit"));
        }
        Ok(Self { text: text.trim().to_owned(), metric: metric.to_owned(), statistic, relation, bound, is_time })
    }

    /// The histogram tag or the name of the figure.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Whether it reads a histogram.
    pub fn reads_histogram(&self) -> bool {
        self.statistic.is_some()
    }

    /// Compares with what the run showed.
    pub fn judge(&self, figures: &dyn Figures) -> Judged {
        let actual = match self.statistic {
            Some(statistic) => figures.histogram(&self.metric, statistic),
            None => figures.figure(&self.metric),
        };
        let holds = actual.is_some_and(|actual| match self.relation {
            Relation::Less => actual < self.bound,
            Relation::LessOrEqual => actual <= self.bound,
            Relation::More => actual > self.bound,
            Relation::MoreOrEqual => actual >= self.bound,
            Relation::Equal => actual == self.bound,
        });
        Judged { condition: self.text.clone(), actual, holds }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The leftmost dot whose right side is a statistic: tags and percentiles may both contain dots.
fn split_statistic(left: &str) -> (&str, Option<Statistic>) {
    for (at, _) in left.match_indices('.') {
        let statistic = match &left[at + 1..] {
            "min" => Some(Statistic::Min),
            "mean" => Some(Statistic::Mean),
            "max" => Some(Statistic::Max),
            "count" => Some(Statistic::Count),
            other => percentile(other),
        };
        if statistic.is_some() {
            return (&left[..at], statistic);
        }
    }
    (left, None)
}

fn percentile(text: &str) -> Option<Statistic> {
    let number: f64 = text.strip_prefix('p')?.parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(Statistic::Percentile(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Figures for Fixed {
        fn histogram(&self, tag: &str, statistic: Statistic) -> Option<f64> {
            match (tag, statistic) {
                ("deliver", Statistic::Percentile(percentile)) => Some(percentile * 1e6),
                ("deliver.small", Statistic::Percentile(99.9)) => Some(7e6),
                ("deliver", Statistic::Count) => Some(10.0),
                _ => None,
            }
        }

        fn figure(&self, name: &str) -> Option<f64> {
            (name == "missing").then_some(0.0)
        }
    }

    fn holds(text: &str) -> bool {
        Threshold::parse(text).unwrap().judge(&Fixed).holds
    }

    #[test]
    fn conditions_hold_or_break() {
        assert!(holds("deliver.p50 < 51ms"));
        assert!(!holds("deliver.p50<50ms"));
        assert!(holds("deliver.p50<=50ms"));
        assert!(holds("deliver.p99>=0.099s"));
        assert!(holds("deliver.small.p99.9 < 7001us"));
        assert!(holds("deliver.count == 10"));
        assert!(holds("missing == 0"));
        assert!(!holds("missing > 0"));
    }

    #[test]
    fn a_figure_that_does_not_exist_breaks_the_condition() {
        let judged = Threshold::parse("delivr.p99<1s").unwrap().judge(&Fixed);
        assert_eq!((judged.actual, judged.holds), (None, false));
    }

    #[test]
    fn what_is_not_a_condition_is_refused_with_an_example() {
        for text in ["deliver.p99", "<5ms", "deliver.p99<fast", "deliver.p99<5", "a b<1", "deliver.p101<1ms"] {
            match Threshold::parse(text) {
                Err(error) => assert!(error.contains("deliver.p99<50ms"), "{error}"),
                Ok(threshold) => assert!(!threshold.reads_histogram(), "{text}"),
            }
        }
    }
}

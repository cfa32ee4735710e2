//! Claim: the files of a run agree with each other, need nothing from outside, and can be read back and compared.

mod common;

use std::path::Path;

use common::{options, server, small_chats};
use corecast_loadgen::Protocol;
use corecast_loadgen::null::Faults;
use corecast_loadgen::output::diff::{self, Judgement};
use corecast_loadgen::output::{files, report, result};
use corecast_loadgen::run::{Finished, RunOptions, Silent, run};
use corecast_loadgen::summary::{Outcome, SCHEMA};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

fn stored(folder: &Path, threshold: &str) -> Finished {
    let server = server(Faults::default());
    let mut scenario = small_chats();
    scenario.thresholds = vec![threshold.to_owned(), "missing == 0".to_owned()];
    let options = RunOptions {
        out: Some(folder.to_owned()),
        label: "a <run> & its label".to_owned(),
        ..options(scenario, Protocol::CentrifugeJson, server.address())
    };
    let finished = run(&options, &mut Silent).expect("a run");
    files::write(&finished, folder).expect("files can be written");
    finished
}

/// Sum of the `deliver` lines of the interval log.
fn logged(path: &Path) -> Histogram<u64> {
    use base64::Engine as _;
    let log = std::fs::read(path).expect("the log");
    let mut sum = Histogram::<u64>::new(3).expect("a histogram");
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.expect("a line of the log") else { continue };
        if interval.tag().is_some_and(|tag| tag.as_str() == "deliver") {
            let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).expect("base64");
            let one: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
            sum.add(&one).expect("the same bounds");
        }
    }
    sum
}

#[test]
fn files_agree_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let finished = stored(folder.path(), "deliver.p99 < 60s");
    let summary = files::read(folder.path()).unwrap();
    assert_eq!((summary.schema, summary.verdict.outcome), (SCHEMA, Outcome::Passed));
    assert!(summary.thresholds.iter().all(|judged| judged.holds));
    let deliver = &finished.histograms["deliver"];
    assert_eq!(summary.latencies["deliver"].percentiles.count, deliver.len());
    let logged = logged(&folder.path().join("latency.hlog"));
    assert_eq!((logged.len(), logged.max()), (deliver.len(), deliver.max()));
    let distribution = std::fs::read_to_string(folder.path().join("deliver.hgrm")).unwrap();
    assert!(distribution.contains(&format!("Total count    = {:12}]", deliver.len())), "{distribution}");
    let rows: u64 = summary.seconds.iter().map(|row| row.received).sum();
    assert_eq!(rows, summary.counts.truth.received);
}

#[test]
fn the_report_needs_nothing_from_outside_and_escapes_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let finished = stored(folder.path(), "deliver.p99 < 60s");
    let page = report::render(&finished.summary);
    for outside in ["src=\"http", "href=", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("<run>") && page.contains("&lt;run&gt;") || page.contains("&#60;run&#62;"));
    for part in ["Latency by percentile", "Fan-out of a message", "every delivery checked", "Circumstances", "<svg"] {
        assert!(page.contains(part), "{part}");
    }
    let text = result::render(&finished.summary);
    assert!(text.contains("PASSED") && text.contains("delivery to each member"), "{text}");
}

#[test]
fn a_broken_threshold_ends_with_99_and_says_by_how_much() {
    let folder = tempfile::tempdir().unwrap();
    let summary = stored(folder.path(), "deliver.p50 < 1us").summary;
    assert_eq!(summary.verdict.outcome, Outcome::ThresholdsBroken, "{:?}", summary.verdict);
    assert_eq!(summary.verdict.outcome.exit_code(), 99);
    assert!(summary.verdict.reasons[0].contains("ms"), "{:?}", summary.verdict);
}

#[test]
fn rounds_are_compared_with_their_spread() {
    let folder = tempfile::tempdir().unwrap();
    for round in ["round-1", "round-2"] {
        stored(&folder.path().join(round), "deliver.p99 < 60s");
    }
    let runs = files::read_all(folder.path()).unwrap();
    assert_eq!(runs.len(), 2);
    let lines = diff::compare(&runs, &runs);
    assert!(lines.iter().any(|line| line.figure == "deliver.p99"));
    // Open = only one of the rounds has the figure; no change is known of a median of 0.
    let equal = [Judgement::WithinSpread, Judgement::Open];
    let same = |line: &diff::Line| equal.contains(&line.judgement) && line.change.is_none_or(|change| change == 0.0);
    assert!(lines.iter().all(same), "{lines:#?}");
    assert!(diff::render(&runs, &runs).contains("within the spread"));
    assert!(diff::circumstances(&runs[0], &runs[1]).is_empty());
    assert!(files::read_all(&folder.path().join("nowhere")).is_err());
}

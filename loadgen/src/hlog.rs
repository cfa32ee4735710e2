//! HdrHistogram's own formats, for other people's tools: the interval log (`.hlog`, with tags) and percentile
//! distributions (`.hgrm`, for the HdrHistogram plotter). Values in logs are nanoseconds, the maximum of each line and the
//! distributions are in milliseconds.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

const NANOS_PER_MILLI: f64 = 1e6;

/// An interval log that is complete up to the last second, whatever happens to the run.
#[derive(Debug)]
pub(crate) struct IntervalLog {
    out: BufWriter<File>,
}

impl IntervalLog {
    /// Writes the head. `started_unix`: seconds.
    pub(crate) fn create(path: &Path, started_unix: f64) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(
            out,
            "#[corecast load {}; values in nanoseconds, Interval_Max in milliseconds]",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(out, "#[StartTime: {started_unix:.3} (seconds since epoch)]")?;
        writeln!(out, "#[BaseTime: 0.000 (seconds since epoch)]")?;
        writeln!(out, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
        Ok(Self { out })
    }

    /// One interval of one tag. `start` and `length` in seconds, `start` counted from the head's time.
    pub(crate) fn append(&mut self, tag: &str, start: f64, length: f64, histogram: &Histogram<u64>) -> io::Result<()> {
        let max = histogram.max() as f64 / NANOS_PER_MILLI;
        writeln!(self.out, "Tag={tag},{start:.3},{length:.3},{max:.6},{}", encode(histogram)?)
    }

    /// Hands everything to the operating system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A histogram as text: the compressed V2 encoding in base64.
pub(crate) fn encode(histogram: &Histogram<u64>) -> io::Result<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(STANDARD.encode(bytes))
}

/// The other way.
pub(crate) fn decode(text: &str) -> io::Result<Histogram<u64>> {
    let wrong = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let bytes = STANDARD.decode(text).map_err(|error| wrong(error.to_string()))?;
    let mut reader = bytes.as_slice();
    hdrhistogram::serialization::Deserializer::new().deserialize(&mut reader).map_err(|error| wrong(error.to_string()))
}

/// A percentile distribution as HdrHistogram prints it, in milliseconds.
pub(crate) fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for value in histogram.iter_quantiles(5) {
        total += value.count_since_last_iteration();
        let quantile = value.quantile_iterated_to();
        let milliseconds = value.value_iterated_to() as f64 / NANOS_PER_MILLI;
        let _ = write!(text, "{milliseconds:12.3} {quantile:2.12} {total:10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / NANOS_PER_MILLI, histogram.stdev() / NANOS_PER_MILLI);
    let max = histogram.max() as f64 / NANOS_PER_MILLI;
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", 28, 2_048);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn sample() -> Histogram<u64> {
        let mut histogram = latency::empty();
        (1..=1_000).for_each(|millis| histogram.saturating_record(millis * 1_000_000));
        histogram
    }

    #[test]
    fn other_readers_understand_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.hlog");
        let mut log = IntervalLog::create(&path, 1_700_000_000.5).unwrap();
        log.append("deliver", 0.0, 1.0, &sample()).unwrap();
        log.append("deliver.small", 1.0, 1.0, &sample()).unwrap();
        log.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                tags.push(interval.tag().unwrap().as_str().to_owned());
                assert!((interval.max() - 1_000.0).abs() < 1.0);
                let histogram = decode(interval.encoded_histogram()).unwrap();
                assert_eq!(histogram.len(), 1_000);
            }
        }
        assert_eq!(tags, ["deliver", "deliver.small"]);
    }

    #[test]
    fn a_distribution_ends_with_everything() {
        let text = distribution(&sample());
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        assert!(last.contains("1.000000000000") && last.trim_end().ends_with("1000"), "{last}");
        assert!(text.lines().nth(2).unwrap().trim_start().starts_with("1.0"), "{text}");
        assert!(text.contains("Total count    =         1000]"));
    }

    #[test]
    fn what_is_no_histogram_is_an_error() {
        assert!(decode("!").is_err() && decode("AAAA").is_err());
    }
}

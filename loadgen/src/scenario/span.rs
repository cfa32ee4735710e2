//! A length of time as people write it: `250us`, `10ms`, `1.5s`, `2m`, `1h`, or a plain number of seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds, up to 292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(u64);

/// From the finest to the coarsest.
const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// A year: more is a slip of the pen, and sums of a few such spans stay far from overflow.
const NANOS_MAX: f64 = 365.0 * 24.0 * 3600e9;

impl Span {
    /// From whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// From milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// In nanoseconds.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// In seconds.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// For the standard library.
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    fn checked(nanos: f64, text: &str) -> Result<Self, String> {
        if nanos.is_finite() && (0.0..=NANOS_MAX).contains(&nanos) {
            Ok(Self(nanos.round() as u64))
        } else {
            Err(format!("{text:?} is not a time within 0 and a year"))
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim().replace('µ', "u");
        let at = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(at);
        let unit = if unit.is_empty() { "s" } else { unit };
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        match (number.trim().parse::<f64>(), factor) {
            (Ok(number), Some(factor)) => Self::checked(number * factor, text),
            _ => Err(format!("{text:?} is not a time such as 250us, 10ms, 1.5s, 2m or 1h")),
        }
    }
}

impl fmt::Display for Span {
    /// The largest unit up to seconds that needs at most three decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, nanos) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
            if self.0 == 0 || (self.0 >= nanos && self.0.is_multiple_of(nanos / 1_000)) {
                return write!(f, "{}{unit}", self.0 as f64 / nanos as f64);
            }
        }
        write!(f, "{}ns", self.0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as \"10ms\" or a number of seconds")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
        Span::checked(seconds * 1e9, &seconds.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_people_write() {
        for (text, nanos) in [
            ("250us", 250_000),
            ("250µs", 250_000),
            ("10ms", 10_000_000),
            ("1.5s", 1_500_000_000),
            ("2", 2_000_000_000),
            ("2m", 120_000_000_000),
            ("1 h", 3_600_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().nanos(), nanos, "{text}");
        }
        for text in ["", "ms", "5 weeks", "-1s", "1e40h", "NaN", "inf"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in 0_u64..1 << 50) {
            prop_assert_eq!(Span(nanos).to_string().parse::<Span>().unwrap(), Span(nanos));
        }
    }
}

//! The kinds of value a setting can have. Each is read from TOML, from an environment variable and from a flag by the same
//! words, and writes itself back as TOML, so that documentation and defaults cannot drift from the parser.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A kind of setting. `parse_text` is what environment variables and flags go through, `to_toml` what `defaultconfig` prints.
pub(crate) trait Value: Sized {
    /// How the documentation calls this kind, unit included.
    const KIND: &'static str;

    /// Reads the text of an environment variable or flag; the error says what would be accepted.
    fn parse_text(text: &str) -> Result<Self, String>;

    /// The TOML literal, or `None` where the setting has no value unless it is given.
    fn to_toml(&self) -> Option<String>;
}

/// A length of time, written with its unit: `500us`, `250ms`, `25s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    pub(crate) const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

const SPAN_UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

impl Value for Span {
    const KIND: &'static str = "time with its unit (us, ms, s, m, h)";

    fn parse_text(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a time: write a whole number and a unit, such as 500us, 250ms, 25s, 5m");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let (_, scale) = SPAN_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*scale).map(|micros| Self(Duration::from_micros(micros))).ok_or_else(wrong)
    }

    fn to_toml(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        // The largest unit that leaves a whole number; zero has none, so it gets seconds.
        let fits = |(_, scale): &&(&str, u64)| micros.is_multiple_of(*scale);
        let unit =
            if micros == 0 { &SPAN_UNITS[2] } else { SPAN_UNITS.iter().rev().find(fits).unwrap_or(&SPAN_UNITS[0]) };
        write!(formatter, "{}{}", micros / unit.1, unit.0)
    }
}

/// A number of bytes: a whole number, or text with a unit such as `64KiB` or `1MiB`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    pub(crate) const fn kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    pub(crate) const fn mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }

    /// As an index of memory; sizes beyond the address space saturate, which every limit's own maximum refuses.
    pub(crate) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Value for Size {
    const KIND: &'static str = "bytes, or text with a unit (KiB, MiB, GiB)";

    fn parse_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size: write bytes, or a number and a unit, such as 64KiB, 1MiB");
        let (number, unit) = split_unit(text).ok_or_else(wrong)?;
        let (_, scale) =
            SIZE_UNITS.iter().find(|(name, _)| *name == unit || unit.is_empty() && *name == "B").ok_or_else(wrong)?;
        number.checked_mul(*scale).map(Self).ok_or_else(wrong)
    }

    fn to_toml(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, scale): &&(&str, u64)| self.0.is_multiple_of(*scale);
        let unit =
            if self.0 == 0 { &SIZE_UNITS[0] } else { SIZE_UNITS.iter().rev().find(fits).unwrap_or(&SIZE_UNITS[0]) };
        write!(formatter, "{}{}", self.0 / unit.1, unit.0)
    }
}

/// A secret, which is never printed: neither by `{:?}` nor by `defaultconfig`.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret text";

    fn parse_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(Self::new(text)) }
    }

    fn to_toml(&self) -> Option<String> {
        None
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn parse_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn parse_text(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! whole_number {
    ($($kind:ty),*) => { $(
        impl Value for $kind {
            const KIND: &'static str = "whole number";

            fn parse_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("`{text}` is not a whole number from {} to {}", Self::MIN, Self::MAX))
            }

            fn to_toml(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}

whole_number!(u16, u32, u64);

impl Value for Vec<String> {
    const KIND: &'static str = "list of texts (in the environment: separated by commas)";

    fn parse_text(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn to_toml(&self) -> Option<String> {
        Some(format!("[{}]", self.iter().map(|item| quoted(item)).collect::<Self>().join(", ")))
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn parse_text(text: &str) -> Result<Self, String> {
        T::parse_text(text).map(Some)
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(T::to_toml)
    }
}

/// Declares a setting that is one word out of a fixed list.
macro_rules! choice {
    ($(#[doc = $doc:literal])* $vis:vis enum $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        $vis enum $name { $($(#[doc = $variant_doc])* $variant),* }

        impl $crate::config::values::Value for $name {
            const KIND: &'static str = concat!("one of", $(" `", $word, "`"),*);

            fn parse_text(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("`{text}` is not {}", Self::KIND)),
                }
            }

            fn to_toml(&self) -> Option<String> {
                let word = match self { $(Self::$variant => $word),* };
                Some(format!("\"{word}\""))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $crate::config::values::Value::parse_text(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use choice;

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_text(&text).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// The usual error would show the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| de::Error::custom("expected text in quotes"))?;
        Self::parse_text(&text).map_err(de::Error::custom)
    }
}

struct SizeVisitor;

impl<'de> Visitor<'de> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size: bytes, or text such as \"64KiB\"")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Size, E> {
        u64::try_from(value).map(Size).map_err(|_| E::custom("a size cannot be negative"))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Size, E> {
        Ok(Size(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Size, E> {
        Size::parse_text(value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Size, A::Error> {
        Err(de::Error::custom("a size is one value, not a list"))
    }
}

/// A number and the unit behind it; `None` without a number or with one beyond 64 bits.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_unit_and_written_with_the_largest_that_fits() {
        for (text, micros, written) in [
            ("500us", 500, "500us"),
            ("1500us", 1_500, "1500us"),
            ("2000us", 2_000, "2ms"),
            ("25s", 25_000_000, "25s"),
            ("90 s", 90_000_000, "90s"),
            ("120s", 120_000_000, "2m"),
            ("0s", 0, "0s"),
            ("0us", 0, "0s"),
        ] {
            let span = Span::parse_text(text).unwrap();
            assert_eq!(span.0, Duration::from_micros(micros), "{text}");
            assert_eq!(span.to_string(), written, "{text}");
            assert_eq!(Span::parse_text(&span.to_string()).unwrap(), span, "{text}");
        }
        for text in ["", "s", "5", "5 parsecs", "-1s", "1.5s", "99999999999999999999s", "9999999999999999h"] {
            assert!(Span::parse_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_read_with_or_without_unit_and_written_with_the_largest_that_fits() {
        for (text, bytes, written) in
            [("0", 0, "0B"), ("100", 100, "100B"), ("64KiB", 65_536, "64KiB"), ("1024 KiB", 1 << 20, "1MiB")]
        {
            let size = Size::parse_text(text).unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, written), "{text}");
        }
        for text in ["", "KiB", "64kb", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(Size::parse_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_in_a_file_is_a_number_or_a_text() {
        #[derive(serde::Deserialize)]
        struct Table {
            size: Size,
        }
        let read = |text: &str| toml::from_str::<Table>(text).map(|table| table.size.0);
        assert_eq!(read("size = 10").unwrap(), 10);
        assert_eq!(read("size = \"1KiB\"").unwrap(), 1024);
        assert!(read("size = -1").unwrap_err().to_string().contains("negative"));
        assert!(read("size = [1]").unwrap_err().to_string().contains("one value"));
        assert!(read("size = true").unwrap_err().to_string().contains("64KiB"));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?} {:?}", secret.to_toml()).contains("hunter2"));
    }
}

//! Numbers as people read them.

/// Nanoseconds in a unit that leaves three digits: `0.87 ms`, `12.3 ms`, `1.20 s`.
pub fn time(nanos: f64) -> String {
    match nanos {
        n if !n.is_finite() => "–".to_owned(),
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e5 => format!("{} µs", digits(n / 1e3)),
        n if n < 1e9 => format!("{} ms", digits(n / 1e6)),
        n => format!("{} s", digits(n / 1e9)),
    }
}

/// A count with separators: `12,345,678`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or amount: whole with separators, small ones with decimals.
pub fn amount(number: f64) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    if number.abs() >= 1_000.0 { count(number.round().abs() as u64) } else { digits(number) }
}

/// Bytes in binary units.
pub fn bytes(number: f64) -> String {
    let mut rest = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest.abs() < 1_024.0 {
            return format!("{} {unit}", digits(rest));
        }
        rest /= 1_024.0;
    }
    format!("{} TiB", digits(rest))
}

/// A share of 1 in percent.
pub fn percent(share: f64) -> String {
    format!("{} %", digits(share * 100.0))
}

/// Three significant digits, without decimals from 100 on.
fn digits(number: f64) -> String {
    match number.abs() {
        n if n >= 99.95 || n == 0.0 => format!("{number:.0}"),
        n if n >= 9.995 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(time(870_000.0), "0.87 ms");
        assert_eq!(time(12_345_678.0), "12.3 ms");
        assert_eq!(time(99_000.0), "99.0 µs");
        assert_eq!(time(1.2e9), "1.20 s");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(amount(49_999.7), "50,000");
        assert_eq!(amount(2.71928), "2.72");
        assert_eq!(bytes(1_536.0), "1.50 KiB");
        assert_eq!(percent(0.873), "87.3 %");
    }
}

//! Epochs as clients see them: base-36 text of the number on the wire.
//!
//! The text is never empty (an absent epoch means "none" in the client protocol) and never `_` (which clients send to
//! force a failed recovery), because a base-36 number is neither.

/// An epoch as text, at most 13 characters: 36^13 > 2^64 > 36^12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochText {
    digits: [u8; DIGITS_MAX],
    start: u8,
}

const DIGITS_MAX: usize = 13;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

impl EpochText {
    /// The text of `epoch`, without leading zeros; `0` for zero.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let mut digits = [b'0'; DIGITS_MAX];
        let mut start = 13_u8;
        let mut rest = epoch;
        for digit in digits.iter_mut().rev() {
            *digit = usize::try_from(rest % 36).ok().and_then(|value| ALPHABET.get(value)).copied().unwrap_or(b'0');
            rest /= 36;
            start -= 1;
            if rest == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(usize::from(self.start)..).unwrap_or_default();
        core::str::from_utf8(digits).unwrap_or("0")
    }
}

/// The epoch that `text` names, or `None` if it is not what [`EpochText`] writes for any epoch (empty, `_`, upper
/// case, leading zeros, too large). A client's unknown text is an epoch that never existed, not an error.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS_MAX || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    let mut epoch = 0_u64;
    for byte in text.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        };
        epoch = epoch.checked_mul(36)?.checked_add(u64::from(digit))?;
    }
    Some(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_texts() {
        assert_eq!(EpochText::new(0).as_str(), "0");
        assert_eq!(EpochText::new(35).as_str(), "z");
        assert_eq!(EpochText::new(36).as_str(), "10");
        assert_eq!(EpochText::new(u64::MAX).as_str(), "3w5e11264sgsf");
    }

    #[test]
    fn foreign_texts_name_no_epoch() {
        for text in ["", "_", "A", "00", "3w5e11264sgsg", "zzzzzzzzzzzzzz", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(epoch: u64) {
            let text = EpochText::new(epoch);
            prop_assert!(!text.as_str().is_empty() && text.as_str().len() <= 13);
            prop_assert_eq!(parse(text.as_str()), Some(epoch));
        }
    }
}

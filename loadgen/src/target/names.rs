//! Names of chats on the wire: a prefix and the index in base 36, so that a name costs few bytes per delivery.

/// Largest index has 7 digits in base 36.
const DIGITS_MAX: usize = 7;

/// Prefix of all chats of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names(String);

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    pub(crate) fn name(&self, chat: u32) -> String {
        let mut name = Vec::with_capacity(self.0.len() + DIGITS_MAX);
        self.write(chat, &mut name);
        // The prefix is text and the digits are ASCII.
        String::from_utf8(name).unwrap_or_default()
    }

    pub(crate) fn write(&self, chat: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
        let mut digits = [0_u8; DIGITS_MAX];
        let mut at = DIGITS_MAX;
        let mut rest = chat;
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
    }

    /// The index in a name; `None` if it is not one of ours.
    #[inline]
    pub(crate) fn index(&self, name: &[u8]) -> Option<u32> {
        let digits = name.strip_prefix(self.0.as_bytes())?;
        if digits.is_empty() || digits.len() > DIGITS_MAX {
            return None;
        }
        let mut index = 0_u64;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'z' => digit - b'a' + 10,
                _ => return None,
            };
            index = index * 36 + u64::from(value);
        }
        u32::try_from(index).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn names_read_back(chat: u32, prefix in "[a-z:.]{0,10}") {
            let names = Names::new(&prefix);
            prop_assert_eq!(names.index(names.name(chat).as_bytes()), Some(chat));
        }

        #[test]
        fn any_name_is_read_without_panic(name in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = Names::new("c").index(&name);
        }
    }

    #[test]
    fn names_are_short() {
        assert_eq!(Names::new("c").name(0), "c0");
        assert_eq!(Names::new("c").name(19_999), "cffj");
    }
}

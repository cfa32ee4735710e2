//! Base-128 varints, as Protobuf writes them.

/// Longest encoding of a `u64`: ⌈64 / 7⌉ bytes.
const MAX_BYTES: usize = 10;

/// Appends `value`.
pub(crate) fn write(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Number of bytes that [`write()`] appends for `value`.
pub(crate) const fn len(value: u64) -> usize {
    // 1 + ⌊significant bits − 1 ⌋ / 7, with zero taking one byte.
    ((value | 1).ilog2() as usize * 9 + 73) / 64
}

/// Splits a varint off the front. `None` when it is cut off, longer than ten bytes, or does not fit 64 bits.
pub(crate) fn read(input: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in input.iter().take(MAX_BYTES).enumerate() {
        if index == MAX_BYTES - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, input.get(index + 1..)?));
        }
    }
    None
}

#[allow(clippy::cast_possible_truncation)] // masked to seven bits
const fn low_byte(value: u64) -> u8 {
    (value & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value: u64, shift in 0u32..64, tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let value = value >> shift;
            let mut out = Vec::new();
            write(value, &mut out);
            prop_assert_eq!(out.len(), len(value));
            out.extend_from_slice(&tail);
            prop_assert_eq!(read(&out), Some((value, tail.as_slice())));
        }
    }

    #[test]
    fn cut_off_and_overlong_varints_are_refused() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0x80; 11]), None);
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), None);
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read(&max), Some((u64::MAX, [].as_slice())));
    }
}

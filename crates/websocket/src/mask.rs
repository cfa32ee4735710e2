//! Masking (RFC 6455 section 5.3): XOR with a repeated 4-byte key. Applied twice it restores the input.

/// XORs `data` with `key`, starting at the key's first byte.
///
/// Words of eight bytes, in a loop without branches that the compiler vectorises; the remainder byte by byte.
pub(crate) fn apply(data: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// The key for the byte that follows `done` bytes masked with `key`.
pub(crate) const fn advance(key: [u8; 4], done: usize) -> [u8; 4] {
    let mut key = key;
    key.rotate_left(done % 4);
    key
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn equals_the_definition_at_every_length_and_split() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..100_usize {
            let plain: Vec<u8> = (0..length).map(|i| i.wrapping_mul(37) as u8).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
            for split in 0..=length {
                let mut data = plain.clone();
                let (head, tail) = data.split_at_mut(split);
                apply(head, key);
                apply(tail, advance(key, split));
                assert_eq!(data, expected, "length {length}, split {split}");
            }
        }
    }
}

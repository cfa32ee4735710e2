//! The body of a generated message: everything that any member needs to judge its delivery, in one JSON string.
//!
//! ```text
//! "C rrrrrrrr cccccccc ssssssss iiiiiiii tttttttttttttttt ~~~~ hhhhhhhh"       (without the blanks)
//!   run      chat     sequence id       intended time    pad  hash
//! ```
//! Numbers are lower-case hexadecimal of fixed width, the time is in nanoseconds of the run's clock, the hash is the low
//! half of xxh3-64 over everything between the opening quote and the hash. A JSON string is legal in every protocol that is
//! measured (Centrifuge JSON asks for JSON), needs no escaping and has the same size everywhere.
//!
//! Invariants: a body's length is exactly the requested size, quotes included; `verify(encode(x)) == x`; a change of
//! any byte makes `verify` fail (up to a 32-bit collision).

use xxhash_rust::xxh3::xxh3_64;

/// Quotes, mark, four numbers of 8 digits, the time of 16 and the hash of 8: the smallest body.
pub const SIZE_MIN: usize = 2 + 1 + 4 * 8 + 16 + 8;
/// Corecast's own limit for a message is 128 KiB; larger bodies only measure refusals.
pub const SIZE_MAX: usize = 128 * 1024;

const MARK: u8 = b'C';
const HASH_DIGITS: usize = 8;
const HEAD: usize = SIZE_MIN - 1 - HASH_DIGITS;

/// What a body says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Tells this run's messages from those of another that uses the same chats.
    pub run: u32,
    /// Index of the chat in the run's plan.
    pub chat: u32,
    /// Position in the chat as its publisher counts it, from 1.
    pub sequence: u32,
    /// Position in the run, from 0: the key of the message's fan-out record.
    pub id: u32,
    /// When the schedule wanted the message published, in nanoseconds of the run's clock.
    pub intended_ns: u64,
}

/// Why bytes are not one of our bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Too short, or without the mark: not written by this tool.
    NotOurs,
    /// The hash does not fit the bytes: changed on the way.
    Hash,
}

/// Appends the body of `size` bytes (at least [`SIZE_MIN`]).
pub(crate) fn encode(stamp: &Stamp, size: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'"');
    out.push(MARK);
    for number in [stamp.run, stamp.chat, stamp.sequence, stamp.id] {
        out.extend_from_slice(&hex8(number));
    }
    out.extend_from_slice(&hex8((stamp.intended_ns >> 32) as u32));
    out.extend_from_slice(&hex8(stamp.intended_ns as u32));
    let padding = size.max(SIZE_MIN) - SIZE_MIN;
    out.extend((0..padding).map(|at| b'a' + (at % 26) as u8));
    let hash = xxh3_64(&out[start + 1..]) as u32;
    out.extend_from_slice(&hex8(hash));
    out.push(b'"');
}

/// Reads a body with its quotes and checks its hash. About 20 ns for 100 bytes.
pub(crate) fn verify(body: &[u8]) -> Result<Stamp, Damage> {
    if body.len() < SIZE_MIN || body[0] != b'"' || body[1] != MARK || body[body.len() - 1] != b'"' {
        return Err(Damage::NotOurs);
    }
    let (content, hash) = body[1..body.len() - 1].split_at(body.len() - 2 - HASH_DIGITS);
    // Compared as text: `unhex8` reads more than one spelling of a digit.
    if hash != hex8(xxh3_64(content) as u32) {
        return Err(Damage::Hash);
    }
    let number = |index: usize| unhex8(&body[2 + index * 8..10 + index * 8]).ok_or(Damage::NotOurs);
    Ok(Stamp {
        run: number(0)?,
        chat: number(1)?,
        sequence: number(2)?,
        id: number(3)?,
        intended_ns: u64::from(number(4)?) << 32 | u64::from(number(5)?),
    })
}

/// Length of the body at the start of `bytes`, if it begins like one of ours and ends within: up to its closing quote.
pub(crate) fn length_at(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < SIZE_MIN || bytes[0] != b'"' || bytes[1] != MARK {
        return None;
    }
    bytes[HEAD..].iter().position(|byte| *byte == b'"').map(|at| HEAD + at + 1)
}

fn hex8(number: u32) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(number >> (28 - 4 * at)) as usize & 15])
}

/// Eight digits at once: each byte becomes its nibble, then neighbours are folded together.
fn unhex8(digits: &[u8]) -> Option<u32> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let text = u64::from_le_bytes(digits.try_into().ok()?);
    // Letters have bit 6 set: their low nibble is 1..=6 and stands for 10..=15.
    let letters = (text >> 6) & LOW;
    let nibbles = (text & (LOW * 15)) + letters * 9;
    let pairs = ((nibbles << 4) | (nibbles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = ((pairs << 8) | (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some(((fours << 16) | (fours >> 32)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_body_has_the_asked_size_and_reads_back(
            run: u32, chat: u32, sequence: u32, id: u32, intended_ns: u64, size in SIZE_MIN..4_000
        ) {
            let stamp = Stamp { run, chat, sequence, id, intended_ns };
            let mut body = Vec::new();
            encode(&stamp, size, &mut body);
            prop_assert_eq!(body.len(), size);
            prop_assert_eq!(verify(&body), Ok(stamp));
            body.extend_from_slice(b",\"offset\":\"1\"");
            prop_assert_eq!(length_at(&body), Some(size));
        }

        #[test]
        fn any_changed_byte_is_noticed(size in SIZE_MIN..300, at: prop::sample::Index, flip in 1_u8..) {
            let mut body = Vec::new();
            encode(&Stamp { run: 1, chat: 2, sequence: 3, id: 4, intended_ns: 5 }, size, &mut body);
            let at = at.index(body.len());
            body[at] ^= flip;
            prop_assert!(verify(&body).is_err());
        }
    }

    #[test]
    fn a_body_is_a_json_string() {
        let mut body = Vec::new();
        encode(&Stamp { run: 0xab, chat: 0, sequence: 1, id: u32::MAX, intended_ns: 77 }, 100, &mut body);
        let text: String = serde_json::from_slice(&body).unwrap();
        assert_eq!(text.len(), 98);
        assert!(text.starts_with("C000000ab00000000"));
    }

    #[test]
    fn hexadecimal_digits_fold_into_numbers() {
        assert_eq!(unhex8(b"00000000"), Some(0));
        assert_eq!(unhex8(b"deadbeef"), Some(0xdead_beef));
        assert_eq!(hex8(0x0123_abcd), *b"0123abcd");
        assert_eq!(unhex8(b"123"), None);
    }

    #[test]
    fn what_others_wrote_is_not_ours() {
        assert_eq!(verify(b"\"hello\""), Err(Damage::NotOurs));
        assert_eq!(verify(&[b'x'; 200]), Err(Damage::NotOurs));
        assert_eq!(length_at(b"{}"), None);
    }
}

//! The check that lets a body of unknown origin into JSON frames.

use bytes::Bytes;
use serde_json::value::RawValue;

/// Deepest nesting of arrays and objects that a payload may have.
///
/// A member whose parser gives up on a body takes the whole connection down and comes back to the same body, so that
/// one message would poison a chat. The strictest common parser is serde_json with 128 levels; the envelope of a
/// recovered publication needs 5 of them, which leaves room for whatever an SDK wraps around that.
pub const MAX_PAYLOAD_DEPTH: usize = 100;

/// Why a body cannot be sent to JSON members. The sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJson {
    /// Not one JSON value in UTF-8.
    #[error("payload is not valid JSON")]
    Syntax,
    /// Nested deeper than [`MAX_PAYLOAD_DEPTH`].
    #[error("payload is nested deeper than {MAX_PAYLOAD_DEPTH} levels")]
    TooDeep,
}

/// Checks that `payload` is one JSON value and makes it safe for JSON framing.
///
/// White space around the value is cut off and raw newlines, which JSON allows between tokens only, become spaces. All
/// else stays as it came: no number, escape or order of keys changes. Copies only if there is a newline inside.
///
/// # Errors
/// [`NotJson`] if it is not JSON in UTF-8 or nested too deep.
pub fn sanitize_json(payload: Bytes) -> Result<Bytes, NotJson> {
    let value: &RawValue = serde_json::from_slice(&payload).map_err(|_| NotJson::Syntax)?;
    let text = value.get().as_bytes();
    let shape = Shape::of(text);
    if shape.depth > MAX_PAYLOAD_DEPTH {
        return Err(NotJson::TooDeep);
    }
    if shape.newline {
        return Ok(text.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect());
    }
    if text.len() == payload.len() {
        return Ok(payload);
    }
    Ok(payload.slice_ref(text))
}

/// What one pass over valid JSON tells.
struct Shape {
    depth: usize,
    newline: bool,
}

impl Shape {
    fn of(text: &[u8]) -> Self {
        let mut shape = Self { depth: 0, newline: false };
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        for byte in text {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                b'\n' => shape.newline = true,
                _ => {}
            }
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sanitize(text: &'static str) -> Result<String, NotJson> {
        let clean = sanitize_json(Bytes::from_static(text.as_bytes()))?;
        Ok(String::from_utf8(clean.to_vec()).unwrap())
    }

    #[test]
    fn valid_json_is_shared_not_copied() {
        let payload = Bytes::from(br#"{"t":"hi","n":1.50,"e":"\u00e9"}"#.to_vec());
        let clean = sanitize_json(payload.clone()).unwrap();
        assert_eq!(clean, payload);
        assert_eq!(clean.as_ptr(), payload.as_ptr());

        let padded = Bytes::from(b" \r\n[1] \n".to_vec());
        let clean = sanitize_json(padded.clone()).unwrap();
        assert_eq!(clean, "[1]");
        assert_eq!(clean.as_ptr(), padded[3..].as_ptr());
    }

    #[test]
    fn newlines_between_tokens_become_spaces() {
        assert_eq!(sanitize("{\n\"a\\n\":\n1\n}").unwrap(), "{ \"a\\n\": 1 }");
    }

    #[test]
    fn only_one_json_value_in_utf8_passes() {
        for scalar in ["null", "0", "-1.5e300", "\"\"", "true", "{}", "[]", "{\"a\":1,\"a\":2}", "1e999"] {
            assert_eq!(sanitize(scalar).unwrap(), scalar);
        }
        for bad in ["", " ", "{", "hi", "{}{}", "1 2", "{'a':1}", "\"a\nb\"", "[1,]", "NaN", "01", "\u{feff}{}"] {
            assert_eq!(sanitize(bad), Err(NotJson::Syntax), "{bad:?}");
        }
        assert_eq!(sanitize_json(Bytes::from_static(b"\"\xff\"")), Err(NotJson::Syntax));
        assert_eq!(sanitize_json(Bytes::from_static(&[0, 1, 2])), Err(NotJson::Syntax));
    }

    #[test]
    fn nesting_is_limited_and_brackets_in_strings_do_not_count() {
        let nested = |levels: usize| Bytes::from("[".repeat(levels) + &"]".repeat(levels));
        assert!(sanitize_json(nested(MAX_PAYLOAD_DEPTH)).is_ok());
        assert_eq!(sanitize_json(nested(MAX_PAYLOAD_DEPTH + 1)), Err(NotJson::TooDeep));
        assert_eq!(sanitize_json(nested(1_000_000)), Err(NotJson::TooDeep));
        let in_string = Bytes::from(format!("\"\\\"{}\"", "[".repeat(1_000)));
        assert_eq!(sanitize_json(in_string.clone()).unwrap(), in_string);
    }
}

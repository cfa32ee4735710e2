//! WebSocket frames of a client, well-formed or not.

/// The bit that ends a message.
pub const FIN: u8 = 0x80;
/// Opcode of a continuation.
pub const CONTINUATION: u8 = 0x0;
/// Opcode of a text message.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xa;

/// Masking key of all frames here; no byte of it is zero, so that a server that forgets to unmask is found out.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How a header states the length of what follows.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// In the shortest form, as it must be.
    Shortest(u64),
    /// In two bytes, whatever it is.
    Medium(u16),
    /// In eight bytes, whatever it is.
    Long(u64),
}

/// The header of a masked frame; `first` is the byte of FIN, reserved bits and opcode.
pub fn header(first: u8, length: Length) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        Length::Shortest(length @ 0..=125) => bytes.push(0x80 | u8::try_from(length).expect("checked by the pattern")),
        Length::Shortest(length) => match u16::try_from(length) {
            Ok(length) => return header(first, Length::Medium(length)),
            Err(_) => return header(first, Length::Long(length)),
        },
        Length::Medium(length) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        Length::Long(length) => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

/// `payload` under [`MASK`]: what stands behind a header.
pub fn mask(payload: &[u8]) -> Vec<u8> {
    payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

/// A masked frame with its length in the shortest form.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, Length::Shortest(payload.len() as u64));
    bytes.extend(mask(payload));
    bytes
}

/// A masked text message in one frame.
pub fn text(text: &str) -> Vec<u8> {
    masked(FIN | TEXT, text.as_bytes())
}

/// A close frame with a code and a reason.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A frame that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, reserved bits and opcode.
    pub first: u8,
    /// As it came: servers do not mask.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Takes a frame from the start of `input`; `None` while it is incomplete.
    ///
    /// # Panics
    /// If it is not what a server may send: masked, reserved bits or opcodes, fragmented, or a length not in its shortest form.
    pub fn take(input: &mut Vec<u8>) -> Option<Self> {
        let (&first, &second) = (input.first()?, input.get(1)?);
        assert!(second & 0x80 == 0, "the server masks");
        assert!(
            [TEXT, BINARY, CLOSE, PING, PONG].contains(&(first ^ FIN)),
            "a frame of the server begins with {first:#04x}"
        );
        let (length, start) = match second {
            126 => {
                let length = u16::from_be_bytes(input.get(2..4)?.try_into().ok()?);
                assert!(length >= 126, "length {length} in two bytes");
                (usize::from(length), 4)
            }
            127 => {
                let length = u64::from_be_bytes(input.get(2..10)?.try_into().ok()?);
                assert!(length > u64::from(u16::MAX), "length {length} in eight bytes");
                (usize::try_from(length).expect("a frame that fits memory"), 10)
            }
            short => (usize::from(short), 2),
        };
        let payload = input.get(start..start + length)?.to_vec();
        input.drain(..start + length);
        Some(Self { first, payload })
    }

    /// The opcode.
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Code and reason of a close frame; code 0 if there is none.
    pub fn close(&self) -> (u16, String) {
        match self.payload.as_slice() {
            [high, low, reason @ ..] => {
                (u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason).into_owned())
            }
            _ => (0, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_built_as_the_rfc_shows_them() {
        // RFC 6455 section 5.7: a single-frame masked text message.
        assert_eq!(text("Hello"), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(header(FIN | BINARY, Length::Shortest(256))[..4], [0x82, 0xfe, 1, 0]);
        assert_eq!(header(FIN | BINARY, Length::Shortest(65_536))[..10], [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn frames_of_a_server_are_taken_whole() {
        let mut input = b"\x81\x05Hello\x88\x02\x03".to_vec();
        assert_eq!(Frame::take(&mut input), Some(Frame { first: 0x81, payload: b"Hello".to_vec() }));
        assert_eq!(Frame::take(&mut input), None);
        input.push(0xea);
        assert_eq!(Frame::take(&mut input).map(|frame| frame.close().0), Some(1002));
    }
}

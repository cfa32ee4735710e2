//! Bounded UTF-8 strings that share the frame they came in.
use crate::error::{EncodeError, MessageError};
use crate::limits::{MAX_CHAT_BYTES, MAX_TEXT_BYTES};
use bytes::Bytes;
use core::fmt;

/// Name of a chat: 1 to 255 bytes of UTF-8. Cloning shares the bytes; hashing and comparing go by bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatName(Bytes);

impl ChatName {
    /// The name in `name`, which is copied.
    ///
    /// # Errors
    /// [`EncodeError::ChatName`] if it is empty or longer than [`MAX_CHAT_BYTES`].
    pub fn new(name: &str) -> Result<Self, EncodeError> {
        if name.is_empty() || name.len() > MAX_CHAT_BYTES {
            return Err(EncodeError::ChatName { bytes: name.len() });
        }
        Ok(Self(Bytes::copy_from_slice(name.as_bytes())))
    }

    /// The name in `bytes`, shared, as received from a peer.
    pub(crate) fn from_wire(bytes: Bytes) -> Result<Self, MessageError> {
        if bytes.is_empty() || bytes.len() > MAX_CHAT_BYTES {
            return Err(MessageError::OutOfRange { field: "chat" });
        }
        if core::str::from_utf8(&bytes).is_err() {
            return Err(MessageError::NotUtf8 { field: "chat" });
        }
        Ok(Self(bytes))
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text. Checks UTF-8 again (up to 255 bytes): not for the path of an update.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// A copy that no longer keeps the received frame alive, for tables that outlive it.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl AsRef<[u8]> for ChatName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lets maps be asked with a plain byte slice. Sound for hash maps: `Bytes` hashes as its slice does.
impl core::borrow::Borrow<[u8]> for ChatName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChatName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for ChatName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Short text: 0 to 255 bytes of UTF-8 (user, client, node name, reason). Cloning shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// The text in `text`, which is copied.
    ///
    /// # Errors
    /// [`EncodeError::Text`] if it is longer than [`MAX_TEXT_BYTES`].
    pub fn new(text: &str) -> Result<Self, EncodeError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(EncodeError::Text { bytes: text.len() });
        }
        Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// The text in `text`, cut at the last character that fits; for explanations, where a cut does no harm.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        let mut end = text.len().min(MAX_TEXT_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(Bytes::copy_from_slice(text.as_bytes().get(..end).unwrap_or_default()))
    }

    /// The text in `text`, without a copy.
    ///
    /// # Panics
    /// At compile time, if used in a constant, when it is longer than [`MAX_TEXT_BYTES`].
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(text.len() <= MAX_TEXT_BYTES);
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text in `bytes`, shared, as received from a peer.
    pub(crate) fn from_wire(bytes: Bytes, field: &'static str) -> Result<Self, MessageError> {
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(MessageError::OutOfRange { field });
        }
        if core::str::from_utf8(&bytes).is_err() {
            return Err(MessageError::NotUtf8 { field });
        }
        Ok(Self(bytes))
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text. Checks UTF-8 again (up to 255 bytes): not for the path of an update.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn names_are_bounded() {
        assert!(ChatName::new("").is_err());
        assert!(ChatName::new(&"x".repeat(255)).is_ok());
        assert!(ChatName::new(&"x".repeat(256)).is_err());
        assert!(ChatName::from_wire(Bytes::from_static(b"\xff")).is_err());
        assert_eq!(ChatName::new("chat:1").unwrap().as_str(), "chat:1");
    }

    #[test]
    fn explanations_are_cut_between_characters() {
        let long: String = "é".repeat(200);
        let text = Text::truncated(&long);
        assert_eq!(text.as_bytes().len(), 254);
        assert!(long.starts_with(text.as_str()));
    }
}

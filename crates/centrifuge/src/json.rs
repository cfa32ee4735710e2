//! The JSON side of the messages: the same structs as for Protobuf, field names as in the protocol's definition.
//!
//! Written by hand instead of by serde's `Serialize`, because a body has to go out verbatim without being parsed again,
//! which `RawValue` cannot do for bytes. Read through serde, with these rules of the protocol: a field with the zero
//! value is absent, an absent field or `null` is zero, unknown fields are skipped, the last of several equal keys wins.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::{DeserializeOwned, MapAccess};
use serde_json::value::RawValue;

/// Longest decimal `u64`: 18446744073709551615.
const DECIMAL_MAX: usize = 20;

/// A field's value in JSON.
pub(crate) trait Value: Sized {
    /// Whether the field is left out when written.
    fn is_absent(&self) -> bool;
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads the value that follows a key.
    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error>;
}

macro_rules! number {
    ($($type:ty: $write:ident),*) => {$(
        impl Value for $type {
            fn is_absent(&self) -> bool {
                *self == 0
            }

            fn write(&self, out: &mut Vec<u8>) {
                $write((*self).into(), out);
            }

            fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
                Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
            }
        }
    )*};
}

number!(u32: write_unsigned, u64: write_unsigned, i32: write_signed, i64: write_signed);

impl Value for bool {
    fn is_absent(&self) -> bool {
        !self
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
    }
}

impl Value for String {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
    }
}

/// Raw embedded JSON. `null` stays the text `null`, as in the reference implementation.
impl Value for Bytes {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.contains(&b'\n') {
            // It would split the frame. Bodies that went through `sanitize_json` have none.
            out.extend(self.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        } else {
            out.extend_from_slice(self);
        }
    }

    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        let value: &'de RawValue = map.next_value()?;
        Ok(Self::copy_from_slice(value.get().as_bytes()))
    }
}

/// A message inside a message: present even when it is empty.
impl<M: Object> Value for Option<M> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(message) = self {
            message.write_object(out);
        }
    }

    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        map.next_value()
    }
}

impl<M: Object> Value for Vec<M> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, message) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            message.write_object(out);
        }
        out.push(b']');
    }

    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
    }
}

impl<V: Entry> Value for BTreeMap<String, V> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut separator = b'{';
        for (key, entry) in self {
            out.push(separator);
            separator = b',';
            write_text(key, out);
            out.push(b':');
            entry.write_entry(out);
        }
        if separator == b'{' {
            out.push(separator);
        }
        out.push(b'}');
    }

    fn read<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Self, A::Error> {
        Ok(map.next_value::<Option<Self>>()?.unwrap_or_default())
    }
}

/// What a map may hold: messages and strings, written even when empty.
pub(crate) trait Entry: DeserializeOwned {
    fn write_entry(&self, out: &mut Vec<u8>);
}

impl Entry for String {
    fn write_entry(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }
}

/// A message as a JSON object. Implemented by [`json_object!`].
pub(crate) trait Object: DeserializeOwned {
    fn write_object(&self, out: &mut Vec<u8>);
}

/// Writes the fields of one object.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> ObjectWriter<'a> {
    pub(crate) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    /// Appends a field unless its value is absent. `name` needs no escaping.
    pub(crate) fn field(&mut self, name: &str, value: &impl Value) {
        if !value.is_absent() {
            value.write(self.key(name));
        }
    }

    /// Appends a key, for a value that the caller writes. `name` needs no escaping.
    pub(crate) fn key(&mut self, name: &str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn end(self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

/// Implements [`Object`], [`Entry`] and serde's `Deserialize` for a message. A field's JSON name is its Rust name unless
/// given as `field = "name"`. Fields are written in the given order.
macro_rules! json_object {
    ($message:ident { $($field:ident $(= $name:literal)?),* $(,)? }) => {
        impl $crate::json::Object for $message {
            #[allow(unused_mut)] // a message without fields
            fn write_object(&self, out: &mut Vec<u8>) {
                let mut object = $crate::json::ObjectWriter::new(out);
                $(object.field($crate::json::json_name!($field $(= $name)?), &self.$field);)*
                object.end();
            }
        }

        impl $crate::json::Entry for $message {
            fn write_entry(&self, out: &mut Vec<u8>) {
                $crate::json::Object::write_object(self, out);
            }
        }

        impl<'de> serde::Deserialize<'de> for $message {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types)] // named after the fields
                enum Key { $($field,)* Unknown }

                impl<'de> serde::Deserialize<'de> for Key {
                    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        struct KeyVisitor;
                        impl serde::de::Visitor<'_> for KeyVisitor {
                            type Value = Key;
                            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                                formatter.write_str("a field name")
                            }
                            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                                Ok(match name {
                                    $($crate::json::json_name!($field $(= $name)?) => Key::$field,)*
                                    _ => Key::Unknown,
                                })
                            }
                        }
                        deserializer.deserialize_identifier(KeyVisitor)
                    }
                }

                struct ObjectVisitor;
                impl<'de> serde::de::Visitor<'de> for ObjectVisitor {
                    type Value = $message;
                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str(concat!("an object (", stringify!($message), ")"))
                    }
                    #[allow(unused_mut)] // a message without fields
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$message, A::Error> {
                        let mut message = $message::default();
                        while let Some(key) = map.next_key()? {
                            match key {
                                $(Key::$field => message.$field = $crate::json::Value::read(&mut map)?,)*
                                Key::Unknown => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(message)
                    }
                }
                deserializer.deserialize_map(ObjectVisitor)
            }
        }
    };
}
pub(crate) use json_object;

macro_rules! json_name {
    ($field:ident = $name:literal) => {
        $name
    };
    ($field:ident) => {
        stringify!($field)
    };
}
pub(crate) use json_name;

/// Appends `text` as a JSON string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Appends `text` with JSON's escapes, without the quotes.
pub(crate) fn write_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
            }
            _ => out.push(byte),
        }
    }
}

/// Appends an integer in decimal.
pub(crate) fn write_signed(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_unsigned(value.unsigned_abs(), out);
}

/// Appends an integer in decimal.
pub(crate) fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; DECIMAL_MAX];
    let mut start = DECIMAL_MAX;
    for digit in digits.iter_mut().rev() {
        #[allow(clippy::cast_possible_truncation)] // below ten
        let low = (value % 10) as u8;
        *digit = b'0' + low;
        value /= 10;
        start -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_is_escaped_as_serde_reads_it(text in any::<String>()) {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert!(!out.contains(&b'\n'));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        write_escaped("\u{1}\u{1f}\n\"\\", &mut out);
        assert_eq!(out, br#"\u0001\u001f\n\"\\"#);
    }
}

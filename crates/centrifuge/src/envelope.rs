//! The outer message in both directions: an id and one of several named bodies.

use crate::encoding::Encoding;
use crate::json::{Object, ObjectWriter, write_unsigned};
use crate::varint;

/// Wire type of length-delimited fields.
const LENGTH_DELIMITED: u32 = 2;

/// Key of field 1, `id`, a varint.
const ID_KEY: u8 = 1 << 3;

/// A message that either encoding can write.
pub(crate) trait Body {
    fn protobuf_len(&self) -> usize;
    fn write_protobuf(&self, out: &mut Vec<u8>);
    fn write_json(&self, out: &mut Vec<u8>);
}

impl<M: prost::Message + Object> Body for M {
    fn protobuf_len(&self) -> usize {
        self.encoded_len()
    }

    fn write_protobuf(&self, out: &mut Vec<u8>) {
        self.encode_raw(out);
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        self.write_object(out);
    }
}

/// A body under its field name and number.
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) body: &'a dyn Body,
}

/// Appends one whole message. Whatever `out` holds already belongs to the same frame.
pub(crate) fn write(encoding: Encoding, id: u32, field: Option<&Field<'_>>, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => write_json(id, field, out),
        Encoding::Protobuf => write_protobuf(id, field, out),
    }
}

/// Separates JSON messages of one frame.
pub(crate) fn separate(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'\n');
    }
}

fn write_json(id: u32, field: Option<&Field<'_>>, out: &mut Vec<u8>) {
    separate(out);
    let mut object = ObjectWriter::new(out);
    if id != 0 {
        write_unsigned(id.into(), object.key("id"));
    }
    if let Some(field) = field {
        field.body.write_json(object.key(field.name));
    }
    object.end();
}

fn write_protobuf(id: u32, field: Option<&Field<'_>>, out: &mut Vec<u8>) {
    let id_len = if id == 0 { 0 } else { 1 + varint::len(id.into()) };
    let body_len = field.map_or(0, |field| field.body.protobuf_len());
    let field_len = field.map_or(0, |field| varint::len(key(field.number)) + varint::len(body_len as u64) + body_len);
    varint::write((id_len + field_len) as u64, out);
    if id != 0 {
        out.push(ID_KEY);
        varint::write(id.into(), out);
    }
    if let Some(field) = field {
        varint::write(key(field.number), out);
        varint::write(body_len as u64, out);
        field.body.write_protobuf(out);
    }
}

fn key(number: u32) -> u64 {
    u64::from(number << 3 | LENGTH_DELIMITED)
}

/// Declares the enum of bodies that callers see and the message with one optional field per body that is on the wire.
/// Where a peer sets several, the first in the order of declaration wins.
macro_rules! envelope {
    (
        $(#[$body_meta:meta])*
        pub enum $body:ident;
        struct $message:ident { id, $($extra:ident: $extra_type:ident = $extra_tag:tt,)* }
        units { $($(#[$unit_meta:meta])* $unit:ident,)* }
        $($(#[$meta:meta])* $variant:ident($type:ident) = $field:ident $tag:tt;)*
    ) => {
        $(#[$body_meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $body {
            $($(#[$unit_meta])* $unit,)*
            $($(#[$meta])* $variant($type),)*
        }

        #[derive(Clone, PartialEq, prost::Message)]
        pub(crate) struct $message {
            #[prost(uint32, tag = 1)]
            pub(crate) id: u32,
            $(#[prost(message, optional, tag = $extra_tag)] pub(crate) $extra: Option<$extra_type>,)*
            $(#[prost(message, optional, tag = $tag)] $field: Option<$type>,)*
        }
        $crate::json::json_object!($message { id, $($extra,)* $($field,)* });

        impl $message {
            pub(crate) fn into_body(self) -> Option<$body> {
                $(
                    if let Some(body) = self.$field {
                        return Some($body::$variant(body));
                    }
                )*
                None
            }
        }

        impl $body {
            pub(crate) fn field(&self) -> Option<$crate::envelope::Field<'_>> {
                match self {
                    $(Self::$unit => None,)*
                    $(Self::$variant(body) => {
                        Some($crate::envelope::Field { number: $tag, name: stringify!($field), body })
                    })*
                }
            }
        }
    };
}
pub(crate) use envelope;

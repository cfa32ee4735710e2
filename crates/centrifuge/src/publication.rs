//! The hot path: a publication push, written straight into the frame.

use crate::encoding::Encoding;
use crate::envelope::separate;
use crate::json::{write_escaped, write_unsigned};
use crate::varint;

pub(crate) const REPLY_PUSH: u8 = 4 << 3 | 2;
pub(crate) const PUSH_CHANNEL: u8 = 2 << 3 | 2;
pub(crate) const PUSH_PUB: u8 = 4 << 3 | 2;
pub(crate) const PUB_DATA: u8 = 4 << 3 | 2;
pub(crate) const PUB_OFFSET: u8 = 6 << 3;

pub(crate) const JSON_HEAD: &[u8] = b"{\"push\":{\"channel\":\"";
pub(crate) const JSON_PUB: &[u8] = b"\",\"pub\":{";
pub(crate) const JSON_DATA: &[u8] = b"\"data\":";
pub(crate) const JSON_OFFSET: &[u8] = b"\"offset\":";
pub(crate) const JSON_TAIL: &[u8] = b"}}}";

/// Appends the push of one message: `data` verbatim at `offset` of `channel`. Allocates nothing but what `out` needs to
/// grow. For JSON, `data` must have passed [`sanitize_json`](crate::sanitize_json). Joins what `out` holds already like
/// [`encode_reply`](crate::encode_reply).
pub fn encode_publication(encoding: Encoding, channel: &str, offset: u64, data: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => {
            separate(out);
            out.reserve(JSON_HEAD.len() + channel.len() + json_tail_len(offset, data));
            out.extend_from_slice(JSON_HEAD);
            write_escaped(channel, out);
            write_json_tail(offset, data, out);
        }
        Encoding::Protobuf => {
            out.reserve(protobuf_len(channel, offset, data));
            write_protobuf(channel, offset, data, out);
        }
    }
}

/// Writes the publications of one chat into frames whose header precedes them: exact length first, then the bytes.
///
/// Keeps the chat's name once as it is and, only if JSON escapes something in it, once escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationEncoder {
    channel: Box<str>,
    // Boxed twice: hardly any name needs it, and a gateway holds one encoder per chat and core.
    escaped: Option<Box<Box<[u8]>>>,
}

impl PublicationEncoder {
    /// For the chat named `channel`.
    pub fn new(channel: &str) -> Self {
        let mut escaped = Vec::new();
        write_escaped(channel, &mut escaped);
        let escaped = (escaped != channel.as_bytes()).then(|| Box::new(escaped.into_boxed_slice()));
        Self { channel: channel.into(), escaped }
    }

    /// The chat's name.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Number of bytes that [`Self::write`] appends for the same arguments.
    pub fn encoded_len(&self, encoding: Encoding, offset: u64, data: &[u8]) -> usize {
        match encoding {
            Encoding::Json => JSON_HEAD.len() + self.json_channel().len() + json_tail_len(offset, data),
            Encoding::Protobuf => protobuf_len(&self.channel, offset, data),
        }
    }

    /// Appends the push as the only message of a frame, so `out` may hold the frame's header. Allocates nothing if `out`
    /// has room. For JSON, `data` must have passed [`sanitize_json`](crate::sanitize_json).
    pub fn write(&self, encoding: Encoding, offset: u64, data: &[u8], out: &mut Vec<u8>) {
        match encoding {
            Encoding::Json => {
                out.extend_from_slice(JSON_HEAD);
                out.extend_from_slice(self.json_channel());
                write_json_tail(offset, data, out);
            }
            Encoding::Protobuf => write_protobuf(&self.channel, offset, data, out),
        }
    }

    fn json_channel(&self) -> &[u8] {
        self.escaped.as_deref().map_or(self.channel.as_bytes(), |escaped| escaped)
    }
}

/// From behind the chat's name to the end. Zero values are left out.
fn write_json_tail(offset: u64, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(JSON_PUB);
    if !data.is_empty() {
        out.extend_from_slice(JSON_DATA);
        out.extend_from_slice(data);
        if offset != 0 {
            out.push(b',');
        }
    }
    if offset != 0 {
        out.extend_from_slice(JSON_OFFSET);
        write_unsigned(offset, out);
    }
    out.extend_from_slice(JSON_TAIL);
}

fn json_tail_len(offset: u64, data: &[u8]) -> usize {
    let data_len = if data.is_empty() { 0 } else { JSON_DATA.len() + data.len() };
    let offset_len = if offset == 0 { 0 } else { JSON_OFFSET.len() + decimal_len(offset) };
    let comma = usize::from(data_len > 0 && offset_len > 0);
    JSON_PUB.len() + data_len + comma + offset_len + JSON_TAIL.len()
}

fn write_protobuf(channel: &str, offset: u64, data: &[u8], out: &mut Vec<u8>) {
    let publication_len = publication_len(offset, data);
    let push_len = push_len(channel, publication_len);
    varint::write(field_len(push_len) as u64, out);
    out.push(REPLY_PUSH);
    varint::write(push_len as u64, out);
    if !channel.is_empty() {
        out.push(PUSH_CHANNEL);
        varint::write(channel.len() as u64, out);
        out.extend_from_slice(channel.as_bytes());
    }
    out.push(PUSH_PUB);
    varint::write(publication_len as u64, out);
    if !data.is_empty() {
        out.push(PUB_DATA);
        varint::write(data.len() as u64, out);
        out.extend_from_slice(data);
    }
    if offset != 0 {
        out.push(PUB_OFFSET);
        varint::write(offset, out);
    }
}

fn protobuf_len(channel: &str, offset: u64, data: &[u8]) -> usize {
    let reply_len = field_len(push_len(channel, publication_len(offset, data)));
    varint::len(reply_len as u64) + reply_len
}

fn publication_len(offset: u64, data: &[u8]) -> usize {
    let data_len = if data.is_empty() { 0 } else { field_len(data.len()) };
    let offset_len = if offset == 0 { 0 } else { 1 + varint::len(offset) };
    data_len + offset_len
}

fn push_len(channel: &str, publication_len: usize) -> usize {
    let channel_len = if channel.is_empty() { 0 } else { field_len(channel.len()) };
    channel_len + field_len(publication_len)
}

/// A length-delimited field with a one-byte key.
const fn field_len(len: usize) -> usize {
    1 + varint::len(len as u64) + len
}

fn decimal_len(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}

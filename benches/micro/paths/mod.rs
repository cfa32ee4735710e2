//! The hot paths that are counted, in the order of a message's way.

mod client;
pub(crate) mod interested;
pub(crate) mod link;
mod publication;
mod ring;
mod router;
mod wire;

use anyhow::Result;

/// One path of the data plane.
pub(crate) struct HotPath {
    /// Which part of the way, and what is done there.
    pub(crate) name: &'static str,
    /// Prepares the inputs of so many operations, and whatever they work on.
    pub(crate) prepare: fn(usize) -> Result<Operation>,
    /// How many things each operation says it did. The sum is checked, so that nothing is counted that failed.
    pub(crate) each: usize,
    /// Operations before the counted ones: pools fill, vectors grow, features of the CPU are looked up once.
    pub(crate) warm_up: usize,
    /// Counted operations. Enough that growing a vector once does not show.
    pub(crate) operations: usize,
}

/// Does the operation with this number and tells how many things it did. Numbers ascend from 0, each comes once.
pub(crate) type Operation = Box<dyn FnMut(usize) -> usize>;

/// Updates in a batch: what a router core hands over in one frame under load.
pub(crate) const BATCH: usize = 64;
/// Bytes of a message: the load that design and issues compute with.
pub(crate) const PAYLOAD_BYTES: usize = 100;
/// The wall clock in messages, milliseconds since 1970; fixed, because its varint's length is in the counts.
pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;

/// All paths.
pub(crate) fn all() -> Vec<HotPath> {
    let groups = [
        client::paths(),
        router::paths(),
        wire::paths(),
        link::paths(),
        publication::paths(),
        interested::paths(),
        ring::paths(),
    ];
    groups.into_iter().flatten().collect()
}

/// A message of [`PAYLOAD_BYTES`] that is JSON, so that members of both encodings may get it.
pub(crate) fn payload(number: usize) -> Vec<u8> {
    let mut text = format!(r#"{{"number":{number},"text":""#);
    while text.len() < PAYLOAD_BYTES - 2 {
        text.push(char::from(b'a' + (text.len() % 26) as u8));
    }
    text.push_str(r#""}"#);
    text.into_bytes()
}

/// The name of the chat with this number.
pub(crate) fn chat(number: usize) -> String {
    format!("room:{number:05}")
}

//! Hard limits of the wire format. Configured limits of gateway and router lie below them.

/// Bytes of a frame header: body length (u32 LE) and CRC-32C of the body (u32 LE).
pub const FRAME_HEADER_BYTES: usize = 8;

/// Largest frame body, 1 MiB. A receiver buffers at most this much per link before it has checked a byte of it.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Largest frame body before the handshake is done, 4 KiB: a hello has at most 1,024 bytes of extensions, 256 of node
/// name and 60 of the rest.
pub const MAX_HANDSHAKE_BODY_BYTES: usize = 4 << 10;

/// Body size at which a sender closes a frame and begins the next: 64 KiB is 500 updates of 100 bytes, so the header
/// and the checksum call vanish in the batch, while a receiver still begins work after 50 µs on a 10 Gbit/s line.
pub const TARGET_BODY_BYTES: usize = 64 << 10;

/// Largest payload of a message, 512 KiB: four times the default message limit of 128 KiB, and still one publication
/// of that size fits a history result.
pub const MAX_PAYLOAD_BYTES: usize = 512 << 10;

/// Largest chat name in bytes.
pub const MAX_CHAT_BYTES: usize = 255;

/// Largest short text (user, client, node, reason) in bytes.
pub const MAX_TEXT_BYTES: usize = 255;

/// Largest idempotency key in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// Most publications in one history result.
pub const MAX_HISTORY_PUBLICATIONS: usize = 4_096;

/// Most bytes of payload in one history result. With [`MAX_HISTORY_PUBLICATIONS`] entries of at most 24 bytes of
/// fields each (varints of offset 8, time 7 and length 3, rounded up) it fits a frame:
/// 768 KiB + 4,096 × 24 B = 864 KiB.
pub const MAX_HISTORY_BYTES: usize = 768 << 10;

/// Most clients that a disconnect signal may spare.
pub const MAX_SIGNAL_EXCEPTIONS: usize = 32;

/// Most nodes in one result: 1,000 gateways is the design's size. An entry has at most 2 × 256 + 64 bytes.
pub const MAX_NODES: usize = 1_500;

/// Largest offset, 2^53 − 1: JavaScript clients count no further exactly.
pub const MAX_OFFSET: u64 = (1 << 53) - 1;

/// Largest time in milliseconds since the Unix epoch, 2^48 − 1 (the year 10889): a varint of 7 bytes.
pub const MAX_TIME_MS: u64 = (1 << 48) - 1;

/// Most slots of a placement.
pub const MAX_SLOTS: u16 = 16_384;

/// Heartbeat intervals that a router may ask for, in milliseconds: below 10 they would be load, above a minute a dead
/// peer would go unnoticed.
pub const HEARTBEAT_MS: core::ops::RangeInclusive<u32> = 10..=60_000;

/// Largest body of extension fields in the hello messages.
pub const MAX_EXTENSION_BYTES: usize = 1_024;

const _: () = assert!(MAX_HISTORY_BYTES + MAX_HISTORY_PUBLICATIONS * 24 + 64 <= MAX_BODY_BYTES);
const _: () = assert!(MAX_PAYLOAD_BYTES <= MAX_HISTORY_BYTES);
const _: () = assert!(MAX_NODES * (2 * (MAX_TEXT_BYTES + 1) + 64) + 64 <= MAX_BODY_BYTES);
const _: () = assert!(TARGET_BODY_BYTES <= MAX_BODY_BYTES);

//! Frames: `len u32 LE | crc32c u32 LE | body`, where `len` and the checksum are those of the body.
use crate::error::{EncodeError, FrameError, MessageError};
use crate::limits::{FRAME_HEADER_BYTES, MAX_BODY_BYTES, TARGET_BODY_BYTES};
use crate::message::Message;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{Buf, Bytes, BytesMut};
use core::marker::PhantomData;

/// Space that a frame begins with, so that a heartbeat or one small request never grows it.
const OPEN_BYTES_MIN: usize = 128;

/// Cuts a byte stream into checked bodies.
///
/// Call [`feed`](Self::feed) with what arrived, then [`next_body`](Self::next_body) until it has no more. A frame that
/// lies in one chunk is copied once (into memory that its payloads share), and not at all with
/// [`feed_shared`](Self::feed_shared). Between calls at most one incomplete frame is held, no larger than what of it
/// has arrived.
#[derive(Debug)]
pub struct FrameDecoder {
    /// The current chunk, used while `joined` is empty.
    chunk: Bytes,
    /// A frame that spans chunks, and what came behind it.
    joined: BytesMut,
    limit: u32,
    failed: Option<FrameError>,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameDecoder {
    /// A decoder at the start of a stream, for bodies of up to [`MAX_BODY_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(MAX_BODY_BYTES)
    }

    /// A decoder for bodies of up to `limit` bytes (at most [`MAX_BODY_BYTES`]): small before the peer has proved
    /// itself, see [`set_limit`](Self::set_limit).
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        let mut decoder = Self { chunk: Bytes::new(), joined: BytesMut::new(), limit: 0, failed: None };
        decoder.set_limit(limit);
        decoder
    }

    /// Changes the largest body, from the next frame header on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = u32::try_from(limit.min(MAX_BODY_BYTES)).unwrap_or(u32::MAX);
    }

    /// Takes a chunk of the stream in, by copying it.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.joined.is_empty() && self.chunk.is_empty() {
            self.chunk = Bytes::copy_from_slice(chunk);
        } else {
            self.join();
            self.joined.extend_from_slice(chunk);
        }
    }

    /// Takes a chunk of the stream in, without copying the frames that lie in it as a whole.
    pub fn feed_shared(&mut self, chunk: Bytes) {
        if self.joined.is_empty() && self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.join();
            self.joined.extend_from_slice(&chunk);
        }
    }

    /// The body of the next complete frame, checked; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the decoder gives the same error ever after, because nothing tells where a frame begins.
    pub fn next_body(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.checked_body().inspect_err(|&error| {
            self.failed = Some(error);
            self.chunk = Bytes::new();
            self.joined = BytesMut::new();
        })
    }

    /// Bytes of the incomplete frame at the end.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.chunk.len() + self.joined.len()
    }

    /// Moves what is left of the chunk to where the frame will be joined.
    fn join(&mut self) {
        if !self.chunk.is_empty() {
            self.joined.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
        }
    }

    fn checked_body(&mut self) -> Result<Option<Bytes>, FrameError> {
        let bytes: &[u8] = if self.joined.is_empty() { &self.chunk } else { &self.joined };
        let Some((&[a, b, c, d, e, f, g, h], behind)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([a, b, c, d]);
        if len == 0 {
            return Err(FrameError::Empty);
        }
        if len > self.limit {
            return Err(FrameError::TooLarge { declared: len, limit: self.limit });
        }
        let Some(body) = usize::try_from(len).ok().and_then(|len| behind.get(..len)) else {
            return Ok(None);
        };
        let (declared, computed) = (u32::from_le_bytes([e, f, g, h]), crc32c::crc32c(body));
        if declared != computed {
            return Err(FrameError::Checksum { declared, computed });
        }
        let len = body.len();
        Ok(Some(if self.joined.is_empty() {
            self.chunk.advance(FRAME_HEADER_BYTES);
            self.chunk.split_to(len)
        } else {
            self.joined.advance(FRAME_HEADER_BYTES);
            self.joined.split_to(len).freeze()
        }))
    }
}

/// The messages of one body, in order. After an error there are no more.
#[derive(Debug)]
pub struct Messages<M> {
    body: Bytes,
    position: usize,
    message: PhantomData<M>,
}

impl<M: Message> Messages<M> {
    /// The messages in `body`, which came out of a [`FrameDecoder`].
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self { body, position: 0, message: PhantomData }
    }
}

impl<M: Message> Iterator for Messages<M> {
    type Item = Result<M, MessageError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.body.len() {
            return None;
        }
        let decoded = M::decode(&self.body, &mut self.position);
        if decoded.is_err() {
            self.position = self.body.len();
        }
        decoded.transpose()
    }
}

/// Packs messages into frames.
///
/// Messages go into the open frame until its body reaches the target size; [`take`](Self::take) gives frames out in
/// order, the open one last, so that a turn's messages travel together. The encoder itself has no limit: its owner
/// looks at [`queued_bytes`](Self::queued_bytes) before it pushes.
#[derive(Debug)]
pub struct FrameEncoder {
    /// Header space and messages of the open frame, or nothing.
    open: Vec<u8>,
    /// Length of the last frame: the next is likely to be as long.
    expected: usize,
    closed: VecDeque<Bytes>,
    closed_bytes: usize,
    target: usize,
}

impl Default for FrameEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameEncoder {
    /// An encoder that closes frames at [`TARGET_BODY_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_target(TARGET_BODY_BYTES)
    }

    /// An encoder that closes frames once their body has `target` bytes (1 to [`MAX_BODY_BYTES`]).
    #[must_use]
    pub fn with_target(target: usize) -> Self {
        Self {
            open: Vec::new(),
            expected: 0,
            closed: VecDeque::new(),
            closed_bytes: 0,
            target: target.clamp(1, MAX_BODY_BYTES),
        }
    }

    /// Appends a message.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing has been appended then.
    pub fn push<M: Message>(&mut self, message: &M) -> Result<(), EncodeError> {
        self.append(|out| message.encode(out))
    }

    /// Appends an `Update` without a [`ToGateway`](crate::message::ToGateway) around it: the router's hot path.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing has been appended then.
    #[inline]
    pub fn push_update(&mut self, handle: u32, offset: u64, time_ms: u64, payload: &[u8]) -> Result<(), EncodeError> {
        self.append(|out| crate::encode::update(out, handle, offset, time_ms, payload))
    }

    /// Appends a `HistoryResult` of publications given as (offset, time in milliseconds, payload), without collecting
    /// them. `top` is the offset of the chat's newest message.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing has been appended then.
    pub fn push_history<'a>(
        &mut self,
        request: u64,
        epoch: u64,
        top: u64,
        publications: impl ExactSizeIterator<Item = (u64, u64, &'a [u8])>,
    ) -> Result<(), EncodeError> {
        self.append(|out| crate::encode::history_result(out, request, epoch, top, publications))
    }

    /// The next frame, if anything is queued.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.closed.is_empty() {
            self.close();
        }
        let frame = self.closed.pop_front()?;
        self.closed_bytes -= frame.len();
        Some(frame)
    }

    /// Bytes that wait to be taken, headers included.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.closed_bytes + self.open.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_empty()
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        *self = Self::with_target(self.target);
    }

    #[inline]
    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        if self.open.is_empty() {
            self.open.reserve(self.expected.clamp(OPEN_BYTES_MIN, TARGET_BODY_BYTES));
            self.open.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        }
        let before = self.open.len();
        let outcome = encode(&mut self.open);
        let added = self.open.len() - before;
        if outcome.is_err() || added > MAX_BODY_BYTES {
            self.open.truncate(before);
            if before == FRAME_HEADER_BYTES {
                self.open.clear();
            }
            return outcome.and(Err(EncodeError::TooLarge { bytes: added }));
        }
        if self.open.len() - FRAME_HEADER_BYTES > MAX_BODY_BYTES {
            // Only a message that began below the target gets here: it opens a frame of its own.
            let message = self.open.split_off(before);
            self.close();
            self.open.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
            self.open.extend_from_slice(&message);
        }
        if self.open.len() - FRAME_HEADER_BYTES >= self.target {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        let mut frame = core::mem::take(&mut self.open);
        let Some((header, body)) = frame.split_first_chunk_mut::<FRAME_HEADER_BYTES>() else {
            return;
        };
        let [a, b, c, d] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let [e, f, g, h] = crc32c::crc32c(body).to_le_bytes();
        *header = [a, b, c, d, e, f, g, h];
        self.expected = frame.len();
        self.closed_bytes += frame.len();
        self.closed.push_back(Bytes::from(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ToGateway, ToRouter};
    use std::vec;

    fn ping(nonce: u64) -> ToRouter {
        ToRouter::Ping { nonce }
    }

    fn stream(count: u64, target: usize) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_target(target);
        for nonce in 0..count {
            encoder.push(&ping(nonce)).unwrap();
        }
        let mut stream = Vec::new();
        while let Some(frame) = encoder.take() {
            stream.extend_from_slice(&frame);
        }
        assert!(encoder.is_empty() && encoder.queued_bytes() == 0);
        stream
    }

    fn drain(decoder: &mut FrameDecoder, into: &mut Vec<ToRouter>) -> Result<(), FrameError> {
        while let Some(body) = decoder.next_body()? {
            into.extend(Messages::new(body).map(|message| message.expect("valid")));
        }
        Ok(())
    }

    #[test]
    fn any_chunking_gives_the_same_messages() {
        let stream = stream(40, 16);
        for size in 1..=stream.len() {
            let mut decoder = FrameDecoder::new();
            let mut messages = Vec::new();
            for (index, chunk) in stream.chunks(size).enumerate() {
                if index % 2 == 0 {
                    decoder.feed(chunk);
                } else {
                    decoder.feed_shared(Bytes::copy_from_slice(chunk));
                }
                drain(&mut decoder, &mut messages).unwrap();
            }
            assert_eq!(decoder.buffered(), 0);
            assert!(messages.iter().cloned().eq((0..40).map(ping)), "chunks of {size}");
        }
    }

    #[test]
    fn a_frame_within_a_shared_chunk_is_not_copied() {
        let chunk = Bytes::from(stream(3, 1));
        let mut decoder = FrameDecoder::new();
        decoder.feed_shared(chunk.clone());
        let body = decoder.next_body().unwrap().unwrap();
        assert!(chunk.as_ptr_range().contains(&body.as_ptr()));
    }

    #[test]
    fn a_declared_length_allocates_nothing() {
        let mut decoder = FrameDecoder::new();
        decoder.feed(&[0, 0, 0x10, 0, 0, 0, 0, 0]);
        assert_eq!(decoder.next_body(), Ok(None));
        assert!(decoder.joined.capacity() <= 64 && decoder.buffered() == 8);
    }

    #[test]
    fn damage_is_final() {
        let good = stream(1, 1);
        for (bytes, error) in [
            (vec![0; 8], FrameError::Empty),
            (b"GET / HTTP/1.1\r\n".to_vec(), FrameError::TooLarge { declared: 0x2054_4547, limit: 1 << 20 }),
        ] {
            let mut decoder = FrameDecoder::new();
            decoder.feed(&bytes);
            assert_eq!(decoder.next_body(), Err(error));
            decoder.feed(&good);
            assert_eq!(decoder.next_body(), Err(error));
        }
    }

    #[test]
    fn a_limit_holds_for_the_next_frame() {
        let mut decoder = FrameDecoder::with_limit(1);
        decoder.feed(&stream(1, 1));
        assert_eq!(decoder.next_body(), Err(FrameError::TooLarge { declared: 2, limit: 1 }));
    }

    #[test]
    fn frames_close_at_the_target_and_never_exceed_the_limit() {
        let payload = vec![7; 300 << 10];
        let mut encoder = FrameEncoder::with_target(MAX_BODY_BYTES);
        for offset in 1..=7 {
            encoder.push_update(1, offset, 0, &payload).unwrap();
        }
        let mut decoder = FrameDecoder::new();
        let mut offsets = Vec::new();
        let mut frames = 0;
        while let Some(frame) = encoder.take() {
            frames += 1;
            assert!(frame.len() <= FRAME_HEADER_BYTES + MAX_BODY_BYTES);
            decoder.feed_shared(frame);
            for message in Messages::<ToGateway>::new(decoder.next_body().unwrap().unwrap()) {
                let ToGateway::Update(update) = message.unwrap() else { panic!("only updates were pushed") };
                offsets.push(update.offset);
            }
        }
        assert_eq!(offsets, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(frames, 3);
    }

    #[test]
    fn a_refused_message_leaves_the_frame_as_it_was() {
        let mut encoder = FrameEncoder::new();
        let too_large = vec![0; crate::limits::MAX_PAYLOAD_BYTES + 1];
        assert!(encoder.push_update(1, 1, 0, &too_large).is_err());
        assert!(encoder.is_empty());
        encoder.push(&ping(5)).unwrap();
        let before = encoder.queued_bytes();
        assert!(encoder.push_update(1, 1 << 60, 0, b"").is_err());
        assert_eq!(encoder.queued_bytes(), before);
    }
}

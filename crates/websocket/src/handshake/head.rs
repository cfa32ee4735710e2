//! Collects an HTTP head up to the empty line that ends it.

use alloc::vec::Vec;

/// Default limit on a head, request line and final empty line included: a token of 4 KiB in the query, cookies that we
/// ignore, and the usual headers of browsers and proxies (about 1 KiB).
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Limit on header fields. Browsers send about 15, proxies add about 10.
pub const HEADERS_MAX: usize = 64;

/// Default limit on the chunks in which a head may arrive. A head of [`HEAD_BYTES_MAX`] takes 6 segments of 1,460 bytes;
/// one that takes more than 32 is sent byte by byte to keep us busy.
pub const READS_MAX: usize = 32;

/// Limits on a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HandshakeLimits {
    /// Bytes of the head, its final empty line included. Default [`HEAD_BYTES_MAX`]. Also the memory that a handshake holds
    /// at most (twice as much for a moment, while its buffer grows).
    pub head_bytes: usize,
    /// Header fields. Default and maximum [`HEADERS_MAX`].
    pub headers: usize,
    /// Chunks in which the head may arrive. Default [`READS_MAX`].
    pub reads: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { head_bytes: HEAD_BYTES_MAX, headers: HEADERS_MAX, reads: READS_MAX }
    }
}

/// Why a head cannot become a good one any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HeadError {
    /// A line feed without a carriage return before it.
    BareLineFeed,
    TooLarge,
    TooManyReads,
}

/// The head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// What arrived with earlier chunks; empty if the whole head comes with the first.
    buffer: Vec<u8>,
    /// Where in `buffer` the line begins whose end has not arrived.
    line_start: usize,
    reads: usize,
}

/// A complete head, its final empty line included, and how many bytes of the last chunk belong to it.
#[derive(Debug)]
pub(super) struct CompleteHead<'a> {
    pub(super) head: &'a [u8],
    pub(super) consumed: usize,
}

impl Head {
    /// Takes the next chunk. Each of its bytes is scanned once, now.
    pub(super) fn feed<'a>(
        &'a mut self,
        chunk: &'a [u8],
        limits: &HandshakeLimits,
    ) -> Result<Option<CompleteHead<'a>>, HeadError> {
        let earlier = self.buffer.len();
        // Bytes over the limit are not looked at, so that an early end wins however the chunks are cut.
        let room = limits.head_bytes.saturating_sub(earlier);
        let within = chunk.get(..room).unwrap_or(chunk);
        let mut scanned = 0;
        while let Some(found) = within.get(scanned..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n')) {
            let line_feed = scanned.saturating_add(found);
            if self.byte_before(line_feed, within) != Some(b'\r') {
                return Err(HeadError::BareLineFeed);
            }
            scanned = line_feed.saturating_add(1);
            let line_end = earlier.saturating_add(scanned);
            let line_bytes = line_end.saturating_sub(self.line_start);
            self.line_start = line_end;
            if line_bytes == b"\r\n".len() {
                return Ok(Some(self.complete(chunk, scanned)));
            }
        }
        if within.len() == room {
            return Err(HeadError::TooLarge);
        }
        self.reads = self.reads.saturating_add(1);
        if self.reads >= limits.reads {
            return Err(HeadError::TooManyReads);
        }
        self.buffer.extend_from_slice(within);
        Ok(None)
    }

    /// Heap memory held.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The byte before position `at` of `chunk`, which may be the last of an earlier chunk.
    fn byte_before(&self, at: usize, chunk: &[u8]) -> Option<u8> {
        match at.checked_sub(1) {
            Some(before) => chunk.get(before).copied(),
            None => self.buffer.last().copied(),
        }
    }

    fn complete<'a>(&'a mut self, chunk: &'a [u8], consumed: usize) -> CompleteHead<'a> {
        let part = chunk.get(..consumed).unwrap_or(chunk);
        if self.buffer.is_empty() {
            return CompleteHead { head: part, consumed };
        }
        self.buffer.extend_from_slice(part);
        CompleteHead { head: &self.buffer, consumed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn unlimited() -> HandshakeLimits {
        HandshakeLimits { reads: usize::MAX, ..HandshakeLimits::default() }
    }

    /// Feeds `bytes` in chunks of `size`; the head and how many bytes were left over.
    fn collect(bytes: &[u8], size: usize, limits: &HandshakeLimits) -> Result<Option<(Vec<u8>, usize)>, HeadError> {
        let mut head = Head::default();
        let mut fed = 0;
        for chunk in bytes.chunks(size) {
            if let Some(complete) = head.feed(chunk, limits)? {
                return Ok(Some((complete.head.to_vec(), bytes.len() - fed - complete.consumed)));
            }
            fed += chunk.len();
        }
        Ok(None)
    }

    #[test]
    fn ends_at_the_first_empty_line_in_any_chunks() {
        let bytes = [HEAD, b"\x81\x80rest"].concat();
        for size in 1..bytes.len() + 1 {
            assert_eq!(collect(&bytes, size, &unlimited()), Ok(Some((HEAD.to_vec(), 6))), "chunks of {size}");
            assert_eq!(collect(&HEAD[..HEAD.len() - 1], size, &unlimited()), Ok(None));
        }
    }

    #[test]
    fn bare_line_feed_is_refused_in_any_chunks() {
        for bytes in [&b"GET / HTTP/1.1\n\n"[..], b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", b"\n", b"a\r\n\n"] {
            for size in 1..=bytes.len() {
                assert_eq!(collect(bytes, size, &unlimited()), Err(HeadError::BareLineFeed), "chunks of {size}");
            }
        }
    }

    #[test]
    fn limits_are_exact_in_any_chunks() {
        let exact = HandshakeLimits { head_bytes: HEAD.len(), ..unlimited() };
        let short = HandshakeLimits { head_bytes: HEAD.len() - 1, ..unlimited() };
        for size in 1..=HEAD.len() {
            assert!(collect(HEAD, size, &exact).is_ok_and(|head| head.is_some()));
            assert_eq!(collect(HEAD, size, &short), Err(HeadError::TooLarge), "chunks of {size}");
        }
        let reads = HandshakeLimits { reads: 3, ..HandshakeLimits::default() };
        assert!(collect(HEAD, HEAD.len().div_ceil(3), &reads).is_ok_and(|head| head.is_some()));
        assert_eq!(collect(HEAD, HEAD.len().div_ceil(4), &reads), Err(HeadError::TooManyReads));
    }
}

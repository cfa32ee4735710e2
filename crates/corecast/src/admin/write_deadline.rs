//! A connection of the internal port whose client has to take what it is sent.
//!
//! Invariants worth naming:
//! - The time counts anew with each write that the socket takes: who reads slowly goes on, who reads nothing does not. The kernel
//!   reports room only once a third of its send buffer is free, so *slowly* means at least that much in the time.
//! - A connection that is given up is reset: the kernel would otherwise keep, and offer for minutes, what nobody reads.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// A stream whose writes fail once the socket has taken nothing for too long.
pub(super) struct WriteDeadline {
    stream: TcpStream,
    limit: Duration,
    /// Set while the socket takes nothing.
    end: Option<Pin<Box<Sleep>>>,
}

impl WriteDeadline {
    /// Gives the client `limit` for each write.
    pub(super) fn new(stream: TcpStream, limit: Duration) -> Self {
        Self { stream, limit, end: None }
    }

    /// What a write came to, unless it has been waiting for too long.
    fn bounded(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let limit = self.limit;
        let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(end.as_mut().poll(cx));
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WriteDeadline {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WriteDeadline {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.bounded(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// At once, as a socket has nothing to flush: this is no sign that the client takes anything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

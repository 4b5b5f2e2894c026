//! A client's connection that sends each answer in one piece.
//!
//! The framework writes an answer's header and its body one after the other and flushes at the
//! end. Its own listeners gather the two; a socket that was accepted elsewhere has no such buffer
//! (pingora 2.5), and each write would be a packet that wakes the client.
//!
//! And no request is read beyond its end, so that a client may send the next one before it has read
//! the answer.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, ALPN, IO,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, Sleep};

use super::extent::RequestExtent;
use crate::proxy::limits::connection_limits::{ConnectionLimits, Slow};

/// A first write larger than this leaves at once: it is no header that something follows.
const HEADER: usize = 16 * 1024;

/// A stream that holds the first write after a flush back until the second, and sends both
/// together, or until the next flush. Writes after these two leave at once, so that a slow body is
/// passed on as it comes.
#[derive(Debug)]
pub struct CoalescingStream<S: IO> {
    stream: S,
    held: Vec<u8>,
    turn: WriteTurn,
    /// The bytes that have to come within a time, if they have not come yet.
    beginning: Option<Box<FirstBytes>>,
    /// Which of the received bytes belong to the request that is being read.
    extent: RequestExtent,
    /// The received bytes behind that request.
    ahead: BytesMut,
}

/// The framework's mark on the answers that it writes by itself: to heads that it cannot read.
const MARK: &[u8] = b"\r\nServer: Pingora\r\n";
/// Such an answer is shorter.
const ERROR: usize = 512;

/// A write that is only an answer of the framework's own, without its mark. There is no hook
/// for these: they are written before there is a request that could be handed on.
fn without_mark(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > ERROR || !bytes.starts_with(b"HTTP/1.") || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let place = memchr::memmem::find(bytes, MARK)?;
    let empty = memchr::memmem::find(bytes, b"\r\nContent-Length: 0\r\n").is_some();
    let (before, rest) = bytes.split_at_checked(place)?;
    let after = rest.get(MARK.len() - 2..)?;
    empty.then(|| [before, after].concat())
}

/// The first bytes of a connection.
#[derive(Debug)]
struct FirstBytes {
    /// So many are still to come.
    left: usize,
    until: Pin<Box<Sleep>>,
    connection_limits: Option<Arc<ConnectionLimits>>,
}

/// Which write is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteTurn {
    First,
    Later,
}

impl<S: IO> CoalescingStream<S> {
    /// Collects the writes to this stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            held: Vec::new(),
            turn: WriteTurn::First,
            beginning: None,
            extent: RequestExtent::Unknown,
            ahead: BytesMut::new(),
        }
    }

    /// The stream below, before anything has been read or written here.
    pub(super) fn inner(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Takes the received bytes of the next request. From now on all further bytes are handed out.
    pub(super) fn next_request(&mut self) -> BytesMut {
        self.extent = RequestExtent::Unknown;
        std::mem::take(&mut self.ahead)
    }

    /// Looks for the end of the request that begins with these bytes, keeps what came behind it, and
    /// hands nothing out beyond it.
    pub(super) fn read_no_further(&mut self, begun: &mut BytesMut) {
        let (head, extent) = RequestExtent::of(begun);
        self.extent = extent;
        let body = begun.get_mut(head..).unwrap_or_default();
        let end = head + self.extent.take(body);
        if end < begun.len() {
            self.ahead = begun.split_off(end);
        }
    }

    /// Ends the connection if its first `bytes` do not come within this time, and reports that to
    /// its limits.
    pub(crate) fn begun_within(
        mut self,
        bytes: usize,
        time: Duration,
        connection_limits: Option<Arc<ConnectionLimits>>,
    ) -> Self {
        self.beginning = Some(Box::new(FirstBytes {
            left: bytes,
            until: Box::pin(sleep(time)),
            connection_limits,
        }));
        self
    }

    /// Writes the held bytes, and the bytes behind them if the stream accepts both; returns how
    /// many of the latter it wrote.
    fn poll_held(&mut self, context: &mut Context<'_>, behind: &[u8]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let both = [IoSlice::new(&self.held), IoSlice::new(behind)];
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(context, &both))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            match written.checked_sub(self.held.len()) {
                Some(more) => {
                    // Connections wait most of the time, and then hold nothing.
                    self.held = Vec::new();
                    return Poll::Ready(Ok(more));
                }
                None => drop(self.held.drain(..written)),
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<S: IO> CoalescingStream<S> {
    /// Reads from the stream, if the connection has begun in time.
    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut beginning) = self.beginning.take() else {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        };
        if beginning.until.as_mut().poll(context).is_ready() {
            if let Some(connection_limits) = &beginning.connection_limits {
                connection_limits.too_slow(Slow::Head);
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        beginning.left = beginning.left.saturating_sub(came);
        if beginning.left > 0 {
            self.beginning = Some(beginning);
        }
        read
    }
}

impl<S: IO> AsyncRead for CoalescingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let over = self.extent.is_over();
        if over && !self.ahead.is_empty() {
            // The client is still connected, and its next request follows after the answer.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(self.poll_stream(context, buffer))?;
        let came = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        let taken = self.extent.take(came);
        if taken < came.len() {
            let ahead = BytesMut::from(came.get(taken..).unwrap_or_default());
            self.ahead = ahead;
            buffer.set_filled(before + taken);
            if over {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: IO> AsyncWrite for CoalescingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.turn == WriteTurn::First && bytes.len() <= HEADER {
            self.turn = WriteTurn::Later;
            self.held = without_mark(bytes).unwrap_or_else(|| bytes.to_vec());
            return Poll::Ready(Ok(bytes.len()));
        }
        self.turn = WriteTurn::Later;
        match ready!(self.poll_held(context, bytes))? {
            0 => Pin::new(&mut self.stream).poll_write(context, bytes),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_held(context, &[]))?;
        let stream = Pin::new(&mut self.stream);
        match slices {
            // The system has a plainer call for it.
            [only] => stream.poll_write(context, only),
            slices => stream.poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context, &[]))?;
        self.turn = WriteTurn::First;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: IO> Drop for CoalescingStream<S> {
    fn drop(&mut self) {
        // An answer that ended early behind its header: the client may see that much of it. A
        // drop cannot wait for the client, and a broken connection is no news.
        let _ = self.poll_held(&mut Context::from_waker(Waker::noop()), &[]);
    }
}

#[async_trait]
impl<S: IO> Shutdown for CoalescingStream<S> {
    async fn shutdown(&mut self) {
        let held = std::future::poll_fn(|context| self.poll_held(context, &[])).await;
        if let Err(error) = held {
            log::debug!("a client hung up before its answer: {error}");
        }
        self.stream.shutdown().await;
    }
}

impl<S: IO> UniqueID for CoalescingStream<S> {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl<S: IO> Ssl for CoalescingStream<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl<S: IO> GetTimingDigest for CoalescingStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_write_pending_time()
    }
}

impl<S: IO> GetProxyDigest for CoalescingStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.stream.set_proxy_digest(digest);
    }
}

impl<S: IO> GetSocketDigest for CoalescingStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.stream.set_socket_digest(digest);
    }
}

#[async_trait]
impl<S: IO> Peek for CoalescingStream<S> {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.stream.try_peek(buffer).await
    }
}

#[cfg(test)]
#[path = "coalescing_tests.rs"]
mod tests;

#[cfg(test)]
mod mark_tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_frameworks_own_loses_its_mark() {
        let own = b"HTTP/1.1 400 Bad Request\r\nServer: Pingora\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\n\
            Content-Length: 0\r\nConnection: close\r\n\r\n";
        let left = without_mark(own).unwrap();
        let left = String::from_utf8(left).unwrap();
        assert!(left.starts_with("HTTP/1.1 400 Bad Request\r\nDate: "));
        assert!(left.ends_with("close\r\n\r\n"));
        for other in [
            &b"HTTP/1.1 200 OK\r\nServer: Pingora\r\nContent-Length: 2\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nServer: Pingora\r\nContent-Length: 0\r\n\r\nbody",
            b"a body with \r\nServer: Pingora\r\nContent-Length: 0\r\n\r\n",
            b"",
        ] {
            assert!(without_mark(other).is_none());
        }
    }
}

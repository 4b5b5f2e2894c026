//! A client's connection that sends each answer in one piece.
//!
//! The framework writes an answer's header and its body one after the other and flushes at the end. Its
//! own listeners combine the two; a socket that was accepted elsewhere has no such buffer (pingora 2.5),
//! and each write would be a packet that wakes the client.
//!
//! The stream also returns no byte beyond the end of a request, so that a client may send the next one
//! before it has read the answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll, Waker};
use std::time::Duration;

use super::answer_head::corrected;
use super::extent::RequestExtent;
use super::http2_heads::Http2Heads;
use crate::proxy::limits::connection_limits::ConnectionLimits;
use async_trait::async_trait;
use bytes::BytesMut;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType, ALPN, IO,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The maximum length of a first write that is held back, in bytes. A longer one is not just a header,
/// and is sent at once.
const HEADER: usize = 16 * 1024;

/// A stream that holds back the first write after a flush, and sends it together with the second write or
/// at the next flush. Later writes are sent at once, so that a slow body is passed on as it arrives.
#[derive(Debug)]
pub struct CoalescingStream<S: IO> {
    stream: S,
    held: Vec<u8>,
    turn: WriteTurn,
    /// Measures how long the heads take that arrive over HTTP/2.
    heads: Option<Box<Http2Heads>>,
    /// Which of the received bytes belong to the request that is being read.
    extent: RequestExtent,
    /// The received bytes after that request.
    ahead: BytesMut,
}

/// Which write is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteTurn {
    First,
    Later,
}

impl<S: IO> CoalescingStream<S> {
    /// Wraps a stream, and combines the writes to it.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            held: Vec::new(),
            turn: WriteTurn::First,
            heads: None,
            extent: RequestExtent::Unknown,
            ahead: BytesMut::new(),
        }
    }

    /// Returns the wrapped stream. Call it only before anything has been read or written here.
    pub(super) fn inner(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the received bytes of the next request. From now on all further bytes are passed on.
    pub(super) fn next_request(&mut self) -> BytesMut {
        self.extent = RequestExtent::Unknown;
        std::mem::take(&mut self.ahead)
    }

    /// Finds the end of the request that begins with these bytes, stores the bytes after it, and passes
    /// on nothing beyond it.
    pub(super) fn read_no_further(&mut self, begun: &mut BytesMut) {
        let (head, extent) = RequestExtent::of(begun);
        self.extent = extent;
        let body = begun.get_mut(head..).unwrap_or_default();
        let end = head + self.extent.take(body);
        if end < begun.len() {
            self.ahead = begun.split_off(end);
        }
    }

    /// Ends the connection when a head over HTTP/2, or the first bytes of the connection, do not arrive
    /// within this time, and reports it to `connection_limits`.
    pub(crate) fn bound_heads(
        &mut self,
        time: Duration,
        connection_limits: Option<Arc<ConnectionLimits>>,
    ) {
        self.heads = Some(Box::new(Http2Heads::new(time, connection_limits)));
    }

    /// Writes the held bytes, and then those of `after` if the stream accepts both. Returns how many
    /// bytes of `after` it wrote.
    fn poll_held(&mut self, context: &mut Context<'_>, after: &[u8]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let both = [IoSlice::new(&self.held), IoSlice::new(after)];
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(context, &both))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            match written.checked_sub(self.held.len()) {
                Some(more) => {
                    // This frees the buffer: connections wait most of the time, and hold no memory then.
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
    /// Reads from the wrapped stream, as long as its heads arrive in time.
    fn poll_stream(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(heads) = &mut self.heads {
            let arrived = buffer.filled().get(before..).unwrap_or_default();
            heads.note(arrived, context)?;
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
        let is_over = self.extent.is_over();
        if is_over && !self.ahead.is_empty() {
            // The client is still connected, and its next request follows after the answer.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(self.poll_stream(context, buffer))?;
        let arrived = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        let taken = self.extent.take(arrived);
        if taken < arrived.len() {
            let ahead = BytesMut::from(arrived.get(taken..).unwrap_or_default());
            self.ahead = ahead;
            buffer.set_filled(before + taken);
            if is_over {
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
            self.held = corrected(bytes).unwrap_or_else(|| bytes.to_vec());
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
            // A single slice needs no vectored call.
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
        // If an answer ended early after its header, the client still gets the header. A drop cannot wait
        // for the client, and an error only means that the connection is broken.
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

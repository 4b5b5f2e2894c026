//! HTTP/1.1 on one connection to an upstream. It uses as few writes as possible, and its buffers stay
//! with the connection.

use std::future::Future;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::Stream;
use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{parse, AnswerBody, AnswerHead, BodyEnd, NextBytes, NotHttp, WantedFields};
use super::broken::{BrokenExchange, ExchangeFailure};
use super::request::{Length, UpstreamRequest};

/// The buffer space for a read of an answer's head, in bytes. PostHog's answers have a few hundred bytes.
const READ: usize = 4 * 1024;
/// The buffer space for a read of a body, in bytes.
const READ_BODY: usize = 32 * 1024;
/// The largest buffer that an idle connection keeps, in bytes.
const STAYS: usize = 8 * 1024;
/// A head and a piece of body up to this size together, in bytes, are copied into one buffer and written
/// at once.
const COPIED: usize = 16 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: Stream,
    /// The timeout of each read and each write.
    timeout: Duration,
    /// Received bytes that are not parsed yet.
    received: BytesMut,
    /// Bytes to be written before the next piece of a body.
    outgoing: Vec<u8>,
    head: Option<AnswerHead>,
    body: Option<AnswerBody>,
    written: RequestWritten,
}

/// How much of the request has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestWritten {
    Nothing,
    /// The head is written or buffered; this many bytes of the body are not written yet.
    Bytes(usize),
    /// The head is written or buffered; the body has no announced length and is written in chunks.
    Chunks,
    All,
}

impl Http1 {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            timeout: Duration::MAX,
            received: BytesMut::new(),
            outgoing: Vec::new(),
            head: None,
            body: None,
            written: RequestWritten::Nothing,
        }
    }

    /// Prepares the connection for its next request.
    pub(crate) fn begin(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.head = None;
        self.body = None;
        self.written = RequestWritten::Nothing;
        self.received.clear();
        self.outgoing.clear();
    }

    /// Begins a request. Its head is sent with the first piece of its body, or at once if there is no
    /// body.
    pub(crate) async fn send(
        &mut self,
        request: &UpstreamRequest<'_>,
        length: Length,
    ) -> Result<(), BrokenExchange> {
        request.write(length, &mut self.outgoing);
        self.written = match length {
            Length::Nothing | Length::Bytes(0) => RequestWritten::All,
            Length::Bytes(bytes) => RequestWritten::Bytes(bytes),
            Length::Unknown => RequestWritten::Chunks,
        };
        match self.written {
            RequestWritten::All => self.write(b"", b"").await,
            _ => Ok(()),
        }
    }

    /// Writes the next piece of the body. If the length was announced, the piece that reaches it ends the
    /// body.
    pub(crate) async fn piece(&mut self, piece: &[u8]) -> Result<(), BrokenExchange> {
        match self.written {
            RequestWritten::Bytes(left) => {
                self.written = match left.saturating_sub(piece.len()) {
                    0 => RequestWritten::All,
                    left => RequestWritten::Bytes(left),
                };
                self.write(piece, b"").await
            }
            RequestWritten::Chunks if !piece.is_empty() => {
                self.begin_chunk(piece);
                self.write(piece, b"\r\n").await
            }
            // An empty chunk would end the body.
            RequestWritten::Chunks | RequestWritten::Nothing | RequestWritten::All => Ok(()),
        }
    }

    /// Writes the last piece of a body of unknown length.
    pub(crate) async fn last_piece(&mut self, piece: &[u8]) -> Result<(), BrokenExchange> {
        self.written = RequestWritten::All;
        if piece.is_empty() {
            return self.write(b"", b"0\r\n\r\n").await;
        }
        self.begin_chunk(piece);
        self.write(piece, b"\r\n0\r\n\r\n").await
    }

    fn begin_chunk(&mut self, piece: &[u8]) {
        let written = write!(self.outgoing, "{:x}\r\n", piece.len());
        debug_assert!(written.is_ok(), "memory takes every byte");
    }

    /// Writes the bytes of `outgoing`, then `piece`, then `after`, in as few writes as possible.
    async fn write(&mut self, piece: &[u8], after: &[u8]) -> Result<(), BrokenExchange> {
        let Self {
            stream, outgoing, ..
        } = self;
        let writing = async {
            if outgoing.len() + piece.len() <= COPIED {
                outgoing.extend_from_slice(piece);
                outgoing.extend_from_slice(after);
                stream.write_all(outgoing).await?;
            } else {
                let mut slices = [outgoing, piece, after].map(IoSlice::new);
                write_all(stream, &mut slices).await?;
            }
            stream.flush().await
        };
        let written = within(self.timeout, "writing", writing).await;
        self.outgoing.clear();
        written
    }

    /// Reads up to the end of the final head, unless that has been read already. The session's timeout limits
    /// the whole head, with the interim ones before it, however it arrives. If this future is dropped, the
    /// bytes that were read stay in the buffer.
    pub(crate) async fn read_head(&mut self, fields: WantedFields) -> Result<(), BrokenExchange> {
        let mut began: Option<Instant> = None;
        while self.head.is_none() {
            match parse(&self.received, fields)? {
                None => {
                    let waited = began.map_or(Duration::ZERO, |began| began.elapsed());
                    began.get_or_insert_with(Instant::now);
                    let left = self.timeout.saturating_sub(waited);
                    // A wait of no time still reads bytes that have come.
                    if left.is_zero() {
                        let detail = "a head that drips";
                        return Err(BrokenExchange::new(ExchangeFailure::Late, detail));
                    }
                    self.read(READ, left).await?;
                }
                Some(parsed) => {
                    self.received.advance(parsed.length);
                    // No request asked to change the protocol.
                    if parsed.head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                        return Err(NotHttp.into());
                    }
                    if !parsed.head.status.is_informational() {
                        self.head = Some(parsed.head);
                        self.body = Some(parsed.body);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the final head (status 200 or above), or `None` if it has not been read yet.
    pub(crate) fn head(&self) -> Option<&AnswerHead> {
        self.head.as_ref()
    }

    pub(crate) fn take_head(&mut self) -> Option<AnswerHead> {
        self.head.take()
    }

    /// Reads the body up to `limit` bytes, and appends to `into` until it holds `kept` bytes.
    pub(crate) async fn read_body(
        &mut self,
        into: &mut Vec<u8>,
        kept: usize,
        limit: usize,
    ) -> Result<BodyEnd, BrokenExchange> {
        let mut length = 0_usize;
        while let Some(body) = &mut self.body {
            match body.next(&self.received)? {
                NextBytes::End => break,
                NextBytes::Framing(bytes) => self.received.advance(bytes),
                NextBytes::Data(bytes) => {
                    length = length.saturating_add(bytes);
                    if length > limit {
                        return Ok(BodyEnd::TooLarge);
                    }
                    let wanted = kept.saturating_sub(into.len()).min(bytes);
                    into.extend(self.received.iter().take(wanted));
                    self.received.advance(bytes);
                }
                NextBytes::Starved => match self.read(READ_BODY, self.timeout).await {
                    Ok(()) => {}
                    Err(broken) if broken.failure == ExchangeFailure::Closed => {
                        body_closed(&mut self.body, broken)?
                    }
                    Err(broken) => return Err(broken),
                },
            }
        }
        Ok(BodyEnd::Whole)
    }

    /// Reads the next piece of the body. Returns `None` at its end.
    pub(crate) async fn read_piece(&mut self) -> Result<Option<Bytes>, BrokenExchange> {
        while let Some(body) = &mut self.body {
            match body.next(&self.received)? {
                NextBytes::End => break,
                NextBytes::Framing(bytes) => self.received.advance(bytes),
                NextBytes::Data(bytes) => return Ok(Some(self.received.split_to(bytes).freeze())),
                NextBytes::Starved => match self.read(READ_BODY, self.timeout).await {
                    Ok(()) => {}
                    Err(broken) if broken.failure == ExchangeFailure::Closed => {
                        body_closed(&mut self.body, broken)?
                    }
                    Err(broken) => return Err(broken),
                },
            }
        }
        Ok(None)
    }

    /// Reads the next bytes into the buffer within this time, after reserving `room` bytes.
    async fn read(&mut self, room: usize, time_limit: Duration) -> Result<(), BrokenExchange> {
        let Self {
            stream, received, ..
        } = self;
        received.reserve(room);
        let read = within(time_limit, "reading", stream.read_buf(received)).await?;
        match read {
            0 => Err(BrokenExchange::new(
                ExchangeFailure::Closed,
                "closed by the peer",
            )),
            _ => Ok(()),
        }
    }

    /// Frees the buffers that are too large for an idle connection.
    pub(crate) fn free_buffer(&mut self) {
        if self.received.capacity() > STAYS {
            self.received = BytesMut::new();
        }
        if self.outgoing.capacity() > STAYS {
            self.outgoing = Vec::new();
        }
    }

    /// Whether the next request may go over this connection.
    pub(crate) fn is_reusable(&self) -> bool {
        let body = self.body.as_ref();
        self.written == RequestWritten::All
            && self.received.is_empty()
            && body.is_some_and(AnswerBody::is_reusable)
    }

    /// Whether the peer has closed an idle connection, or sent something without a request.
    pub(crate) fn is_stale(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let reading = std::future::poll_fn(|context| {
            tokio::io::AsyncRead::poll_read(Pin::new(&mut *self.stream), context, &mut buffer)
        });
        // Without this, Tokio's cooperative budget could make this poll return `Pending`.
        let mut reading = std::pin::pin!(tokio::task::coop::unconstrained(reading));
        reading.as_mut().poll(&mut context).is_ready()
    }
}

/// Returns an error if the connection was closed before the end of the body.
fn body_closed(
    body: &mut Option<AnswerBody>,
    broken: BrokenExchange,
) -> Result<(), BrokenExchange> {
    match body {
        Some(body) => body.closed().map_err(|_| broken),
        None => Ok(()),
    }
}

async fn within<T>(
    time_limit: Duration,
    doing: &str,
    what: impl Future<Output = io::Result<T>>,
) -> Result<T, BrokenExchange> {
    match timeout(time_limit, what).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(BrokenExchange::new(
            ExchangeFailure::Closed,
            format!("{doing}: {error}"),
        )),
        Err(_) => Err(BrokenExchange::new(
            ExchangeFailure::Late,
            format!("{doing}: nothing in {time_limit:?}"),
        )),
    }
}

async fn write_all(stream: &mut Stream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let written = std::future::poll_fn(|context| {
            Pin::new(&mut *stream).poll_write_vectored(context, slices)
        });
        match written.await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut slices, written),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;

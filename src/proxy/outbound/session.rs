//! One request and its answer on a connection, for both versions of HTTP.

use std::future::{poll_fn, Future};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::http::client::HttpSession;

use super::answer::{AnswerHead, BodyEnd, WantedFields};
use super::broken::{BrokenExchange, ExchangeFailure};
use super::http1::Http1;
use super::request::{Length, UpstreamRequest};

/// After each piece of this many bytes, the session checks whether an answer has arrived already.
pub(crate) const PIECE: usize = 64 * 1024;
/// How long to wait for an answer on a connection to which no more bytes can be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A connection with one request on it; for HTTP/2, one stream of a connection.
///
/// The framework's HTTP/2 futures are large, so they are boxed. Otherwise each HTTP/1.1 request would hold
/// memory for them too.
pub(crate) enum UpstreamSession {
    Http1(Box<Http1>),
    /// The framework's session, which is never HTTP/1.1 here, and the head of the answer.
    Http2(Box<HttpSession>, Option<AnswerHead>),
}

/// How much of a request was written before its answer arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyWritten {
    All,
    /// The upstream has refused the request before the end of its body, so the connection cannot be reused.
    Answered,
}

/// An error that occurred while a request was written.
pub(crate) enum RequestFailure {
    /// The request could not be written. There may still be an answer.
    Write(BrokenExchange),
    /// The answer could not be read, and the request cannot be sent again.
    Read(BrokenExchange),
}

impl UpstreamSession {
    /// Prepares for a request. Each read and each write has this timeout.
    pub(crate) fn begin(&mut self, timeout: Duration) {
        match self {
            Self::Http1(session) => session.begin(timeout),
            Self::Http2(session, head) => {
                *head = None;
                session.set_read_timeout(Some(timeout));
                session.set_write_timeout(Some(timeout));
            }
        }
    }

    /// Sends a request with its whole body and reads up to the head of the answer.
    pub(crate) async fn send_whole(
        &mut self,
        request: &UpstreamRequest<'_>,
        body: &Bytes,
        fields: WantedFields,
    ) -> Result<BodyWritten, BrokenExchange> {
        match self.write_whole(request, body, fields).await {
            Ok(BodyWritten::All) => {
                self.read_head(fields).await?;
                Ok(BodyWritten::All)
            }
            Ok(BodyWritten::Answered) => Ok(BodyWritten::Answered),
            Err(failure) => Box::pin(self.early_answer(failure, fields)).await,
        }
    }

    async fn write_whole(
        &mut self,
        request: &UpstreamRequest<'_>,
        body: &Bytes,
        fields: WantedFields,
    ) -> Result<BodyWritten, RequestFailure> {
        let length = match body.len() {
            0 => Length::Nothing,
            bytes => Length::Bytes(bytes),
        };
        self.send(request, length)
            .await
            .map_err(RequestFailure::Write)?;
        let mut rest = body.clone();
        while rest.len() > PIECE {
            self.piece(rest.split_to(PIECE)).await?;
            if self.refused_early(fields)? {
                return Ok(BodyWritten::Answered);
            }
        }
        match (self, length) {
            (_, Length::Nothing) => {}
            (Self::Http1(session), _) => {
                session.piece(&rest).await.map_err(RequestFailure::Write)?
            }
            (Self::Http2(session, _), _) => {
                let written = Box::pin(session.write_request_body(rest, true)).await;
                written.map_err(|error| RequestFailure::Write(error.into()))?;
            }
        }
        Ok(BodyWritten::All)
    }

    /// Begins a request. Over HTTP/1.1 its head is sent with the first piece of the body.
    pub(crate) async fn send(
        &mut self,
        request: &UpstreamRequest<'_>,
        length: Length,
    ) -> Result<(), BrokenExchange> {
        match self {
            Self::Http1(session) => session.send(request, length).await,
            Self::Http2(session, _) => {
                let header = request.header(length)?;
                Box::pin(session.write_request_header(header)).await?;
                if length == Length::Nothing {
                    Box::pin(session.finish_request_body()).await?;
                }
                Ok(())
            }
        }
    }

    /// Writes a piece of the body that is not the last one.
    pub(crate) async fn piece(&mut self, piece: Bytes) -> Result<(), RequestFailure> {
        let written = match self {
            Self::Http1(session) => session.piece(&piece).await,
            Self::Http2(session, _) => {
                let written = Box::pin(session.write_request_body(piece, false)).await;
                written.map_err(BrokenExchange::from)
            }
        };
        written.map_err(RequestFailure::Write)
    }

    /// Writes the last piece of a body of unknown length.
    pub(crate) async fn last_piece(&mut self, piece: Bytes) -> Result<(), RequestFailure> {
        let written = match self {
            Self::Http1(session) => session.last_piece(&piece).await,
            Self::Http2(session, _) => {
                let written = Box::pin(session.write_request_body(piece, true)).await;
                written.map_err(BrokenExchange::from)
            }
        };
        written.map_err(RequestFailure::Write)
    }

    /// Returns whether a refusal has arrived while the body is still being written. A success status that
    /// arrives before the end of the body is not evaluated until the body has ended.
    pub(crate) fn refused_early(&mut self, fields: WantedFields) -> Result<bool, RequestFailure> {
        // Dropping the read loses no bytes: the part of a head that was read stays in the session.
        if let Some(read) = poll_once(self.read_head(fields)) {
            read.map_err(RequestFailure::Read)?;
        }
        Ok(self.head().is_some_and(|head| !head.status.is_success()))
    }

    /// Waits for a refusal, or for the end of the connection, while nothing is written. There is no time
    /// limit. Dropping this future loses no bytes.
    pub(super) async fn refused(&mut self, fields: WantedFields) -> Result<(), RequestFailure> {
        let read = loop {
            match self {
                Self::Http1(session) => match session.read_head(fields).await {
                    // The request is not complete, so a read that times out is not an error.
                    Err(broken) if broken.failure == ExchangeFailure::Late => {}
                    read => break read,
                },
                Self::Http2(session, head) => {
                    let HttpSession::H2(stream) = &mut **session else {
                        break Err(BrokenExchange::new(
                            ExchangeFailure::NotHttp,
                            "another protocol",
                        ));
                    };
                    if head.is_none() {
                        let read = poll_fn(|context| stream.poll_read_response_header(context));
                        let read = read.await;
                        read.map_err(|error| {
                            RequestFailure::Read(BrokenExchange::new(
                                ExchangeFailure::Closed,
                                error.to_string(),
                            ))
                        })?;
                        let header = session.response_header();
                        *head = header.and_then(|header| head_of(header, fields));
                    }
                    break Ok(());
                }
            }
        };
        read.map_err(RequestFailure::Read)?;
        match self.head() {
            Some(head) if !head.status.is_success() => Ok(()),
            // A success status is evaluated only when the body has ended.
            _ => std::future::pending().await,
        }
    }

    /// Reads the answer of an upstream that stopped reading: it may have sent a refusal before it closed
    /// the connection. Returns the original error if there is none.
    pub(crate) async fn early_answer(
        &mut self,
        failure: RequestFailure,
        fields: WantedFields,
    ) -> Result<BodyWritten, BrokenExchange> {
        let broken = match failure {
            RequestFailure::Read(broken) => return Err(broken),
            RequestFailure::Write(broken) => broken,
        };
        let read = tokio::time::timeout(LAST_WORDS, self.read_head(fields)).await;
        let refused = self.head().is_some_and(|head| !head.status.is_success());
        match read {
            Ok(Ok(())) if refused => Ok(BodyWritten::Answered),
            _ => Err(broken),
        }
    }

    /// Reads up to the end of the final head, unless that has been read already.
    pub(crate) async fn read_head(&mut self, fields: WantedFields) -> Result<(), BrokenExchange> {
        match self {
            Self::Http1(session) => session.read_head(fields).await,
            Self::Http2(session, head) => {
                while head.is_none() {
                    Box::pin(session.read_response_header()).await?;
                    *head = session
                        .response_header()
                        .and_then(|header| head_of(header, fields));
                }
                Ok(())
            }
        }
    }

    /// Returns the final head (status 200 or above), or `None` if it has not been read yet.
    pub(crate) fn head(&self) -> Option<&AnswerHead> {
        match self {
            Self::Http1(session) => session.head(),
            Self::Http2(_, head) => head.as_ref(),
        }
    }

    pub(crate) fn take_head(&mut self) -> Option<AnswerHead> {
        match self {
            Self::Http1(session) => session.take_head(),
            Self::Http2(_, head) => head.take(),
        }
    }

    /// Reads the next piece of the body. Returns `None` at its end.
    pub(crate) async fn read_piece(&mut self) -> Result<Option<Bytes>, BrokenExchange> {
        match self {
            Self::Http1(session) => session.read_piece().await,
            Self::Http2(session, _) => Ok(Box::pin(session.read_response_body()).await?),
        }
    }

    /// Reads the body up to `limit` bytes, and appends to `into` until it holds `kept` bytes.
    pub(crate) async fn read_body(
        &mut self,
        into: &mut Vec<u8>,
        kept: usize,
        limit: usize,
    ) -> Result<BodyEnd, BrokenExchange> {
        let session = match self {
            Self::Http1(session) => return session.read_body(into, kept, limit).await,
            Self::Http2(session, _) => session,
        };
        let mut length = 0_usize;
        while let Some(data) = Box::pin(session.read_response_body()).await? {
            length = length.saturating_add(data.len());
            if length > limit {
                return Ok(BodyEnd::TooLarge);
            }
            let wanted = kept.saturating_sub(into.len());
            into.extend(data.iter().take(wanted));
        }
        Ok(BodyEnd::Whole)
    }
}

/// Returns the head of an answer over HTTP/2, or `None` for an interim answer (1xx).
fn head_of(header: &ResponseHeader, fields: WantedFields) -> Option<AnswerHead> {
    if header.status.is_informational() {
        return None;
    }
    let mut head = AnswerHead::new(header.status);
    for (name, value) in &header.headers {
        head.note(name.as_str(), value.as_bytes());
    }
    if fields == WantedFields::All {
        head.fields.clone_from(&header.headers);
    }
    Some(head)
}

/// Polls a future once. Returns its output if it is ready.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

impl From<pingora::BError> for BrokenExchange {
    fn from(error: pingora::BError) -> Self {
        use pingora::ErrorType::{InvalidHTTPHeader, ReadTimedout, WriteTimedout};
        let failure = match error.etype() {
            ReadTimedout | WriteTimedout => ExchangeFailure::Late,
            InvalidHTTPHeader => ExchangeFailure::NotHttp,
            _ => ExchangeFailure::Closed,
        };
        Self::new(failure, error.to_string())
    }
}

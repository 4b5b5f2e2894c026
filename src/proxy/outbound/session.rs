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

/// After each piece of this many bytes, the session checks whether the answer has come already.
pub(crate) const PIECE: usize = 64 * 1024;
/// How long an answer may take on a connection that cannot be written to any more.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A connection with one request on it; for HTTP/2, one stream of a connection.
///
/// The framework's HTTP/2 futures are large, so they are boxed: otherwise every other request would
/// hold memory for them.
pub(crate) enum UpstreamSession {
    Http1(Box<Http1>),
    /// The framework's session; never its HTTP/1.1.
    Http2(Box<HttpSession>, Option<AnswerHead>),
}

/// How far a request came before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyWritten {
    All,
    /// The upstream has refused before the end of the body: half a request is on the connection.
    Answered,
}

/// The error while a request was written.
pub(crate) enum RequestFailure {
    /// It could not be written. There may still be an answer.
    Write(BrokenExchange),
    /// The answer could not be read, and the request cannot be sent again.
    Read(BrokenExchange),
}

impl UpstreamSession {
    /// Prepares for a request. Each read and each write may take `patience`.
    pub(crate) fn begin(&mut self, patience: Duration) {
        match self {
            Self::Http1(session) => session.begin(patience),
            Self::Http2(session, head) => {
                *head = None;
                session.set_read_timeout(Some(patience));
                session.set_write_timeout(Some(patience));
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
            Err(failed) => Box::pin(self.early_answer(failed, fields)).await,
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

    /// Begins a request. Over HTTP/1.1 its head leaves with the first piece of the body.
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

    /// Writes the next piece of a body of unknown length.
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

    /// Whether a refusal has come while the body is still being written. An acceptance of half a body
    /// counts only when the body has ended.
    pub(crate) fn refused_early(&mut self, fields: WantedFields) -> Result<bool, RequestFailure> {
        // Dropping the read loses nothing: the part of a head that was read stays in the session.
        if let Some(read) = poll_once(self.read_head(fields)) {
            read.map_err(RequestFailure::Read)?;
        }
        Ok(self.head().is_some_and(|head| !head.status.is_success()))
    }

    /// Waits for a refusal, or for the end of the connection, while nothing is written; without a time
    /// limit. Dropping this future loses nothing.
    pub(super) async fn refused(&mut self, fields: WantedFields) -> Result<(), RequestFailure> {
        let read = loop {
            match self {
                Self::Http1(session) => match session.read_head(fields).await {
                    // An answer to half a request cannot be late.
                    Err(broken) if broken.how == ExchangeFailure::Late => {}
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
            // An acceptance of half a body counts when the body has ended.
            _ => std::future::pending().await,
        }
    }

    /// The answer of an upstream that stopped reading: it may have sent the reason before it
    /// closed.
    pub(crate) async fn early_answer(
        &mut self,
        failed: RequestFailure,
        fields: WantedFields,
    ) -> Result<BodyWritten, BrokenExchange> {
        let broken = match failed {
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

    /// Reads up to the final head, unless it has been read already.
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

    /// The head that is no interim one, once it has been read.
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

    /// Reads the next piece of the body; nothing at its end.
    pub(crate) async fn read_piece(&mut self) -> Result<Option<Bytes>, BrokenExchange> {
        match self {
            Self::Http1(session) => session.read_piece().await,
            Self::Http2(session, _) => Ok(Box::pin(session.read_response_body()).await?),
        }
    }

    /// Reads the body up to `limit` bytes, and keeps the first `kept` of them.
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

/// The head of an answer over HTTP/2; none for an interim one.
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

/// The outcome of a future that is ready now.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

impl From<pingora::BError> for BrokenExchange {
    fn from(error: pingora::BError) -> Self {
        use pingora::ErrorType::{InvalidHTTPHeader, ReadTimedout, WriteTimedout};
        let how = match error.etype() {
            ReadTimedout | WriteTimedout => ExchangeFailure::Late,
            InvalidHTTPHeader => ExchangeFailure::NotHttp,
            _ => ExchangeFailure::Closed,
        };
        Self::new(how, error.to_string())
    }
}

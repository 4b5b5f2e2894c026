//! One request and its answer on a session with PostHog.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::{BError, ErrorType, Result};

use super::verdict::Verdict;

/// Between two pieces of this many bytes it is looked whether the answer is there already.
pub(super) const PIECE: usize = 64 * 1024;
/// An answer's body is read up to here, so that the connection can be used again. Capture's
/// answers have a few dozen bytes.
const ANSWER: usize = 64 * 1024;
/// So many bytes of a refusal are kept as its reason.
const WORDS: usize = 1024;
/// How long an answer may take to come out of a connection that cannot be written to any more.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// An answer, with whether the connection is as good as new.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) verdict: Verdict,
    pub(super) reusable: bool,
    /// How the body of an answer that is no yes begins: PostHog's reason.
    pub(super) words: Vec<u8>,
}

/// An exchange that ended without an answer.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: BError,
}

impl Broken {
    pub(super) fn unanswered(error: BError) -> Self {
        Self { error }
    }

    /// Whether this is what a pooled connection shows that the other end has closed: neither a
    /// timeout, nor an answer that is no HTTP.
    pub(super) fn may_be_stale(&self) -> bool {
        !matches!(
            self.error.etype(),
            ErrorType::ReadTimedout | ErrorType::WriteTimedout | ErrorType::InvalidHTTPHeader
        )
    }
}

/// Sends a request with a body of known length and reads the answer.
pub(super) async fn whole(
    session: &mut HttpSession,
    mut header: Box<RequestHeader>,
    body: &Bytes,
    patience: Duration,
) -> Result<Answered, Broken> {
    begin(session, patience);
    header
        .insert_header("Content-Length", body.len())
        .map_err(Broken::unanswered)?;
    match write_whole(session, header, body).await {
        Ok(Written::All) => answer(session).await,
        // Nothing stands in the way of the answer, but half a request is on the connection.
        Ok(Written::Answered) => Ok(unusable(session)),
        Err(failed) => failed.last_words(session).await,
    }
}

/// Prepares a session for a request.
pub(super) fn begin(session: &mut HttpSession, patience: Duration) {
    session.set_read_timeout(Some(patience));
    session.set_write_timeout(Some(patience));
}

enum Written {
    All,
    /// PostHog has said no before the body was through.
    Answered,
}

/// What went wrong while a request was written.
pub(super) enum Failed {
    /// It could not be written. There may be an answer all the same.
    Write(BError),
    /// The answer could not be read. It cannot be asked for again.
    Read(BError),
}

impl Failed {
    /// The answer of an upstream that stopped reading: it may have said why before it closed.
    pub(super) async fn last_words(self, session: &mut HttpSession) -> Result<Answered, Broken> {
        let error = match self {
            Self::Read(error) => return Err(Broken::unanswered(error)),
            Self::Write(error) => error,
        };
        session.set_read_timeout(Some(LAST_WORDS));
        let read = tokio::time::timeout(LAST_WORDS, read_header(session)).await;
        let refused = final_header(session).is_some_and(|header| !header.status.is_success());
        if matches!(read, Ok(Ok(()))) && refused {
            return Ok(unusable(session));
        }
        Err(Broken::unanswered(error))
    }
}

async fn write_whole(
    session: &mut HttpSession,
    header: Box<RequestHeader>,
    body: &Bytes,
) -> Result<Written, Failed> {
    session
        .write_request_header(header)
        .await
        .map_err(Failed::Write)?;
    let mut rest = body.clone();
    while rest.len() > PIECE {
        write(session, rest.split_to(PIECE)).await?;
        if refused_early(session)? {
            return Ok(Written::Answered);
        }
    }
    session
        .write_request_body(rest, true)
        .await
        .map_err(Failed::Write)?;
    session.finish_request_body().await.map_err(Failed::Write)?;
    Ok(Written::All)
}

/// Writes one piece of a body.
pub(super) async fn write(session: &mut HttpSession, piece: Bytes) -> Result<(), Failed> {
    session
        .write_request_body(piece, false)
        .await
        .map_err(Failed::Write)
}

/// Whether an answer other than yes has come while the body is still being written. A yes to
/// half a body is not believed: it counts when the body is through.
pub(super) fn refused_early(session: &mut HttpSession) -> Result<bool, Failed> {
    // Cancelling the read loses nothing: what has been read of a header stays in the session.
    if let Some(read) = poll_once(read_header(session)) {
        read.map_err(Failed::Read)?;
    }
    Ok(final_header(session).is_some_and(|header| !header.status.is_success()))
}

/// The outcome of a future that is ready now.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Reads up to the response header that is no interim one, unless it is there already.
async fn read_header(session: &mut HttpSession) -> Result<()> {
    while final_header(session).is_none() {
        session.read_response_header().await?;
    }
    Ok(())
}

/// The response header that is no interim one.
fn final_header(session: &HttpSession) -> Option<&ResponseHeader> {
    session
        .response_header()
        .filter(|header| !header.status.is_informational())
}

/// Reads the answer after the whole request has been written.
pub(super) async fn answer(session: &mut HttpSession) -> Result<Answered, Broken> {
    read_header(session).await.map_err(Broken::unanswered)?;
    let mut answered = unusable(session);
    answered.reusable = drain(session, &mut answered.words).await;
    if answered.verdict == Verdict::Accepted {
        answered.words.clear();
    }
    Ok(answered)
}

/// The verdict of the response header, on a session that cannot be used again.
pub(super) fn unusable(session: &HttpSession) -> Answered {
    let verdict = match final_header(session) {
        Some(header) => verdict(header),
        None => Verdict::Unreachable(super::verdict::Trouble::Closed),
    };
    Answered {
        verdict,
        reusable: false,
        words: Vec::new(),
    }
}

fn verdict(header: &ResponseHeader) -> Verdict {
    let text = |name| {
        header
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let html = text(header::CONTENT_TYPE)
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/html"));
    let retry_after = text(header::RETRY_AFTER).and_then(|value| value.parse().ok());
    Verdict::from_response(header.status.as_u16(), html, retry_after)
}

/// Reads the response body and keeps its beginning; whether it ended within bounds.
async fn drain(session: &mut HttpSession, words: &mut Vec<u8>) -> bool {
    let mut read = 0;
    let reading = async {
        loop {
            match session.read_response_body().await {
                Ok(Some(data)) => {
                    read += data.len();
                    words.extend(data.iter().take(WORDS.saturating_sub(words.len())));
                    if read > ANSWER {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    // The verdict is known: a body that drips keeps nobody waiting.
    tokio::time::timeout(Duration::from_secs(2), reading)
        .await
        .unwrap_or(false)
}

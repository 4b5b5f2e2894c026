//! The request's body as it arrives: slow clients get time, and the time is bounded.

use std::time::Duration;

use bytes::Bytes;
use http::{header, HeaderMap, Version};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::{timeout_at, Instant};

use crate::config::RequestLimits;

use crate::proxy::limits::body_rate::BodyRateMeter;

/// The longest silence in the middle of a body.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// The longest that a whole body may take. It ends clients that send a byte now and then.
pub(crate) const WHOLE: Duration = Duration::from_secs(300);
/// How long the rest of a refused body is read before the answer. A connection that is closed with unread
/// bytes is reset, and the client might never see why.
pub(crate) const DISCARD_TIME: Duration = Duration::from_secs(2);
/// How long the rest of a body is read after an answer that did not wait for it: in all, and in one
/// silence. Web servers use such values.
const LINGERING: Duration = Duration::from_secs(30);
const LINGERING_SILENCE: Duration = Duration::from_secs(5);

/// The framework's names for a broken chunk and for broken trailer lines. It does not export the error
/// kinds themselves.
const INVALID_CHUNKS: [&str; 2] = ["InvalidChunk", "InvalidTrailerEnd"];

/// Why a body did not arrive as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyInterruption {
    /// The client went away.
    Gone,
    /// The chunks of its body are not as HTTP has them.
    Malformed,
    /// The client stopped sending, or took too long.
    Slow,
}

/// What a client says of the length of its body, before that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnnouncedLength {
    /// Nothing.
    Unknown,
    /// That of the body itself.
    OfBody(usize),
    /// That of what is sent, which is a coding of the body.
    OfCoding(usize),
}

impl AnnouncedLength {
    /// By these headers, and the coding that they name.
    pub(crate) fn of(headers: &HeaderMap, coding: Option<&str>) -> Self {
        let value = headers.get(header::CONTENT_LENGTH);
        let length = value.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match (length, coding) {
            (None, _) => Self::Unknown,
            (Some(length), None) => Self::OfBody(length),
            (Some(length), Some(_)) => Self::OfCoding(length),
        }
    }

    /// How many bytes are to be sent, if that is known.
    pub(crate) fn sent(self) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::OfBody(length) | Self::OfCoding(length) => Some(length),
        }
    }
}

/// The body of a request that this process reads.
pub(crate) struct IncomingBody {
    expects: Expects,
    deadline: Instant,
    tempo: BodyRateMeter,
    keepalive: Option<u64>,
    /// Bytes read so far.
    received: u64,
}

/// Whether the client waits for `100 Continue` before it sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Nothing,
    Continue,
}

impl IncomingBody {
    /// Takes over a request. Only its body is read from here on, so a client that hangs up right
    /// after it, as browsers do when a page closes, causes no error.
    ///
    /// `idle` is how long its connection may wait for the next request, in seconds; `limits` bound how
    /// slowly the body may come.
    pub(crate) fn begin(session: &mut Session, idle: u64, limits: &RequestLimits) -> Self {
        session.set_read_timeout(Some(SILENCE));
        end_when_idle(session, idle);
        let header = session.req_header();
        let expects = header.version == Version::HTTP_11
            && header
                .headers
                .get(header::EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            expects: if expects {
                Expects::Continue
            } else {
                Expects::Nothing
            },
            deadline: Instant::now() + WHOLE,
            tempo: BodyRateMeter::new(limits.body_rate),
            keepalive: session.get_keepalive(),
            received: 0,
        }
    }

    /// Bytes of the body so far, before inflation.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The next bytes, or nothing at the end of the body.
    pub(crate) async fn next(
        &mut self,
        session: &mut Session,
    ) -> Result<Option<Bytes>, BodyInterruption> {
        if self.expects == Expects::Continue {
            self.expects = Expects::Nothing;
            session
                .write_continue_response()
                .await
                .map_err(|error| interrupted(&error))?;
        }
        let asked = Instant::now();
        // Over HTTP/2 the framework itself waits forever.
        let silent = self.deadline.min(asked + SILENCE);
        let until = match self.tempo.patience() {
            Some(patience) => silent.min(asked + patience),
            None => silent,
        };
        let read = timeout_at(until, session.read_request_body()).await;
        let chunk = match read {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => {
                // It is no longer known where the next request would begin.
                session.set_keepalive(None);
                return Err(interrupted(&error));
            }
            Err(_) => return Err(too_slow(session)),
        };
        if let Some(chunk) = &chunk {
            self.received += chunk.len() as u64;
            let noted = self.tempo.note(asked.elapsed(), chunk.len());
            if noted.is_err() {
                return Err(too_slow(session));
            }
        } else {
            // The interim answer has turned this off, because the body was not through then.
            session.set_keepalive(self.keepalive);
        }
        Ok(chunk)
    }

    /// Reads the rest for a bounded time and up to `limit` bytes, so that a client that is still sending
    /// can read the answer.
    pub(crate) async fn discard(&mut self, session: &mut Session, limit: usize) {
        if self.expects == Expects::Continue || session.is_body_done() {
            // Such a client reads before it sends.
            return;
        }
        let mut left = limit;
        let reading = async {
            while let Ok(Some(chunk)) = session.read_request_body().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    break;
                }
            }
        };
        if tokio::time::timeout(DISCARD_TIME, reading).await.is_err() {
            log::debug!("a refused body was not read to its end");
        }
    }
}

/// Reads on and up to `limit` bytes after an answer that did not wait for the body, so that a client
/// that sends all of it first finds the answer, and not a connection that was reset.
pub(crate) async fn linger(session: &mut Session, limit: usize) {
    let mut left = limit;
    let reading = async {
        while left > 0 && !session.is_body_done() {
            let read = tokio::time::timeout(LINGERING_SILENCE, session.read_request_body());
            match read.await {
                Ok(Ok(Some(chunk))) => left = left.saturating_sub(chunk.len()),
                _ => break,
            }
        }
    };
    // The rest is not read: the client then sees a reset.
    let _ = tokio::time::timeout(LINGERING, reading).await;
}

/// Ends the connection when no further request comes within `idle` seconds: the framework would keep a
/// used connection forever (pingora 2.4). A connection that is to be closed stays so.
pub(crate) fn end_when_idle(session: &mut Session, seconds: u64) {
    if session.get_keepalive() == Some(0) {
        session.set_keepalive(Some(seconds));
    }
}

/// Ends the connection of a client that is too slow with the answer to it.
fn too_slow(session: &mut Session) -> BodyInterruption {
    session.set_keepalive(None);
    BodyInterruption::Slow
}

/// Ends an answer that the client does not read for `unread`, and stops reading the rest of a body
/// that the answer did not wait for. The framework would wait forever for both.
pub(crate) fn end_when_stuck(session: &mut Session, unread: Duration) {
    session.set_write_timeout(Some(unread));
    session.set_total_drain_timeout(Some(LINGERING));
}

fn interrupted(error: &Error) -> BodyInterruption {
    match error.etype() {
        ErrorType::ReadTimedout => BodyInterruption::Slow,
        kind if INVALID_CHUNKS.contains(&kind.as_str()) => BodyInterruption::Malformed,
        _ => BodyInterruption::Gone,
    }
}

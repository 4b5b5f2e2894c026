//! Reads the body of a request as it arrives. Slow clients get time, but only up to limits.

use std::time::Duration;

use bytes::Bytes;
use http::{header, HeaderMap, Version};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::{timeout_at, Instant};

use crate::config::RequestLimits;
use crate::rewrite::AnnouncedLength;

use crate::proxy::limits::body_rate::BodyRateMeter;

/// The longest time without new bytes in the middle of a body.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// The longest time for a whole body. It stops clients that send a byte now and then.
pub(crate) const WHOLE: Duration = Duration::from_secs(300);
/// How long the rest of a refused body is read before the answer is written. If a connection is closed with
/// unread bytes, it is reset, and the client may never read the answer.
pub(crate) const DISCARD_TIME: Duration = Duration::from_secs(2);
/// How long the rest of a body is read after an answer that was sent before its end. Web servers use similar
/// values.
const LINGERING: Duration = Duration::from_secs(30);
/// The longest time without new bytes while the rest of a body is read after the answer.
const LINGERING_SILENCE: Duration = Duration::from_secs(5);

/// The framework's names for the errors of an invalid chunk and of invalid trailer lines. It does not export
/// the error types themselves.
const INVALID_CHUNKS: [&str; 2] = ["InvalidChunk", "InvalidTrailerEnd"];

/// Why a body did not arrive completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyInterruption {
    /// The client closed the connection.
    Gone,
    /// The chunks of the body are not valid HTTP.
    Malformed,
    /// The client stopped sending, or took too long.
    Slow,
}

/// Returns the length that these headers announce for the body. `coding` is the content coding that they
/// name.
pub(crate) fn announced_length(headers: &HeaderMap, coding: Option<&str>) -> AnnouncedLength {
    let value = headers.get(header::CONTENT_LENGTH);
    let length = value.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match (length, coding) {
        (None, _) => AnnouncedLength::Unknown,
        (Some(length), None) => AnnouncedLength::OfBody(length),
        (Some(length), Some(_)) => AnnouncedLength::OfCoding(length),
    }
}

/// The body of a request that this process reads.
pub(crate) struct IncomingBody {
    expectation: Expectation,
    deadline: Instant,
    rate_meter: BodyRateMeter,
    keepalive: Option<u64>,
    /// Bytes read so far.
    received: u64,
}

/// Whether the client waits for `100 Continue` before it sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expectation {
    Nothing,
    Continue,
}

impl IncomingBody {
    /// Takes over a request. From now on only its body is read, so a client that hangs up right after it, as
    /// browsers do when a page closes, causes no error.
    ///
    /// `idle` is how long the connection may wait for the next request, in seconds. `limits` contains the
    /// minimum rate of the body.
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
            expectation: if expects {
                Expectation::Continue
            } else {
                Expectation::Nothing
            },
            deadline: Instant::now() + WHOLE,
            rate_meter: BodyRateMeter::new(limits.body_rate),
            keepalive: session.get_keepalive(),
            received: 0,
        }
    }

    /// Returns the number of bytes of the body that were read so far, before inflation.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Reads the next bytes. Returns `None` at the end of the body.
    pub(crate) async fn next(
        &mut self,
        session: &mut Session,
    ) -> Result<Option<Bytes>, BodyInterruption> {
        if self.expectation == Expectation::Continue {
            self.expectation = Expectation::Nothing;
            session
                .write_continue_response()
                .await
                .map_err(|error| interruption_of(&error))?;
        }
        let began = Instant::now();
        // Over HTTP/2 the framework itself has no time limit.
        let silence_deadline = self.deadline.min(began + SILENCE);
        let until = match self.rate_meter.time_left() {
            Some(time_left) => silence_deadline.min(began + time_left),
            None => silence_deadline,
        };
        let read = timeout_at(until, session.read_request_body()).await;
        let chunk = match read {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => {
                // The position at which the next request would begin is unknown.
                session.set_keepalive(None);
                return Err(interruption_of(&error));
            }
            Err(_) => return Err(too_slow(session)),
        };
        if let Some(chunk) = &chunk {
            self.received += chunk.len() as u64;
            let noted = self.rate_meter.note(began.elapsed(), chunk.len());
            if noted.is_err() {
                return Err(too_slow(session));
            }
        } else {
            // Writing `100 Continue` turned keep-alive off, because the body was not complete then.
            session.set_keepalive(self.keepalive);
        }
        Ok(chunk)
    }

    /// Reads and drops the rest of the body, for a limited time and up to `limit` bytes, so that a client
    /// that is still sending can read the answer.
    pub(crate) async fn discard(&mut self, session: &mut Session, limit: usize) {
        if self.expectation == Expectation::Continue || session.is_body_done() {
            // A client that expects `100 Continue` reads the answer before it sends its body.
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

/// Reads up to `limit` more bytes of the body after an answer that was sent before its end. A client that
/// sends its whole body before it reads then gets the answer and not a connection reset.
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
    // After this time the rest is not read, and the client may see a connection reset.
    let _ = tokio::time::timeout(LINGERING, reading).await;
}

/// Ends the connection if no further request arrives within this number of seconds. The framework would keep
/// a used connection forever (pingora 2.4). A connection that is already to be closed is not changed.
pub(crate) fn end_when_idle(session: &mut Session, seconds: u64) {
    if session.get_keepalive() == Some(0) {
        session.set_keepalive(Some(seconds));
    }
}

/// Closes the connection of a client that is too slow after its answer.
fn too_slow(session: &mut Session) -> BodyInterruption {
    session.set_keepalive(None);
    BodyInterruption::Slow
}

/// Sets two time limits that the framework does not have by default: it aborts an answer that the client
/// does not read for `unread`, and limits the time for reading the rest of a body after its answer.
pub(crate) fn end_when_stuck(session: &mut Session, unread: Duration) {
    session.set_write_timeout(Some(unread));
    session.set_total_drain_timeout(Some(LINGERING));
}

fn interruption_of(error: &Error) -> BodyInterruption {
    match error.etype() {
        ErrorType::ReadTimedout => BodyInterruption::Slow,
        kind if INVALID_CHUNKS.contains(&kind.as_str()) => BodyInterruption::Malformed,
        _ => BodyInterruption::Gone,
    }
}

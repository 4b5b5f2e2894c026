//! Serves Segment's calls over HTTP/1.1 without the framework, if possible: this process reads their
//! heads and bodies itself and answers them in one write.
//!
//! It serves only requests that can be read in one way: a `POST` with a path, one host and one length,
//! and nothing that changes the state of the connection. The framework gets all others, with their
//! original bytes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri, Version};
use pingora::protocols::{GetSocketDigest, Shutdown, Ssl, IO};
use pingora::server::ShutdownWatch;
use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::proxy::heap::boxed;
use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::intake::intercept::Intake;
use crate::proxy::limits::body_rate::BodyRateMeter;
use crate::proxy::listen::coalescing::CoalescingStream;
use crate::proxy::listen::written_answer::{accepted, written, NextRequest};
use crate::proxy::request::body::{BodyInterruption, DISCARD_TIME, SILENCE, WHOLE};
use crate::proxy::request::exchange::{ClientGone, ConnectionFacts, Exchange};
use crate::proxy::routes::RouteAction;
use crate::segment::{Answer, Cors};
use crate::site::head::is_plain;

/// Heads with more fields go to the framework.
const FIELDS: usize = 64;
/// The room for the fields that are passed on; most heads have fewer.
const USUAL: usize = 12;
/// The most digits of a length; no accepted body needs more.
const DIGITS: usize = 12;
/// How much of a body is read at once, in bytes.
const READ: usize = 64 * 1024;

/// Serves Segment's calls without the framework.
#[derive(Clone)]
pub(crate) struct DirectIntake {
    hedgerow: Hedgerow,
}

/// How the beginning of a request was handled.
pub(crate) enum DirectResult {
    /// It was such a call and has been answered; another request may follow on the connection.
    Answered,
    /// The same, and the connection ends.
    Last,
    /// The framework has to serve the request, which begins with these bytes.
    Not(BytesMut),
}

impl DirectIntake {
    pub(crate) fn new(hedgerow: Hedgerow) -> Self {
        Self { hedgerow }
    }

    /// Answers the request that begins with these bytes, which hold its whole head, if it is a call on a
    /// Segment route. `next_request` states whether the connection may be used again, and `leaving` whether
    /// the server shuts down, so that each answer is the last.
    pub(crate) async fn take<S: IO>(
        &self,
        stream: &mut CoalescingStream<S>,
        begun: BytesMut,
        next_request: NextRequest,
        leaving: &ShutdownWatch,
    ) -> DirectResult {
        if !begun.starts_with(b"POST ") {
            return DirectResult::Not(begun);
        }
        let begun = begun.freeze();
        let active = self.hedgerow.current();
        let choose = |host: Option<&str>, path: &str| {
            let (route, tail) = active.routes.find(host, path)?;
            let RouteAction::Segment(segment) = &route.action else {
                return None;
            };
            let fields = match segment.files.account {
                // Segment gets more of the head.
                Some(_) => PassedFields::All,
                None => PassedFields::Usual,
            };
            Some(((segment, route.number, path.len() - tail.len()), fields))
        };
        let Some((call, (segment, number, tail_at))) = DirectCall::read(&begun, choose) else {
            return DirectResult::Not(begun.into());
        };
        drop(begun);
        self.hedgerow.begin(&active);
        let mut exchange = DirectExchange {
            left: call.length,
            parts: call.parts,
            arrived: call.arrived,
            stream,
            received: 0,
            deadline: None,
            rate_meter: BodyRateMeter::new(active.config.limits.body_rate),
            unread: active.long_lived.unread,
            next_request,
            leaving,
            status: None,
        };
        // Boxed: idle connections do not hold the memory for a request.
        let intake = Intake::new(&active, segment, number);
        boxed(|| intake.serve(&mut exchange, tail_at)).await;
        match exchange.next_request {
            NextRequest::Another => DirectResult::Answered,
            NextRequest::None => {
                Shutdown::shutdown(stream).await;
                DirectResult::Last
            }
        }
    }
}

/// The head of a call, and the bytes of its body that arrived with it.
struct DirectCall {
    parts: Parts,
    length: usize,
    arrived: Bytes,
}

/// The fields of a head that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassedFields {
    All,
    /// All but those of browsers that say nothing about a Segment call.
    Usual,
}

impl PassedFields {
    fn include(self, name: &str) -> bool {
        self == Self::All || !is_unused(name)
    }
}

/// Whether a field says nothing about a Segment call. Browsers send a dozen of them with each call.
fn is_unused(name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        6 if is("accept") || is("pragma") => true,
        7 if is("referer") => true,
        12 if is("content-type") => true,
        13 if is("cache-control") => true,
        15 if is("accept-encoding") || is("accept-language") => true,
        // `Sec-Fetch-Mode`, `Sec-CH-UA` and others.
        _ => {
            let begins = name.get(..4);
            begins.is_some_and(|begins| begins.eq_ignore_ascii_case("sec-")) && !is("sec-gpc")
        }
    }
}

impl DirectCall {
    /// Parses a head that can be read in only one way. Returns `None` for every other head, and if `choose`
    /// returns `None` for its host and path. `choose` also decides which fields are passed on.
    fn read<T>(
        begun: &Bytes,
        choose: impl FnOnce(Option<&str>, &str) -> Option<(T, PassedFields)>,
    ) -> Option<(Self, T)> {
        let mut fields = [MaybeUninit::uninit(); FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(begun, &mut fields).ok()?;
        let httparse::Status::Complete(end) = parsed else {
            return None;
        };
        let (Some("POST"), Some(target), Some(1)) = (request.method, request.path, request.version)
        else {
            return None;
        };
        let (mut host, mut length) = (None, None);
        for field in request.headers.iter() {
            let once = match field.name.len() {
                4 if field.name.eq_ignore_ascii_case("host") => &mut host,
                14 if field.name.eq_ignore_ascii_case("content-length") => &mut length,
                // A transfer coding, an upgrade or a connection option may change the framing.
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => return None,
                7 if field.name.eq_ignore_ascii_case("upgrade") => return None,
                6 if field.name.eq_ignore_ascii_case("expect") => return None,
                10 if field.name.eq_ignore_ascii_case("connection") => {
                    match field.value.eq_ignore_ascii_case(b"keep-alive") {
                        true => continue,
                        false => return None,
                    }
                }
                _ => continue,
            };
            if once.replace(field.value).is_some() {
                return None;
            }
        }
        let length = number(length?)?;
        let arrived = begun.slice(end..);
        let host = host?;
        if arrived.len() > length || !is_plain(target.as_bytes(), host) {
            return None;
        }
        let uri = Uri::from_maybe_shared(begun.slice_ref(target.as_bytes())).ok()?;
        let (chosen, passed_fields) = choose(std::str::from_utf8(host).ok(), uri.path())?;
        let fields = request.headers.iter();
        let mut headers = HeaderMap::with_capacity(request.headers.len().min(USUAL));
        for field in fields.filter(|field| passed_fields.include(field.name)) {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let value = HeaderValue::from_maybe_shared(begun.slice_ref(field.value)).ok()?;
            headers.append(name, value);
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::POST;
        parts.uri = uri;
        parts.version = Version::HTTP_11;
        parts.headers = headers;
        let call = Self {
            parts,
            length,
            arrived,
        };
        Some((call, chosen))
    }
}

/// Parses a length, which consists only of digits.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// One such call on its connection.
struct DirectExchange<'c, S: IO> {
    stream: &'c mut CoalescingStream<S>,
    parts: Parts,
    /// Bytes of the body that arrived with the head.
    arrived: Bytes,
    /// Bytes of the body that have not been returned yet.
    left: usize,
    received: u64,
    /// The deadline of the whole body; set at the first wait.
    deadline: Option<Instant>,
    rate_meter: BodyRateMeter,
    /// How long the client may read nothing of its answer.
    unread: Duration,
    next_request: NextRequest,
    leaving: &'c ShutdownWatch,
    /// The status of the answer, once its writing has begun.
    status: Option<StatusCode>,
}

impl<S: IO> DirectExchange<'_, S> {
    async fn read(&mut self) -> Result<Bytes, BodyInterruption> {
        let room = self.left.min(READ);
        let mut bytes = BytesMut::with_capacity(room);
        let began = Instant::now();
        let deadline = *self.deadline.get_or_insert(began + WHOLE);
        let mut time_limit = SILENCE.min(deadline.saturating_duration_since(began));
        if let Some(time_left) = self.rate_meter.time_left() {
            time_limit = time_limit.min(time_left);
        }
        let mut limited = bytes::BufMut::limit(&mut bytes, room);
        match timeout(time_limit, self.stream.read_buf(&mut limited)).await {
            Ok(Ok(0)) => Err(BodyInterruption::Gone),
            Ok(Ok(_)) => {
                let noted = self.rate_meter.note(began.elapsed(), bytes.len());
                noted.map_err(|_| BodyInterruption::Slow)?;
                Ok(bytes.freeze())
            }
            Ok(Err(error)) => {
                log::debug!("a client's connection broke in the body of a request: {error}");
                Err(BodyInterruption::Gone)
            }
            Err(_) => Err(BodyInterruption::Slow),
        }
    }

    fn note(&mut self, piece: &Bytes) {
        self.left -= piece.len().min(self.left);
        self.received += piece.len() as u64;
    }

    /// Writes an answer, whose client may read nothing of it for `unread`.
    async fn write(&mut self, answer: &[u8]) -> Result<(), ClientGone> {
        let client_gone = |error: io::Error| ClientGone(error.to_string());
        let mut rest = answer;
        while !rest.is_empty() {
            let stream = &mut *self.stream;
            // `poll_write` would hold the answer back until further data.
            let mut write = |context: &mut Context<'_>| {
                Pin::new(&mut *stream).poll_write_vectored(context, &[IoSlice::new(rest)])
            };
            // Nearly every answer fits into the socket's buffer, and then needs no timer.
            let written = match poll_fn(|context| Poll::Ready(write(context))).await {
                Poll::Ready(written) => written,
                Poll::Pending => timeout(self.unread, poll_fn(write))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            };
            match written.map_err(client_gone)? {
                0 => return Err(client_gone(io::ErrorKind::WriteZero.into())),
                bytes => rest.advance(bytes),
            }
        }
        self.stream.flush().await.map_err(client_gone)
    }
}

impl<S: IO> Exchange for DirectExchange<'_, S> {
    fn head(&self) -> &Parts {
        &self.parts
    }

    fn authority(&self) -> Option<&str> {
        self.parts.headers.get(header::HOST)?.to_str().ok()
    }

    fn connection_facts(&self) -> ConnectionFacts {
        let digest = self.stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr());
        ConnectionFacts::new(peer, self.stream.get_ssl_digest().is_some())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyInterruption> {
        if self.left == 0 {
            return Ok(None);
        }
        let piece = match self.arrived.is_empty() {
            false => std::mem::take(&mut self.arrived),
            // Boxed: most bodies arrive with their heads.
            true => match Box::pin(self.read()).await {
                Ok(piece) => piece,
                Err(interruption) => {
                    // It is no longer known where the next request would begin.
                    self.next_request = NextRequest::None;
                    return Err(interruption);
                }
            },
        };
        self.note(&piece);
        Ok(Some(piece))
    }

    fn received(&self) -> u64 {
        self.received
    }

    async fn discard(&mut self, limit: usize) {
        if self.left == 0 {
            return;
        }
        let reading = async {
            let mut more = limit;
            while more > 0 {
                match self.next().await {
                    Ok(Some(piece)) => more = more.saturating_sub(piece.len()),
                    Ok(None) | Err(_) => break,
                }
            }
        };
        if Box::pin(tokio::time::timeout(DISCARD_TIME, reading))
            .await
            .is_err()
        {
            log::debug!("a refused body was not read to its end");
        }
        if self.left > 0 {
            self.next_request = NextRequest::None;
        }
    }

    fn end_connection(&mut self) {
        self.next_request = NextRequest::None;
    }

    fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }

    async fn answer(&mut self, answer: Answer) -> Result<(), ClientGone> {
        self.status = Some(answer.status());
        self.write(&written(&answer, self.next_request)).await
    }

    async fn accepted(&mut self, cors: &Cors) -> Result<(), ClientGone> {
        self.status = Some(StatusCode::OK);
        self.write(&accepted(cors, self.next_request)).await
    }

    fn status(&self) -> Option<StatusCode> {
        self.status
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;

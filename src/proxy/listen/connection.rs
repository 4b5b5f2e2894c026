//! Serves one connection of a client: its HTTP/1.x requests one after the other, with little memory while
//! it waits for the next.
//!
//! The framework waits for a request inside a future that includes everything that a request may need.
//! Here the first bytes are read on the stack, and then passed to the framework. No request is read
//! beyond its end, so pipelined requests are served in order.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{pin, Pin};
use std::sync::{Arc, LazyLock};
use std::task::ready;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use memchr::memmem::Finder;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Stream, IO};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use crate::proxy::limits::connection_limits::{
    ClientProtocol, ConnectionLimits, ConnectionPermit, SlowStep,
};
use crate::proxy::listen::coalescing::CoalescingStream;
use crate::proxy::listen::direct::{DirectIntake, DirectResult};
use crate::proxy::listen::extent::is_request_line;
use crate::proxy::listen::http_clock::{http_clock, HttpClock, NO_DATE};
use crate::proxy::listen::idle_timer::IdleTimer;
use crate::proxy::listen::same_host::name_one_host;
use crate::proxy::listen::written_answer::NextRequest;

/// The size of the first read of a request, which covers most requests. It is no more than the
/// framework would read, because the framework loses bytes that it has read beyond a body.
const FIRST: usize = 4 * 1024;

/// The maximum length of a head that the framework accepts, in bytes.
const LONGEST: usize = 1 << 20;

/// The conditions under which a connection ends between two requests.
pub(crate) struct Lifetime {
    /// It ends after this many seconds without a request.
    pub(crate) idle: u64,
    /// It ends when this turns true.
    pub(crate) closing: watch::Receiver<bool>,
    /// The framework's signal to shut down: the answer to a request under way is then the last.
    pub(crate) leaving: ShutdownWatch,
    /// It ends when the head of a request has taken this time.
    pub(crate) head: Duration,
    /// It ends when others need its place.
    pub(crate) connection_limits: Option<Arc<ConnectionLimits>>,
    /// Answers Segment's calls without the framework, if possible.
    pub(crate) direct: Option<DirectIntake>,
    /// The permit for it.
    pub(crate) permit: Option<ConnectionPermit>,
}

impl Lifetime {
    /// Records the protocol that the client uses.
    pub(super) fn set_protocol(&mut self, protocol: ClientProtocol) {
        if let Some(permit) = &mut self.permit {
            permit.set_protocol(protocol);
        }
    }

    /// Records that the connection ends because its client was too slow.
    pub(super) fn too_slow(&self, step: SlowStep) {
        match &self.connection_limits {
            Some(connection_limits) => connection_limits.too_slow(step),
            None => log::debug!("a connection was ended: {step:?} took too long"),
        }
    }
}

/// The answer to a client whose head takes too long (RFC 9110, 15.5.9). Browsers and SDKs do not
/// retry such a request; their heads never take this long.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// How long a client may take to read an answer that ends its connection.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Sends a client this answer, and ends the connection. It reads what the client sends meanwhile,
/// because closing a connection with unread bytes resets it, and the client might not see the
/// answer.
async fn reject_connection<S: IO>(stream: &mut CoalescingStream<S>, answer: &[u8]) {
    let rejection = async {
        stream.write_all(answer).await?;
        AsyncWriteExt::shutdown(stream).await?;
        while !first_bytes(stream, BytesMut::new()).await?.is_empty() {}
        Ok::<(), io::Error>(())
    };
    // A client that still sends after this time is cut off.
    let _ = tokio::time::timeout(LAST_ANSWER, rejection).await;
}

/// Serves HTTP/1.x until the client or this process ends the connection.
pub(crate) async fn serve<A, S>(
    mut stream: Box<CoalescingStream<S>>,
    app: &Arc<A>,
    lifetime: &Lifetime,
) where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
{
    let options = app.server_options();
    // The number of requests that may still follow the current one.
    let mut left = options.and_then(|options| options.keepalive_request_limit);
    // Each wait for a request uses both, so they are created once.
    let mut idle = IdleTimer::new(Duration::from_secs(lifetime.idle));
    let mut closing = lifetime.closing.clone();
    let mut closed = pin!(async move {
        // An error means that the sender was dropped: the connection ends as well.
        let _ = closing.wait_for(|closing| *closing).await;
    });
    while let Some(mut begun) = request(&mut *stream, lifetime, &mut idle, closed.as_mut()).await {
        let is_last = left == Some(0) || *lifetime.leaving.borrow();
        if let Some(direct) = &lifetime.direct {
            let next_request = match is_last {
                true => NextRequest::None,
                false => NextRequest::Another,
            };
            let result = direct.take(&mut *stream, begun, next_request, &lifetime.leaving);
            match result.await {
                DirectResult::Answered => {
                    left = left.map(|left| left.saturating_sub(1));
                    continue;
                }
                DirectResult::Last => return,
                DirectResult::Not(bytes) => begun = bytes,
            }
        }
        if http_clock() == HttpClock::BeforeDates {
            reject_connection(&mut *stream, NO_DATE).await;
            return;
        }
        // The direct path has checked the request line more strictly.
        if !is_request_line(&begun) {
            log::debug!("a request was refused for its first line");
            reject_connection(&mut *stream, bad_request().as_bytes()).await;
            return;
        }
        let begun = name_one_host(begun);
        let keepalive = (!is_last).then_some(lifetime.idle);
        let session = session(stream, begun, keepalive, left);
        let Some(reused) = app.process_new_http(session, &lifetime.leaving).await else {
            return;
        };
        let (reused, _): (Stream, _) = reused.consume();
        // The framework returns the same stream that it got.
        let Ok(same) = reused.into_any().downcast() else {
            return;
        };
        stream = same;
        left = left.map(|left| left.saturating_sub(1));
    }
}

/// Returns the framework's session for the request that begins with these bytes. This is a separate
/// function, because otherwise a connection would hold the session's memory for its whole life.
fn session<S: IO + 'static>(
    mut stream: Box<CoalescingStream<S>>,
    mut begun: BytesMut,
    keepalive: Option<u64>,
    left: Option<u32>,
) -> ServerSession {
    stream.read_no_further(&mut begun);
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(keepalive);
    session.set_keepalive_reuses_remaining(left);
    session.set_pipelined_prefix(begun);
    session
}

/// Returns the answer to a head with an invalid first line, in the form of the framework's answers to
/// other unreadable heads.
fn bad_request() -> String {
    // The clock shows no time before 1970, see `http_clock`; it may be set just now.
    let now = SystemTime::now().max(SystemTime::UNIX_EPOCH);
    let now = httpdate::HttpDate::from(now);
    format!(
        "HTTP/1.1 400 Bad Request\r\nDate: {now}\r\nContent-Length: 0\r\n\
         Cache-Control: private, no-store\r\nConnection: close\r\n\r\n"
    )
}

/// Reads the head of the next request, and the bytes that arrive with it. Returns `None` when the
/// connection ends instead.
async fn request<S: IO>(
    stream: &mut CoalescingStream<S>,
    lifetime: &Lifetime,
    idle: &mut IdleTimer,
    closed: Pin<&mut impl Future<Output = ()>>,
) -> Option<BytesMut> {
    let ahead = stream.next_request();
    let connection_limits = lifetime.connection_limits.as_deref();
    let asked_to_close = async {
        match connection_limits {
            Some(connection_limits) => connection_limits.asked_to_close().await,
            None => std::future::pending().await,
        }
    };
    let read = tokio::select! {
        biased; // bytes that have already arrived are served
        read = first_bytes(stream, ahead) => read,
        () = idle.wait() => {
            log::debug!("a client's connection was idle");
            return None;
        }
        () = closed => return None,
        () = asked_to_close => {
            log::debug!("an idle connection was closed to accept a new one");
            return None;
        }
    };
    match read {
        Ok(bytes) if is_whole(&bytes) => Some(bytes),
        Ok(bytes) if !bytes.is_empty() => {
            // Boxed, so that a connection does not hold its memory for its whole life.
            let rest = read_rest_of_head(stream, bytes);
            let rest = Box::pin(tokio::time::timeout(lifetime.head, rest));
            match rest.await {
                Ok(Ok(bytes)) => Some(bytes),
                Ok(Err(error)) => {
                    log::debug!("a client's connection broke in the head of a request: {error}");
                    None
                }
                Err(_) => {
                    lifetime.too_slow(SlowStep::Head);
                    reject_connection(stream, TOO_SLOW).await;
                    None
                }
            }
        }
        Ok(_) => None,
        Err(error) => {
            log::debug!("a client's connection broke between two requests: {error}");
            None
        }
    }
}

/// Reads until a head is complete, or longer than the framework accepts; then the framework answers
/// it. The framework also handles a client that has hung up.
async fn read_rest_of_head<S: IO>(
    stream: &mut CoalescingStream<S>,
    mut head: BytesMut,
) -> io::Result<BytesMut> {
    loop {
        // Empty lines before the head would look like its end.
        let begins = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        drop(head.split_to(begins.unwrap_or(head.len())));
        let known = head.len();
        let more = first_bytes(stream, BytesMut::new()).await?;
        if more.is_empty() && head.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&more);
        let ends = match known {
            0 => is_whole(&head),
            known => has_empty_line_after(&head, known.saturating_sub(3)),
        };
        if ends || more.is_empty() || head.len() >= LONGEST {
            return Ok(head);
        }
    }
}

/// Whether the bytes contain the complete head of a request, which ends with an empty line. Empty lines
/// before the head are skipped (RFC 9112, 2.2).
fn is_whole(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    start.is_some_and(|start| has_empty_line_after(bytes, start))
}

/// Whether an empty line follows after this position.
fn has_empty_line_after(bytes: &[u8], start: usize) -> bool {
    // Nearly all clients end lines so.
    static USUAL: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\r\n\r\n"));
    let head = bytes.get(start..).unwrap_or_default();
    if USUAL.find(head).is_some() {
        return true;
    }
    memchr::memchr_iter(b'\n', head).any(|end| {
        let next = head.get(end + 1..).unwrap_or_default();
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

/// Returns `ahead`, or reads the next bytes if it is empty.
async fn first_bytes<S: IO>(
    stream: &mut CoalescingStream<S>,
    ahead: BytesMut,
) -> io::Result<BytesMut> {
    if !ahead.is_empty() {
        return Ok(ahead);
    }
    std::future::poll_fn(|context| {
        let mut bytes = [MaybeUninit::uninit(); FIRST];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        Ok(BytesMut::from(buffer.filled())).into()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line_behind_others() {
        for (bytes, whole) in [
            ("", false),
            ("GET / HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r", false),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("GET / HTTP/1.1\nHost: h\n\n", true),
            ("GET / HTTP/1.1\nHost: h\n\r\nbody", true),
            ("GET / HTTP/1.1\r\n\r\nbody", true),
            ("\r\n\r\n", false),
            ("\r\n\r\nGET / HTTP/1.1\r\n", false),
            ("\n\nGET / HTTP/1.1\r\n\r\n", true),
        ] {
            assert_eq!(is_whole(bytes.as_bytes()), whole, "{bytes:?}");
        }
    }
}

//! A client's request and the writer of its answer, over a connection that the framework reads
//! or this process itself (`listen/direct.rs`).

use std::future::Future;
use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{header, StatusCode};
use pingora::http::RequestHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::proxy::Session;

use crate::config::RequestLimits;
use crate::rewrite::enrich::edge_session::Transport;
use crate::segment::Answer;
use crate::site::head::{split_target, RequestHead};

use crate::proxy::reply;
use crate::proxy::request::body::{BodyInterruption, IncomingBody};

/// What the connection itself shows about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionFacts {
    /// The peer's address; none over a Unix socket.
    pub(crate) peer: Option<IpAddr>,
    /// The transport on which the request arrived.
    pub(crate) transport: Transport,
}

impl ConnectionFacts {
    /// That of a request which the framework has read.
    pub(crate) fn of(session: &Session) -> Self {
        let ours = session.digest();
        Self::new(
            session.client_addr(),
            ours.is_some_and(|digest| digest.ssl_digest.is_some()),
        )
    }

    /// With this other end, over TLS or not.
    pub(crate) fn new(peer: Option<&SocketAddr>, tls: bool) -> Self {
        let peer = peer.and_then(SocketAddr::as_inet);
        Self {
            peer: peer.map(|peer| peer.ip().to_canonical()),
            transport: match tls {
                true => Transport::Tls,
                false => Transport::Plain,
            },
        }
    }
}

/// One request that this process reads and answers.
pub(crate) trait Exchange: Send {
    /// The request's head.
    fn head(&self) -> &Parts;

    /// The requested authority, with or without a port.
    fn authority(&self) -> Option<&str>;

    /// What the connection itself shows about the client.
    fn wire(&self) -> ConnectionFacts;

    /// The next bytes of the body; nothing at its end.
    ///
    /// # Errors
    ///
    /// When the body does not arrive as a whole.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, BodyInterruption>> + Send;

    /// Bytes of the body so far, before inflation.
    fn received(&self) -> u64;

    /// Reads the rest for a bounded time and up to `limit` bytes, so that a client that is still sending
    /// can read the answer.
    fn discard(&mut self, limit: usize) -> impl Future<Output = ()> + Send;

    /// Ends the connection after this request.
    fn end_connection(&mut self);

    /// Whether the process or the server shuts down, so that this answer is the connection's last.
    fn is_leaving(&self) -> bool;

    /// Writes the answer, with the exact length of its body.
    fn answer(&mut self, answer: Answer) -> impl Future<Output = Result<(), ClientGone>> + Send;

    /// The status of the answer, once it was written.
    fn status(&self) -> Option<StatusCode>;
}

/// The client hung up before its answer.
#[derive(Debug)]
pub(crate) struct ClientGone(pub(crate) String);

/// How the framework reads a request.
#[derive(Clone, Copy)]
pub(crate) struct ReadLimits<'a> {
    /// How long its connection waits for the next one, in seconds.
    pub(crate) idle_seconds: u64,
    /// How fast and how large it has to be.
    pub(crate) limits: &'a RequestLimits,
}

/// A request that the framework has read.
pub(crate) struct FrameworkRequest<'s> {
    session: &'s mut Session,
    incoming: IncomingBody,
}

impl<'s> FrameworkRequest<'s> {
    /// Takes over a request, which comes and ends like this.
    pub(crate) fn new(session: &'s mut Session, framing: ReadLimits<'_>) -> Self {
        let incoming = IncomingBody::begin(session, framing.idle_seconds, framing.limits);
        Self { session, incoming }
    }
}

impl Exchange for FrameworkRequest<'_> {
    fn head(&self) -> &Parts {
        self.session.req_header()
    }

    fn authority(&self) -> Option<&str> {
        authority(self.session.req_header())
    }

    fn wire(&self) -> ConnectionFacts {
        ConnectionFacts::of(self.session)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyInterruption> {
        self.incoming.next(self.session).await
    }

    fn received(&self) -> u64 {
        self.incoming.received()
    }

    async fn discard(&mut self, limit: usize) {
        self.incoming.discard(self.session, limit).await;
    }

    fn end_connection(&mut self) {
        self.session.set_keepalive(None);
    }

    fn is_leaving(&self) -> bool {
        self.session.is_process_shutting_down()
    }

    async fn answer(&mut self, answer: Answer) -> Result<(), ClientGone> {
        let written = reply::write(self.session, answer).await;
        written.map_err(|error| ClientGone(error.to_string()))
    }

    fn status(&self) -> Option<StatusCode> {
        self.session
            .response_written()
            .map(|written| written.status)
    }
}

/// The head of a request, as the checks see it.
pub(crate) fn head(session: &Session) -> RequestHead<'_> {
    let head = session.req_header();
    RequestHead {
        method: &head.method,
        target: head.raw_path(),
        authority: head.uri.authority().map(|authority| authority.as_str()),
        version: head.version,
        headers: &head.headers,
    }
}

/// The requested authority: that of the target (HTTP/2, or a whole address in HTTP/1), else that of
/// the header. The framework keeps a whole address out of `uri`.
pub(crate) fn authority(head: &RequestHeader) -> Option<&str> {
    if let Some(authority) = head.uri.authority() {
        return Some(authority.as_str());
    }
    if let Some((Some(authority), _)) = split_target(head.raw_path()) {
        return std::str::from_utf8(authority).ok();
    }
    head.headers.get(header::HOST)?.to_str().ok()
}

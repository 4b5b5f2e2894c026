//! A client's request and the writer of its answer. Either the framework reads the connection, or this
//! process does so itself (`listen/direct.rs`).

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
use crate::segment::{Answer, Cors, Reply};
use crate::site::head::{split_target, RequestHead};

use crate::proxy::reply;
use crate::proxy::request::body::{BodyInterruption, IncomingBody};

/// The facts about a client that its connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionFacts {
    /// The peer's address; `None` over a Unix socket.
    pub(crate) peer: Option<IpAddr>,
    /// The transport on which the request arrived.
    pub(crate) transport: Transport,
}

impl ConnectionFacts {
    /// Returns the facts about the connection of a request that the framework has read.
    pub(crate) fn of(session: &Session) -> Self {
        let digest = session.digest();
        Self::new(
            session.client_addr(),
            digest.is_some_and(|digest| digest.ssl_digest.is_some()),
        )
    }

    /// Creates the facts from the address of the peer. `tls` states whether the connection uses TLS.
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
    /// Returns the request's head.
    fn head(&self) -> &Parts;

    /// Returns the requested authority, with or without a port.
    fn authority(&self) -> Option<&str>;

    /// Returns the facts about the client that the connection shows.
    fn connection_facts(&self) -> ConnectionFacts;

    /// Reads the next bytes of the body. Returns `None` at its end.
    ///
    /// # Errors
    ///
    /// If the body does not arrive completely.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, BodyInterruption>> + Send;

    /// Returns the number of bytes of the body that were read so far, before inflation.
    fn received(&self) -> u64;

    /// Reads and drops the rest of the body, for a limited time and up to `limit` bytes, so that a client
    /// that is still sending can read the answer.
    fn discard(&mut self, limit: usize) -> impl Future<Output = ()> + Send;

    /// Closes the connection after this request.
    fn end_connection(&mut self);

    /// Returns whether the process or the server shuts down. This answer is then the last one of the
    /// connection.
    fn is_leaving(&self) -> bool;

    /// Writes the answer, with the exact length of its body.
    fn answer(&mut self, answer: Answer) -> impl Future<Output = Result<(), ClientGone>> + Send;

    /// Writes the answer to a call whose events are safe and that sets no cookie.
    fn accepted(&mut self, cors: &Cors) -> impl Future<Output = Result<(), ClientGone>> + Send {
        self.answer(Reply::Accepted.answer(cors))
    }

    /// Returns the status of the answer, or `None` before the answer was written.
    fn status(&self) -> Option<StatusCode>;
}

/// The client hung up before its answer.
#[derive(Debug)]
pub(crate) struct ClientGone(pub(crate) String);

/// The limits for reading a request through the framework.
#[derive(Clone, Copy)]
pub(crate) struct ReadLimits<'a> {
    /// How long the connection waits for the next request, in seconds.
    pub(crate) idle_seconds: u64,
    /// The configured limits. Only the minimum rate of the body is used here.
    pub(crate) limits: &'a RequestLimits,
}

/// A request that the framework has read.
pub(crate) struct FrameworkRequest<'s> {
    session: &'s mut Session,
    incoming: IncomingBody,
}

impl<'s> FrameworkRequest<'s> {
    /// Takes over a request and applies these limits to it.
    pub(crate) fn new(session: &'s mut Session, read_limits: ReadLimits<'_>) -> Self {
        let incoming = IncomingBody::begin(session, read_limits.idle_seconds, read_limits.limits);
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

    fn connection_facts(&self) -> ConnectionFacts {
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

/// Returns the head of a request for the checks.
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

/// Returns the requested authority: that of the request target (HTTP/2, or an absolute URL in HTTP/1), or by
/// default that of the `Host` header. The framework does not store an absolute URL in `uri`.
pub(crate) fn authority(head: &RequestHeader) -> Option<&str> {
    if let Some(authority) = head.uri.authority() {
        return Some(authority.as_str());
    }
    if let Some((Some(authority), _)) = split_target(head.raw_path()) {
        return std::str::from_utf8(authority).ok();
    }
    head.headers.get(header::HOST)?.to_str().ok()
}

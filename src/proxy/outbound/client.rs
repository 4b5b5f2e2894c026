//! A client of one host: its connections, and one request after the other over each of them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::connectors::ConnectorOptions;
use pingora::protocols::http::client::HttpSession;
use pingora::time::timeout;
use pingora::{Error, ErrorType};

use crate::proxy::outbound::answer::{AnswerHead, BodyEnd, WantedFields};
use crate::proxy::outbound::broken::{BrokenExchange, ExchangeFailure};
use crate::proxy::outbound::http1::Http1;
use crate::proxy::outbound::idle::Idle;
use crate::proxy::outbound::request::{Length, UpstreamRequest};
use crate::proxy::outbound::session::{BodyWritten, RequestFailure, UpstreamSession};
use crate::proxy::outbound::upstream::{Addresses, UpstreamHost, IDLE};
use crate::proxy::outbound::verdict::NoAnswerReason;
use crate::proxy::random::random_bits;

/// The number of addresses that are tried before a request fails.
pub(crate) const CONNECTS: usize = 3;
/// The number of connections of one connector that are kept for reuse.
pub(crate) const POOL: usize = 256;

/// How to connect to hosts that are verified with the same authorities, and the idle connections to
/// them.
pub(crate) struct ConnectionPool {
    connector: Connector,
    idle: Arc<Idle>,
}

impl ConnectionPool {
    /// With the authorities of this file, else the machine's.
    pub(crate) fn new(authorities: Option<&Path>) -> Self {
        let mut options = ConnectorOptions::new(POOL);
        options.ca_file = authorities.map(|path| path.to_string_lossy().into_owned());
        Self {
            connector: Connector::new(Some(options)),
            idle: Idle::new(POOL),
        }
    }
}

/// A client of one host.
pub(crate) struct Client {
    upstream: UpstreamHost,
    connections: Arc<ConnectionPool>,
    /// The target: scheme, name and port.
    to: Arc<str>,
    /// Connections that were opened, and requests that found one.
    opened: AtomicU64,
    reused: AtomicU64,
}

/// The client's usage so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamUse {
    /// Connections that were opened, and requests that found one.
    pub(crate) opened: u64,
    pub(crate) reused: u64,
    /// Lookups of the host's name that gave addresses, and those that gave none.
    pub(crate) resolved: u64,
    pub(crate) unresolved: u64,
}

/// Whether a connection may come from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionChoice {
    /// A connection that waits there is taken.
    Shared,
    /// Always a new connection: it cannot have been closed by the peer meanwhile.
    Fresh,
}

/// A connection on which one request is on its way.
struct ActiveConnection {
    session: UpstreamSession,
    reused: Reused,
    address: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reused {
    Yes,
    No,
}

impl Client {
    pub(crate) fn new(upstream: UpstreamHost, connections: Arc<ConnectionPool>) -> Self {
        Self {
            to: upstream.identity().into(),
            upstream,
            connections,
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        }
    }

    /// The usage so far.
    pub(crate) fn used(&self) -> UpstreamUse {
        let (resolved, unresolved) = self.upstream.lookups();
        UpstreamUse {
            opened: self.opened.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
            resolved,
            unresolved,
        }
    }

    fn count(&self, reused: Reused) {
        let counter = match reused {
            Reused::Yes => &self.reused,
            Reused::No => &self.opened,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The longest that one read or one write may take.
    pub(crate) fn patience(&self) -> Duration {
        self.upstream.timeouts().exchange
    }

    /// Sends a request with its whole body and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: UpstreamRequest<'_>,
        body: &Bytes,
        fields: WantedFields,
    ) -> Result<OpenAnswer<'_>, NoAnswerReason> {
        let mut pool = ConnectionChoice::Shared;
        loop {
            let mut line = self.line(pool).await?;
            line.session.begin(self.patience());
            match line.session.send_whole(&request, body, fields).await {
                Ok(written) => return self.open_answer(line, written),
                Err(broken) => {
                    // The sign that the peer has closed a pooled connection: not a timeout and not
                    // an answer that is not HTTP.
                    let stale = line.reused == Reused::Yes && broken.how == ExchangeFailure::Closed;
                    self.abandon(line).await;
                    if stale {
                        log::debug!("a pooled connection was stale; a new one is used");
                        pool = ConnectionChoice::Fresh;
                        continue;
                    }
                    log::debug!("no answer from {}: {}", self.to, broken);
                    return Err(broken.reason());
                }
            }
        }
    }

    /// Begins a request whose body is not complete yet, over a new connection: it cannot be
    /// repeated after the first write, so it must not use a connection that the peer has closed.
    pub(crate) async fn open(
        &self,
        request: UpstreamRequest<'_>,
        fields: WantedFields,
    ) -> Result<Sending<'_>, NoAnswerReason> {
        let mut line = self.line(ConnectionChoice::Fresh).await?;
        line.session.begin(self.patience());
        match line.session.send(&request, Length::Unknown).await {
            Ok(()) => Ok(Sending {
                client: self,
                line,
                fields,
            }),
            Err(broken) => {
                self.abandon(line).await;
                Err(broken.reason())
            }
        }
    }

    fn open_answer(
        &self,
        mut line: ActiveConnection,
        written: BodyWritten,
    ) -> Result<OpenAnswer<'_>, NoAnswerReason> {
        let head = line.session.take_head().ok_or(NoAnswerReason::Closed)?;
        Ok(OpenAnswer {
            client: self,
            line,
            head,
            written,
        })
    }

    /// A connection, from the pool or new, trying one address after the other.
    async fn line(&self, pool: ConnectionChoice) -> Result<ActiveConnection, NoAnswerReason> {
        let known = self
            .upstream
            .addresses()
            .await
            .map_err(|_| NoAnswerReason::Dns)?;
        let first = self
            .upstream
            .pick(&known, &[])
            .ok_or(NoAnswerReason::Connect)?;
        if pool == ConnectionChoice::Shared {
            if let Some(session) = self.connections.idle.take(&self.to, first) {
                self.count(Reused::Yes);
                return Ok(ActiveConnection {
                    session: UpstreamSession::Http1(session),
                    reused: Reused::Yes,
                    address: first,
                });
            }
        }
        // Boxed: most requests find a connection and need no memory to open one.
        Box::pin(self.connect(&known, first, pool)).await
    }

    async fn connect(
        &self,
        known: &Addresses,
        first: SocketAddr,
        mut pool: ConnectionChoice,
    ) -> Result<ActiveConnection, NoAnswerReason> {
        let mut tried = Vec::new();
        let mut next = Some(first);
        let mut trouble = NoAnswerReason::Connect;
        while let Some(address) = next {
            let mut peer = self.upstream.peer(address);
            if pool == ConnectionChoice::Fresh {
                // The framework's pool of HTTP/2 connections is keyed by this too, so nothing in it
                // can match. One stream per connection keeps it out of that pool.
                peer.group_key = random_bits() as u64 | 1;
                peer.options.max_h2_streams = 1;
            }
            match self.connections.connector.get_http_session(&peer).await {
                Ok((session, reused)) => {
                    let session = match session {
                        HttpSession::H1(session) => {
                            UpstreamSession::Http1(Box::new(Http1::new(session.into_inner())))
                        }
                        session => UpstreamSession::Http2(Box::new(session), None),
                    };
                    let reused = if reused { Reused::Yes } else { Reused::No };
                    self.count(reused);
                    return Ok(ActiveConnection {
                        session,
                        reused,
                        address,
                    });
                }
                // A pooled HTTP/2 connection that has ended: the address is not to blame.
                Err(error) if pool == ConnectionChoice::Shared && is_http2_error(&error) => {
                    pool = ConnectionChoice::Fresh
                }
                Err(error) => {
                    log::debug!("no connection to {address}: {error}");
                    trouble = NoAnswerReason::from_error(&error);
                    known.avoid(address);
                    tried.push(address);
                    next = match tried.len() < CONNECTS {
                        true => self.upstream.pick(known, &tried),
                        false => None,
                    };
                }
            }
        }
        Err(trouble)
    }

    /// Returns a connection whose answer has been read to the pool.
    async fn release(&self, line: ActiveConnection) {
        match line.session {
            UpstreamSession::Http1(session) if session.is_reusable() => {
                self.connections.idle.put(&self.to, line.address, session);
            }
            UpstreamSession::Http1(_) => {}
            UpstreamSession::Http2(session, _) => {
                let peer = self.upstream.peer(line.address);
                let connector = &self.connections.connector;
                let release = connector.release_http_session(*session, &peer, Some(IDLE));
                Box::pin(release).await;
            }
        }
    }

    /// Ends an exchange so that the peer sees an unfinished request as unfinished: a closed
    /// connection, or a reset stream.
    async fn abandon(&self, line: ActiveConnection) {
        // An HTTP/1.1 connection closes when it is dropped.
        let UpstreamSession::Http2(mut session, _) = line.session else {
            return;
        };
        Box::pin(session.shutdown()).await;
        if let HttpSession::H2(stream) = &*session {
            // Other streams may continue; new ones get a new connection.
            stream.conn.mark_shutdown();
        }
        let peer = self.upstream.peer(line.address);
        let connector = &self.connections.connector;
        Box::pin(connector.release_http_session(*session, &peer, None)).await;
    }
}

/// An answer whose head has been read. If it is dropped, its connection closes.
pub(crate) struct OpenAnswer<'a> {
    client: &'a Client,
    line: ActiveConnection,
    pub(crate) head: AnswerHead,
    written: BodyWritten,
}

impl OpenAnswer<'_> {
    /// Reads the body up to `limit` bytes, within this time, and keeps the first `kept` of them.
    /// The connection is used again if the body was read to its end.
    pub(crate) async fn body(
        mut self,
        kept: usize,
        limit: usize,
        patience: Duration,
    ) -> Result<(Vec<u8>, BodyEnd), BrokenExchange> {
        let mut body = Vec::new();
        if self.written == BodyWritten::Answered {
            self.client.abandon(self.line).await;
            return Ok((body, BodyEnd::Whole));
        }
        let reading = self.line.session.read_body(&mut body, kept, limit);
        let read = timeout(patience, reading).await;
        match read.unwrap_or_else(|_| {
            Err(BrokenExchange::new(
                ExchangeFailure::Late,
                "a body that drips",
            ))
        }) {
            Ok(BodyEnd::Whole) => {
                self.client.release(self.line).await;
                Ok((body, BodyEnd::Whole))
            }
            Ok(BodyEnd::TooLarge) => {
                self.client.abandon(self.line).await;
                Ok((body, BodyEnd::TooLarge))
            }
            Err(broken) => {
                self.client.abandon(self.line).await;
                Err(broken)
            }
        }
    }
}

impl OpenAnswer<'_> {
    /// The next piece of a body that is passed on as it comes; nothing at its end. Each read has the client's
    /// timeout.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, BrokenExchange> {
        match self.written {
            BodyWritten::Answered => Ok(None),
            BodyWritten::All => self.line.session.read_piece().await,
        }
    }

    /// Keeps the connection for the next request, once the body has been read to its end.
    pub(crate) async fn read_to_end(self) {
        match self.written {
            BodyWritten::Answered => self.client.abandon(self.line).await,
            BodyWritten::All => self.client.release(self.line).await,
        }
    }

    /// Closes the connection before the body's end.
    pub(crate) async fn give_up(self) {
        self.client.abandon(self.line).await;
    }
}

/// A request whose body is still being written. If it is dropped, the connection closes in the
/// middle of the request.
pub(crate) struct Sending<'a> {
    client: &'a Client,
    line: ActiveConnection,
    /// Which fields of the answer's head are wanted.
    fields: WantedFields,
}

impl<'a> Sending<'a> {
    /// Writes the next piece, and waits until the peer accepts it. Returns whether the answer has
    /// come already; then it is a rejection, and the upstream reads no further.
    pub(crate) async fn write(
        &mut self,
        piece: Bytes,
    ) -> Result<Option<AnswerHead>, NoAnswerReason> {
        let session = &mut self.line.session;
        let written = match session.refused_early(self.fields) {
            Ok(true) => return Ok(session.take_head()),
            Ok(false) => session.piece(piece).await,
            Err(failed) => Err(failed),
        };
        match written {
            Ok(()) => Ok(None),
            Err(failed) => self.early_answer(failed).await.map(Some),
        }
    }

    /// Waits for an answer that does not wait for the rest of the body; the upstream then reads no
    /// further. Dropping this future loses nothing.
    pub(crate) async fn refused(&mut self) -> Result<AnswerHead, NoAnswerReason> {
        let session = &mut self.line.session;
        match session.refused(self.fields).await {
            Ok(()) => session.take_head().ok_or(NoAnswerReason::Closed),
            Err(RequestFailure::Read(broken) | RequestFailure::Write(broken)) => {
                Err(broken.reason())
            }
        }
    }

    async fn early_answer(&mut self, failed: RequestFailure) -> Result<AnswerHead, NoAnswerReason> {
        let session = &mut self.line.session;
        match session.early_answer(failed, self.fields).await {
            Ok(_) => session.take_head().ok_or(NoAnswerReason::Closed),
            Err(broken) => Err(broken.reason()),
        }
    }

    /// Writes the last piece and waits for the head of the answer.
    pub(crate) async fn finish(mut self, piece: Bytes) -> Result<OpenAnswer<'a>, NoAnswerReason> {
        let session = &mut self.line.session;
        let written = match session.refused_early(self.fields) {
            Ok(true) => Ok(BodyWritten::Answered),
            Ok(false) => match session.last_piece(piece).await {
                Ok(()) => session
                    .read_head(self.fields)
                    .await
                    .map(|()| BodyWritten::All),
                Err(failed) => Box::pin(session.early_answer(failed, self.fields)).await,
            },
            Err(failed) => Box::pin(session.early_answer(failed, self.fields)).await,
        };
        match written {
            Ok(written) => self.client.open_answer(self.line, written),
            Err(broken) => {
                self.abort().await;
                Err(broken.reason())
            }
        }
    }

    /// Ends the request without ending its body, so that nothing of it is stored.
    pub(crate) async fn abort(self) {
        self.client.abandon(self.line).await;
    }
}

fn is_http2_error(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Error | ErrorType::InvalidH2)
}

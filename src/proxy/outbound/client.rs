//! A client of one host. Each of its connections carries one request at a time.

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
use crate::proxy::outbound::upstream::{Addresses, Unresolved, UpstreamHost, IDLE};
use crate::proxy::outbound::verdict::NoAnswerReason;
use crate::proxy::random::random_bits;

/// The number of addresses that are tried before a request fails.
pub(crate) const CONNECTS: usize = 3;
/// The number of idle connections that one connector keeps for reuse.
pub(crate) const POOL: usize = 256;

/// The connector to hosts that are verified with the same authorities, and the idle connections to
/// these hosts.
pub(crate) struct ConnectionPool {
    connector: Connector,
    idle: Arc<Idle>,
}

impl ConnectionPool {
    /// Creates an empty pool. It verifies hosts with the authorities of this file, or with the machine's
    /// authorities by default.
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
    target: Arc<str>,
    /// The number of connections that were opened.
    opened: AtomicU64,
    /// The number of requests that reused a connection.
    reused: AtomicU64,
}

/// The client's usage so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamUse {
    /// The number of connections that were opened.
    pub(crate) opened: u64,
    /// The number of requests that reused a connection.
    pub(crate) reused: u64,
    /// The number of lookups of the host's name that returned addresses.
    pub(crate) resolved: u64,
    /// The number of lookups that returned no address.
    pub(crate) unresolved: u64,
}

/// Whether a request may use a connection from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionChoice {
    /// An idle connection of the pool, if there is one; otherwise a new one.
    Shared,
    /// Always a new connection, because the peer may have closed an idle one.
    Fresh,
}

/// A connection that carries a request.
struct ActiveConnection {
    session: UpstreamSession,
    reused: ConnectionReuse,
    address: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionReuse {
    Yes,
    No,
}

impl Client {
    pub(crate) fn new(upstream: UpstreamHost, connections: Arc<ConnectionPool>) -> Self {
        Self {
            target: upstream.identity().into(),
            upstream,
            connections,
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        }
    }

    /// Returns the usage so far.
    pub(crate) fn used(&self) -> UpstreamUse {
        let (resolved, unresolved) = self.upstream.lookups();
        UpstreamUse {
            opened: self.opened.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
            resolved,
            unresolved,
        }
    }

    fn count(&self, reused: ConnectionReuse) {
        let counter = match reused {
            ConnectionReuse::Yes => &self.reused,
            ConnectionReuse::No => &self.opened,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the timeout of each read and each write.
    pub(crate) fn timeout(&self) -> Duration {
        self.upstream.timeouts().exchange
    }

    /// Sends a request with its whole body and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: UpstreamRequest<'_>,
        body: &Bytes,
        fields: WantedFields,
    ) -> Result<OpenAnswer<'_>, NoAnswerReason> {
        let mut choice = ConnectionChoice::Shared;
        loop {
            let mut connection = self.connection(choice).await?;
            connection.session.begin(self.timeout());
            match connection.session.send_whole(&request, body, fields).await {
                Ok(written) => return self.open_answer(connection, written),
                Err(broken) => {
                    // Only this failure shows that the peer has closed a pooled connection. A timeout
                    // and an answer that is not HTTP do not.
                    let stale = connection.reused == ConnectionReuse::Yes
                        && broken.failure == ExchangeFailure::Closed;
                    self.abandon(connection).await;
                    if stale {
                        log::debug!("a pooled connection was stale; a new one is used");
                        choice = ConnectionChoice::Fresh;
                        continue;
                    }
                    log::debug!("no answer from {}: {}", self.target, broken);
                    return Err(broken.reason());
                }
            }
        }
    }

    /// Begins a request whose body is not complete yet, over a new connection. Such a request cannot be
    /// repeated after its first write, so it must not use a connection that the peer may have closed.
    pub(crate) async fn open(
        &self,
        request: UpstreamRequest<'_>,
        fields: WantedFields,
    ) -> Result<Sending<'_>, NoAnswerReason> {
        let mut connection = self.connection(ConnectionChoice::Fresh).await?;
        connection.session.begin(self.timeout());
        match connection.session.send(&request, Length::Unknown).await {
            Ok(()) => Ok(Sending {
                client: self,
                connection,
                fields,
            }),
            Err(broken) => {
                self.abandon(connection).await;
                Err(broken.reason())
            }
        }
    }

    fn open_answer(
        &self,
        mut connection: ActiveConnection,
        written: BodyWritten,
    ) -> Result<OpenAnswer<'_>, NoAnswerReason> {
        let head = connection
            .session
            .take_head()
            .ok_or(NoAnswerReason::Closed)?;
        Ok(OpenAnswer {
            client: self,
            connection,
            head,
            written,
        })
    }

    /// Takes a connection from the pool, or opens one. Tries one address after the other.
    async fn connection(
        &self,
        choice: ConnectionChoice,
    ) -> Result<ActiveConnection, NoAnswerReason> {
        let addresses = self
            .upstream
            .addresses()
            .await
            .map_err(NoAnswerReason::from)?;
        let first = self
            .upstream
            .pick(&addresses, &[])
            .ok_or(NoAnswerReason::Connect)?;
        if choice == ConnectionChoice::Shared {
            if let Some(session) = self.connections.idle.take(&self.target, first) {
                self.count(ConnectionReuse::Yes);
                return Ok(ActiveConnection {
                    session: UpstreamSession::Http1(session),
                    reused: ConnectionReuse::Yes,
                    address: first,
                });
            }
        }
        // Boxed, because most requests find a pooled connection and need no memory to open one.
        Box::pin(self.connect(&addresses, first, choice)).await
    }

    async fn connect(
        &self,
        addresses: &Addresses,
        first: SocketAddr,
        mut choice: ConnectionChoice,
    ) -> Result<ActiveConnection, NoAnswerReason> {
        let mut tried = Vec::new();
        let mut next = Some(first);
        let mut reason = NoAnswerReason::Connect;
        while let Some(address) = next {
            let mut peer = self.upstream.peer(address);
            if choice == ConnectionChoice::Fresh {
                // The key of the framework's pool of HTTP/2 connections includes this number, so no
                // pooled connection matches. The limit of one stream keeps the new one out of that pool.
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
                    let reused = if reused {
                        ConnectionReuse::Yes
                    } else {
                        ConnectionReuse::No
                    };
                    self.count(reused);
                    return Ok(ActiveConnection {
                        session,
                        reused,
                        address,
                    });
                }
                // A pooled HTTP/2 connection has ended. This is not a failure of the address.
                Err(error) if choice == ConnectionChoice::Shared && is_http2_error(&error) => {
                    choice = ConnectionChoice::Fresh
                }
                Err(error) => {
                    log::debug!("no connection to {address}: {error}");
                    reason = NoAnswerReason::from_error(&error);
                    addresses.avoid(address);
                    tried.push(address);
                    next = match tried.len() < CONNECTS {
                        true => self.upstream.pick(addresses, &tried),
                        false => None,
                    };
                }
            }
        }
        Err(reason)
    }

    /// Puts a connection back into the pool after its answer was read. Closes an HTTP/1.1 connection that
    /// cannot be reused.
    async fn release(&self, connection: ActiveConnection) {
        match connection.session {
            UpstreamSession::Http1(session) if session.is_reusable() => {
                self.connections
                    .idle
                    .put(&self.target, connection.address, session);
            }
            UpstreamSession::Http1(_) => {}
            UpstreamSession::Http2(session, _) => {
                let peer = self.upstream.peer(connection.address);
                let connector = &self.connections.connector;
                let release = connector.release_http_session(*session, &peer, Some(IDLE));
                Box::pin(release).await;
            }
        }
    }

    /// Ends an exchange so that the peer can tell that the request is unfinished: closes the HTTP/1.1
    /// connection, or resets the HTTP/2 stream.
    async fn abandon(&self, connection: ActiveConnection) {
        // An HTTP/1.1 connection closes when it is dropped.
        let UpstreamSession::Http2(mut session, _) = connection.session else {
            return;
        };
        Box::pin(session.shutdown()).await;
        if let HttpSession::H2(stream) = &*session {
            // Other streams may continue; new ones get a new connection.
            stream.conn.mark_shutdown();
        }
        let peer = self.upstream.peer(connection.address);
        let connector = &self.connections.connector;
        Box::pin(connector.release_http_session(*session, &peer, None)).await;
    }
}

impl From<Unresolved> for NoAnswerReason {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::NoAddress => Self::Dns,
            Unresolved::NoThread => Self::NoThread,
        }
    }
}

/// An answer whose head has been read. If it is dropped, its connection closes.
pub(crate) struct OpenAnswer<'a> {
    client: &'a Client,
    connection: ActiveConnection,
    pub(crate) head: AnswerHead,
    written: BodyWritten,
}

impl OpenAnswer<'_> {
    /// Reads the body up to `limit` bytes within `time_limit`, and returns the first `kept` of them.
    /// The connection is reused if the body was read to its end.
    pub(crate) async fn body(
        mut self,
        kept: usize,
        limit: usize,
        time_limit: Duration,
    ) -> Result<(Vec<u8>, BodyEnd), BrokenExchange> {
        let mut body = Vec::new();
        if self.written == BodyWritten::Answered {
            self.client.abandon(self.connection).await;
            return Ok((body, BodyEnd::Whole));
        }
        let reading = self.connection.session.read_body(&mut body, kept, limit);
        let read = timeout(time_limit, reading).await;
        match read.unwrap_or_else(|_| {
            Err(BrokenExchange::new(
                ExchangeFailure::Late,
                "a body that drips",
            ))
        }) {
            Ok(BodyEnd::Whole) => {
                self.client.release(self.connection).await;
                Ok((body, BodyEnd::Whole))
            }
            Ok(BodyEnd::TooLarge) => {
                self.client.abandon(self.connection).await;
                Ok((body, BodyEnd::TooLarge))
            }
            Err(broken) => {
                self.client.abandon(self.connection).await;
                Err(broken)
            }
        }
    }
}

impl OpenAnswer<'_> {
    /// Reads the next piece of the body, for callers that pass it on as it arrives. Returns `None` at the
    /// end of the body. Each read has the client's timeout.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, BrokenExchange> {
        match self.written {
            BodyWritten::Answered => Ok(None),
            BodyWritten::All => self.connection.session.read_piece().await,
        }
    }

    /// Puts the connection back into the pool. Call this after the body has been read to its end.
    pub(crate) async fn read_to_end(self) {
        match self.written {
            BodyWritten::Answered => self.client.abandon(self.connection).await,
            BodyWritten::All => self.client.release(self.connection).await,
        }
    }

    /// Closes the connection before the body's end.
    pub(crate) async fn give_up(self) {
        self.client.abandon(self.connection).await;
    }
}

/// A request whose body is still being written. If it is dropped, the connection closes in the
/// middle of the request.
pub(crate) struct Sending<'a> {
    client: &'a Client,
    connection: ActiveConnection,
    /// The fields of the answer's head that the caller reads.
    fields: WantedFields,
}

impl<'a> Sending<'a> {
    /// Writes the next piece, and waits until the connection takes it. Returns the head of the answer if
    /// the answer has arrived already; it is then a rejection, and the upstream reads no further.
    pub(crate) async fn write(
        &mut self,
        piece: Bytes,
    ) -> Result<Option<AnswerHead>, NoAnswerReason> {
        let session = &mut self.connection.session;
        let written = match session.refused_early(self.fields) {
            Ok(true) => return Ok(session.take_head()),
            Ok(false) => session.piece(piece).await,
            Err(failure) => Err(failure),
        };
        match written {
            Ok(()) => Ok(None),
            Err(failure) => self.early_answer(failure).await.map(Some),
        }
    }

    /// Waits for a rejection that arrives before the end of the body; the upstream then reads no further.
    /// Dropping this future loses no bytes.
    pub(crate) async fn refused(&mut self) -> Result<AnswerHead, NoAnswerReason> {
        let session = &mut self.connection.session;
        match session.refused(self.fields).await {
            Ok(()) => session.take_head().ok_or(NoAnswerReason::Closed),
            Err(RequestFailure::Read(broken) | RequestFailure::Write(broken)) => {
                Err(broken.reason())
            }
        }
    }

    async fn early_answer(
        &mut self,
        failure: RequestFailure,
    ) -> Result<AnswerHead, NoAnswerReason> {
        let session = &mut self.connection.session;
        match session.early_answer(failure, self.fields).await {
            Ok(_) => session.take_head().ok_or(NoAnswerReason::Closed),
            Err(broken) => Err(broken.reason()),
        }
    }

    /// Writes the last piece and waits for the head of the answer.
    pub(crate) async fn finish(mut self, piece: Bytes) -> Result<OpenAnswer<'a>, NoAnswerReason> {
        let session = &mut self.connection.session;
        let written = match session.refused_early(self.fields) {
            Ok(true) => Ok(BodyWritten::Answered),
            Ok(false) => match session.last_piece(piece).await {
                Ok(()) => session
                    .read_head(self.fields)
                    .await
                    .map(|()| BodyWritten::All),
                Err(failure) => Box::pin(session.early_answer(failure, self.fields)).await,
            },
            Err(failure) => Box::pin(session.early_answer(failure, self.fields)).await,
        };
        match written {
            Ok(written) => self.client.open_answer(self.connection, written),
            Err(broken) => {
                self.abort().await;
                Err(broken.reason())
            }
        }
    }

    /// Ends the request without ending its body, so that the upstream stores none of it.
    pub(crate) async fn abort(self) {
        self.client.abandon(self.connection).await;
    }
}

fn is_http2_error(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Error | ErrorType::InvalidH2)
}

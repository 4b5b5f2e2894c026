//! Carries whole batches to PostHog over the framework's own connectors: its pools, its TLS,
//! its HTTP/2.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::{BError, Error, ErrorType};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Project;
use crate::delivery::Encoding;
use crate::posthog::{Envelope, BATCH_PATH};
use crate::rewrite::Recipient;

use super::admin::Tally;
use super::exchange::{self, Answered, Broken};
use super::upstream::{Addresses, Timeouts, Upstream};
use super::verdict::{Trouble, Verdict};
use super::{random_bits, BuildError};

/// Addresses that are tried before a batch is given up.
pub(super) const CONNECTS: usize = 3;
/// Idle connections that are kept for the next batch, and batches of a project that are on their
/// way at once: more would open connections that nobody could use again, all in one moment.
pub(super) const POOL: usize = 256;
/// Streaming batches of a project that are on their way at once. They are as slow as their
/// clients, so they have places of their own and cannot take those of the others.
const STREAMS: usize = 64;

/// A project as a place to send batches to.
pub(super) struct Destination {
    project: Arc<Project>,
    envelope: Envelope,
    recipient: Arc<Recipient>,
    upstream: Upstream,
    connector: Arc<Connector>,
    whole: Semaphore,
    streams: Semaphore,
    tally: Tally,
    /// The request without what depends on the batch: its length and the client's address.
    template: RequestHeader,
}

/// What became of a whole batch, and how PostHog put it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) verdict: Verdict,
    /// The beginning of an answer that is no yes.
    pub(super) words: String,
}

impl From<Verdict> for Said {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            words: String::new(),
        }
    }
}

/// Whether a connection may come from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// A connection that waits there is taken.
    Shared,
    /// Always a new connection: it cannot have been closed by the other end meanwhile.
    Fresh,
}

/// A session with PostHog, ready for one request.
pub(super) struct Connected {
    pub(super) session: HttpSession,
    pub(super) reused: bool,
    address: SocketAddr,
}

impl Destination {
    pub(super) fn new(
        project: &Arc<Project>,
        connector: Arc<Connector>,
        timeouts: Timeouts,
    ) -> Result<Self, BuildError> {
        let host = &project.host;
        let path = format!("{}{BATCH_PATH}", host.base_path());
        let template = template(&path, &host.authority()).map_err(|_| BuildError::Host {
            project: project.name.clone(),
        })?;
        Ok(Self {
            project: Arc::clone(project),
            envelope: Envelope::new(&project.api_key),
            recipient: Arc::new(project.recipient()),
            upstream: Upstream::new(host, project.http, timeouts),
            connector,
            whole: Semaphore::new(POOL),
            streams: Semaphore::new(STREAMS),
            tally: Tally::default(),
            template,
        })
    }

    pub(super) fn project(&self) -> &Project {
        &self.project
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whom the events are for, as the rewriting has to know it.
    pub(super) fn recipient(&self) -> &Arc<Recipient> {
        &self.recipient
    }

    /// What PostHog said to batches so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The longest that one read or one write may take.
    pub(super) fn patience(&self) -> Duration {
        self.upstream.timeouts().exchange
    }

    /// The request header of a batch on behalf of a client: nothing of the client's own request
    /// goes upstream but its address (posthog-ingestion 2.1).
    pub(super) fn header(&self, client: Option<IpAddr>) -> Result<Box<RequestHeader>, BError> {
        let mut header = self.template.clone();
        if let Some(client) = client {
            header.append_header("X-Forwarded-For", client.to_string())?;
        }
        Ok(Box::new(header))
    }

    /// Sends a whole batch and says what PostHog made of it.
    ///
    /// A pooled connection that the other end has closed meanwhile costs nothing: the batch goes
    /// again over a new one. Nothing is sent twice over connections that were new: an answer that
    /// does not come is the client's to decide, and its events carry ids that PostHog knows again.
    pub(super) async fn deliver(
        &self,
        batch: &Bytes,
        encoding: Encoding,
        client: Option<IpAddr>,
    ) -> Said {
        let _place = match self.place(&self.whole).await {
            Ok(place) => place,
            Err(trouble) => return Verdict::Unreachable(trouble).into(),
        };
        let mut pool = Pool::Shared;
        loop {
            let mut connected = match self.connect(pool).await {
                Ok(connected) => connected,
                Err(trouble) => return Verdict::Unreachable(trouble).into(),
            };
            let header = self.header(client).and_then(|mut header| {
                if encoding == Encoding::Gzip {
                    header.insert_header(header::CONTENT_ENCODING.as_str(), "gzip")?;
                }
                Ok(header)
            });
            let sent = match header {
                Ok(header) => {
                    exchange::whole(&mut connected.session, header, batch, self.patience()).await
                }
                Err(error) => Err(Broken::unanswered(error)),
            };
            match sent {
                Ok(mut answered) => {
                    let words = std::mem::take(&mut answered.words);
                    return Said {
                        words: String::from_utf8_lossy(&words).into_owned(),
                        verdict: self.finish(connected, answered).await,
                    };
                }
                Err(broken) => {
                    let stale = connected.reused && broken.may_be_stale();
                    self.abandon(connected).await;
                    if stale {
                        log::debug!("a pooled connection was stale; a new one is used");
                        pool = Pool::Fresh;
                        continue;
                    }
                    log::debug!("no answer from {}: {}", self.project.host, broken.error);
                    return Verdict::Unreachable(Trouble::from_error(&broken.error)).into();
                }
            }
        }
    }

    /// A place for a streaming batch; it is held until the batch is through.
    pub(super) async fn stream_place(&self) -> Result<SemaphorePermit<'_>, Trouble> {
        self.place(&self.streams).await
    }

    async fn place<'a>(&self, places: &'a Semaphore) -> Result<SemaphorePermit<'a>, Trouble> {
        match tokio::time::timeout(self.patience(), places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Trouble::Crowded),
        }
    }

    /// A session, from the pool or new, trying one address after the other.
    pub(super) async fn connect(&self, pool: Pool) -> Result<Connected, Trouble> {
        let known = self.upstream.addresses().await.map_err(|_| Trouble::Dns)?;
        let mut tried = Vec::new();
        let mut pool = pool;
        let mut trouble = Trouble::Connect;
        while let Some(address) = self.next(&known, &tried) {
            let mut peer = self.upstream.peer(address);
            if pool == Pool::Fresh {
                // The pool is keyed by this too, so nothing in it can match. One stream per
                // connection keeps it out of the shared pool of HTTP/2 connections.
                peer.group_key = random_bits() as u64 | 1;
                peer.options.max_h2_streams = 1;
            }
            match self.connector.get_http_session(&peer).await {
                Ok((session, reused)) => {
                    return Ok(Connected {
                        session,
                        reused,
                        address,
                    })
                }
                // A pooled HTTP/2 connection that is no longer one: not the address's fault.
                Err(error) if pool == Pool::Shared && is_http2_error(&error) => pool = Pool::Fresh,
                Err(error) => {
                    log::debug!("no connection to {address}: {error}");
                    trouble = Trouble::from_error(&error);
                    known.avoid(address);
                    tried.push(address);
                }
            }
        }
        Err(trouble)
    }

    fn next(&self, known: &Addresses, tried: &[SocketAddr]) -> Option<SocketAddr> {
        (tried.len() < CONNECTS)
            .then(|| self.upstream.pick(known, tried))
            .flatten()
    }

    /// Gives a session whose response has been read back to the pool.
    pub(super) async fn finish(&self, connected: Connected, answered: Answered) -> Verdict {
        if answered.reusable {
            let peer = self.upstream.peer(connected.address);
            let idle = peer.options.idle_timeout;
            self.connector
                .release_http_session(connected.session, &peer, idle)
                .await;
        } else {
            self.abandon(connected).await;
        }
        answered.verdict
    }

    /// Ends a session that cannot be used again, so that the other end sees an unfinished
    /// request as unfinished: a closed connection, or a reset stream.
    pub(super) async fn abandon(&self, mut connected: Connected) {
        connected.session.shutdown().await;
        if let HttpSession::H2(stream) = &connected.session {
            // Other streams may go on; new ones get a new connection.
            stream.conn.mark_shutdown();
            let peer = self.upstream.peer(connected.address);
            self.connector
                .release_http_session(connected.session, &peer, None)
                .await;
        }
    }
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Destination")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

fn is_http2_error(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Error | ErrorType::InvalidH2)
}

fn template(path: &str, authority: &str) -> Result<RequestHeader, BError> {
    let mut header = RequestHeader::build("POST", path.as_bytes(), Some(6))?;
    header.append_header("Host", authority)?;
    header.append_header(
        "User-Agent",
        concat!("hedgerow/", env!("CARGO_PKG_VERSION")),
    )?;
    header.append_header("Accept", "application/json")?;
    header.append_header(header::CONTENT_TYPE.as_str(), "application/json")?;
    Ok(header)
}

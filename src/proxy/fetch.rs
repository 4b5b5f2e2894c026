//! Small answers fetched whole over the framework's connectors: scripts, remote config, an
//! account's settings.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::StatusCode;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;

use crate::config::UpstreamHttp;
use crate::posthog::Host;

use super::random_bits;
use super::sender::Pool;
use super::upstream::{Timeouts, Upstream};

/// Addresses that are tried before a request is given up.
const CONNECTS: usize = 3;

/// A host that whole answers are fetched from.
pub(super) struct Source {
    upstream: Upstream,
    connector: Arc<Connector>,
    authority: String,
    base_path: String,
    /// For one exchange as a whole.
    patience: Duration,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    /// Without those of the connection.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer. What went wrong stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// No connection, or it broke, or the answer is larger than allowed.
    Failed,
    /// None in time.
    Late,
}

impl Source {
    pub(super) fn new(host: &Host, connector: Arc<Connector>, timeouts: Timeouts) -> Self {
        Self {
            upstream: Upstream::new(host, UpstreamHttp::Http1, timeouts),
            connector,
            authority: host.authority(),
            base_path: host.base_path().to_owned(),
            patience: timeouts.exchange,
        }
    }

    /// Host and port, as they stand in the `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a request and reads its answer up to `limit` bytes. `headers` go as they are, with
    /// `Host` and, for a body, `Content-Length` in addition.
    pub(super) async fn fetch(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
        limit: usize,
    ) -> Result<Fetched, NoAnswer> {
        let exchange = self.exchange(method, path_and_query, headers, body, limit);
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(Some(fetched)) => Ok(fetched),
            Ok(None) => Err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Late),
        }
    }

    async fn exchange(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
        limit: usize,
    ) -> Option<Fetched> {
        let path = format!("{}{path_and_query}", self.base_path);
        let mut request = RequestHeader::build(method, path.as_bytes(), None).ok()?;
        for (name, value) in headers {
            request.append_header(name, value).ok()?;
        }
        request
            .insert_header(header::HOST, self.authority.as_str())
            .ok()?;
        if !body.is_empty() {
            request
                .insert_header(header::CONTENT_LENGTH, body.len())
                .ok()?;
        }
        let known = self.upstream.addresses().await.ok()?;
        let mut tried = Vec::new();
        let mut pool = Pool::Shared;
        while tried.len() < CONNECTS {
            let address = self.upstream.pick(&known, &tried)?;
            let mut peer = self.upstream.peer(address);
            if pool == Pool::Fresh {
                // The pool is keyed by this too, so nothing in it can match.
                peer.group_key = random_bits() as u64 | 1;
            }
            let (mut session, reused) = match self.connector.get_http_session(&peer).await {
                Ok(connected) => connected,
                Err(error) => {
                    log::debug!("no connection to {address}: {error}");
                    known.avoid(address);
                    tried.push(address);
                    continue;
                }
            };
            session.set_read_timeout(Some(self.patience));
            session.set_write_timeout(Some(self.patience));
            match through(&mut session, &request, &body, limit).await {
                Ok(fetched) => {
                    let idle = peer.options.idle_timeout;
                    let release = self.connector.release_http_session(session, &peer, idle);
                    release.await;
                    return Some(fetched);
                }
                // A pooled connection that the other end had closed meanwhile.
                Err(Broken::Exchange) if reused => pool = Pool::Fresh,
                Err(_) => return None,
            }
        }
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Exchange,
    TooLarge,
}

async fn through(
    session: &mut HttpSession,
    request: &RequestHeader,
    body: &Bytes,
    limit: usize,
) -> Result<Fetched, Broken> {
    let broken = |error| {
        log::debug!("an exchange broke off: {error}");
        Broken::Exchange
    };
    session
        .write_request_header(Box::new(request.clone()))
        .await
        .map_err(broken)?;
    if !body.is_empty() {
        session
            .write_request_body(body.clone(), true)
            .await
            .map_err(broken)?;
    }
    session.finish_request_body().await.map_err(broken)?;
    let head = loop {
        session.read_response_header().await.map_err(broken)?;
        match session.response_header() {
            Some(head) if !head.status.is_informational() => break head.clone(),
            Some(_) => {}
            None => return Err(Broken::Exchange),
        }
    };
    let mut read = BytesMut::new();
    while let Some(piece) = session.read_response_body().await.map_err(broken)? {
        if read.len() + piece.len() > limit {
            return Err(Broken::TooLarge);
        }
        read.extend_from_slice(&piece);
    }
    Ok(Fetched {
        status: head.status,
        headers: end_to_end(&head.headers),
        body: read.freeze(),
    })
}

/// The headers that are not about the connection (RFC 9110, 7.6.1), and without the length, which
/// whoever writes the body states.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    const CONNECTION: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    ];
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !CONNECTION.contains(&name.as_str()) && !named.iter().any(|other| other == name.as_str())
        {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

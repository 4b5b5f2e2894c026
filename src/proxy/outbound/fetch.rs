//! Fetches small answers as a whole over the framework's connectors: scripts, remote config, and the
//! settings of an account.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use pingora::http::RequestHeader;

use crate::config::UpstreamHttp;
use crate::posthog::Host;
use crate::segment::Answer;

use crate::proxy::outbound::answer::{BodyEnd, WantedFields};
use crate::proxy::outbound::client::{Client, ConnectionPool};
use crate::proxy::outbound::hops::end_to_end;
use crate::proxy::outbound::request::{Template, UpstreamRequest};
use crate::proxy::outbound::upstream::{Timeouts, UpstreamHost};
use crate::proxy::reply;

/// A host from which whole answers are fetched.
pub(crate) struct FetchHost {
    client: Client,
    authority: String,
    base_path: String,
    /// The time limit for a whole exchange.
    timeout: Duration,
}

/// Why there is no answer. The log has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchFailure {
    /// There was no connection, the connection broke, or the answer is larger than allowed.
    Failed,
    /// The answer was not complete in time.
    Late,
}

impl FetchHost {
    pub(crate) fn new(host: &Host, connections: Arc<ConnectionPool>, timeouts: Timeouts) -> Self {
        let upstream = UpstreamHost::new(host, UpstreamHttp::Http1, timeouts);
        Self {
            client: Client::new(upstream, connections),
            authority: host.authority(),
            base_path: host.base_path().to_owned(),
            timeout: timeouts.exchange,
        }
    }

    /// Returns the host and the port, in the form of the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a request and reads its answer, whose body may have up to `limit` bytes. The returned headers
    /// do not include hop-by-hop headers. `headers` are sent unchanged; `Host` and, for a body,
    /// `Content-Length` are added.
    pub(crate) async fn fetch(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
        limit: usize,
    ) -> Result<Answer, FetchFailure> {
        let exchange = self.exchange(method, path_and_query, headers, body, limit);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Some(fetched)) => Ok(fetched),
            Ok(None) => Err(FetchFailure::Failed),
            Err(_) => Err(FetchFailure::Late),
        }
    }

    async fn exchange(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &HeaderMap,
        body: Bytes,
        limit: usize,
    ) -> Option<Answer> {
        let path = format!("{}{path_and_query}", self.base_path);
        let mut request = RequestHeader::build(method, path.as_bytes(), None).ok()?;
        for (name, value) in headers {
            request.append_header(name, value).ok()?;
        }
        request
            .insert_header(header::HOST, self.authority.as_str())
            .ok()?;
        let template = Template::new(request).ok()?;
        let request = UpstreamRequest {
            template: &template,
            fields: &[],
        };
        let answer = self
            .client
            .send(request, &body, WantedFields::All)
            .await
            .ok()?;
        let (status, headers) = (answer.head.status, end_to_end(&answer.head.fields));
        match answer.body(limit, limit, self.timeout).await {
            Ok((body, BodyEnd::Whole)) => Some(reply::answer(status, headers, body.into())),
            Ok((_, BodyEnd::TooLarge)) => None,
            Err(broken) => {
                log::debug!("an answer broke off: {broken}");
                None
            }
        }
    }
}

//! Sends one request and reads its whole answer.

use std::sync::Arc;

use bytes::Bytes;
use pingora::http::RequestHeader;

use crate::config::{Config, UpstreamHttp};
use crate::doctor;
use crate::posthog::Host;

use crate::proxy::outbound::upstream::{Timeouts, UpstreamHost};
use crate::proxy::outbound::verdict::NoAnswerReason;
use crate::proxy::outbound::{
    AnswerHead, Client, ConnectionPool, Template, UpstreamRequest, WantedFields,
};

/// The maximum length of an answer, in bytes: the live view's answers are the longest.
const LIMIT: usize = 8 << 20;

/// A client for the requests to one host.
pub(in crate::proxy::operator) struct Probe {
    client: Client,
    authority: String,
    base_path: String,
}

/// The head and the whole body of an answer.
pub(in crate::proxy::operator) struct ProbeAnswer {
    pub(in crate::proxy::operator) head: AnswerHead,
    pub(in crate::proxy::operator) body: String,
}

impl ProbeAnswer {
    /// Returns a header field if it exists and is text.
    pub(in crate::proxy::operator) fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get(name)?.to_str().ok()
    }
}

impl Probe {
    pub(in crate::proxy::operator) fn new(
        host: &Host,
        connections: Arc<ConnectionPool>,
        timeouts: Timeouts,
    ) -> Self {
        let upstream = UpstreamHost::new(host, UpstreamHttp::Http1, timeouts);
        Self {
            client: Client::new(upstream, connections),
            authority: host.authority(),
            base_path: host.base_path().to_owned(),
        }
    }

    /// Sends one request, and does not follow redirects.
    pub(in crate::proxy::operator) async fn ask(
        &self,
        method: &str,
        path: &str,
        fields: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<ProbeAnswer, NoAnswerReason> {
        let path = format!("{}{path}", self.base_path);
        let header = RequestHeader::build(method, path.as_bytes(), None);
        let header = header.and_then(|mut header| {
            header.insert_header("Host", self.authority.as_str())?;
            header.insert_header("User-Agent", doctor::USER_AGENT)?;
            Ok(header)
        });
        let template = header.and_then(Template::new);
        let template = template.map_err(|error| NoAnswerReason::from_error(&error))?;
        let request = UpstreamRequest {
            template: &template,
            fields,
        };
        let open_answer = self.client.send(request, &body, WantedFields::All).await?;
        let head = open_answer.head.clone();
        let read = open_answer.body(LIMIT, LIMIT, self.client.timeout()).await;
        let (body, _) = read.map_err(|broken| broken.reason())?;
        Ok(ProbeAnswer {
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// The timeouts of the configuration, for the requests of `hedgerow doctor`.
pub(super) fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: config.delivery.connect_timeout,
        exchange: config.delivery.timeout,
    }
}

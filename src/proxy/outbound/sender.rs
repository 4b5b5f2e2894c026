//! Sends batches to PostHog: whole ones, and streamed ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use pingora::http::RequestHeader;
use pingora::BError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admin::metrics::DurationHistogram;
use crate::admin::UpstreamState;
use crate::config::Project;
use crate::delivery::{self, Encoding};
use crate::posthog::{Envelope, BATCH_PATH};
use crate::rewrite::Recipient;

use crate::proxy::build_error::BuildError;
use crate::proxy::outbound::answer::{AnswerHead, WantedFields};
use crate::proxy::outbound::batch_counts::BatchCounts;
use crate::proxy::outbound::client::{Client, ConnectionPool, OpenAnswer, Sending, POOL};
use crate::proxy::outbound::request::{Template, UpstreamRequest};
use crate::proxy::outbound::upstream::{Timeouts, UpstreamHost};
use crate::proxy::outbound::verdict::{BatchVerdict, NoAnswerReason};

/// The maximum number of a project's streamed batches in flight. They are as slow as their clients, so they
/// have their own limit and cannot use up that of the whole batches.
const STREAMS: usize = 64;
/// The limit for reading the body of an answer, in bytes. The body is read so that the connection can be
/// reused. PostHog's answers have a few dozen bytes.
const ANSWER: usize = 64 * 1024;
/// The number of bytes of a rejection that are stored as its reason.
const REASON: usize = 1024;
/// The time limit for the body of an answer. The status alone decides, so a slow body must not make the
/// client wait.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The targets of batches, by the project's name.
pub(crate) type Destinations = HashMap<String, Arc<Destination>>;

/// A project as the target of batches.
pub(crate) struct Destination {
    project: Arc<Project>,
    envelope: Envelope,
    recipient: Arc<Recipient>,
    client: Client,
    /// The permits for whole batches, as many as pooled connections. Connections above that number would
    /// not be kept.
    whole_permits: Semaphore,
    /// The permits for streamed batches.
    stream_permits: Semaphore,
    batch_counts: Arc<BatchCounts>,
    traffic: Arc<Traffic>,
    connections: Arc<ConnectionPool>,
    timeouts: Timeouts,
    /// The request without the fields that depend on the batch: its length, its encoding and the client's
    /// address.
    template: Template,
}

/// Counts of the data sent to PostHog, for the metrics.
#[derive(Debug)]
struct Traffic {
    times: DurationHistogram,
    bytes: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            times: DurationHistogram::of_waiting(),
            bytes: AtomicU64::new(0),
        }
    }
}

impl Traffic {
    /// Records the end of a batch, from its beginning and its number of bytes.
    fn note(&self, began: Instant, bytes: usize) {
        self.times.observe(began.elapsed());
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The verdict on a whole batch, and the beginning of PostHog's answer.
#[derive(Debug)]
pub(crate) struct BatchAnswer {
    pub(crate) verdict: BatchVerdict,
    /// The beginning of the answer's body; empty for an accepted batch.
    pub(crate) text: String,
}

impl BatchAnswer {
    /// Converts the answer for the spool's delivery.
    pub(crate) fn for_delivery(&self) -> delivery::Verdict {
        self.verdict.for_delivery(&self.text)
    }
}

impl From<BatchVerdict> for BatchAnswer {
    fn from(verdict: BatchVerdict) -> Self {
        Self {
            verdict,
            text: String::new(),
        }
    }
}

impl Destination {
    /// Creates the target for a project. Its counts continue those of `before`.
    pub(crate) fn new(
        project: &Arc<Project>,
        connections: Arc<ConnectionPool>,
        timeouts: Timeouts,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let (batch_counts, traffic) = match before {
            Some(before) => (
                Arc::clone(&before.batch_counts),
                Arc::clone(&before.traffic),
            ),
            None => Default::default(),
        };
        let host = &project.host;
        let path = format!("{}{BATCH_PATH}", host.base_path());
        let template = template(&path, &host.authority()).map_err(|_| BuildError::Host {
            project: project.name.clone(),
        })?;
        Ok(Self {
            project: Arc::clone(project),
            envelope: Envelope::new(&project.api_key),
            recipient: Arc::new(project.recipient()),
            client: Client::new(
                UpstreamHost::new(host, project.http, timeouts),
                Arc::clone(&connections),
            ),
            whole_permits: Semaphore::new(POOL),
            stream_permits: Semaphore::new(STREAMS),
            batch_counts,
            traffic,
            connections,
            timeouts,
            template,
        })
    }

    /// Returns whether a destination with these settings would behave the same.
    pub(crate) fn behaves_the_same(
        &self,
        project: &Project,
        timeouts: Timeouts,
        connections: &Arc<ConnectionPool>,
    ) -> bool {
        *self.project == *project
            && self.timeouts == timeouts
            && Arc::ptr_eq(&self.connections, connections)
    }

    pub(crate) fn project(&self) -> &Project {
        &self.project
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the recipient of the events, for the rewriting.
    pub(crate) fn recipient(&self) -> &Arc<Recipient> {
        &self.recipient
    }

    /// Counts the outcome of a batch.
    pub(crate) fn note(&self, verdict: BatchVerdict) {
        self.batch_counts.note(&self.project.name, verdict);
    }

    /// Returns the counts of PostHog's answers to batches so far.
    pub(crate) fn batch_counts(&self) -> &Arc<BatchCounts> {
        &self.batch_counts
    }

    /// Returns the state of the connections to this project's PostHog, for the metrics.
    pub(crate) fn upstream(&self) -> UpstreamState {
        let used = self.client.used();
        UpstreamState {
            times: self.traffic.times.read(),
            sent_bytes: self.traffic.bytes.load(Ordering::Relaxed),
            opened: used.opened,
            reused: used.reused,
            resolved: used.resolved,
            unresolved: used.unresolved,
        }
    }

    /// Returns the timeout of each read and each write.
    pub(crate) fn timeout(&self) -> Duration {
        self.client.timeout()
    }

    /// Sends a whole batch and returns PostHog's verdict.
    ///
    /// If the peer has closed a pooled connection, the batch is sent again over a new one. No batch is sent
    /// twice over new connections: if there is no answer, the client decides whether to send it again, and
    /// PostHog recognises the events by their ids.
    pub(crate) async fn deliver(
        &self,
        batch: &Bytes,
        encoding: Encoding,
        client: Option<IpAddr>,
    ) -> BatchAnswer {
        let began = Instant::now();
        let answer = self.exchange(batch, encoding, client).await;
        self.traffic.note(began, batch.len());
        answer
    }

    async fn exchange(
        &self,
        batch: &Bytes,
        encoding: Encoding,
        client: Option<IpAddr>,
    ) -> BatchAnswer {
        let _permit = match self.permit(&self.whole_permits).await {
            Ok(permit) => permit,
            Err(reason) => return BatchVerdict::Unreachable(reason).into(),
        };
        let (client, mut fields) = (client.map(address_text), Vec::new());
        fields.extend(forwarded_for(client.as_deref()));
        if encoding == Encoding::Gzip {
            fields.push(("Content-Encoding", "gzip"));
        }
        let request = UpstreamRequest {
            template: &self.template,
            fields: &fields,
        };
        match self.client.send(request, batch, WantedFields::Few).await {
            Ok(open_answer) => read_answer(open_answer).await,
            Err(reason) => BatchVerdict::Unreachable(reason).into(),
        }
    }

    /// Opens a request for a batch that is still being built.
    pub(crate) async fn open(
        &self,
        client: Option<IpAddr>,
    ) -> Result<OpenBatch<'_>, NoAnswerReason> {
        let began = Instant::now();
        let permit = self.permit(&self.stream_permits).await?;
        let client = client.map(address_text);
        let fields = forwarded_for(client.as_deref());
        let request = UpstreamRequest {
            template: &self.template,
            fields: fields.as_slice(),
        };
        Ok(OpenBatch {
            sending: self.client.open(request, WantedFields::Few).await?,
            traffic: &self.traffic,
            began,
            bytes: 0,
            _permit: permit,
        })
    }

    async fn permit<'a>(
        &self,
        permits: &'a Semaphore,
    ) -> Result<SemaphorePermit<'a>, NoAnswerReason> {
        if let Ok(permit) = permits.try_acquire() {
            return Ok(permit);
        }
        // Boxed, because a permit is nearly always free.
        let waiting = tokio::time::timeout(self.client.timeout(), permits.acquire());
        match Box::pin(waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(NoAnswerReason::Overloaded),
        }
    }
}

/// Returns an address as text. The standard library's formatting of an IPv4 address takes ten times as
/// long, and every batch of a browser needs one.
fn address_text(address: IpAddr) -> String {
    /// The length of the longest IPv4 address.
    const LONGEST: usize = 15;
    let IpAddr::V4(address) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity(LONGEST);
    for octet in address.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// A request whose batch is not complete yet. It holds its permit until it has ended.
pub(crate) struct OpenBatch<'a> {
    sending: Sending<'a>,
    traffic: &'a Traffic,
    began: Instant,
    bytes: usize,
    _permit: SemaphorePermit<'a>,
}

impl OpenBatch<'_> {
    /// Writes the next piece, and waits until the connection takes it. Returns the head of the answer if the
    /// answer has arrived already; it is then a rejection.
    pub(crate) async fn write(
        &mut self,
        piece: Bytes,
    ) -> Result<Option<AnswerHead>, NoAnswerReason> {
        self.bytes += piece.len();
        self.sending.write(piece).await
    }

    /// Waits for a rejection that arrives before the end of the batch.
    pub(crate) async fn refused(&mut self) -> Result<AnswerHead, NoAnswerReason> {
        self.sending.refused().await
    }

    /// Writes the last piece and waits for the answer.
    pub(crate) async fn finish(self, piece: Bytes) -> BatchVerdict {
        let bytes = self.bytes + piece.len();
        let verdict = match self.sending.finish(piece).await {
            Ok(open_answer) => read_answer(open_answer).await.verdict,
            Err(reason) => BatchVerdict::Unreachable(reason),
        };
        self.traffic.note(self.began, bytes);
        verdict
    }

    /// Ends the request without ending its body, so that PostHog stores none of it.
    pub(crate) async fn abort(self) {
        self.traffic.note(self.began, self.bytes);
        self.sending.abort().await;
    }
}

/// Returns the header field with the client's address. No other part of the client's own headers is sent
/// upstream (posthog-ingestion 2.1).
fn forwarded_for(client: Option<&str>) -> Option<(&'static str, &str)> {
    client.map(|client| ("X-Forwarded-For", client))
}

/// Reads PostHog's answer.
async fn read_answer(open_answer: OpenAnswer<'_>) -> BatchAnswer {
    let verdict = verdict(&open_answer.head);
    let kept = match verdict {
        BatchVerdict::Accepted => 0,
        _ => REASON,
    };
    let text = match open_answer.body(kept, ANSWER, BODY_TIMEOUT).await {
        Ok((text, _)) => text,
        Err(_) => Vec::new(),
    };
    BatchAnswer {
        verdict,
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

pub(crate) fn verdict(head: &AnswerHead) -> BatchVerdict {
    BatchVerdict::from_response(head.status.as_u16(), head.html, head.retry_after)
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Destination")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

fn template(path: &str, authority: &str) -> Result<Template, BError> {
    let mut header = RequestHeader::build("POST", path.as_bytes(), Some(6))?;
    header.append_header("Host", authority)?;
    header.append_header(
        "User-Agent",
        concat!("hedgerow/", env!("CARGO_PKG_VERSION")),
    )?;
    header.append_header("Accept", "application/json")?;
    header.append_header(header::CONTENT_TYPE.as_str(), "application/json")?;
    Template::new(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_standard_library_writes_it() {
        let mut addresses = vec![IpAddr::from([0_u16, 0, 0, 0, 0, 0xffff, 1, 2])];
        for octet in 0..=255 {
            addresses.push(IpAddr::from([octet, 0, 255, octet / 2]));
        }
        for address in addresses {
            assert_eq!(address_text(address), address.to_string());
        }
    }
}

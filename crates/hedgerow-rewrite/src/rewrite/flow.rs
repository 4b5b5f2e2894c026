//! Rewrites one request body: the caller pushes bytes as they arrive and pulls batches of events.
//!
//! A type for each state keeps the steps in order. A [`Body`] takes bytes and knows its write key. With a
//! recipient it becomes a [`Rewrite`], whose events can be pulled. What is known only after the last
//! pull is in [`Ended`].

mod rewriter;
mod spare;
mod steps;
mod workspace;

use std::sync::Arc;

use super::arrival::{Arrival, Bounds, Recipient};
use super::body::SplitBody;
use super::convert::ClientContexts;
use super::enrich::edge_session::{CookieValue, Transport};
use super::outcome::{RewriteError, Watch};
use super::repeats::Tag;
use super::time::Timestamp;
use crate::posthog::Batch;
use crate::segment::Call;

pub use rewriter::Rewriter;
use steps::Job;
use workspace::Workspace;

/// A request body whose events have no recipient yet.
///
/// Feed it with [`push`](Self::push) and [`end`](Self::end). Once [`write_key`](Self::write_key) shows
/// which project gets the events, or at any earlier time, [`address_to`](Self::address_to) makes a
/// [`Rewrite`] of it.
#[derive(Debug)]
pub struct Body<'r>(Lease<'r>);

/// A request body that is being rewritten into events for its recipient.
///
/// Continue to feed it with [`push`](Self::push) and [`end`](Self::end). While the flow is
/// [`Flow::Held`], [`pull`](Self::pull) returns no events; once it is [`Flow::Open`], it writes events into
/// batches.
#[derive(Debug)]
pub struct Rewrite<'r> {
    lease: Lease<'r>,
    recipient: Arc<Recipient>,
}

/// What is left of a request body when no more events are pulled from it.
#[derive(Debug)]
pub struct Ended<'r> {
    rewriter: &'r Rewriter,
    received_at: Option<Timestamp>,
    unconfirmed: Vec<Tag>,
    cookie: Option<CookieValue>,
}

/// Whether events can be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The body is held until it ends or is larger than the window.
    Held,
    /// The body has ended or is larger than the window: pull until starved before the next push.
    Open,
}

/// The write key that a body names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenKey {
    /// The key in the body.
    Named(String),
    /// The body has no key.
    Missing,
    /// More of the envelope or of the first message is needed.
    NotYetKnown,
}

/// Why `pull` returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// The batch holds at least as many bytes as requested.
    Full,
    /// More can be pulled at once, but other work should run first.
    Paused,
    /// More of the body is needed.
    Starved,
    /// The body has no further events.
    Done,
}

impl<'r> Body<'r> {
    fn begin(rewriter: &'r Rewriter, arrival: Arrival) -> Self {
        let client = arrival.client_ip.map(ClientContexts::slot);
        let (workspace, context) = rewriter.spare.take(client);
        let workspace = workspace.unwrap_or_else(|| rewriter.new_workspace());
        let mut lease = Lease {
            rewriter,
            workspace: Some(workspace),
        };
        let workspace = lease.workspace();
        workspace.begin(rewriter.conversion.mapping.mode, arrival);
        workspace.converter.begin(context);
        workspace.client = client;
        Self(lease)
    }

    /// Takes the next bytes of the (inflated) body.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Flow, RewriteError> {
        self.0.workspace().push(bytes)
    }

    /// Ends the body; from here on the flow is open.
    pub fn end(&mut self) {
        self.0.workspace().body.end();
    }

    /// Returns the write key of the body: the one at its top level, otherwise that of its first message.
    /// The key is not yet known while the body is held. In a streaming body only the keys before `batch`
    /// and the first message are read. The first pull does not scan that message again.
    pub fn write_key(&mut self) -> Result<WrittenKey, RewriteError> {
        self.0.workspace().write_key()
    }

    /// Sets the recipient of the events, which can then be pulled.
    pub fn address_to(mut self, recipient: Arc<Recipient>) -> Rewrite<'r> {
        self.0.workspace().converter.address_to(&recipient);
        Rewrite {
            lease: self.0,
            recipient,
        }
    }

    /// Returns the number of bytes held now, for the memory limit of all requests together.
    pub fn held(&self) -> usize {
        self.0.held()
    }
}

impl<'r> Rewrite<'r> {
    /// Takes the next bytes of the (inflated) body.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Flow, RewriteError> {
        self.lease.workspace().push(bytes)
    }

    /// Ends the body; from here on the flow is open.
    pub fn end(&mut self) {
        self.lease.workspace().body.end();
    }

    /// Writes events into `batch` until it holds `limit` bytes, more of the body is needed, the body is
    /// done, or it is time to yield ([`Pulled::Paused`]). Reports each message and its outcome to `watch`.
    /// Returns [`Pulled::Starved`] for a body that is held, because keys after its messages may change
    /// them.
    pub fn pull(
        &mut self,
        batch: &mut Batch,
        limit: usize,
        watch: &mut dyn Watch,
    ) -> Result<Pulled, RewriteError> {
        let job = Job {
            conversion: &self.lease.rewriter.conversion,
            recipient: &self.recipient,
        };
        self.lease.workspace().pull(job, batch, limit, watch)
    }

    /// Records that everything pulled so far is safe: PostHog has accepted it, or it is stored and will be
    /// delivered later. Only such messages are ever suppressed as repeats. A large body leaves in several
    /// batches, and each of them may become safe before the next one is pulled.
    pub fn confirm(&mut self) {
        let rewriter = self.lease.rewriter;
        let request = &mut self.lease.workspace().request;
        rewriter.confirm(&mut request.unconfirmed, request.arrival.received_at);
    }

    /// Ends the pulling: events that have not been pulled are given up. Call it before the last batch is
    /// sent, because sending may take long and other requests can use the memory of this one.
    pub fn finish(mut self) -> Ended<'r> {
        let request = &mut self.lease.workspace().request;
        Ended {
            received_at: request.arrival.received_at,
            unconfirmed: std::mem::take(&mut request.unconfirmed),
            cookie: request.sessions.take_cookie(),
            rewriter: self.lease.rewriter,
        }
    }

    /// Returns the number of bytes held now, for the memory limit of all requests together.
    pub fn held(&self) -> usize {
        self.lease.held()
    }
}

impl Ended<'_> {
    /// Records that everything that was pulled is safe; see [`Rewrite::confirm`].
    pub fn confirm(&mut self) {
        let rewriter = self.rewriter;
        rewriter.confirm(&mut self.unconfirmed, self.received_at);
    }

    /// Returns the `Set-Cookie` header that stores the visitor's session, if there is one to store.
    pub fn set_cookie(&self, transport: Transport) -> Option<String> {
        let keeper = self.rewriter.sessions.as_ref()?;
        let value = self.cookie.as_ref()?;
        Some(keeper.cookie.header(value, transport))
    }
}

/// The workspace of one body. It returns to the spare ones when this is dropped.
///
/// All state of the body is in the workspace, so a body changes its state, and moves into and out of a
/// future, as one pointer.
#[derive(Debug)]
struct Lease<'r> {
    rewriter: &'r Rewriter,
    /// Only `drop` takes it out, so it is always there.
    workspace: Option<Box<Workspace>>,
}

impl Lease<'_> {
    #[inline(always)]
    fn workspace(&mut self) -> &mut Workspace {
        let rewriter = self.rewriter;
        self.workspace
            .get_or_insert_with(|| rewriter.new_workspace())
    }

    fn held(&self) -> usize {
        let workspace = self.workspace.as_ref();
        workspace.map_or(0, |workspace| workspace.body.held())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.rewriter.spare.put_back(workspace);
        }
    }
}

/// Whether a complete body is a batch (an object with a key `batch`) and not a single message.
pub fn is_batch(body: &[u8]) -> bool {
    let bounds = Bounds {
        window: usize::MAX,
        event: 0,
    };
    let mut split_body = SplitBody::followed(Call::Batch, bounds);
    if split_body.push(body).is_err() {
        return false;
    }
    split_body.end();
    split_body.next().is_ok() && split_body.is_batch()
}

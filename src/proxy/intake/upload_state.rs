//! How far the upload of a body is.

use std::sync::Arc;

use crate::posthog::Batch;
use crate::rewrite::enrich::edge_session::Transport;
use crate::rewrite::{Body, Ended, Flow, Rewrite, RewriteError};

use crate::proxy::intake::upload_mode::empty_batch;
use crate::proxy::routes::ProjectSink;
use crate::proxy::sending::stream::Outgoing;

/// The states of an upload. A body is addressed once and ends once.
pub(super) enum UploadState<'a> {
    /// The key that decides where the events go may still arrive.
    Unaddressed(Body<'a>),
    Addressed(UploadTarget<'a>),
    /// No more events are pulled. Without [`Ended`], the upload stopped before its end.
    Over(Option<Ended<'a>>),
}

/// A body whose events go somewhere, and the batch that they are written into.
pub(super) struct UploadTarget<'a> {
    pub(super) rewrite: Rewrite<'a>,
    pub(super) sink: &'a ProjectSink,
    pub(super) batch: Batch,
    /// The request over which the batch is already being sent, if the body streams. Few bodies do.
    pub(super) outgoing: Option<Box<Outgoing<'a>>>,
}

/// A batch that is complete, and where it goes.
pub(super) struct CompleteBatch<'a> {
    pub(super) sink: &'a ProjectSink,
    pub(super) batch: Batch,
    /// The request over which its first part has been sent, if the body streams.
    pub(super) outgoing: Option<Box<Outgoing<'a>>>,
}

impl<'a> UploadTarget<'a> {
    pub(super) fn has_events(&self) -> bool {
        self.batch.events() > 0
    }

    /// Takes out the batch, and begins another one.
    pub(super) fn next_batch(&mut self) -> CompleteBatch<'a> {
        CompleteBatch {
            sink: self.sink,
            batch: std::mem::replace(&mut self.batch, empty_batch(self.sink)),
            outgoing: self.outgoing.take(),
        }
    }
}

impl<'a> UploadState<'a> {
    /// Sets where the events go. Does nothing unless the body is unaddressed.
    pub(super) fn address_to(&mut self, sink: &'a ProjectSink) {
        *self = match std::mem::replace(self, Self::Over(None)) {
            Self::Unaddressed(body) => Self::Addressed(UploadTarget {
                rewrite: body.address_to(Arc::clone(sink.destination.recipient())),
                batch: empty_batch(sink),
                sink,
                outgoing: None,
            }),
            state => state,
        };
    }

    /// Ends the pulling, which gives the memory of the body to other requests. Returns the last batch.
    pub(super) fn end_pulling(&mut self) -> Option<CompleteBatch<'a>> {
        match std::mem::replace(self, Self::Over(None)) {
            Self::Addressed(target) => {
                *self = Self::Over(Some(target.rewrite.finish()));
                Some(CompleteBatch {
                    sink: target.sink,
                    batch: target.batch,
                    outgoing: target.outgoing,
                })
            }
            state => {
                *self = state;
                None
            }
        }
    }

    /// Takes the next bytes of the body. Nothing takes those that come after the end.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Flow, RewriteError> {
        match self {
            Self::Unaddressed(body) => body.push(bytes),
            Self::Addressed(target) => target.rewrite.push(bytes),
            Self::Over(_) => Ok(Flow::Open),
        }
    }

    pub(super) fn end(&mut self) {
        match self {
            Self::Unaddressed(body) => body.end(),
            Self::Addressed(target) => target.rewrite.end(),
            Self::Over(_) => {}
        }
    }

    /// Returns the number of bytes of the body that are held now.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Unaddressed(body) => body.held(),
            Self::Addressed(target) => target.rewrite.held(),
            Self::Over(_) => 0,
        }
    }

    /// Returns the body while its events have no recipient.
    pub(super) fn unaddressed(&mut self) -> Option<&mut Body<'a>> {
        match self {
            Self::Unaddressed(body) => Some(body),
            Self::Addressed(_) | Self::Over(_) => None,
        }
    }

    /// Returns where the events go, once it is known and until the pulling ends.
    pub(super) fn target(&mut self) -> Option<&mut UploadTarget<'a>> {
        match self {
            Self::Addressed(target) => Some(target),
            Self::Unaddressed(_) | Self::Over(_) => None,
        }
    }

    /// Records that everything pulled so far is safe.
    pub(super) fn confirm(&mut self) {
        match self {
            Self::Addressed(target) => target.rewrite.confirm(),
            Self::Over(Some(ended)) => ended.confirm(),
            Self::Unaddressed(_) | Self::Over(None) => {}
        }
    }

    /// Returns the value of the `Set-Cookie` header that continues the visitor's session, if it has one.
    pub(super) fn set_cookie(&self, transport: Transport) -> Option<String> {
        match self {
            Self::Over(Some(ended)) => ended.set_cookie(transport),
            Self::Unaddressed(_) | Self::Addressed(_) | Self::Over(None) => None,
        }
    }
}

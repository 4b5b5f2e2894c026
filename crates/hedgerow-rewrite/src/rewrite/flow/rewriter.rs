//! The rewriter of one configuration, and its state that outlives requests.

use std::sync::Arc;

use super::super::arrival::{Arrival, Bounds};
use super::super::convert::Conversion;
use super::super::mapping::{Mapping, Mode};
use super::super::repeats::{SeenMessages, Tag};
use super::super::session::SessionKeeper;
use super::super::time::Timestamp;
use super::spare::Spare;
use super::workspace::Workspace;
use super::Body;

/// Rewrites the request bodies of one configuration.
#[derive(Debug)]
pub struct Rewriter {
    pub(super) conversion: Conversion,
    pub(super) sessions: Option<Arc<SessionKeeper>>,
    pub(in crate::rewrite) spare: Spare,
}

impl Rewriter {
    /// Creates a rewriter with this mapping and these bounds.
    pub fn new(mapping: Mapping, bounds: Bounds) -> Self {
        Self {
            conversion: Conversion::new(mapping, bounds),
            sessions: None,
            spare: Spare::default(),
        }
    }

    /// Stores sessions in a cookie (`sessions: cookie`).
    #[must_use]
    pub fn with_sessions(mut self, keeper: SessionKeeper) -> Self {
        self.sessions = Some(Arc::new(keeper));
        // Spare workspaces keep sessions as before.
        self.spare = Spare::default();
        self
    }

    /// Remembers messages, so that a message that arrives twice gets the same time both times, and
    /// `repeats: suppress` can leave out the second. Takes 1 MiB, or 2 MiB with `repeats: suppress`. Does
    /// nothing in the reference mode, in which the event depends on the message alone.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.conversion.repeats = match self.conversion.mapping.mode {
            Mode::Enriched => Some(Arc::new(SeenMessages::new(self.conversion.mapping.repeats))),
            Mode::Reference => None,
        };
        self
    }

    /// Shares the remembered messages of another rewriter if both have the same setting `repeats`, so that
    /// a message from before a change of the configuration is still recognised.
    #[must_use]
    pub fn with_memory_of(mut self, before: &Self) -> Self {
        let (own, before) = (&mut self.conversion, &before.conversion);
        let same = own.mapping.repeats == before.mapping.repeats;
        if let (true, Some(_), Some(known)) = (same, &own.repeats, &before.repeats) {
            own.repeats = Some(Arc::clone(known));
        }
        self
    }

    /// Begins to rewrite one request body.
    pub fn begin(&self, arrival: Arrival) -> Body<'_> {
        Body::begin(self, arrival)
    }

    /// Creates a workspace, because no spare one is left.
    #[cold]
    #[inline(never)]
    pub(super) fn new_workspace(&self) -> Box<Workspace> {
        let sessions = self.sessions.clone();
        Box::new(Workspace::new(self.conversion.bounds, sessions))
    }

    /// Records that these messages, which arrived at this time, are safe.
    pub(super) fn confirm(&self, unconfirmed: &mut Vec<Tag>, received_at: Option<Timestamp>) {
        if let (Some(repeats), Some(now)) = (&self.conversion.repeats, received_at) {
            for content in unconfirmed.drain(..) {
                repeats.accept(content, now);
            }
        }
    }
}

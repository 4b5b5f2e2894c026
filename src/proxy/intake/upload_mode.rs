//! How the events of a body leave.

use crate::posthog::Batch;
use crate::proxy::routes::ProjectSink;

/// Whether parts of a body have left before its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftParts {
    None,
    Some,
}

/// How the events of a body leave while it is still arriving.
#[derive(Clone, Copy)]
pub(super) enum UploadMode {
    /// Not at all: it is not known yet where they go.
    NotYet,
    /// In whole batches, each with its own answer.
    InBatches,
    /// In pieces of a batch, over a request that stays open.
    InPieces,
}

/// Returns an empty batch for this sink.
pub(super) fn empty_batch(sink: &ProjectSink) -> Batch {
    let envelope = sink.destination.envelope();
    let batch = match sink.grouper {
        Some(_) => Batch::open_to_gather(envelope),
        None => Batch::open(envelope),
    };
    match &sink.spool {
        Some(spool) => spool.prepared(batch),
        None => batch,
    }
}

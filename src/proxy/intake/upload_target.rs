//! Where the events of a body go.

use crate::posthog::Batch;
use crate::proxy::routes::Outlet;
use crate::proxy::sending::stream::Outgoing;

/// Where the events go, and the batch they are written into.
pub(super) struct UploadTarget<'a> {
    pub(super) outlet: &'a Outlet,
    pub(super) batch: Batch,
    /// The request that the batch is leaving with already, when the body streams.
    pub(super) outgoing: Option<Outgoing<'a>>,
}

/// An empty batch.
pub(super) fn fresh(outlet: &Outlet) -> Batch {
    let envelope = outlet.destination.envelope();
    let batch = match outlet.gathering {
        Some(_) => Batch::open_to_gather(envelope),
        None => Batch::open(envelope),
    };
    match &outlet.spool {
        Some(spool) => spool.prepared(batch),
        None => batch,
    }
}

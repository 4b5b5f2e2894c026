//! A batch that leaves while it is being made, for bodies larger than the window.

use std::net::IpAddr;

use bytes::Bytes;

use crate::proxy::outbound::sender::{verdict, Destination, OpenBatch};
use crate::proxy::outbound::verdict::BatchVerdict;

/// One request to PostHog whose body is still being written. If it is dropped without
/// [`finish`](Self::finish) or [`abort`](Self::abort), the connection closes in the middle of the
/// request.
pub(crate) struct Outgoing<'a>(OpenBatch<'a>);

impl<'a> Outgoing<'a> {
    /// Opens a request over a new connection: it cannot be repeated after the first write, so it
    /// must not use a pooled connection that the peer has closed.
    pub(crate) async fn open(
        destination: &'a Destination,
        client: Option<IpAddr>,
    ) -> Result<Self, BatchVerdict> {
        let opened = destination.open(client).await;
        opened.map(Self).map_err(BatchVerdict::Unreachable)
    }

    /// Writes the next piece, waiting for PostHog to take it. Fails with PostHog's answer if
    /// it has come already; do not call it again after that.
    pub(crate) async fn write(&mut self, piece: Vec<u8>) -> Result<(), BatchVerdict> {
        match self.0.write(Bytes::from(piece)).await {
            Ok(None) => Ok(()),
            Ok(Some(head)) => Err(verdict(&head)),
            Err(trouble) => Err(BatchVerdict::Unreachable(trouble)),
        }
    }

    /// Waits for PostHog's refusal of a body that has not ended. Dropping this future loses nothing; do not
    /// use the request again once it has returned.
    pub(crate) async fn refused(&mut self) -> BatchVerdict {
        match self.0.refused().await {
            Ok(head) => verdict(&head),
            Err(trouble) => BatchVerdict::Unreachable(trouble),
        }
    }

    /// Writes the last piece, ends the body, and waits for the answer.
    pub(crate) async fn finish(self, piece: Vec<u8>) -> BatchVerdict {
        self.0.finish(Bytes::from(piece)).await
    }

    /// Ends the request without ending its body, so that PostHog stores nothing of it.
    pub(crate) async fn abort(self) {
        self.0.abort().await;
    }
}

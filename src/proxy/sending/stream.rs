//! Sends a batch while it is being built, for bodies larger than the window.

use std::net::IpAddr;

use bytes::Bytes;

use crate::proxy::outbound::sender::{verdict, Destination, OpenBatch};
use crate::proxy::outbound::verdict::BatchVerdict;

/// One request to PostHog whose body is still being written. If it is dropped without
/// [`finish`](Self::finish) or [`abort`](Self::abort), the connection closes in the middle of the
/// request.
pub(crate) struct Outgoing<'a>(OpenBatch<'a>);

impl<'a> Outgoing<'a> {
    /// Opens a request over a new connection. Such a request cannot be repeated after its first write, so it
    /// must not use a pooled connection that the peer may have closed.
    pub(crate) async fn open(
        destination: &'a Destination,
        client: Option<IpAddr>,
    ) -> Result<Self, BatchVerdict> {
        let opened = destination.open(client).await;
        opened.map(Self).map_err(BatchVerdict::Unreachable)
    }

    /// Writes the next piece, and waits until the connection takes it. Returns PostHog's refusal as an error
    /// if it has arrived already. Do not call this again after an error.
    pub(crate) async fn write(&mut self, piece: Vec<u8>) -> Result<(), BatchVerdict> {
        match self.0.write(Bytes::from(piece)).await {
            Ok(None) => Ok(()),
            Ok(Some(head)) => Err(verdict(&head)),
            Err(reason) => Err(BatchVerdict::Unreachable(reason)),
        }
    }

    /// Waits for PostHog's refusal of a body that has not ended. Dropping this future loses no bytes. Do not
    /// use the request again after this has returned.
    pub(crate) async fn refused(&mut self) -> BatchVerdict {
        match self.0.refused().await {
            Ok(head) => verdict(&head),
            Err(reason) => BatchVerdict::Unreachable(reason),
        }
    }

    /// Writes the last piece, ends the body, and waits for the answer.
    pub(crate) async fn finish(self, piece: Vec<u8>) -> BatchVerdict {
        self.0.finish(Bytes::from(piece)).await
    }

    /// Ends the request without ending its body, so that PostHog stores none of it.
    pub(crate) async fn abort(self) {
        self.0.abort().await;
    }
}

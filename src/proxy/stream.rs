//! A batch that leaves while it is being made, for bodies larger than the window.

use std::net::IpAddr;

use bytes::Bytes;
use pingora::protocols::http::client::HttpSession;
use tokio::sync::SemaphorePermit;

use super::exchange;
use super::sender::{Connected, Destination, Pool};
use super::verdict::{Trouble, Verdict};

/// One request to PostHog whose body is still being written. Dropping it without
/// [`finish`](Self::finish) or [`abort`](Self::abort) closes the connection in mid-request.
pub(super) struct Outgoing<'a> {
    destination: &'a Destination,
    connected: Connected,
    _place: SemaphorePermit<'a>,
}

impl<'a> Outgoing<'a> {
    /// Opens a request over a new connection: what has been written cannot be sent again, so it
    /// must not meet a pooled connection that the other end has closed.
    pub(super) async fn open(
        destination: &'a Destination,
        client: Option<IpAddr>,
    ) -> Result<Self, Verdict> {
        let place = destination.stream_place().await;
        let place = place.map_err(Verdict::Unreachable)?;
        let mut connected = destination
            .connect(Pool::Fresh)
            .await
            .map_err(Verdict::Unreachable)?;
        exchange::begin(&mut connected.session, destination.patience());
        let mut outgoing = Self {
            destination,
            connected,
            _place: place,
        };
        let written = match destination.header(client) {
            Ok(mut header) => {
                // HTTP/2 frames a body of unknown length by itself.
                let framed = match outgoing.connected.session {
                    HttpSession::H1(_) => header.insert_header("Transfer-Encoding", "chunked"),
                    _ => Ok(()),
                };
                match framed {
                    Ok(()) => {
                        outgoing
                            .connected
                            .session
                            .write_request_header(header)
                            .await
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Ok(outgoing),
            Err(error) => {
                let verdict = Verdict::Unreachable(Trouble::from_error(&error));
                outgoing.abort().await;
                Err(verdict)
            }
        }
    }

    /// Writes the next piece, waiting for PostHog to take it. Fails with PostHog's answer when
    /// that has come already, and is then not to be used again.
    pub(super) async fn write(&mut self, piece: Vec<u8>) -> Result<(), Verdict> {
        let session = &mut self.connected.session;
        let written = match exchange::refused_early(session) {
            Ok(true) => return Err(exchange::unusable(session).verdict),
            Ok(false) => exchange::write(session, Bytes::from(piece)).await,
            Err(failed) => Err(failed),
        };
        match written {
            Ok(()) => Ok(()),
            Err(failed) => Err(match failed.last_words(session).await {
                Ok(answered) => answered.verdict,
                Err(broken) => Verdict::Unreachable(Trouble::from_error(&broken.error)),
            }),
        }
    }

    /// Writes the last piece, ends the body, and waits for the answer.
    pub(super) async fn finish(mut self, piece: Vec<u8>) -> Verdict {
        if let Err(verdict) = self.write(piece).await {
            self.abort().await;
            return verdict;
        }
        let session = &mut self.connected.session;
        let answered = match session.finish_request_body().await {
            Ok(()) => exchange::answer(session)
                .await
                .map_err(|broken| broken.error),
            Err(error) => Err(error),
        };
        match answered {
            Ok(answered) => self.destination.finish(self.connected, answered).await,
            Err(error) => {
                let verdict = Verdict::Unreachable(Trouble::from_error(&error));
                self.abort().await;
                verdict
            }
        }
    }

    /// Ends the request without ending its body, so that PostHog stores nothing of it.
    pub(super) async fn abort(self) {
        self.destination.abandon(self.connected).await;
    }
}

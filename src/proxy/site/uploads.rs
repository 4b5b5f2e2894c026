//! Limits how slowly the body of a proxied request may arrive. The framework reads the body and hands it
//! over piece by piece; before each piece, this module sets how long the framework waits for it.

use std::time::{Duration, Instant};

use http::Version;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::config::BodyRate;
use crate::proxy::limits::body_rate::BodyRateMeter;

/// The framework itself ends a body whose client is silent for this time (pingora 2.5). A piece
/// that arrives later than that had to wait for the route's server, which reads slowly.
const SILENCE: Duration = Duration::from_secs(60);

/// Measures how fast the body of a request arrives.
#[derive(Debug)]
pub(super) struct BodySpeed {
    rate_meter: BodyRateMeter,
    last: Instant,
}

impl BodySpeed {
    /// Starts measuring a body; `rate` is the lowest rate that is allowed.
    pub(super) fn new(rate: Option<BodyRate>) -> Self {
        Self {
            rate_meter: BodyRateMeter::new(rate),
            last: Instant::now(),
        }
    }

    /// Makes the framework wait for the next piece only as long as the rate allows this client.
    pub(super) fn limit_wait(&self, session: &mut Session) {
        if let Some(time_left) = self.rate_meter.time_left() {
            session.set_read_timeout(Some(time_left.min(SILENCE)));
        }
    }

    /// Stops measuring: a client that sends after the start of its answer is in a conversation with
    /// the server, where pauses are normal.
    pub(super) fn end(&mut self, session: &mut Session) {
        *self = Self::new(None);
        // Over HTTP/2 the client may be silent for as long as the server sends.
        let timeout = match session.req_header().version {
            Version::HTTP_2 => None,
            _ => Some(SILENCE),
        };
        session.set_read_timeout(timeout);
    }

    /// Measures the next piece, and sets how long the framework waits for the one after it.
    ///
    /// # Errors
    ///
    /// 408 for a client that is too slow.
    pub(super) fn piece(&mut self, session: &mut Session, bytes: usize) -> Result<()> {
        let now = Instant::now();
        let waited = now.duration_since(self.last);
        self.last = now;
        let waited = match waited > SILENCE {
            true => Duration::ZERO,
            false => waited,
        };
        self.rate_meter.note(waited, bytes).map_err(|_| {
            let why = "the body came too slowly";
            Error::explain(ErrorType::HTTPStatus(408), why).into_down()
        })?;
        self.limit_wait(session);
        Ok(())
    }
}

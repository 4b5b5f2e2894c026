//! The end of a request: its time and size for the metrics, and a line for the log.

use std::time::Instant;

use pingora::proxy::Session;

use crate::admin::Answered;

use super::refusals::Asking;
use super::Inner;

impl Inner {
    /// Notes the end of a request that began then, with a body of so many bytes.
    pub(super) fn ended(
        &self,
        _session: &Session,
        asking: Asking,
        _answered: Answered,
        began: Instant,
        received: u64,
    ) {
        self.requests.ended(asking.route, began.elapsed(), received);
    }
}

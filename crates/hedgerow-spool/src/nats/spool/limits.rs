//! The times and sizes that the spool keeps to.

use std::time::Duration;

/// How long the spool waits for one answer of the server.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// How long the spool retries an append: about the time that a cluster needs to replace a lost server.
pub(super) const APPEND: Duration = Duration::from_secs(10);

/// For this time after a failed append, the spool tries later appends only once. They probably fail for
/// the same reason, and retries would only make their clients wait.
pub(super) const AFTER_FAILED_APPEND: Duration = Duration::from_secs(30);

/// The pause between two tries of an append.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// The largest message, in bytes, unless one event is larger. The server's default limit is 1 MiB.
pub(super) const RUN_BYTES: usize = 512 << 10;

/// The space for the headers of a message, in bytes. The headers of a dead letter hold PostHog's reason.
pub(super) const HEADERS: usize = 2 << 10;

/// Returns the size of the largest event that fits into a message of this many bytes. The message also
/// contains the headers and the brackets around the event.
pub(super) fn event_in(message: usize) -> usize {
    message.saturating_sub(HEADERS + 2)
}

//! The dates of answers. HTTP has none before 1970, and the framework panics when it would have to write one.
//! So no request is passed to the framework while the clock shows such a time.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::proxy::limits::log_limit::LogLimit;

/// The answer to every request meanwhile.
pub(super) const NO_DATE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
Content-Length: 24\r\nCache-Control: no-store\r\nRetry-After: 60\r\nConnection: close\r\n\r\n\
503 Service Unavailable\n";

/// Whether the clock shows a time for which HTTP has a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpClock {
    Fit,
    /// A time before 1970.
    BeforeDates,
}

/// Reads the clock. Logs a time before 1970, because no request is answered then.
pub(super) fn http_clock() -> HttpClock {
    if SystemTime::now() >= UNIX_EPOCH {
        return HttpClock::Fit;
    }
    static LOG_LIMIT: LazyLock<LogLimit> = LazyLock::new(LogLimit::default);
    if let Some(more) = LOG_LIMIT.pass("clock", "clock") {
        log::error!(
            "the clock is wrong: it shows a time before 1970. Requests get 503 until it is set{more}"
        );
    }
    HttpClock::BeforeDates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_without_a_date_has_the_length_that_it_names() {
        let text = std::str::from_utf8(NO_DATE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.lines().all(|line| !line.starts_with(' ')));
        assert_eq!(http_clock(), HttpClock::Fit);
    }
}

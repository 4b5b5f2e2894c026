//! One log line per subject and kind in ten seconds, with a count of those left out: an outage
//! at a thousand requests a second must not fill a disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line of each kind through per interval.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    lines: Mutex<HashMap<(String, &'static str), Line>>,
    /// What has been said once and for all: a few kinds for each project.
    said: Mutex<Vec<(String, &'static str)>>,
}

#[derive(Debug)]
struct Line {
    last: Instant,
    suppressed: u64,
}

impl LogLimit {
    /// Whether a line may be written now: the words to add to it (empty, or how many were left
    /// out since the last one). `None` counts the line instead.
    pub(crate) fn pass(&self, subject: &str, kind: &'static str) -> Option<String> {
        self.pass_at(subject, kind, Instant::now())
    }

    /// Whether this is the first line of its kind; no other one passes.
    pub(crate) fn first(&self, subject: &str, kind: &'static str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked for every message of some sites: the name is copied once.
        let known = said
            .iter()
            .any(|(known, one)| known == subject && *one == kind);
        if !known {
            said.push((subject.to_owned(), kind));
        }
        !known
    }

    fn pass_at(&self, subject: &str, kind: &'static str, now: Instant) -> Option<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(&(subject.to_owned(), kind)) else {
            let line = Line {
                last: now,
                suppressed: 0,
            };
            lines.insert((subject.to_owned(), kind), line);
            return Some(String::new());
        };
        if now.duration_since(line.last) < INTERVAL {
            line.suppressed += 1;
            return None;
        }
        line.last = now;
        match std::mem::take(&mut line.suppressed) {
            0 => Some(String::new()),
            count => Some(format!(" ({count} more like this since the last line)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_subject_and_kind_is_told_from_the_rest() {
        let log_limit = LogLimit::default();
        assert!(log_limit.first("shop", "unreadable_time"));
        assert!(!log_limit.first("shop", "unreadable_time"));
        assert!(log_limit.first("blog", "unreadable_time"));
        assert!(log_limit.first("shop", "late_sent_at"));
        assert!(!log_limit.first("shop", "unreadable_time"));
    }

    #[test]
    fn one_line_per_subject_and_kind_passes_and_the_rest_is_counted() {
        let log_limit = LogLimit::default();
        let start = Instant::now();
        let later = start + INTERVAL;
        assert_eq!(log_limit.pass_at("shop", "tls", start).as_deref(), Some(""));
        assert_eq!(log_limit.pass_at("shop", "tls", start), None);
        assert_eq!(log_limit.pass_at("shop", "tls", start), None);
        assert_eq!(log_limit.pass_at("blog", "tls", start).as_deref(), Some(""));
        assert_eq!(log_limit.pass_at("shop", "dns", start).as_deref(), Some(""));
        let text = log_limit.pass_at("shop", "tls", later).unwrap();
        assert!(text.contains("2 more"), "{text}");
        assert_eq!(
            log_limit
                .pass_at("shop", "tls", later + INTERVAL)
                .as_deref(),
            Some("")
        );
    }
}

//! One log line per subject and kind in ten seconds, with a count of those omitted: an outage at a
//! thousand requests a second must not fill a disk. If no later line reports the count, a separate
//! line does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line of each kind through per interval.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    lines: Arc<LineTable>,
    /// The lines that are written only once: a few kinds for each project.
    said: Mutex<Vec<(String, &'static str)>>,
}

/// By subject and kind.
type LineTable = Mutex<HashMap<(String, &'static str), LineState>>;

#[derive(Debug)]
struct LineState {
    last: Instant,
    suppressed: u64,
}

impl LogLimit {
    /// Whether a line may be written now: the words to add to it (empty, or how many were left
    /// out since the last one). `None` counts the line instead.
    pub(crate) fn pass(&self, subject: &str, kind: &'static str) -> Option<String> {
        match self.pass_at(subject, kind, Instant::now()) {
            LinePermit::Yes(more) => Some(more),
            LinePermit::No(LeftOutLine::First) => {
                self.log_omitted_later(subject, kind);
                None
            }
            LinePermit::No(LeftOutLine::Another) => None,
        }
    }

    /// Logs how many lines were omitted when the interval is over, unless a line has reported it by
    /// then.
    fn log_omitted_later(&self, subject: &str, kind: &'static str) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (lines, subject) = (Arc::downgrade(&self.lines), subject.to_owned());
        runtime.spawn(async move {
            tokio::time::sleep(INTERVAL).await;
            let lines = lines.upgrade();
            let left_out = lines.and_then(|lines| overdue(&lines, &subject, kind, Instant::now()));
            if let Some(count) = left_out {
                let about = match subject.is_empty() {
                    true => String::new(),
                    false => format!(" about {subject}"),
                };
                log::warn!("{count} more lines{about} ({kind}) were left out");
            }
        });
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

    fn pass_at(&self, subject: &str, kind: &'static str, now: Instant) -> LinePermit {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(&(subject.to_owned(), kind)) else {
            let line = LineState {
                last: now,
                suppressed: 0,
            };
            lines.insert((subject.to_owned(), kind), line);
            return LinePermit::Yes(String::new());
        };
        if now.duration_since(line.last) < INTERVAL {
            line.suppressed += 1;
            return LinePermit::No(match line.suppressed {
                1 => LeftOutLine::First,
                _ => LeftOutLine::Another,
            });
        }
        line.last = now;
        match std::mem::take(&mut line.suppressed) {
            0 => LinePermit::Yes(String::new()),
            count => LinePermit::Yes(format!(" ({count} more like this since the last line)")),
        }
    }
}

/// Whether a line may be written, with the text to add to it.
#[derive(Debug, PartialEq, Eq)]
enum LinePermit {
    Yes(String),
    No(LeftOutLine),
}

/// Which of the lines since the last written one is omitted.
#[derive(Debug, PartialEq, Eq)]
enum LeftOutLine {
    First,
    Another,
}

/// How many lines were omitted, if the interval is over and no line has reported them.
fn overdue(lines: &LineTable, subject: &str, kind: &'static str, now: Instant) -> Option<u64> {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let line = lines.get_mut(&(subject.to_owned(), kind))?;
    if now.saturating_duration_since(line.last) < INTERVAL {
        return None;
    }
    Some(std::mem::take(&mut line.suppressed)).filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_each_subject_and_kind_is_written() {
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
        let said = || LinePermit::Yes(String::new());
        assert_eq!(log_limit.pass_at("shop", "tls", start), said());
        let left_out = |at| log_limit.pass_at("shop", "tls", at);
        assert_eq!(left_out(start), LinePermit::No(LeftOutLine::First));
        assert_eq!(left_out(start), LinePermit::No(LeftOutLine::Another));
        assert_eq!(log_limit.pass_at("blog", "tls", start), said());
        assert_eq!(log_limit.pass_at("shop", "dns", start), said());
        let LinePermit::Yes(text) = left_out(later) else {
            panic!("the interval is over");
        };
        assert!(text.contains("2 more"), "{text}");
        assert_eq!(left_out(later + INTERVAL), said());
    }

    #[test]
    fn omitted_lines_are_reported_when_the_interval_is_over() {
        let log_limit = LogLimit::default();
        let start = Instant::now();
        for _ in 0..17 {
            log_limit.pass_at("shop", "dead_lettered", start);
        }
        let told = |at| overdue(&log_limit.lines, "shop", "dead_lettered", at);
        assert_eq!(told(start), None);
        assert_eq!(told(start + INTERVAL), Some(16));
        assert_eq!(told(start + INTERVAL), None, "it is told once");
        // The line that came in the meantime reported the count, and counting starts again.
        log_limit.pass_at("shop", "dead_lettered", start + INTERVAL);
        log_limit.pass_at("shop", "dead_lettered", start + INTERVAL);
        assert_eq!(told(start + INTERVAL), None);
        assert_eq!(told(start + INTERVAL * 2), Some(1));
    }
}

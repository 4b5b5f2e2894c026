//! One log line for each subject and kind in ten seconds, with the number of omitted lines: an
//! outage at a thousand requests a second must not fill a disk. If no later line follows, the last
//! omitted line is written itself, with the number, so that the end of the log is up to date.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::Level;
use tokio::runtime::Handle;

const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line of each kind through per interval.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    lines: Arc<LineTable>,
    /// The lines that are written only once: a few kinds for each project.
    logged: Mutex<Vec<(String, &'static str)>>,
}

/// The state of each line, by subject and kind.
type LineTable = Mutex<HashMap<(String, &'static str), LineState>>;

#[derive(Debug)]
struct LineState {
    last: Instant,
    suppressed: u64,
    /// The last omitted line, if it was stored.
    kept: Option<(Level, String)>,
}

/// The omitted lines that no written line has reported.
#[derive(Debug, PartialEq, Eq)]
struct UnreportedLines {
    count: u64,
    kept: Option<(Level, String)>,
}

impl LogLimit {
    /// Returns the words to add to a line if it may be written now (empty, or how many lines were omitted
    /// since the last one). Otherwise counts the line as omitted and returns `None`.
    pub(crate) fn pass(&self, subject: &str, kind: &'static str) -> Option<String> {
        match self.pass_at(subject, kind, Instant::now()) {
            LinePermit::Yes(more) => Some(more),
            LinePermit::No(OmittedLine::First) => {
                self.log_omitted_later(subject, kind);
                None
            }
            LinePermit::No(OmittedLine::Another) => None,
        }
    }

    /// Stores a line that may not be written now. The last stored line is written when the interval is
    /// over.
    pub(crate) fn keep(&self, subject: &str, kind: &'static str, level: Level, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = lines.get_mut(&(subject.to_owned(), kind)) {
            state.kept = Some((level, line));
        }
    }

    /// Reports the number of omitted lines when the interval is over, unless a line has reported it by
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
            if let Some(left_out) = left_out {
                let (level, line) = left_out.line(&subject, kind);
                log::log!(level, "{line}");
            }
        });
    }

    /// Returns whether this is the first line of this subject and kind. It is `false` for every later
    /// one.
    pub(crate) fn first(&self, subject: &str, kind: &'static str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        // Some sites call this for every message, so the name is copied only once.
        let known = logged
            .iter()
            .any(|(known, one)| known == subject && *one == kind);
        if !known {
            logged.push((subject.to_owned(), kind));
        }
        !known
    }

    fn pass_at(&self, subject: &str, kind: &'static str, now: Instant) -> LinePermit {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(&(subject.to_owned(), kind)) else {
            let line = LineState {
                last: now,
                suppressed: 0,
                kept: None,
            };
            lines.insert((subject.to_owned(), kind), line);
            return LinePermit::Yes(String::new());
        };
        if now.duration_since(line.last) < INTERVAL {
            line.suppressed += 1;
            return LinePermit::No(match line.suppressed {
                1 => OmittedLine::First,
                _ => OmittedLine::Another,
            });
        }
        line.last = now;
        line.kept = None;
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
    No(OmittedLine),
}

/// Whether an omitted line is the first one since the last written line.
#[derive(Debug, PartialEq, Eq)]
enum OmittedLine {
    First,
    Another,
}

impl UnreportedLines {
    fn line(self, subject: &str, kind: &str) -> (Level, String) {
        let about = match subject.is_empty() {
            true => String::new(),
            false => format!(" about {subject}"),
        };
        match (self.count, self.kept) {
            (1, Some(kept)) => kept,
            (count, Some((level, line))) => (
                level,
                format!("{line} (the last of {count} lines like this that were left out)"),
            ),
            (count, None) => (
                Level::Warn,
                format!("{count} more lines{about} ({kind}) were left out"),
            ),
        }
    }
}

/// Takes the omitted lines, if the interval is over and no line has reported them.
fn overdue(
    lines: &LineTable,
    subject: &str,
    kind: &'static str,
    now: Instant,
) -> Option<UnreportedLines> {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let line = lines.get_mut(&(subject.to_owned(), kind))?;
    if now.saturating_duration_since(line.last) < INTERVAL {
        return None;
    }
    let kept = line.kept.take();
    let count = std::mem::take(&mut line.suppressed);
    (count > 0).then_some(UnreportedLines { count, kept })
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
        let yes = || LinePermit::Yes(String::new());
        assert_eq!(log_limit.pass_at("shop", "tls", start), yes());
        let left_out = |at| log_limit.pass_at("shop", "tls", at);
        assert_eq!(left_out(start), LinePermit::No(OmittedLine::First));
        assert_eq!(left_out(start), LinePermit::No(OmittedLine::Another));
        assert_eq!(log_limit.pass_at("blog", "tls", start), yes());
        assert_eq!(log_limit.pass_at("shop", "dns", start), yes());
        let LinePermit::Yes(text) = left_out(later) else {
            panic!("the interval is over");
        };
        assert!(text.contains("2 more"), "{text}");
        assert_eq!(left_out(later + INTERVAL), yes());
    }

    #[test]
    fn omitted_lines_are_reported_when_the_interval_is_over() {
        let log_limit = LogLimit::default();
        let start = Instant::now();
        for _ in 0..17 {
            log_limit.pass_at("shop", "dead_lettered", start);
        }
        let reported = |at| {
            overdue(&log_limit.lines, "shop", "dead_lettered", at).map(|left_out| left_out.count)
        };
        assert_eq!(reported(start), None);
        assert_eq!(reported(start + INTERVAL), Some(16));
        assert_eq!(reported(start + INTERVAL), None, "it is reported once");
        // The line that was written in the meantime reported the count, and counting starts again.
        log_limit.pass_at("shop", "dead_lettered", start + INTERVAL);
        log_limit.pass_at("shop", "dead_lettered", start + INTERVAL);
        assert_eq!(reported(start + INTERVAL), None);
        assert_eq!(reported(start + INTERVAL * 2), Some(1));
    }

    #[test]
    fn the_last_line_that_was_kept_is_written_itself() {
        let log_limit = LogLimit::default();
        let start = Instant::now();
        let mut written = Vec::new();
        for kept in [&[][..], &["away"], &["away", "well again"]] {
            log_limit.pass_at("shop", "posthog", start);
            for line in kept {
                log_limit.pass_at("shop", "posthog", start);
                log_limit.keep("shop", "posthog", Level::Info, (*line).to_owned());
            }
            let left_out = overdue(&log_limit.lines, "shop", "posthog", start + INTERVAL);
            written.push(left_out.map(|left_out| left_out.line("shop", "posthog")));
            log_limit.lines.lock().unwrap().clear();
        }
        let last = "well again (the last of 2 lines like this that were left out)";
        let info = |line: &str| Some((Level::Info, line.to_owned()));
        assert_eq!(written, [None, info("away"), info(last)]);
        // Omitted lines that a later line has reported are not reported again.
        log_limit.pass_at("shop", "posthog", start);
        log_limit.pass_at("shop", "posthog", start);
        log_limit.keep("shop", "posthog", Level::Info, "away".to_owned());
        log_limit.pass_at("shop", "posthog", start + INTERVAL);
        log_limit.pass_at("shop", "posthog", start + INTERVAL);
        let left_out = overdue(&log_limit.lines, "shop", "posthog", start + INTERVAL * 2);
        let line = left_out.unwrap().line("shop", "posthog");
        let expected = "1 more lines about shop (posthog) were left out".to_owned();
        assert_eq!(line, (Level::Warn, expected));
    }
}

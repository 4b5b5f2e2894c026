//! The log of the process. The lines of each place in the code have a rate limit, and a separate thread
//! writes them. So neither a client nor a log reader that has stopped can delay a request.

use std::collections::HashMap;
use std::io::{self, Write};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

/// The most lines that wait for the thread.
const QUEUE: usize = 1024;
/// The most lines that one place in the code may write in one interval.
const LINES: u64 = 5;
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the process waits for the last lines before it exits.
const LAST: Duration = Duration::from_secs(1);

/// The target of the access log, which has one line for each request, at level debug.
pub const ACCESS: &str = "hedgerow::access";

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of lines that were dropped since the start, because no process read the log or it could
/// not be written.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Logs the place of each panic from now on. The text of the panic is not logged, because it may contain a
/// client's data.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{}", panicked(panic.location()));
    }));
}

/// Returns the log line for a panic at this place.
fn panicked(place: Option<&Location<'_>>) -> String {
    let place = place.map_or_else(|| "an unknown place".to_owned(), Location::to_string);
    format!(
        "a panic at {place} has ended one request or task; all others continue. \
         Please report this place and the version"
    )
}

enum WriterCommand {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Writes whole lines in a separate thread. If the queue is full, a line is dropped and counted. After the
/// next written line, the log reports the number of dropped lines.
#[derive(Debug)]
pub struct LineWriter {
    commands: SyncSender<WriterCommand>,
}

/// Waits for the last lines when it is dropped.
#[derive(Debug)]
pub struct LastLines {
    commands: SyncSender<WriterCommand>,
}

impl LineWriter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if the system cannot start the thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LastLines)> {
        let (commands, queue) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &queue))?;
        let last = LastLines {
            commands: commands.clone(),
        };
        Ok((Self { commands }, last))
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.commands.try_send(WriterCommand::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        let (done, finished) = sync_channel(1);
        let end = Instant::now() + LAST;
        let mut command = WriterCommand::Flush(done);
        while let Err(TrySendError::Full(full)) = self.commands.try_send(command) {
            if Instant::now() >= end {
                return;
            }
            command = full;
            std::thread::sleep(Duration::from_millis(5));
        }
        // The time limit lets the process exit even if no process reads the log.
        let _ = finished.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Writes the queued lines. It cannot report its errors, because it writes the log itself.
fn write(mut out: impl Write, queue: &Receiver<WriterCommand>) {
    let mut reported = 0;
    while let Ok(command) = queue.recv() {
        match command {
            WriterCommand::Line(line) => {
                if out.write_all(&line).is_err() {
                    // The disk is full, or the reader of the pipe has closed it.
                    DROPPED.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let dropped = dropped();
                if dropped > reported {
                    let more = dropped - reported;
                    let written = writeln!(
                        out,
                        "({more} lines of the log were dropped, because standard error was not read, \
                         or could not be written)"
                    );
                    if written.is_ok() {
                        reported = dropped;
                    }
                }
                let _ = out.flush();
            }
            WriterCommand::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Limits the lines that each place in the code writes, and reports how many were omitted. The limit
/// applies only to the levels info, warn and error: lines of the lower levels are never omitted.
pub struct LimitedLog<L> {
    log: L,
    /// The beginning of the targets whose lines are never omitted.
    exempt: &'static str,
    call_sites: Mutex<HashMap<(String, u32), CallSite>>,
}

struct CallSite {
    since: Instant,
    lines: u64,
    left_out: u64,
    /// The last omitted line.
    last: Option<SuppressedLine>,
}

/// An omitted line.
struct SuppressedLine {
    level: Level,
    target: String,
    text: String,
}

impl<L: Log> LimitedLog<L> {
    /// Limits the lines for `log`, except those of targets that begin with `exempt`.
    pub fn new(log: L, exempt: &'static str) -> Self {
        Self {
            log,
            exempt,
            call_sites: Mutex::default(),
        }
    }

    /// Returns the number of lines that were omitted before this one, or `None` if this one is omitted.
    fn pass(&self, record: &Record<'_>, now: Instant) -> Option<u64> {
        if record.level() > Level::Info || record.target().starts_with(self.exempt) {
            return Some(0);
        }
        let key = (
            record.file().unwrap_or(record.target()).to_owned(),
            record.line().unwrap_or_default(),
        );
        let mut call_sites = self
            .call_sites
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let call_site = call_sites.entry(key).or_insert(CallSite {
            since: now,
            lines: 0,
            left_out: 0,
            last: None,
        });
        if now.saturating_duration_since(call_site.since) >= INTERVAL {
            call_site.since = now;
            call_site.lines = 0;
        }
        if call_site.lines >= LINES {
            call_site.left_out += 1;
            call_site.last = Some(SuppressedLine {
                level: record.level(),
                target: record.target().to_owned(),
                text: record.args().to_string(),
            });
            return None;
        }
        call_site.lines += 1;
        call_site.last = None;
        Some(std::mem::take(&mut call_site.left_out))
    }
}

impl<L: Log> LimitedLog<L> {
    /// Reports how many lines were omitted, if no later line has reported it. It reports a place when its
    /// interval is over or, with [`OmittedLines::All`], at once. Call it regularly and before exiting.
    pub fn log_omitted(&self, omitted_lines: OmittedLines) {
        self.log_omitted_at(omitted_lines, Instant::now());
    }

    fn log_omitted_at(&self, omitted_lines: OmittedLines, now: Instant) {
        let unreported: Vec<(SuppressedLine, u64)> = {
            let mut call_sites = self
                .call_sites
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let over =
                |call_site: &CallSite| now.saturating_duration_since(call_site.since) >= INTERVAL;
            let due = call_sites
                .values_mut()
                .filter(|call_site| omitted_lines == OmittedLines::All || over(call_site));
            due.filter_map(|call_site| {
                Some((
                    call_site.last.take()?,
                    std::mem::take(&mut call_site.left_out),
                ))
            })
            .collect()
        };
        for (
            SuppressedLine {
                level,
                target,
                text,
            },
            number,
        ) in unreported
        {
            self.log.log(
                &Record::builder()
                    .level(level)
                    .target(&target)
                    .args(format_args!(
                        "{text} (the last of {number} lines like this that were left out)"
                    ))
                    .build(),
            );
        }
    }
}

/// The places whose omitted lines are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OmittedLines {
    /// Only the places whose interval is over.
    Over,
    /// All places.
    All,
}

impl<L: Log> Log for LimitedLog<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.log.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.log.enabled(record.metadata()) {
            return;
        }
        match self.pass(record, Instant::now()) {
            None => {}
            Some(0) => self.log.log(record),
            Some(more) => self.log.log(
                &Record::builder()
                    .metadata(record.metadata().clone())
                    .module_path(record.module_path())
                    .file(record.file())
                    .line(record.line())
                    .args(format_args!(
                        "{} ({more} more lines like this were left out before it)",
                        record.args()
                    ))
                    .build(),
            ),
        }
    }

    fn flush(&self) {
        self.log.flush();
    }
}

impl<L> std::fmt::Debug for LimitedLog<L> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LimitedLog").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct NullLog;

    impl Log for NullLog {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn log(&self, _: &Record<'_>) {}
        fn flush(&self) {}
    }

    /// Stores the text of each line.
    #[derive(Default)]
    struct KeptLines(Mutex<Vec<String>>);

    impl Log for KeptLines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
        fn flush(&self) {}
    }

    #[test]
    fn omitted_lines_are_reported_even_if_no_line_follows() {
        let bounded = LimitedLog::new(KeptLines::default(), "hedgerow::cli");
        let start = Instant::now();
        for number in 0..17 {
            bounded.log(
                &Record::builder()
                    .level(Level::Error)
                    .target("hedgerow::proxy")
                    .file(Some("src/x.rs"))
                    .line(Some(1))
                    .args(format_args!("dead letter {number}"))
                    .build(),
            );
        }
        let reported = |omitted_lines, at| {
            bounded.log.0.lock().unwrap().clear();
            bounded.log_omitted_at(omitted_lines, at);
            bounded.log.0.lock().unwrap().clone()
        };
        assert_eq!(bounded.log.0.lock().unwrap().len() as u64, LINES);
        assert!(reported(OmittedLines::Over, start).is_empty());
        let text = "dead letter 16 (the last of 12 lines like this that were left out)";
        assert_eq!(
            reported(OmittedLines::Over, Instant::now() + INTERVAL),
            [text]
        );
        assert!(reported(OmittedLines::All, Instant::now() + INTERVAL).is_empty());
    }

    #[test]
    fn one_place_writes_a_few_lines_in_an_interval_and_reports_the_omitted_ones() {
        let bounded = LimitedLog::new(NullLog, "hedgerow::cli");
        let start = Instant::now();
        let pass = |level, target: &str, line, at| {
            let record = Record::builder()
                .level(level)
                .target(target)
                .file(Some("src/x.rs"))
                .line(Some(line))
                .build();
            bounded.pass(&record, at)
        };
        let ours = "hedgerow::proxy";
        let passed = (0..50).filter(|_| pass(Level::Error, ours, 1, start).is_some());
        assert_eq!(passed.count() as u64, LINES);
        assert_eq!(pass(Level::Error, ours, 2, start), Some(0), "another place");
        assert_eq!(pass(Level::Debug, ours, 1, start), Some(0));
        assert_eq!(pass(Level::Warn, "hedgerow::cli::run", 1, start), Some(0));
        assert_eq!(
            pass(Level::Error, ours, 1, start + INTERVAL),
            Some(50 - LINES)
        );
        assert_eq!(pass(Level::Error, ours, 1, start + INTERVAL), Some(0));
    }

    /// A writer that accepts no bytes.
    struct FullWriter;

    impl Write for FullWriter {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that does not read until it is released.
    struct StuckWriter(Arc<Mutex<Vec<u8>>>);

    impl Write for StuckWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_unread_log_blocks_no_writer_and_reports_the_lost_lines() {
        let all = Arc::new(Mutex::new(Vec::new()));
        let (mut writer, last) = LineWriter::start(StuckWriter(Arc::clone(&all))).unwrap();
        let unread = all.lock().unwrap();
        let sent = QUEUE * 3;
        for number in 0..sent {
            writer
                .write_all(format!("line {number}\n").as_bytes())
                .unwrap();
        }
        let lost = dropped();
        assert!(lost >= (sent - QUEUE - 1) as u64, "{lost}");
        drop(unread);
        drop(last);
        let text = String::from_utf8(all.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\n"), "{text}");
        let note = format!("({lost} lines of the log were dropped");
        assert!(text.contains(&note), "{note}: {}", text.len());

        // With a full disk, a line is dropped and counted.
        let (mut writer, last) = LineWriter::start(FullWriter).unwrap();
        writer.write_all(b"a line\n").unwrap();
        drop(last);
        assert_eq!(dropped(), lost + 1);
    }
}

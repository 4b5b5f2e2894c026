//! Records this process's log for a test.

use std::sync::{Mutex, Once};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
static INSTALL: Once = Once::new();

struct TestLog;

impl log::Log for TestLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}: {}", record.level(), record.target(), record.args());
        if let Ok(mut lines) = LINES.lock() {
            lines.push(line);
        }
    }

    fn flush(&self) {}
}

/// Records the log from here on, at the default level.
pub fn keep() {
    INSTALL.call_once(|| {
        log::set_logger(&TestLog).expect("there is no other");
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// All lines with this text so far.
pub fn lines(text: &str) -> Vec<String> {
    let lines = LINES.lock().expect("no test has failed");
    let found = lines.iter().filter(|line| line.contains(text));
    found.cloned().collect()
}

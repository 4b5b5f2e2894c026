//! Counts the steps of the statements that a thread runs, for tests.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};

thread_local! {
    /// The statements that this thread has run, each with the sum of the steps of its runs.
    static RUN: RefCell<BTreeMap<String, i64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts the steps of a connection's statements.
pub(super) fn watched(mut connection: Connection) -> Result<Connection, rusqlite::Error> {
    // SQLite does not reset the count of a cached statement between its runs.
    let mut before: BTreeMap<String, i32> = BTreeMap::new();
    let count = move |event: TraceEvent<'_>| {
        if let TraceEvent::Profile(statement, _) = event {
            let text = statement.sql().into_owned();
            let steps = statement.get_status(StatementStatus::VmStep);
            let before = before.insert(text.clone(), steps).unwrap_or_default();
            let new = i64::from(if steps >= before {
                steps - before
            } else {
                steps
            });
            RUN.with_borrow_mut(|run| *run.entry(text).or_default() += new);
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(count))?;
    Ok(connection)
}

/// Runs `work` and returns its statements with their steps.
pub(super) fn steps_of(work: impl FnOnce()) -> BTreeMap<String, i64> {
    RUN.take();
    work();
    RUN.take()
}

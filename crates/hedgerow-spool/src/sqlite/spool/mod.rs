//! The spool on this machine's disk. SQLite stores the events, and one thread accesses the file.

mod appending;
mod backend;
mod clock;
mod command;
mod database;
mod dead_letters;
mod inspect;
mod lease;
mod maintenance;
mod migration;
mod opening;
mod reading;
mod recovery;
mod removing;
mod reserve;
mod schema;
mod settings;
#[cfg(test)]
mod statement_steps;
#[cfg(test)]
mod statement_tests;
mod store;
mod transactions;
mod worker;
mod writing;

pub(crate) use backend::SqliteBackend;
pub use settings::SqliteSettings;
pub use store::SqliteSpool;

/// Lets the process survive when a file reaches its size limit (`ulimit -f`). Without this call, the
/// system ends the process with a signal; with it, the write fails as on a full disk. Call it once, on a
/// runtime.
///
/// # Errors
/// If the runtime has no signal driver.
pub fn outlive_file_size_limit() -> std::io::Result<()> {
    // The number of SIGXFSZ on Linux and the BSDs. The handler stays until the process ends.
    const SIGXFSZ: i32 = 25;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)).map(drop)
}

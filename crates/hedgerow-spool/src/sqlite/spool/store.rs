//! The spool as a [`Store`]: each call sends a command to the thread that has the file.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::lease::FileLease;
use super::settings::SqliteSettings;
use super::worker::{Worker, WorkerCommand, WorkerShared};
use crate::error::SpoolError;
use crate::event::SpooledEvent;
use crate::store::{Availability, Counters, Gauges, Lead, PeekLimit, Peeked, Position, Store};
use crate::store::{Clock, Refusal};

/// A spool on disk. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub struct SqliteSpool {
    pub(super) inner: Arc<SqliteSpoolInner>,
}

pub(super) struct SqliteSpoolInner {
    commands: Sender<WorkerCommand>,
    shared: Arc<WorkerShared>,
    pub(super) lease: FileLease,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    pub(super) folder: PathBuf,
}

impl SqliteSpool {
    /// Opens the spool in a folder. Creates the folder and the spool if they do not exist.
    ///
    /// A full or read-only disk, or a folder that cannot be created, is no error here, because the proxy
    /// must serve anyway. Meanwhile appends return the current error, and the spool tries again by itself.
    /// A damaged file is moved aside, and its readable events are kept.
    ///
    /// # Errors
    /// [`SpoolError::Format`] if a newer version wrote the file; [`SpoolError::Folder`] if no thread can be
    /// started.
    pub fn open(folder: &Path, settings: SqliteSettings) -> Result<Self, SpoolError> {
        Self::open_with_clock(folder, settings, Arc::new(SystemTime::now))
    }

    /// Opens the spool as [`open`](Self::open) does, with another clock for the time of day.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_with_clock(
        folder: &Path,
        settings: SqliteSettings,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        let shared = Arc::new(WorkerShared::default());
        let mut worker = Worker::new(folder.to_owned(), settings, clock, Arc::clone(&shared));
        match worker.open() {
            Err(error @ SpoolError::Format { .. }) => return Err(error),
            Err(error) => {
                shared.set_trouble(Some(&error));
                log::error!("the spool cannot be used for now: {error}");
            }
            Ok(_) => {}
        }
        let (commands, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || worker.run(&queue))
            .map_err(|source| SpoolError::Folder {
                path: folder.to_owned(),
                source: Arc::new(source),
            })?;
        Ok(Self {
            inner: Arc::new(SqliteSpoolInner {
                commands,
                shared,
                lease: FileLease::new(folder),
                thread: Mutex::new(Some(thread)),
                folder: folder.to_owned(),
            }),
        })
    }

    /// Returns the spool as a [`Store`].
    pub fn as_store(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    pub(super) fn send(&self, command: WorkerCommand) -> Result<(), SpoolError> {
        self.inner
            .commands
            .send(command)
            .map_err(|_| SpoolError::Closed)
    }
}

#[async_trait]
impl Store for SqliteSpool {
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        if events.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.send(WorkerCommand::Append {
            project: project.to_owned(),
            events,
            reply,
        })?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }

    async fn peek(&self, project: &str, limit: PeekLimit) -> Result<Peeked, SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.send(WorkerCommand::Peek {
            project: project.to_owned(),
            limit,
            reply,
        })?;
        let found = answer.await.unwrap_or(Err(SpoolError::Closed))?;
        for position in found.damaged {
            log::error!("an event in the spool is damaged; it is a dead letter now");
            let refusal = Refusal {
                status: 0,
                reason: "its bytes were damaged on disk".to_owned(),
            };
            self.dead_letter(project, position, refusal).await?;
        }
        Ok(Peeked {
            events: found.events,
            rest: found.rest,
        })
    }

    async fn acknowledge(&self, project: &str, positions: Vec<Position>) {
        let (reply, answer) = oneshot::channel();
        let sent = self.send(WorkerCommand::Acknowledge {
            project: project.to_owned(),
            positions,
            reply,
        });
        if sent.is_ok() {
            let _ = answer.await;
        }
    }

    async fn dead_letter(
        &self,
        _project: &str,
        position: Position,
        refusal: Refusal,
    ) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.send(WorkerCommand::DeadLetter {
            position,
            refusal,
            reply,
        })?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }

    async fn lead(&self, _project: &str) -> Result<Lead, SpoolError> {
        self.inner.lease.try_take()
    }

    async fn resign(&self) {
        self.inner.lease.release();
    }

    fn availability(&self) -> Availability {
        self.inner.shared.availability()
    }

    fn trouble(&self) -> Option<String> {
        self.inner.shared.trouble()
    }

    fn gauges(&self) -> &Gauges {
        &self.inner.shared.gauges
    }

    fn counters(&self) -> &Counters {
        &self.inner.shared.counters
    }
}

impl From<rusqlite::Error> for SpoolError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace,
            Some(rusqlite::ErrorCode::ReadOnly) => Self::ReadOnly,
            _ => Self::Storage(Arc::new(error)),
        }
    }
}

impl Drop for SqliteSpoolInner {
    fn drop(&mut self) {
        let _ = self.commands.send(WorkerCommand::Close);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // The thread handles commands in order, so it finishes all earlier ones first.
            if thread.join().is_err() {
                log::error!("the spool's thread ended in a panic");
            }
        }
    }
}

//! The spool on this machine's disk: SQLite as the storage, one thread that writes it.

mod command;
mod database;
mod look;
mod opening;
mod packing;
mod passing;
mod reserve;
mod salvage;
mod stock;
mod tidy;
mod worker;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::lease::FileLease;
use super::store::{Counters, Gauges, Lead, Portion, Position, Rank, Standing, Store, Taken};
use super::{Clock, Refusal, SpoolError, SpoolSettings, SpooledEvent};
use worker::{Command, Shared, Worker};

pub use database::Waiting;
pub use look::look_at_spool;

/// Lets a process live on when a file reaches its size limit (`ulimit -f`): without this the
/// system ends it with a signal, and with it the write fails like one on a full disk. To be called
/// once, on a runtime.
///
/// # Errors
/// If the runtime has no signal driver.
pub fn outlive_file_size_limit() -> std::io::Result<()> {
    // SIGXFSZ on Linux and the BSDs. A handler stays for the life of the process.
    const SIGXFSZ: i32 = 25;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// A spool on disk. Clones share it; the last one that goes closes it.
#[derive(Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

struct Inner {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    lease: FileLease,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    folder: PathBuf,
}

impl Spool {
    /// Opens the spool in a folder, and makes both if they are not there.
    ///
    /// A disk that is full or read-only, or a folder that cannot be made, is no error here: the
    /// proxy has to serve all the same. Appends answer with the error of the moment, and the spool
    /// tries again by itself. A damaged file is set aside, and what can be read of it is kept.
    ///
    /// # Errors
    /// [`SpoolError::Format`] if a newer version wrote it; [`SpoolError::Folder`] if no thread can
    /// be started.
    pub fn open(folder: &Path, settings: SpoolSettings) -> Result<Self, SpoolError> {
        Self::open_with_clock(folder, settings, Arc::new(SystemTime::now))
    }

    /// The same with another time of day.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_with_clock(
        folder: &Path,
        settings: SpoolSettings,
        clock: Clock,
    ) -> Result<Self, SpoolError> {
        let shared = Arc::new(Shared::default());
        let mut worker = Worker::new(folder.to_owned(), settings, clock, Arc::clone(&shared));
        match worker.open() {
            Err(error @ SpoolError::Format { .. }) => return Err(error),
            Err(error) => {
                shared.takes_nothing.store(true, Ordering::Relaxed);
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
            inner: Arc::new(Inner {
                commands,
                shared,
                lease: FileLease::new(folder),
                thread: Mutex::new(Some(thread)),
                folder: folder.to_owned(),
            }),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Whether this process drains the spool; it does from now on if no other process does.
    ///
    /// A process that is behind must stream nothing: it knows neither what the other one has just
    /// kept nor what it is sending. It becomes the first when the other one resigns or ends, and
    /// then has to [`learn`](Self::learn) before it streams.
    pub fn rank(&self) -> Rank {
        self.inner.lease.rank()
    }

    /// Says to the process that drains this spool that another one is there.
    pub fn stand_in_line(&self) {
        self.inner.lease.stand_in_line();
    }

    /// Takes that back.
    pub fn leave_line(&self) {
        self.inner.lease.leave_line();
    }

    /// Whether another process uses this spool beside the one that drains it.
    pub fn is_awaited(&self) -> bool {
        self.inner.lease.is_awaited()
    }

    /// Says that this process knows of another one, and appends whatever comes to it.
    pub fn step_aside(&self) {
        self.inner.lease.step_aside();
    }

    /// Takes that back.
    pub fn step_forth(&self) {
        self.inner.lease.step_forth();
    }

    /// Whether the process that drains this spool appends whatever comes to it.
    pub fn is_aside(&self) -> bool {
        self.inner.lease.is_aside()
    }

    /// Learns from the file what waits and what does not any more. What another process has done
    /// with it is otherwise seen within a second, and its deliveries not at all.
    pub async fn learn(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Command::Learn { reply }).is_ok() {
            let _ = answer.await;
        }
    }

    /// The spool as any other.
    pub fn as_store(&self) -> Arc<dyn Store> {
        Arc::new(self.clone())
    }

    fn send(&self, command: Command) -> Result<(), SpoolError> {
        self.inner
            .commands
            .send(command)
            .map_err(|_| SpoolError::Closed)
    }
}

#[async_trait]
impl Store for Spool {
    async fn append(&self, project: &str, events: Vec<SpooledEvent>) -> Result<(), SpoolError> {
        if events.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append {
            project: project.to_owned(),
            events,
            reply,
        })?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }

    async fn take(&self, project: &str, portion: Portion) -> Result<Taken, SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Take {
            project: project.to_owned(),
            portion,
            reply,
        })?;
        let found = answer.await.unwrap_or(Err(SpoolError::Closed))?;
        for position in found.damaged {
            log::error!("an event in the spool is not what was written; it is a dead letter now");
            let refusal = Refusal {
                status: 0,
                reason: "its bytes were damaged on disk".to_owned(),
            };
            self.bury(project, position, refusal).await?;
        }
        Ok(Taken {
            events: found.events,
            rest: found.rest,
        })
    }

    async fn settle(&self, project: &str, positions: Vec<Position>) {
        let (reply, answer) = oneshot::channel();
        let sent = self.send(Command::Settle {
            project: project.to_owned(),
            positions,
            reply,
        });
        if sent.is_ok() {
            let _ = answer.await;
        }
    }

    async fn bury(
        &self,
        _project: &str,
        position: Position,
        refusal: Refusal,
    ) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Bury {
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

    fn standing(&self) -> Standing {
        self.inner.shared.standing()
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

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // What was asked for before is done before: the thread works in order.
            if thread.join().is_err() {
                log::error!("the spool's thread ended in a panic");
            }
        }
    }
}

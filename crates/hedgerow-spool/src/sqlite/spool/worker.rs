//! The thread that owns the file. Only this thread waits for the disk; the async workers never do.
//!
//! It commits in groups: appends that arrive while the disk is busy go into the next transaction together,
//! and one fsync makes all of them durable.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::clock::SpoolClock;
use super::database::Database;
use super::reading::TakenEvents;
use super::reserve::{Reserve, LOG_BYTES};
use super::settings::SqliteSettings;
use super::transactions::Append;
use crate::error::SpoolError;
use crate::event::SpooledEvent;
use crate::store::{Availability, Counters, Gauges, PeekLimit, Position};
use crate::store::{Clock, Refusal};

/// How often the thread does its maintenance and reads the changes of other processes.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// When the events of a group of commands reach this size in bytes, the thread adds no further command.
const GROUP_BYTES: usize = 8 << 20;

/// The maximum number of commands that the thread takes from the queue at once.
const GROUP: usize = 4_096;

/// The number of events that are removed at once on a full disk, so that each step needs little log.
pub(super) const SMALL_STEP: usize = 100;

/// A command to the thread.
pub(super) enum WorkerCommand {
    Append {
        project: String,
        events: Vec<SpooledEvent>,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    },
    Acknowledge {
        project: String,
        positions: Vec<Position>,
        reply: oneshot::Sender<()>,
    },
    DeadLetter {
        position: Position,
        refusal: Refusal,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    },
    Peek {
        project: String,
        limit: PeekLimit,
        reply: oneshot::Sender<Result<TakenEvents, SpoolError>>,
    },
    Reload {
        reply: oneshot::Sender<()>,
    },
    Close,
}

/// The state that the thread shares with the handles.
#[derive(Default)]
pub(super) struct WorkerShared {
    pub(super) gauges: Gauges,
    pub(super) counters: Counters,
    /// Whether the availability has ever been read. Most installations never read it, and then the thread
    /// need not check it every second.
    availability_read: AtomicBool,
    /// The reason why the spool does not accept events, if the last check found one.
    trouble: Mutex<Option<String>>,
}

impl WorkerShared {
    /// Returns the result of the last check. After the first call, the thread checks every second.
    pub(super) fn availability(&self) -> Availability {
        match self.trouble() {
            Some(_) => Availability::Unavailable,
            None => Availability::Available,
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.availability_read.store(true, Ordering::Relaxed);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<&SpoolError>) {
        let mut now = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *now = trouble.map(ToString::to_string);
    }
}

/// Whether the spool has room for appends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AppendRoom {
    Available,
    /// The limit was reached. Appends are refused until the used space falls to the low-water mark.
    Full,
}

pub(super) struct Worker {
    pub(super) folder: PathBuf,
    pub(super) settings: SqliteSettings,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) database: Option<Database>,
    pub(super) reserve: Reserve,
    /// The deduplication keys of waiting events, combined with their projects.
    pub(super) dedup_keys: HashSet<u128>,
    /// Delivered events that are not removed from the file yet, with their projects.
    pub(super) delivered: HashMap<Position, Arc<str>>,
    pub(super) room: AppendRoom,
    /// The bytes of the log that are not in the file yet.
    pub(super) logged: usize,
    /// The last failure of a write, and when it happened. `None` after a successful append.
    pub(super) failed: Option<(Instant, SpoolError)>,
    /// The current outage, for the log line that reports its end.
    pub(super) outage: Option<Outage>,
    pub(super) dead_letter_share: DeadLetterShare,
    pub(super) clock: SpoolClock,
}

/// A time during which the spool does not accept events.
pub(super) struct Outage {
    pub(super) since: Instant,
    /// The number of events that the spool refused during this time.
    pub(super) refused: u64,
}

/// Whether the dead letters' share of `max_size` has been checked since one was added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadLetterShare {
    Checked,
    Unchecked,
}

impl Worker {
    pub(super) fn new(
        folder: PathBuf,
        settings: SqliteSettings,
        clock: Clock,
        shared: Arc<WorkerShared>,
    ) -> Self {
        Self {
            clock: SpoolClock::new(clock),
            reserve: Reserve::new(&folder),
            folder,
            settings,
            shared,
            database: None,
            dedup_keys: HashSet::new(),
            delivered: HashMap::new(),
            room: AppendRoom::Available,
            logged: LOG_BYTES,
            failed: None,
            outage: None,
            dead_letter_share: DeadLetterShare::Unchecked,
        }
    }

    pub(super) fn run(mut self, commands: &Receiver<WorkerCommand>) {
        let mut ticked = Instant::now();
        // The thread checks once after its start, so that an unusable folder is reported before the spool
        // is needed.
        let mut availability = None;
        loop {
            let first = match commands.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(WorkerCommand::Close),
            };
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut next = first;
            while let Some(command) = next {
                if let WorkerCommand::Append { events, .. } = &command {
                    bytes += events.iter().map(|event| event.body().len()).sum::<usize>();
                }
                group.push(command);
                next = if bytes < GROUP_BYTES && group.len() < GROUP {
                    commands.try_recv().ok()
                } else {
                    None
                };
            }
            if self.work(group) == LoopFlow::End {
                self.remember();
                return;
            }
            if ticked.elapsed() >= TICK {
                self.tick();
                if availability.is_none() || self.shared.availability_read.load(Ordering::Relaxed) {
                    availability = Some(self.look(availability));
                }
                ticked = Instant::now();
            }
        }
    }

    /// Checks whether the spool accepts events, and logs a change.
    fn look(&mut self, before: Option<Availability>) -> Availability {
        let usable = self.usable();
        self.shared.set_trouble(usable.as_ref().err());
        match (usable, before) {
            (Ok(()), Some(Availability::Unavailable)) => {
                log::info!("the spool can be written again");
                Availability::Available
            }
            (Ok(()), _) => Availability::Available,
            (Err(_), Some(Availability::Unavailable)) => Availability::Unavailable,
            (Err(error), _) => {
                log::error!(
                    "the spool {} cannot be written: {error}. Events that PostHog does not accept \
                     are not stored; clients get 503 and retry",
                    self.folder.display()
                );
                Availability::Unavailable
            }
        }
    }

    fn work(&mut self, group: Vec<WorkerCommand>) -> LoopFlow {
        let mut flow = LoopFlow::Continue;
        let (mut appends, mut acknowledged, mut refused, mut peeks) =
            (vec![], vec![], vec![], vec![]);
        let mut reloads = vec![];
        for command in group {
            match command {
                WorkerCommand::Append {
                    project,
                    events,
                    reply,
                } => appends.push(Append {
                    project,
                    events,
                    reply,
                }),
                WorkerCommand::Acknowledge {
                    project,
                    positions,
                    reply,
                } => {
                    let before = self.delivered.len();
                    let project: Arc<str> = project.into();
                    self.delivered
                        .extend(positions.into_iter().map(|at| (at, Arc::clone(&project))));
                    let number = self.delivered.len() - before;
                    Counters::add(&self.shared.counters.delivered, number as u64);
                    acknowledged.push(reply);
                }
                WorkerCommand::DeadLetter {
                    position,
                    refusal,
                    reply,
                } => refused.push((position, refusal, reply)),
                WorkerCommand::Peek {
                    project,
                    limit,
                    reply,
                } => peeks.push((project, limit, reply)),
                WorkerCommand::Reload { reply } => reloads.push(reply),
                WorkerCommand::Close => flow = LoopFlow::End,
            }
        }
        self.append(appends);
        if !acknowledged.is_empty() || !refused.is_empty() {
            self.forget(refused);
        }
        for reply in acknowledged {
            let _ = reply.send(());
        }
        if !reloads.is_empty() {
            self.reload();
        }
        for reply in reloads {
            let _ = reply.send(());
        }
        for (project, limit, reply) in peeks {
            let _ = reply.send(self.peek(&project, limit));
        }
        flow
    }

    pub(super) fn peek(
        &mut self,
        project: &str,
        limit: PeekLimit,
    ) -> Result<TakenEvents, SpoolError> {
        self.open()?;
        let delivered = &self.delivered;
        let database = self.database.as_ref().ok_or(SpoolError::Closed)?;
        database.peek(project, limit, &|seq| {
            delivered.contains_key(&Position(seq))
        })
    }

    /// Moves the log into the file if the log has at least [`LOG_BYTES`]. While that fails, nothing is
    /// appended: if the log took the last disk space, the disk could never be emptied again.
    pub(super) fn checkpoint(&mut self) -> Result<(), SpoolError> {
        if self.logged >= LOG_BYTES {
            let database = self.database.as_ref().ok_or(SpoolError::Closed)?;
            database.checkpoint()?;
            self.logged = 0;
        }
        Ok(())
    }

    /// Checks that an append would succeed: the file can be opened, there is space, and the disk accepts
    /// bytes. It writes a small file, because a disk reports a failure only when it is written to.
    fn usable(&mut self) -> Result<(), SpoolError> {
        self.open()?;
        if self.room == AppendRoom::Full {
            let max_size = self.settings.max_size;
            let low_water = max_size / 100 * u64::from(self.settings.low_water_percent);
            let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
            let used = database.write(|writing| writing.used())?;
            if used > low_water {
                return Err(SpoolError::Full { used, max_size });
            }
        }
        // Without the reserve nothing is appended, so a disk without space for the reserve is full.
        if self.outage.is_some() {
            self.reserve.keep()?;
        }
        let probe = self.folder.join("probe");
        let written = std::fs::write(&probe, [0; 4096]);
        let _ = std::fs::remove_file(&probe);
        Ok(written?)
    }

    pub(super) fn begin_outage(&mut self) {
        self.outage.get_or_insert(Outage {
            since: Instant::now(),
            refused: 0,
        });
    }

    /// Logs that the spool accepts events again, how long it did not, and how many events it refused.
    pub(super) fn log_recovery(&mut self) {
        let Some(Outage { since, refused }) = self.outage.take() else {
            return;
        };
        log::info!(
            "the spool accepts events again, after {} s; it refused {refused} events meanwhile",
            since.elapsed().as_secs()
        );
    }

    /// Records a failure, and closes the connection so that the next call of `open` opens it again. If
    /// only space is missing, SQLite has rolled back, and the connection stays open. It also stays open if
    /// the file is damaged or deleted: `open` needs it for the recovery.
    pub(super) fn failed(&mut self, error: &SpoolError) {
        self.begin_outage();
        self.failed = Some((Instant::now(), error.clone()));
        if matches!(error, SpoolError::NoSpace | SpoolError::Full { .. }) {
            return;
        }
        if self
            .database
            .as_ref()
            .is_some_and(|database| !database.is_damaged() && database.is_in_place())
        {
            self.database = None;
        }
    }
}

#[derive(PartialEq, Eq)]
enum LoopFlow {
    Continue,
    End,
}

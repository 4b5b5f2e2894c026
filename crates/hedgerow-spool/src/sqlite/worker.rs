//! The thread that owns the file: every wait for the disk happens here, none on the async workers.
//!
//! Group commit: whatever has been asked for while the disk was busy goes into the next
//! transaction together, and one fsync answers all of it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::database::{Database, Found};
use super::packing::{pack, Append, Part};
use super::passing::Passing;
use super::reserve::Reserve;
use super::stock::Stock;
use super::SpoolSettings;
use crate::store::{Counters, Gauges, Portion, Position, Standing};
use crate::{Clock, Refusal, SpoolError, SpooledEvent};

/// How often age, free pages and other processes' work are looked at.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// After a failed write, appends are refused without a try for so long: a full disk is not to be
/// asked a thousand times a second.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes of events that are taken from the queue at once.
const GROUP_BYTES: usize = 8 << 20;

/// Requests that are taken from the queue at once.
const GROUP: usize = 4_096;

/// The log is moved into the file when it holds so many bytes.
pub(super) const LOG_BYTES: usize = 1 << 20;

/// On a full disk, so many events are forgotten at a time: each step needs little log.
pub(super) const SMALL_STEP: usize = 100;

/// Events that are recognised when they come again while they wait (16 bytes each).
pub(super) const KNOWN: usize = 500_000;

/// What the thread is asked for.
pub(super) enum Command {
    Append {
        project: String,
        events: Vec<SpooledEvent>,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    },
    Settle {
        project: String,
        positions: Vec<Position>,
        reply: oneshot::Sender<()>,
    },
    Bury {
        position: Position,
        refusal: Refusal,
        reply: oneshot::Sender<Result<(), SpoolError>>,
    },
    Take {
        project: String,
        portion: Portion,
        reply: oneshot::Sender<Result<Found, SpoolError>>,
    },
    Learn {
        reply: oneshot::Sender<()>,
    },
    Close,
}

/// What the thread shares with the handles.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) gauges: Gauges,
    pub(super) counters: Counters,
    /// Whether an operator asks if events are taken; most installations never do.
    asked: AtomicBool,
    pub(super) takes_nothing: AtomicBool,
}

impl Shared {
    /// What the last look has found. From the first question on there is one each second.
    pub(super) fn standing(&self) -> Standing {
        self.asked.store(true, Ordering::Relaxed);
        match self.takes_nothing.load(Ordering::Relaxed) {
            true => Standing::TakesNothing,
            false => Standing::Takes,
        }
    }
}

pub(super) struct Worker {
    pub(super) folder: PathBuf,
    pub(super) settings: SpoolSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) database: Option<Database>,
    pub(super) reserve: Reserve,
    /// Waiting events, to recognise one that comes again.
    pub(super) known: HashSet<u128>,
    /// Delivered, but not yet forgotten by the file.
    pub(super) settled: HashMap<Position, Arc<str>>,
    room: Room,
    /// So many bytes of the log are not in the file yet.
    pub(super) logged: usize,
    pub(super) failed: Option<(Instant, SpoolError)>,
    pub(super) letters: Letters,
    pub(super) stock: Stock,
    pub(super) passing: Passing,
}

/// Whether appends are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Enough,
    /// The limit was reached; nothing is taken above the low-water mark.
    Full,
}

/// Whether the dead letters may have outgrown their share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    Counted,
    Changed,
}

type Bury = (Position, Refusal, oneshot::Sender<Result<(), SpoolError>>);

impl Worker {
    pub(super) fn new(
        folder: PathBuf,
        settings: SpoolSettings,
        clock: Clock,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            passing: Passing::new(clock),
            reserve: Reserve::new(&folder),
            folder,
            settings,
            shared,
            database: None,
            known: HashSet::new(),
            settled: HashMap::new(),
            room: Room::Enough,
            logged: LOG_BYTES,
            failed: None,
            letters: Letters::Changed,
            stock: Stock::default(),
        }
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut ticked = Instant::now();
        loop {
            let first = match commands.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Command::Close),
            };
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut next = first;
            while let Some(command) = next {
                if let Command::Append { events, .. } = &command {
                    bytes += events.iter().map(|event| event.body().len()).sum::<usize>();
                }
                group.push(command);
                next = if bytes < GROUP_BYTES && group.len() < GROUP {
                    commands.try_recv().ok()
                } else {
                    None
                };
            }
            if self.work(group) == Flow::Stop {
                self.remember();
                return;
            }
            if ticked.elapsed() >= TICK {
                self.tick();
                if self.shared.asked.load(Ordering::Relaxed) {
                    let usable = self.usable();
                    if let Err(error) = &usable {
                        log::debug!("the spool takes nothing: {error}");
                    }
                    let flag = &self.shared.takes_nothing;
                    flag.store(usable.is_err(), Ordering::Relaxed);
                }
                ticked = Instant::now();
            }
        }
    }

    fn work(&mut self, group: Vec<Command>) -> Flow {
        let mut flow = Flow::Go;
        let (mut appends, mut settles, mut buries, mut takes) = (vec![], vec![], vec![], vec![]);
        let mut learners = vec![];
        for command in group {
            match command {
                Command::Append {
                    project,
                    events,
                    reply,
                } => appends.push(Append {
                    project,
                    events,
                    reply,
                }),
                Command::Settle {
                    project,
                    positions,
                    reply,
                } => {
                    let before = self.settled.len();
                    let project: Arc<str> = project.into();
                    self.settled
                        .extend(positions.into_iter().map(|at| (at, Arc::clone(&project))));
                    let number = self.settled.len() - before;
                    Counters::add(&self.shared.counters.settled, number as u64);
                    settles.push(reply);
                }
                Command::Bury {
                    position,
                    refusal,
                    reply,
                } => buries.push((position, refusal, reply)),
                Command::Take {
                    project,
                    portion,
                    reply,
                } => takes.push((project, portion, reply)),
                Command::Learn { reply } => learners.push(reply),
                Command::Close => flow = Flow::Stop,
            }
        }
        self.append(appends);
        if !settles.is_empty() || !buries.is_empty() {
            self.forget(buries);
        }
        for reply in settles {
            let _ = reply.send(());
        }
        if !learners.is_empty() {
            self.learn();
        }
        for reply in learners {
            let _ = reply.send(());
        }
        for (project, portion, reply) in takes {
            let _ = reply.send(self.take(&project, portion));
        }
        flow
    }

    fn take(&mut self, project: &str, portion: Portion) -> Result<Found, SpoolError> {
        self.open()?;
        let settled = &self.settled;
        let database = self.database.as_ref().ok_or(SpoolError::Closed)?;
        database.take(project, portion, &|seq| {
            settled.contains_key(&Position(seq))
        })
    }

    fn append(&mut self, appends: Vec<Append>) {
        if appends.is_empty() {
            return;
        }
        let mut results = vec![Ok(()); appends.len()];
        for pack in pack(&appends) {
            let result = match &self.failed {
                Some((at, error)) if at.elapsed() < PAUSE => Err(error.clone()),
                _ => self.append_pack(&appends, &pack, &mut results),
            };
            match result {
                Ok(()) => {
                    if self.failed.take().is_some() {
                        log::info!("the spool takes events again");
                    }
                }
                Err(error) => {
                    if self.failed.is_none() {
                        log::error!("the spool takes nothing at the moment: {error}");
                    }
                    if self
                        .failed
                        .as_ref()
                        .is_none_or(|(at, _)| at.elapsed() >= PAUSE)
                    {
                        self.failed(&error);
                    }
                    for part in &pack {
                        if let Some(result) = results.get_mut(part.append) {
                            *result = Err(error.clone());
                        }
                    }
                }
            }
        }
        self.measure();
        self.shared.gauges.announce();
        for (append, result) in appends.into_iter().zip(results) {
            if result.is_err() {
                let events = append.events.len() as u64;
                Counters::add(&self.shared.counters.refused, events);
            }
            // The answer has no receiver if the client has left; its events are kept all the same.
            let _ = append.reply.send(result);
        }
    }

    /// One transaction. What it refuses for lack of room is said in `results`.
    fn append_pack(
        &mut self,
        appends: &[Append],
        pack: &[Part],
        results: &mut [Result<(), SpoolError>],
    ) -> Result<(), SpoolError> {
        self.open()?;
        // Without it a disk that fills up now could not be emptied again.
        self.reserve.keep()?;
        self.checkpoint()?;
        let now = self.passing.now();
        let max_size = self.settings.max_size;
        let low_water = max_size / 100 * u64::from(self.settings.low_water_percent);
        let (known, mut room) = (&self.known, self.room);
        let mut fresh = HashSet::new();
        let (mut appended, mut collapsed) = (0, 0);
        let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
        database.write(|writing| {
            for part in pack {
                let (Some(append), Some(result)) =
                    (appends.get(part.append), results.get_mut(part.append))
                else {
                    continue;
                };
                let events = append.events.get(part.events.clone()).unwrap_or_default();
                let used = writing.used()?;
                let bytes: usize = events.iter().map(|event| event.body().len()).sum();
                // A page is never quite full: an eighth on top.
                let wanted = used + (bytes + bytes / 8) as u64;
                if room == Room::Full && used <= low_water {
                    room = Room::Enough;
                }
                if room == Room::Full || wanted > max_size {
                    room = Room::Full;
                    *result = Err(SpoolError::Full { used, max_size });
                    continue;
                }
                let mut new = Vec::with_capacity(events.len());
                for event in events {
                    let collapse = of_project(&append.project, event.collapse());
                    if known.contains(&collapse) || !fresh.insert(collapse) {
                        collapsed += 1;
                    } else {
                        new.push(event);
                    }
                }
                appended += new.len() as u64;
                writing.append(&append.project, new, now)?;
            }
            Ok(())
        })?;
        self.logged = database.logged()?;
        if room != self.room {
            match room {
                Room::Full => log::error!(
                    "the spool is full: it refuses events until {low_water} of {max_size} bytes \
                     are in use"
                ),
                Room::Enough => log::info!("the spool takes events again"),
            }
            self.room = room;
        }
        if self.known.len() < KNOWN {
            self.known.extend(fresh);
        }
        Counters::add(&self.shared.counters.appended, appended);
        Counters::add(&self.shared.counters.collapsed, collapsed);
        Counters::add(&self.shared.counters.commits, 1);
        Ok(())
    }

    /// Moves the log into the file when it is time. As long as that fails, nothing is appended: a
    /// log that takes the last of the disk could never be emptied again.
    pub(super) fn checkpoint(&mut self) -> Result<(), SpoolError> {
        if self.logged >= LOG_BYTES {
            let database = self.database.as_ref().ok_or(SpoolError::Closed)?;
            database.checkpoint()?;
            self.logged = 0;
        }
        Ok(())
    }

    /// Removes what has been delivered and moves what was refused.
    pub(super) fn forget(&mut self, buries: Vec<Bury>) {
        let mut result = self.forget_some(usize::MAX, &buries);
        if matches!(result, Err(SpoolError::NoSpace)) {
            result = self.forget_on_a_full_disk(&buries);
        }
        if let Err(error) = &result {
            // It is tried again each second: once is enough to say.
            if self.failed.is_none() {
                log::warn!("the spool cannot forget what was delivered, for now: {error}");
            }
            self.failed(error);
        }
        self.measure();
        for (_, _, reply) in buries {
            let _ = reply.send(result.clone());
        }
    }

    /// With the reserve given up the log can be moved into the file; from then on each small step
    /// reuses the space of the log before it.
    fn forget_on_a_full_disk(&mut self, buries: &[Bury]) -> Result<(), SpoolError> {
        self.reserve.release();
        while !self.settled.is_empty() {
            self.logged = LOG_BYTES;
            self.forget_some(SMALL_STEP, &[])?;
        }
        self.logged = LOG_BYTES;
        self.forget_some(0, buries)
    }

    fn forget_some(&mut self, most: usize, buries: &[Bury]) -> Result<(), SpoolError> {
        self.open()?;
        self.checkpoint()?;
        let now = self.passing.now();
        let mut leaving: Vec<Position> = self.settled.keys().copied().collect();
        // Neighbours lie on the same pages.
        leaving.sort_unstable();
        leaving.truncate(most);
        let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
        let gone = database.write(|writing| {
            let mut gone = Vec::new();
            for position in &leaving {
                gone.extend(writing.remove(*position)?);
            }
            for (position, refusal, _) in buries {
                gone.extend(writing.bury(*position, refusal, now)?);
            }
            Ok(gone)
        })?;
        self.logged = database.logged()?;
        self.unlearn(gone);
        for position in &leaving {
            self.settled.remove(position);
        }
        if !buries.is_empty() {
            self.letters = Letters::Changed;
        }
        Counters::add(&self.shared.counters.buried, buries.len() as u64);
        Counters::add(&self.shared.counters.commits, 1);
        Ok(())
    }

    /// Whether an append would succeed: the file can be opened, there is room, and the disk takes
    /// bytes. A disk that fails says so only when it is written to.
    fn usable(&mut self) -> Result<(), SpoolError> {
        self.open()?;
        if self.room == Room::Full {
            let max_size = self.settings.max_size;
            let low_water = max_size / 100 * u64::from(self.settings.low_water_percent);
            let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
            let used = database.write(|writing| writing.used())?;
            if used > low_water {
                return Err(SpoolError::Full { used, max_size });
            }
        }
        let probe = self.folder.join("probe");
        let written = std::fs::write(&probe, [0; 4096]);
        let _ = std::fs::remove_file(&probe);
        Ok(written?)
    }

    /// After a failure the connection is made anew, unless there is just no space: then SQLite has
    /// rolled back and goes on.
    fn failed(&mut self, error: &SpoolError) {
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
enum Flow {
    Go,
    Stop,
}

/// The same event of two projects is two events.
pub(super) fn of_project(project: &str, collapse: u128) -> u128 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(project);
    collapse ^ (u128::from(hash) << 64 | u128::from(hash))
}

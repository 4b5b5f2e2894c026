//! The spool next to the live traffic: batches that PostHog does not accept are stored, and the
//! replay sends them over the same connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::admin::live::Live;
use crate::config;
use crate::delivery::{
    self, BatchRoute, BreakerSettings, Delivery, DeliveryMode, Encoding, Leadership, OpenedSpool,
    OutgoingBatch, ProjectDelivery, QueuedEvent, Received, Refusal, Replay, ReplaySettings,
    SharedFolder, SpoolError, SpooledEvent, Terms, Upstream,
};
use crate::posthog::{Batch, BatchOutline, Envelope};

use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::outbound::outage_tracker::format_duration;
use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::sender::Destinations;
use crate::proxy::outbound::verdict::{BatchVerdict, Fallback};
use crate::proxy::outbound::CONNECTS;
use crate::proxy::spool::sharing::{follow_other_process, wait_until_known, SharedProjects, LOOK};

/// The longest time that a live batch waits for the replay's last request.
const HOLD: Duration = Duration::from_secs(2);

/// Where a batch is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptedBy {
    PostHog,
    Spool,
}

/// The reason why neither PostHog nor the spool has the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSpooled {
    /// Storing or delivery failed, but may succeed when the client sends the batch again.
    ForNow,
    /// Its events are larger than the spool accepts, and the project delivers only through the spool.
    TooLarge,
}

/// The spool, its projects, and the replay.
pub(crate) struct Backlog {
    delivery: Arc<Delivery>,
    projects: Arc<SharedProjects>,
    /// The spool, if it is a folder: two processes on one folder have to agree which of them drains it. On a
    /// shared spool the leadership decides.
    folder: Option<Arc<dyn SharedFolder>>,
    /// Whether another process drained the spool when this one opened it.
    opened_as: Leadership,
    replay_sender: Arc<ReplaySender>,
    settings: ReplaySettings,
    replay: Mutex<ReplayState>,
    begun: AtomicBool,
    /// Whether this process has become the leader since.
    became_leader: Arc<AtomicBool>,
    /// Waits for the end of another process that drains the spool, and then for the start of one.
    follow_task: Mutex<Option<JoinHandle<()>>>,
}

/// The state of the replay.
enum ReplayState {
    NotBegun,
    Running(Replay),
    Stopped,
}

/// Sends the batches of the replay to PostHog.
struct ReplaySender {
    destinations: ArcSwap<Destinations>,
    log_limit: Arc<LogLimit>,
    /// The live view, which is created later.
    live: OnceLock<Arc<Live>>,
    /// Events that have left the spool since it was last empty, by project.
    drained: Mutex<HashMap<String, DrainProgress>>,
}

/// Events of a project that have left the spool since it was last empty.
struct DrainProgress {
    since: Instant,
    events: u64,
}

impl Backlog {
    /// Opens the spool. It is no error if the disk cannot be written or the server does not answer
    /// now: clients get 503 until it works.
    pub(crate) fn open(
        spool: &config::SpoolConfig,
        settings: &config::DeliveryConfig,
        largest_event: usize,
        clock: delivery::Clock,
        destinations: Arc<Destinations>,
        log_limit: Arc<LogLimit>,
    ) -> Result<Self, SpoolError> {
        // The connection attempts, one after the other; then the request, the answer and its body.
        let longest = settings.connect_timeout * CONNECTS as u32 + settings.timeout * 3;
        let OpenedSpool { store, folder } = spool.place.backend().open(Terms {
            limits: spool.limits(),
            longest_delivery: longest,
            largest_event,
            clock,
        })?;
        let delivery = Arc::new(Delivery::new(store, BreakerSettings::default(), HOLD));
        let projects = SharedProjects::default();
        projects.serve(&delivery, &destinations);
        // The predecessor's events, stored or being sent, must arrive before those that this process
        // receives.
        let leadership = folder.as_ref().map(|folder| folder.leadership());
        let opened_as = leadership.unwrap_or(Leadership::Leader);
        match opened_as {
            Leadership::Follower => {
                log::info!(
                    "another process drains the spool: until it stops, all events go through the spool"
                );
                projects.all_through_the_spool();
                if let Some(spool) = &folder {
                    wait_until_known(spool.as_ref());
                }
            }
            Leadership::Leader => projects.as_configured(),
        }
        Ok(Self {
            delivery,
            projects: Arc::new(projects),
            folder,
            opened_as,
            replay_sender: Arc::new(ReplaySender {
                destinations: ArcSwap::new(destinations),
                log_limit,
                live: OnceLock::new(),
                drained: Mutex::default(),
            }),
            settings: ReplaySettings {
                longest_delivery: longest,
                ..ReplaySettings::default()
            },
            replay: Mutex::new(ReplayState::NotBegun),
            begun: AtomicBool::new(false),
            became_leader: Arc::default(),
            follow_task: Mutex::new(None),
        })
    }

    /// Delivers to these projects from now on. Events of other projects stay in the spool.
    pub(crate) fn serve(&self, destinations: Arc<Destinations>) {
        self.projects.serve(&self.delivery, &destinations);
        self.replay_sender.destinations.store(destinations);
    }

    /// Shows the outcome of stored events in the live view.
    pub(crate) fn show_to(&self, live: Arc<Live>) {
        let _ = self.replay_sender.live.set(live);
    }

    /// The folder of the spool, if it has one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(|folder| folder.path())
    }

    /// The delivery of all projects.
    pub(crate) fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Appends all further events to the spool, if a successor does so too.
    ///
    /// On a shared spool the successor is one more proxy and streams. It would overtake events that
    /// it does not know of yet, so this process also keeps streaming what PostHog accepts.
    pub(crate) fn only_append(&self) {
        if self.folder.is_some() {
            self.projects.all_through_the_spool();
        }
    }

    /// Returns to the configured modes.
    pub(crate) fn resume_streaming(&self) {
        self.projects.as_configured();
    }

    /// Whether this process drains the spool. Until it does, it hands nothing over to a successor:
    /// that one would not know which of its two predecessors has which events.
    pub(crate) fn is_first(&self) -> bool {
        self.opened_as == Leadership::Leader || self.became_leader.load(Ordering::Acquire)
    }

    /// Makes this process only append to the spool while another process uses it: neither knows
    /// which events the other has stored or is sending, so neither streams.
    fn follow(&self) {
        let Some(spool) = self.folder.clone() else {
            return;
        };
        // The other process may have ended since this one opened the spool. Its last changes still have
        // to be read.
        let is_follower =
            self.opened_as == Leadership::Follower || spool.leadership() == Leadership::Follower;
        let (projects, became_leader) =
            (Arc::clone(&self.projects), Arc::clone(&self.became_leader));
        let follow_task = tokio::spawn(async move {
            if is_follower {
                while spool.leadership() == Leadership::Follower {
                    tokio::time::sleep(LOOK).await;
                }
                spool.reload().await;
                spool.withdraw_follower();
                projects.as_configured();
                log::info!("the other process has handed the spool over to this one");
            }
            became_leader.store(true, Ordering::Release);
            follow_other_process(spool.as_ref(), &projects).await;
        });
        *self
            .follow_task
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(follow_task);
    }

    /// Starts the replay on the current runtime, once.
    pub(crate) fn start(&self) {
        if self.begun.load(Ordering::Relaxed) {
            return;
        }
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        if let ReplayState::NotBegun = *replay {
            self.follow();
            let upstream: Arc<dyn Upstream> = Arc::clone(&self.replay_sender) as _;
            let delivery = Arc::clone(&self.delivery);
            *replay = ReplayState::Running(Replay::start(delivery, upstream, self.settings));
        }
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Stops the replay for good.
    pub(crate) async fn stop(&self) {
        self.begun.store(true, Ordering::Relaxed);
        let replay_state = {
            let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *replay, ReplayState::Stopped)
        };
        if let ReplayState::Running(replay) = replay_state {
            replay.stop().await;
        }
        self.stop_following();
        self.delivery.store().resign().await;
        if let Some(spool) = &self.folder {
            spool.withdraw_follower();
            spool.resume_leading();
        }
    }

    fn stop_following(&self) {
        let mut follow_task = self
            .follow_task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(follow_task) = follow_task.take() {
            follow_task.abort();
        }
    }

    /// This project's part of the spool.
    pub(crate) fn of(self: &Arc<Self>, destination: &Arc<Destination>) -> ProjectSpool {
        ProjectSpool {
            backlog: Arc::clone(self),
            project: self.delivery.project(&destination.project().name),
            destination: Arc::clone(destination),
        }
    }
}

/// One project's access to the spool, for events that PostHog does not accept.
pub(crate) struct ProjectSpool {
    backlog: Arc<Backlog>,
    project: ProjectDelivery,
    destination: Arc<Destination>,
}

impl ProjectSpool {
    /// Returns the empty batch, set to record the positions of its events if it will probably go
    /// into the spool.
    pub(crate) fn prepared(&self, batch: Batch) -> Batch {
        match self.project.likely_route() {
            BatchRoute::Spool => batch.outlined(),
            BatchRoute::Stream => batch,
        }
    }

    /// Sends a whole batch to PostHog or puts it into the spool, and returns which. After `Ok` its
    /// events are stored or accepted.
    ///
    /// A batch that PostHog rejects for good is stored as well: the replay finds the rejected
    /// event, and delivers the others.
    pub(crate) async fn deliver(
        &self,
        batch: Bytes,
        outline: Option<BatchOutline>,
        arrived: Received,
    ) -> Result<AcceptedBy, NotSpooled> {
        let events = || SpooledEvent::of_written(&batch, outline.as_ref(), arrived);
        self.deliver_or_store(&batch, arrived.from, events).await
    }

    /// Does the same as `deliver` for a batch whose events are built by `events` if they must be stored.
    pub(crate) async fn deliver_or_store(
        &self,
        batch: &Bytes,
        client: Option<IpAddr>,
        events: impl FnOnce() -> Result<Vec<SpooledEvent>, SpoolError>,
    ) -> Result<AcceptedBy, NotSpooled> {
        let destination = &self.destination;
        let mut refusal = None;
        if self.project.admit().await == BatchRoute::Stream {
            let answer = destination.deliver(batch, Encoding::Identity, client).await;
            destination.note(answer.verdict);
            self.project.report(&answer.for_delivery());
            if answer.verdict == BatchVerdict::Accepted {
                return Ok(AcceptedBy::PostHog);
            }
            refusal = Some(answer.verdict);
        }
        // Boxed, because it is rarely needed: PostHog accepts nearly every batch.
        let stored = Box::pin(self.keep(events())).await;
        if let Some(verdict) = refusal {
            self.log_outcome(verdict, &stored);
        }
        stored
    }

    /// Logs PostHog's answer, and what happened to the events.
    pub(crate) fn log_outcome(
        &self,
        verdict: BatchVerdict,
        stored: &Result<AcceptedBy, NotSpooled>,
    ) {
        let fallback = match stored {
            Ok(_) => Fallback::Spooled,
            Err(_) => Fallback::ClientRetries,
        };
        let log_limit = &self.backlog.replay_sender.log_limit;
        verdict.report(self.destination.project(), log_limit, fallback);
    }

    /// Puts events into the spool. After `Ok` they are stored, except those that are too large for
    /// the spool: Hedgerow drops them and logs that.
    pub(crate) async fn keep(
        &self,
        events: Result<Vec<SpooledEvent>, SpoolError>,
    ) -> Result<AcceptedBy, NotSpooled> {
        let name = &self.destination.project().name;
        let stored = match events {
            Ok(events) => self.project.keep(events).await,
            Err(error) => Err(error),
        };
        let Err(error) = stored else {
            return Ok(AcceptedBy::Spool);
        };
        let (consequence, result) = match error {
            // Events that can never be stored must not hold up the others of the request.
            SpoolError::TooLarge { events, of, .. } if events < of => (
                "Hedgerow drops these events and stores the others",
                Ok(AcceptedBy::Spool),
            ),
            SpoolError::TooLarge { .. } if self.project.mode() == DeliveryMode::Spool => {
                ("Hedgerow refuses these events", Err(NotSpooled::TooLarge))
            }
            _ => (
                "Clients are told to send again later",
                Err(NotSpooled::ForNow),
            ),
        };
        if let Some(more) = self
            .backlog
            .replay_sender
            .log_limit
            .pass(name, error.code())
        {
            log::error!("project {name}: {error}. {consequence}{more}");
        }
        result
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.stop_following();
    }
}

#[async_trait]
impl Upstream for ReplaySender {
    fn envelope(&self, project: &str) -> Option<Envelope> {
        let destinations = self.destinations.load();
        Some(destinations.get(project)?.envelope().clone())
    }

    /// Sends the batch without a client's address: its events come from many clients, and those that
    /// need an address got it as `$ip` when they were stored.
    async fn deliver(&self, project: &str, batch: OutgoingBatch) -> delivery::Verdict {
        let destination = self.destinations.load().get(project).cloned();
        let Some(destination) = destination else {
            return delivery::Verdict::TryLater {
                retry_after: None,
                why: "the project is not configured".to_owned(),
            };
        };
        let answer = destination.deliver(&batch.body, batch.encoding, None).await;
        destination.note(answer.verdict);
        // Rejections of single events are reported with their dead letters.
        let verdict = answer.for_delivery();
        if let delivery::Verdict::TryLater { .. } = verdict {
            let log_limit = &self.log_limit;
            answer
                .verdict
                .report(destination.project(), log_limit, Fallback::Spooled);
        }
        verdict
    }

    fn delivered(&self, project: &str, events: &[QueuedEvent], waiting: u64) {
        if let Some(live) = self.live.get() {
            live.delivered_from_spool(project, events.iter().map(|event| event.body.as_ref()));
        }
        // If all events go through the spool, it becomes empty all the time; that is not worth a log line.
        let destinations = self.destinations.load();
        let destination = destinations.get(project);
        if destination.is_none_or(|progress| progress.project().mode == DeliveryMode::Spool) {
            return;
        }
        let mut drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = drained.entry(project.to_owned()).or_insert(DrainProgress {
            since: Instant::now(),
            events: 0,
        });
        progress.events += events.len() as u64;
        if waiting > 0 {
            return;
        }
        let Some(DrainProgress { since, events }) = drained.remove(project) else {
            return;
        };
        let line = format!(
            "project {project}: the spool is empty again: {events} events have gone to PostHog in {}",
            format_duration(since.elapsed())
        );
        match self.log_limit.pass(project, "drained") {
            Some(more) => log::info!("{line}{more}"),
            None => self
                .log_limit
                .keep(project, "drained", log::Level::Info, line),
        }
    }

    fn dead_lettered(&self, project: &str, event: &Bytes, refusal: &Refusal) {
        if let Some(live) = self.live.get() {
            live.refused_by_posthog(project, event, refusal);
        }
        if let Some(more) = self.log_limit.pass(project, "dead_lettered") {
            log::error!(
                "project {project}: PostHog refuses an event for good ({}: {}); the event is a dead \
                 letter now, and `hedgerow spool ls` shows it{more}",
                refusal.status,
                refusal.for_log()
            );
        }
    }
}

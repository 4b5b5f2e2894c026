//! Watches the shared stream: how many events wait in it, and when it is empty.
//!
//! The leader notifies the other proxies when it is about to send all waiting events. They hold new
//! events for a moment, as the leader does. When no event is left, the leader notifies them again, and
//! all of them stream again. Without these notices, the drain of a project with steady traffic would
//! never end.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::StreamExt;

use super::faults::remote;
use super::inner::NatsSpoolInner;
use super::streams::Streams;
use super::trouble::Outlook;
use crate::clock_watch::ClockWatch;
use crate::error::SpoolError;
use crate::store::FinalBatch;

/// How often the process reads from the streams how many events wait.
const LOOK: Duration = Duration::from_secs(1);

/// How long a process holds new events after [`LeaderNotice::FinalBatch`] if no further notice arrives.
const HOLD: Duration = Duration::from_secs(2);

/// How often the process connects again while the servers forbid the login to receive their answers.
/// The login may have the right by then, and the client requests the subscription only when it
/// connects.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(15);

/// A notice from the leader to the other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaderNotice {
    /// The leader is sending all waiting events.
    FinalBatch,
    /// Everything up to this message of the stream has been delivered.
    QueueEmpty { through: i64 },
}

impl LeaderNotice {
    fn to_text(self) -> String {
        match self {
            Self::FinalBatch => "closing".to_owned(),
            Self::QueueEmpty { through } => format!("open {through}"),
        }
    }

    fn of_text(text: &[u8]) -> Option<Self> {
        match std::str::from_utf8(text).ok()? {
            "closing" => Some(Self::FinalBatch),
            other => Some(Self::QueueEmpty {
                through: other.strip_prefix("open ")?.parse().ok()?,
            }),
        }
    }
}

/// Whether the spool can be used. The log reports only the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usability {
    Unknown,
    /// The last check failed, perhaps because the cluster changes its leader.
    Doubtful,
    Usable,
    /// The spool cannot be used, and the log reported this at that time.
    Reported(Instant),
}

impl Usability {
    fn after(self, look: &Result<(), SpoolError>, outlook: Outlook) -> Self {
        match (self, look) {
            (Self::Reported(since), Ok(())) => {
                let seconds = since.elapsed().as_secs();
                log::info!("the distributed spool can be used again, after {seconds} s");
                Self::Usable
            }
            (_, Ok(())) => Self::Usable,
            (Self::Unknown | Self::Usable, Err(_)) if outlook == Outlook::Passing => Self::Doubtful,
            (Self::Unknown | Self::Usable | Self::Doubtful, Err(error)) => {
                log::error!("the spool cannot be used for now: {error}");
                Self::Reported(Instant::now())
            }
            (Self::Reported(since), Err(error)) => {
                log::debug!("{error}");
                Self::Reported(since)
            }
        }
    }
}

/// The result that a starting process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// The number of waiting events is known.
    Done,
    /// The number will not be known until an operator changes something.
    Hopeless,
}

/// Checks the streams until the task is ended. Reports the first check that found the streams, or that
/// will fail until an operator changes something.
pub(super) async fn look(
    inner: Arc<NatsSpoolInner>,
    sender: SyncSender<FirstLook>,
    mut clock: ClockWatch,
) {
    let mut sender = Some(sender);
    let mut final_batches: HashMap<String, Instant> = HashMap::new();
    let mut notices: Option<Subscriber> = None;
    let mut last_check: Option<Instant> = None;
    let mut usability = Usability::Unknown;
    let mut largest_event = None;
    let mut reconnected_at = Instant::now();
    let mut book = None;
    loop {
        if last_check.is_none_or(|last_check| last_check.elapsed() >= LOOK) {
            let measured = inner.measure().await;
            let measured = inner.recheck(measured).await;
            let outlook = match &measured {
                Ok(()) => Outlook::Passing,
                Err(error) => inner.outlook(error),
            };
            let first = match &measured {
                Ok(()) => Some(FirstLook::Done),
                Err(_) => (outlook == Outlook::Lasting).then_some(FirstLook::Hopeless),
            };
            if let (Some(first), Some(sender)) = (first, sender.take_if(|_| first.is_some())) {
                // Sending fails if the starting process no longer waits for the result.
                if sender.try_send(first).is_err() && first == FirstLook::Done {
                    log::info!("the distributed spool has reported its waiting events");
                }
            }
            usability = usability.after(&measured, outlook);
            let is_reported = matches!(usability, Usability::Reported(_));
            let reason = measured.err().filter(|_| is_reported);
            inner.set_unusable(reason.map(|error| error.to_string()));
            let answers_denied = inner.connection.denials().of_answers().is_some();
            if is_reported && answers_denied && reconnected_at.elapsed() >= RECONNECT_INTERVAL {
                reconnected_at = Instant::now();
                if let Err(error) = inner.connection.client.force_reconnect().await {
                    log::debug!("cannot reconnect: {error}");
                }
            }
            clock.look();
            if !is_reported {
                if let Err(error) = inner.age(&mut book).await {
                    log::debug!("what is too old may still be there: {error}");
                }
            }
            inner.compare_sizes(&mut largest_event).await;
            if notices.is_none() {
                notices = inner.listen().await.ok();
            }
            last_check = Some(Instant::now());
        }
        let notice = async {
            match &mut notices {
                Some(notices) => notices.next().await,
                None => std::future::pending().await,
            }
        };
        if let Ok(notice) = tokio::time::timeout(LOOK / 10, notice).await {
            match notice {
                Some(message) => {
                    inner
                        .on_notice(&message.subject, &message.payload, &mut final_batches)
                        .await;
                }
                None => notices = None,
            }
        }
        final_batches.retain(|project, until| {
            let goes_on = Instant::now() < *until;
            if !goes_on {
                inner.gauges.of(project).set_final_batch(FinalBatch::None);
            }
            goes_on
        });
    }
}

impl NatsSpoolInner {
    fn set_unusable(&self, reason: Option<String>) {
        *self.unusable.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    /// Notifies the other processes. A process that misses the notice continues as before.
    pub(super) async fn notify(&self, project: &str, notice: LeaderNotice) {
        let Ok(streams) = self.streams().await else {
            return;
        };
        let sent = self
            .connection
            .client
            .publish(streams.end_of(project), notice.to_text().into())
            .await;
        if let Err(error) = sent {
            log::debug!("the other processes could not be notified: {error}");
        }
    }

    async fn listen(&self) -> Result<Subscriber, SpoolError> {
        let streams = self.streams().await?;
        self.connection
            .client
            .subscribe(streams.all_ends())
            .await
            .map_err(|error| remote("subscribe to the other processes", error))
    }

    async fn on_notice(
        &self,
        subject: &str,
        text: &[u8],
        final_batches: &mut HashMap<String, Instant>,
    ) {
        let Ok(streams) = self.streams().await else {
            return;
        };
        let (Some(project), Some(notice)) =
            (streams.project_of(subject), LeaderNotice::of_text(text))
        else {
            return;
        };
        if self.leads(&project) {
            return;
        }
        let gauge = self.gauges.of(&project);
        match notice {
            LeaderNotice::FinalBatch => {
                gauge.set_final_batch(FinalBatch::InFlight);
                final_batches.insert(project, Instant::now() + HOLD);
            }
            LeaderNotice::QueueEmpty { through } => {
                // In this order: if an event is added after `additions` is read, `correct` changes
                // nothing.
                let additions = gauge.additions();
                let last_published = self
                    .last_published
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&project)
                    .copied();
                if last_published.is_none_or(|last_published| last_published <= through) {
                    gauge.correct(additions, |_| 0);
                }
                gauge.set_final_batch(FinalBatch::None);
                final_batches.remove(&project);
            }
        }
    }

    /// Logs a warning if the servers' limit for an event is below the configured one. The limit can
    /// change with the server that is connected, so the check is repeated.
    async fn compare_sizes(&self, seen: &mut Option<usize>) {
        let (Some(largest), Some(wanted)) =
            (self.largest_event().await, self.settings.largest_event)
        else {
            return;
        };
        if seen.replace(largest) != Some(largest) && largest < wanted {
            log::warn!(
                "`limits.event` allows events of {wanted} bytes, but the NATS servers of the spool accept \
                 no message above {largest} bytes (`max_payload`)"
            );
        }
    }

    /// Reads from the stream how many messages wait for each project, and corrects the gauges. Creates
    /// streams again that have been deleted.
    async fn measure(&self) -> Result<(), SpoolError> {
        let seen = self.gauges.snapshot();
        let mut streams = self.streams().await?;
        if !streams.all_exist().await? {
            self.forget_streams().await;
            streams = self.streams().await?;
        }
        let mut subjects = streams
            .waiting
            .info_with_subjects(streams.all_events())
            .await
            .map_err(|error| remote("report its waiting events", error))?;
        let mut messages = HashMap::new();
        while let Some(subject) = subjects.next().await {
            let (subject, number) =
                subject.map_err(|error| remote("report its waiting events", error))?;
            if let Some(project) = streams.project_of(&subject) {
                messages.insert(project, number as u64);
            }
        }
        for project in seen.keys() {
            messages.entry(project.clone()).or_insert(0);
        }
        for (project, messages) in messages {
            let additions = seen.get(&project).copied().unwrap_or_default();
            let leads = self.leads(&project);
            self.gauges
                .of(&project)
                .correct(additions, |events| match messages {
                    0 => 0,
                    // A message holds one event or more. Only the proxy that appended the message
                    // knows how many.
                    _ if leads => events.max(messages),
                    _ => messages,
                });
        }
        self.gauges.announce();
        let info = &subjects.info;
        if let Ok(limit) = u64::try_from(info.config.max_bytes) {
            self.gauges.set_size(info.state.bytes, limit);
        }
        // A failed count of the dead letters does not make the spool unusable.
        if let Err(error) = self.count_dead_letters(&streams).await {
            log::debug!("{error}");
        }
        Ok(())
    }

    async fn count_dead_letters(&self, streams: &Streams) -> Result<(), SpoolError> {
        let mut subjects = streams
            .dead
            .info_with_subjects(streams.all_dead())
            .await
            .map_err(|error| remote("count its dead letters", error))?;
        let mut letters = HashMap::new();
        while let Some(subject) = subjects.next().await {
            let (subject, number) =
                subject.map_err(|error| remote("count its dead letters", error))?;
            if let Some(project) = streams.project_of(&subject) {
                letters.insert(project, number as u64);
            }
        }
        self.gauges.set_dead_letters(&letters);
        Ok(())
    }
}

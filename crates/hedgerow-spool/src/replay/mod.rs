//! The replay sends the waiting events of the spool to PostHog, as soon as PostHog accepts them and
//! within the configured rate.

mod drain;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_rewrite::posthog::BATCH_LIMIT;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::halving::REFUSED_IN_ROW;
use crate::live::Delivery;
use crate::upstream::{Encoding, Upstream};
use drain::ProjectDrain;

/// How often the replay checks the spool without a notice: other processes append as well.
const LOOK: Duration = Duration::from_secs(1);

/// The settings of the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// The maximum size of one request, in bytes of JSON (posthog-ingestion 5.1).
    pub batch_bytes: usize,
    /// The maximum number of events in one request.
    pub batch_events: usize,
    /// The maximum number of events a second, for each project.
    pub events_per_second: u32,
    /// Whether requests are compressed.
    pub encoding: Encoding,
    /// How long the replay collects events for a larger batch, in mode `spool`.
    pub linger: Duration,
    /// The longest time that a delivery can take: the sum of its timeouts. The replay does not use a
    /// lead that ends earlier.
    pub longest_delivery: Duration,
    /// The number of events that PostHog rejects for good in a row before the replay assumes that the
    /// events are not the cause. From then on they wait instead of becoming dead letters.
    pub refused_in_row: u32,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            batch_bytes: BATCH_LIMIT,
            batch_events: 20_000,
            events_per_second: 10_000,
            encoding: Encoding::Gzip,
            linger: Duration::from_millis(200),
            longest_delivery: Duration::from_secs(20),
            refused_in_row: REFUSED_IN_ROW,
        }
    }
}

/// Whether the replay continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunState {
    Running,
    Stopping,
}

/// The running replay. It sends one request at a time for each project, so two requests in flight
/// never contain events of the same person.
pub struct Replay {
    state: watch::Sender<RunState>,
    task: tokio::task::JoinHandle<()>,
}

impl Replay {
    /// Starts the replay on the current runtime.
    pub fn start(
        delivery: Arc<Delivery>,
        upstream: Arc<dyn Upstream>,
        settings: ReplaySettings,
    ) -> Self {
        let (state, watching) = watch::channel(RunState::Running);
        let task = tokio::spawn(supervise(delivery, upstream, settings, watching));
        Self { state, task }
    }

    /// Stops the replay. It finishes the requests in flight, starts no new ones, and gives up its leads,
    /// so that another process can take over. Waiting events stay in the spool.
    pub async fn stop(mut self) {
        let _ = self.state.send(RunState::Stopping);
        if (&mut self.task).await.is_err() {
            log::error!("the replay ended in a panic");
        }
    }
}

/// Dropping a replay stops it as [`stop`](Replay::stop) does, but does not wait for its end.
impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.state.send(RunState::Stopping);
    }
}

async fn supervise(
    delivery: Arc<Delivery>,
    upstream: Arc<dyn Upstream>,
    settings: ReplaySettings,
    mut state: watch::Receiver<RunState>,
) {
    let mut drains: JoinSet<String> = JoinSet::new();
    let mut draining = HashSet::new();
    let mut unknown = HashSet::new();
    while *state.borrow() == RunState::Running {
        for name in delivery.store().gauges().waiting() {
            if draining.contains(&name) {
                continue;
            }
            if upstream.envelope(&name).is_none() {
                if unknown.insert(name.clone()) {
                    log::warn!(
                        "events of project {name} wait in the spool, but the configuration has no \
                         such project"
                    );
                }
                continue;
            }
            unknown.remove(&name);
            draining.insert(name.clone());
            let drain = ProjectDrain::new(
                delivery.project(&name),
                Arc::clone(delivery.store()),
                Arc::clone(&upstream),
                settings,
                state.clone(),
            );
            drains.spawn(async move {
                drain.run().await;
                name
            });
        }
        tokio::select! {
            _ = state.changed() => {}
            () = delivery.store().gauges().changed() => {}
            Some(ended) = drains.join_next() => match ended {
                Ok(name) => { draining.remove(&name); }
                // The error does not name the project, so all drains start again.
                Err(error) => {
                    log::error!("a replay ended unexpectedly: {error}");
                    drains.shutdown().await;
                    draining.clear();
                }
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    while drains.join_next().await.is_some() {}
    delivery.store().resign().await;
}

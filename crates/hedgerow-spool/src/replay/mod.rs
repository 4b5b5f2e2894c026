//! Brings what waits in the spool to PostHog, as soon as it takes it and not faster than it should.

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

/// How often the spool is looked at without being asked: other processes append as well.
const LOOK: Duration = Duration::from_secs(1);

/// How the replay behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// JSON bytes of one request at most (posthog-ingestion 5.1).
    pub batch_bytes: usize,
    /// Events of one request at most.
    pub batch_events: usize,
    /// Events a second at most, for each project.
    pub events_per_second: u32,
    /// Whether requests are compressed.
    pub encoding: Encoding,
    /// In mode `spool`: how long events are collected for a larger batch.
    pub linger: Duration,
    /// The longest time that a delivery takes, its timeouts added up. A lead that ends earlier is
    /// not used.
    pub longest_delivery: Duration,
    /// The number of events rejected for good, without an accepted one between them, from which on
    /// the cause is assumed not to be in the events; then they wait instead of becoming dead
    /// letters.
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

/// The running replay. One request at a time is under way for each project, so no two requests
/// can carry events of one person.
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

    /// Ends the replay: it finishes the request in flight, starts nothing new, and another process
    /// may take over. Waiting events stay in the spool.
    pub async fn stop(mut self) {
        let _ = self.state.send(RunState::Stopping);
        if (&mut self.task).await.is_err() {
            log::error!("the replay ended in a panic");
        }
    }
}

/// A replay whose last handle is dropped ends as if it had been stopped, without waiting for it.
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
                    log::warn!("events wait for project {name}, which is not configured");
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
                // Which one it was is not known; begin with all of them again.
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

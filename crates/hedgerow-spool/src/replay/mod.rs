//! The replay sends the waiting events of the spool to PostHog, as soon as PostHog accepts them and
//! within the configured rate.

mod drain;
mod settings;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::live::Delivery;
use crate::upstream::Upstream;
use drain::ProjectDrain;
pub use settings::ReplaySettings;
use settings::RunState;

/// How often the replay checks the spool without a notice: other processes append as well.
const LOOK: Duration = Duration::from_secs(1);

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
        let (state, receiver) = watch::channel(RunState::Running);
        let task = tokio::spawn(supervise(delivery, upstream, settings, receiver));
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

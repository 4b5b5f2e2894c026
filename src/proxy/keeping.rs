//! The spool beside the live traffic: batches that PostHog does not take are kept, and the replay
//! brings them to it over the same connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::config::{self, SpoolPlace};
use crate::delivery::{
    self, BreakerSettings, Delivery, Encoding, Parcel, Project, Replay, ReplaySettings, Route,
    Spool, SpoolError, SpoolSettings, SpooledEvent, Store, Upstream,
};
#[cfg(feature = "nats")]
use crate::delivery::{NatsSettings, NatsSpool};
use crate::posthog::Envelope;

use super::gate::Gate;
use super::sender::{Destination, CONNECTS};
use super::verdict::{Then, Verdict};

/// How long a live batch waits for the replay's last request.
const HOLD: Duration = Duration::from_secs(2);

/// Neither PostHog nor the spool has the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unkept;

/// The spool, its projects, and the replay.
pub(super) struct Keeping {
    delivery: Arc<Delivery>,
    projects: HashMap<String, Project>,
    carrier: Arc<Carrier>,
    settings: ReplaySettings,
    replay: Mutex<Course>,
    begun: AtomicBool,
}

/// Where the replay is in its life.
enum Course {
    NotBegun,
    Running(Replay),
    Stopped,
}

/// Brings the batches of the replay to PostHog.
struct Carrier {
    destinations: Arc<HashMap<String, Destination>>,
    gate: Arc<Gate>,
}

impl Keeping {
    /// Opens the spool. A disk that cannot be written now, or a server that does not answer, is no
    /// error: clients get 503 until it does.
    pub(super) fn open(
        spool: &config::Spool,
        settings: &config::Delivery,
        destinations: Arc<HashMap<String, Destination>>,
        gate: Arc<Gate>,
    ) -> Result<Self, SpoolError> {
        // Connections one after the other, then the request, the answer and its body.
        let longest = settings.connect_timeout * CONNECTS as u32 + settings.timeout * 3;
        let store = open(spool, longest)?;
        let delivery = Arc::new(Delivery::new(store, BreakerSettings::default(), HOLD));
        let project = |(name, destination): (&String, &Destination)| {
            let project = delivery.project(name);
            project.set_mode(destination.project().mode);
            (name.clone(), project)
        };
        let projects = destinations.iter().map(project).collect();
        Ok(Self {
            delivery,
            projects,
            carrier: Arc::new(Carrier { destinations, gate }),
            settings: ReplaySettings {
                longest_delivery: longest,
                ..ReplaySettings::default()
            },
            replay: Mutex::new(Course::NotBegun),
            begun: AtomicBool::new(false),
        })
    }

    /// Starts the replay on the current runtime, once.
    pub(super) fn start(&self) {
        if self.begun.load(Ordering::Relaxed) {
            return;
        }
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        if let Course::NotBegun = *replay {
            let upstream: Arc<dyn Upstream> = Arc::clone(&self.carrier) as _;
            let delivery = Arc::clone(&self.delivery);
            *replay = Course::Running(Replay::start(delivery, upstream, self.settings));
        }
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Ends the replay for good.
    pub(super) async fn stop(&self) {
        self.begun.store(true, Ordering::Relaxed);
        let course = {
            let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *replay, Course::Stopped)
        };
        if let Course::Running(replay) = course {
            replay.stop().await;
        }
    }

    /// Brings a whole batch to PostHog or into the spool. After `Ok` its events are safe.
    ///
    /// A batch that PostHog refuses for good is kept as well: the replay finds the event that is
    /// to blame, and delivers the others.
    pub(super) async fn deliver(
        &self,
        destination: &Destination,
        batch: Bytes,
        client: Option<IpAddr>,
        arrived: SystemTime,
    ) -> Result<(), Unkept> {
        let name = &destination.project().name;
        let Some(project) = self.projects.get(name) else {
            return Err(Unkept);
        };
        if project.admit().await == Route::Stream {
            let said = destination
                .deliver(&batch, Encoding::Identity, client)
                .await;
            project.report(&said.verdict.for_delivery(&said.words));
            if said.verdict == Verdict::Accepted {
                return Ok(());
            }
            let gate = &self.carrier.gate;
            said.verdict.report(destination.project(), gate, Then::Kept);
        }
        let kept = match SpooledEvent::of_batch(&batch, arrived) {
            Ok(events) => project.keep(events).await,
            Err(error) => Err(error),
        };
        kept.map_err(|error| {
            if let Some(more) = self.carrier.gate.pass(name, "spool") {
                log::error!("project {name}: {error}. Clients are told to send again later{more}");
            }
            Unkept
        })
    }
}

fn open(spool: &config::Spool, longest: Duration) -> Result<Arc<dyn Store>, SpoolError> {
    match &spool.place {
        SpoolPlace::Folder(path) => {
            let bounds = SpoolSettings {
                max_size: spool.max_size,
                max_age: spool.max_age,
                ..SpoolSettings::default()
            };
            Ok(Arc::new(Spool::open(path, bounds)?))
        }
        #[cfg(feature = "nats")]
        SpoolPlace::Nats(nats) => {
            let settings = NatsSettings {
                lead: NatsSettings::lead_for(longest),
                ..NatsSettings::of(nats, spool)
            };
            Ok(Arc::new(NatsSpool::open(settings)?))
        }
        #[cfg(not(feature = "nats"))]
        SpoolPlace::Nats(_) => {
            let _ = longest;
            Err(SpoolError::NotBuiltIn("nats"))
        }
    }
}

#[async_trait]
impl Upstream for Carrier {
    fn envelope(&self, project: &str) -> Option<Envelope> {
        let destination = self.destinations.get(project)?;
        Some(destination.envelope().clone())
    }

    /// Sends without a client's address: the events of one request have many clients, and those
    /// that need an address carry it as `$ip`.
    async fn deliver(&self, project: &str, parcel: Parcel) -> delivery::Verdict {
        let Some(destination) = self.destinations.get(project) else {
            return delivery::Verdict::TryLater {
                retry_after: None,
                why: "the project is not configured".to_owned(),
            };
        };
        let said = destination
            .deliver(&parcel.body, parcel.encoding, None)
            .await;
        // Refusals of single events are what the dead letters tell.
        let verdict = said.verdict.for_delivery(&said.words);
        if let delivery::Verdict::TryLater { .. } = verdict {
            let gate = &self.gate;
            said.verdict.report(destination.project(), gate, Then::Kept);
        }
        verdict
    }
}

//! Several processes on one spool: decides which one streams, and which ones only append.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::delivery::{Delivery, DeliveryMode, Leadership, ProjectDelivery, SharedFolder};

use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::sender::Destinations;

/// How often this process checks whether the predecessor has ended, or a successor has started.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// How long a successor waits until the predecessor has noticed it.
const SEEN: Duration = Duration::from_secs(2);

/// Sends all events through the spool while another process uses it.
pub(crate) async fn follow_other_process(spool: &dyn SharedFolder, projects: &SharedProjects) {
    let mut had_follower = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let has_follower = spool.has_follower();
        match (had_follower, has_follower) {
            (false, true) => {
                log::info!("another process uses the spool: until it stops, all events go through the spool");
                projects.all_through_the_spool();
                spool.acknowledge_follower();
            }
            (true, false) => {
                log::info!(
                    "the other process no longer uses the spool: Hedgerow sends events as \
                     `delivery.mode` says"
                );
                projects.as_configured();
                spool.resume_leading();
            }
            _ => {}
        }
        had_follower = has_follower;
    }
}

/// Waits until the process that drains the spool knows of this one, so that its new events do not
/// overtake those that are stored here. The wait is limited, because the other process may be stuck,
/// or too old to notice this one.
pub(crate) fn wait_until_known(spool: &dyn SharedFolder) {
    spool.announce_follower();
    let until = Instant::now() + SEEN;
    while spool.leadership() == Leadership::Follower
        && !spool.is_follower_known()
        && Instant::now() < until
    {
        std::thread::sleep(LOOK);
    }
}

/// The projects, each with its configured delivery mode.
#[derive(Default)]
pub(crate) struct SharedProjects(Mutex<ProjectModes>);

#[derive(Default)]
struct ProjectModes {
    configured: HashMap<String, (ProjectDelivery, DeliveryMode)>,
    routing: SpoolRouting,
}

/// Whether all events go through the spool, because another process uses it too.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum SpoolRouting {
    #[default]
    None,
    ThroughTheSpool,
}

impl SharedProjects {
    pub(crate) fn as_configured(&self) {
        self.set_routing(SpoolRouting::None);
    }

    pub(crate) fn all_through_the_spool(&self) {
        self.set_routing(SpoolRouting::ThroughTheSpool);
    }

    fn set_routing(&self, routing: SpoolRouting) {
        let mut modes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        modes.routing = routing;
        modes.set();
    }

    /// Replaces the projects. Requests under way for a removed project keep its mode.
    pub(crate) fn serve(&self, delivery: &Delivery, destinations: &Destinations) {
        let project = |(name, destination): (&String, &Arc<Destination>)| {
            let project = delivery.project(name);
            (name.clone(), (project, destination.project().mode))
        };
        let mut modes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        modes.configured = destinations.iter().map(project).collect();
        modes.set();
    }
}

impl ProjectModes {
    fn set(&self) {
        for (project, mode) in self.configured.values() {
            project.set_mode(match self.routing {
                SpoolRouting::None => *mode,
                SpoolRouting::ThroughTheSpool => DeliveryMode::Spool,
            });
        }
    }
}

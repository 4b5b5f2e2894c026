//! The proxy's state for the admin page.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Utc};

use crate::admin::live::{Live, Recording, Visibility};
use crate::admin::{
    Admin, ConfigState, Health, PostHogCondition, ProjectState, ProxyState, SpoolSize, SpoolState,
    Stalled, Unready, SAMPLED_EVERY,
};
use crate::delivery::{self, Availability};
use crate::rewrite::privacy::Privacy;

use crate::proxy::operator::process;
use crate::proxy::serving::Serving;
use crate::proxy::{Clock, Config, Hedgerow, HedgerowShared};

impl Hedgerow {
    /// The pages of `admin`, unless it is off. The `hedgerow` binary serves them on their address;
    /// another proxy does it with [`Plain`](crate::proxy::Plain), where it wants them.
    pub fn admin(&self) -> Option<Arc<Admin>> {
        self.current().admin.clone()
    }

    /// Takes a sample of the state from time to time, for the plots of the live view. The first call
    /// on a Tokio runtime begins it.
    pub(crate) fn start_sampling(&self, serving: &Serving) {
        let admin = serving.admin.clone();
        let Some(admin) = admin.filter(|admin| admin.begins_sampling()) else {
            return;
        };
        let admin = Arc::downgrade(&admin);
        tokio::spawn(async move {
            while let Some(admin) = admin.upgrade() {
                admin.sample();
                drop(admin);
                tokio::time::sleep(Duration::from_secs(SAMPLED_EVERY)).await;
            }
        });
    }

    /// The current state for the admin page.
    #[doc(hidden)]
    pub fn state(&self) -> ProxyState {
        self.current().state()
    }
}

impl Serving {
    fn state(&self) -> ProxyState {
        let counts = self.lasting.counters.read(self.lasting.budget.held());
        let now = (self.lasting.clock)();
        let mut projects: Vec<ProjectState> = self
            .destinations
            .iter()
            .map(|(name, destination)| {
                let tally = destination.tally();
                let posthog = match tally.is_away() {
                    true => PostHogCondition::Away,
                    false => PostHogCondition::Available,
                };
                let (trouble, last_error) = tally.failure_state(now);
                ProjectState {
                    trouble,
                    last_error,
                    upstream: destination.upstream(),
                    ..ProjectState::new(name, posthog, tally.read())
                }
            })
            .collect();
        projects.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let spool = self.lasting.backlog.as_ref().map(|backlog| {
            for status in backlog.delivery().status() {
                let known = projects
                    .iter_mut()
                    .find(|known| known.name == status.project);
                let Some(project) = known else { continue };
                project.posthog = PostHogCondition::Available;
                project.waiting = status.events;
                project.waiting_bytes = status.bytes;
                project.oldest = status.oldest.map(|oldest| {
                    (self.lasting.clock)()
                        .duration_since(oldest)
                        .unwrap_or_default()
                });
                project.dead_letters = status.dead_letters;
                project.stalled = stalled(status.draining);
                if status.breaker == delivery::BreakerState::Open {
                    project.posthog = PostHogCondition::Away;
                }
            }
            let store = backlog.delivery().store();
            let (counters, size) = (store.counters(), store.gauges().size());
            SpoolState {
                writable: store.availability() == Availability::Available,
                size: size.map(|(used, limit)| SpoolSize { used, limit }),
                disk_free: backlog.folder().and_then(process::free_of),
                appended: counters.appended.load(Ordering::Relaxed),
                deduplicated: counters.deduplicated.load(Ordering::Relaxed),
                replayed: counters.delivered.load(Ordering::Relaxed),
                dead_lettered: counters.dead_lettered.load(Ordering::Relaxed),
                expired: counters.expired.load(Ordering::Relaxed),
                dead_letters_evicted: counters.dead_letters_evicted.load(Ordering::Relaxed),
                refused: counters.refused.load(Ordering::Relaxed),
            }
        });
        let (ordered, orders) = process::ordered(&self.lasting);
        ProxyState {
            events: counts.events,
            left_out: counts.left_out,
            left_out_for: counts.left_out_for,
            refused: counts.refused,
            notices: counts.notices,
            requests: self.requests.read(),
            routes: self.requests.routes(),
            rewrite_times: self.lasting.counters.rewriting().read(),
            session_cookies: self.lasting.counters.session_cookies(),
            busy: counts.busy,
            held: counts.held,
            held_limit: self.lasting.budget.limit(),
            log_dropped: crate::logging::dropped(),
            connections: self.lasting.connection_limits.counts(),
            unready: self.unready(),
            projects,
            spool,
            forwarded: self.lasting.accounts.counts(),
            certificates: self.certificates.iter().cloned().chain(ordered).collect(),
            orders,
            process: process::state(),
            config: ConfigState {
                outline: self.config.outline.clone(),
                ..self.lasting.reloads.state()
            },
        }
    }
}

fn stalled(draining: delivery::Draining) -> Option<Stalled> {
    match draining {
        delivery::Draining::Normal => None,
        delivery::Draining::Blocked { since, reason } => Some(Stalled {
            since: since
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            reason,
        }),
    }
}

impl Hedgerow {
    /// Why no requests should come here now; empty when they should.
    pub fn unready(&self) -> Vec<Unready> {
        self.current().unready()
    }

    /// Health on a separate address, without the pages of the admin address.
    pub fn health(&self) -> Arc<Health> {
        let hedgerow = self.clone();
        Arc::new(Health::new(move || hedgerow.unready()))
    }
}

impl Serving {
    pub(crate) fn unready(&self) -> Vec<Unready> {
        let mut reasons = Vec::new();
        if self.lasting.leaving.load(Ordering::Relaxed) {
            reasons.push(Unready::Leaving);
        }
        let (keeps, any_there) = match &self.lasting.backlog {
            Some(backlog) => {
                let delivery = backlog.delivery();
                let keeps = delivery.store().availability() == Availability::Available;
                let status = delivery.status();
                let mut there = status
                    .iter()
                    .map(|status| status.breaker == delivery::BreakerState::Closed);
                if !keeps {
                    reasons.push(Unready::SpoolNotWritable);
                }
                (keeps, status.is_empty() || there.any(|there| there))
            }
            None => {
                let mut all = self.destinations.values();
                let there = all.any(|destination| !destination.tally().is_away());
                (false, self.destinations.is_empty() || there)
            }
        };
        if !keeps && !any_there {
            reasons.push(Unready::NoWay);
        }
        reasons
    }
}

/// The admin page, from when a configuration first has one.
#[derive(Default)]
pub(crate) struct AdminPages {
    pages: OnceLock<Arc<Admin>>,
    /// The ring of the live view, where something else shows it as well.
    ring: Option<Arc<Live>>,
    /// The reported proxy; set a moment after the first page is created.
    shared: Arc<OnceLock<Weak<HedgerowShared>>>,
}

impl AdminPages {
    /// Pages that record in this ring, or in their own one.
    pub(crate) fn recording_in(ring: Option<Arc<Live>>) -> Self {
        Self {
            ring,
            ..Self::default()
        }
    }

    /// Tells of this Hedgerow.
    pub(crate) fn tell_of(&self, shared: Weak<HedgerowShared>) {
        // It is set once.
        let _ = self.shared.set(shared);
    }

    /// The page, if the configuration has one.
    pub(crate) fn of(&self, config: &Config, clock: &Clock) -> Option<Arc<Admin>> {
        config.admin?;
        let pages = self.pages.get_or_init(|| {
            let (clock, shared) = (Arc::clone(clock), Arc::clone(&self.shared));
            let state = move || {
                let shared = shared.get().and_then(Weak::upgrade);
                let serving = shared.map(|shared| shared.current.load_full());
                serving.map(|serving| serving.state()).unwrap_or_default()
            };
            let now: crate::admin::live::UtcClock =
                Arc::new(move || DateTime::<Utc>::from(clock()));
            let ring = self.ring.clone().unwrap_or_else(|| {
                let recording = Recording::WhileWatched;
                Arc::new(Live::new(
                    Arc::clone(&now),
                    visibility_of(config),
                    recording,
                ))
            });
            let admin = Admin::new(state, ring, config.live.clone(), now);
            Arc::new(admin.configured_in(config.file.clone()))
        });
        Some(Arc::clone(pages))
    }

    /// Shows only what the active configuration allows.
    pub(crate) fn settle(&self, config: &Config) {
        if let Some(pages) = self.pages.get() {
            pages.show(config.live.clone(), visibility_of(config));
        }
    }
}

fn visibility_of(config: &Config) -> Visibility {
    match config.mapping.privacy == Privacy::default() {
        true => Visibility::Shown,
        false => Visibility::Redacted,
    }
}

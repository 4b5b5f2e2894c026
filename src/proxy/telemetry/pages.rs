//! The admin pages of a process. They stay the same when the configuration is reloaded.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use hedgerow_spool::Clock;

use crate::admin::live::{Live, Recording, Visibility};
use crate::admin::{Admin, ProxyState};
use crate::config::Config;
use crate::rewrite::privacy::Privacy;

/// Returns the state that the pages show at this moment.
pub(crate) type StateSource = Box<dyn Fn() -> ProxyState + Send + Sync>;

/// The admin pages, created when a configuration first has them.
#[derive(Default)]
pub(crate) struct AdminPages {
    pages: OnceLock<Arc<Admin>>,
    /// The ring of the live view, if something else shows it as well.
    ring: Option<Arc<Live>>,
    /// The source of the proxy's state; set a moment after the pages are created.
    source: Arc<OnceLock<StateSource>>,
}

impl AdminPages {
    /// Creates pages that record in this ring, or in a ring of their own.
    pub(crate) fn recording_in(ring: Option<Arc<Live>>) -> Self {
        Self {
            ring,
            ..Self::default()
        }
    }

    /// Sets the source of the state that the pages show.
    pub(crate) fn set_source(&self, source: StateSource) {
        // Only the first source counts.
        let _ = self.source.set(source);
    }

    /// Returns the admin pages if the configuration has them.
    pub(crate) fn of(&self, config: &Config, clock: &Clock) -> Option<Arc<Admin>> {
        config.admin?;
        let pages = self.pages.get_or_init(|| {
            let (clock, source) = (Arc::clone(clock), Arc::clone(&self.source));
            let state = move || source.get().map(|source| source()).unwrap_or_default();
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

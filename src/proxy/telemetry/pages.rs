//! The admin pages of a process: one set of them, whichever configuration is at work.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use hedgerow_spool::Clock;

use crate::admin::live::{Live, Recording, Visibility};
use crate::admin::{Admin, ProxyState};
use crate::config::Config;
use crate::rewrite::privacy::Privacy;

/// Says what the pages show at this moment.
pub(crate) type StateSource = Box<dyn Fn() -> ProxyState + Send + Sync>;

/// The admin page, from when a configuration first has one.
#[derive(Default)]
pub(crate) struct AdminPages {
    pages: OnceLock<Arc<Admin>>,
    /// The ring of the live view, where something else shows it as well.
    ring: Option<Arc<Live>>,
    /// The reported proxy; set a moment after the first page is created.
    source: Arc<OnceLock<StateSource>>,
}

impl AdminPages {
    /// Pages that record in this ring, or in their own one.
    pub(crate) fn recording_in(ring: Option<Arc<Live>>) -> Self {
        Self {
            ring,
            ..Self::default()
        }
    }

    /// Tells what this says.
    pub(crate) fn set_source(&self, source: StateSource) {
        // It is set once.
        let _ = self.source.set(source);
    }

    /// The page, if the configuration has one.
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

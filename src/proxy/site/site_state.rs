//! What the routes of one configuration are proxied with; after a reload with all that stays the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Action, Config, Libraries, Origin, PageHost, PathPrefix, SiteHost};
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::site::origin::{Balancer, Servers};
use crate::proxy::{BuildError, Inner};
use crate::site::snippet::{Home, Page};

use super::route_health::RouteHealth;
use super::SITE_PATIENCE;

/// A configuration at work, with its site. A request holds the one that it began with.
pub(in crate::proxy) struct SiteState {
    pub(in crate::proxy) inner: Arc<Inner>,
    /// By the number of the route.
    pub(super) origins: HashMap<usize, Arc<Servers>>,
    /// The troubles of the servers behind routes, by the number of the route.
    pub(super) troubles: HashMap<usize, Arc<RouteHealth>>,
}

impl std::fmt::Debug for SiteState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SiteState")
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl SiteState {
    /// # Errors
    ///
    /// When an origin's name cannot stand in a URL, its pages' snippet has no route, or there is
    /// nothing to verify PostHog's host with.
    pub(super) fn new(inner: Arc<Inner>, before: Option<&Self>) -> Result<Self, BuildError> {
        let (mut origins, mut troubles) = (HashMap::new(), HashMap::new());
        let config = Arc::clone(&inner.config);
        let connect = config.delivery.connect_timeout;
        for (number, route) in config.routes.iter().enumerate() {
            let known = before.and_then(|before| {
                let mut routes = before.inner.config.routes.iter();
                let place = routes.position(|known| known.name() == route.name())?;
                before.troubles.get(&place).cloned()
            });
            troubles.insert(number, known.unwrap_or_default());
            match &route.action {
                Action::Origin(origin) => {
                    let page = match &origin.inject {
                        None => None,
                        Some(path) => Some(page_of(&config, path, route.host.as_ref(), origin)?),
                    };
                    let timeouts = Timeouts {
                        connect,
                        exchange: SITE_PATIENCE,
                    };
                    let known = before.and_then(|before| {
                        let mut known = before.origins.values();
                        known.find(|known| known.is_as_good(origin, timeouts, page.as_ref()))
                    });
                    let servers = match known {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(Servers::new(origin, timeouts, page)?),
                    };
                    origins.insert(number, servers);
                }
                Action::Segment { .. } | Action::PostHog(_) => {}
            }
        }
        Ok(Self {
            inner,
            origins,
            troubles,
        })
    }

    /// Looks after the servers' health on the current runtime.
    pub(super) fn look_after(&self) {
        for servers in self.origins.values() {
            servers.look_after();
        }
    }

    pub(super) fn balancers(&self) -> Vec<Arc<Balancer>> {
        let servers = self.origins.values();
        servers
            .filter_map(|servers| servers.balancer().cloned())
            .collect()
    }
}

/// What goes into the pages of an origin.
fn page_of(
    config: &Config,
    path: &PathPrefix,
    host: Option<&SiteHost>,
    origin: &Origin,
) -> Result<Page, BuildError> {
    let path = path.to_string();
    let host = host.map_or(PageHost::Every, PageHost::Named);
    let page = config.page(
        Some(&path),
        host,
        Libraries::All,
        None,
        Some(Home::SameHost),
    );
    page.map_err(|error| BuildError::Snippet {
        origin: origin
            .servers
            .first()
            .map_or_else(String::new, ToString::to_string),
        reason: error.to_string(),
    })
}

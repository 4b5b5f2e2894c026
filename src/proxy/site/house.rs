//! What the routes of one configuration are proxied with; after a reload with all that stays the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Action, Config, Libraries, Origin, PageHost, PathPrefix, SiteHost};
use crate::proxy::origin::{Balancer, Servers};
use crate::proxy::pools::Pools;
use crate::proxy::posthog::Passed;
use crate::proxy::upstream::Timeouts;
use crate::proxy::{BuildError, Inner};
use crate::site::snippet::{Home, Page};

use super::SITE_PATIENCE;

/// A configuration at work, with its site. A request holds the one that it began with.
pub(in crate::proxy) struct House {
    pub(in crate::proxy) inner: Arc<Inner>,
    /// By the number of the route.
    pub(super) origins: HashMap<usize, Arc<Servers>>,
    pub(super) passed: HashMap<usize, Arc<Passed>>,
    pools: Pools,
}

impl std::fmt::Debug for House {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("House")
            .field("origins", &self.origins)
            .field("passed", &self.passed)
            .finish_non_exhaustive()
    }
}

impl House {
    /// # Errors
    ///
    /// When an origin's name cannot stand in a URL, its pages' snippet has no route, or there is
    /// nothing to verify PostHog's host with.
    pub(super) fn new(inner: Arc<Inner>, before: Option<&Self>) -> Result<Self, BuildError> {
        let (mut origins, mut passed) = (HashMap::new(), HashMap::new());
        let mut pools = before.map_or_else(Pools::default, |before| Pools::after(&before.pools));
        let config = Arc::clone(&inner.config);
        let connect = config.delivery.connect_timeout;
        for (number, route) in config.routes.iter().enumerate() {
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
                Action::PostHog(said) => {
                    let project = &said.project;
                    let file = project.ca_file.as_ref().map(|file| file.path.as_path());
                    let connections = pools.of(&project.host, file)?;
                    let timeouts = Timeouts {
                        connect,
                        exchange: config.delivery.timeout,
                    };
                    let known = before.and_then(|before| {
                        let mut known = before.passed.values();
                        known.find(|known| known.is_as_good(&route.path, said, timeouts))
                    });
                    let passing = match known {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(Passed::new(&route.path, said, connections, timeouts)),
                    };
                    passed.insert(number, passing);
                }
                Action::Segment { .. } => {}
            }
        }
        Ok(Self {
            inner,
            origins,
            passed,
            pools: pools.settled(),
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

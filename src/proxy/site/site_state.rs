//! The state of the routes of one configuration; a reload keeps everything that is equal.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Action, Config, Libraries, PageHost, SiteHost, SiteOrigin};
use crate::proxy::active_config::ActiveConfig;
use crate::proxy::build_error::BuildError;
use crate::proxy::first_party::posthog::PostHogProxy;
use crate::proxy::outbound::upstream::{Timeouts, SITE_TIMEOUT};
use crate::proxy::routes::RouteAction;
use crate::proxy::site::origin::{Balancer, Servers};
use crate::site::snippet::{Page, ProxyAddress};
use crate::site::PathPrefix;

use super::route_health::RouteHealth;

/// An active configuration with its site. A request keeps the configuration with which it began.
pub(in crate::proxy) struct SiteState {
    pub(in crate::proxy) active: Arc<ActiveConfig>,
    /// In the order of the configuration.
    routes: Vec<Arc<SiteRoute>>,
}

/// The site's state of one route.
pub(super) struct SiteRoute {
    /// Its name in logs.
    pub(super) path: String,
    /// Its index among the routes of the configuration.
    pub(super) number: usize,
    /// Where the framework sends its requests; `None` if Hedgerow answers them itself.
    pub(super) upstream: Option<RouteUpstream>,
    /// The failures of its servers.
    pub(super) health: Arc<RouteHealth>,
}

/// Where the framework sends the requests of a route.
pub(super) enum RouteUpstream {
    Origin(Arc<Servers>),
    PostHog(Arc<PostHogProxy>),
}

impl std::fmt::Debug for SiteRoute {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.path)
    }
}

impl std::fmt::Debug for SiteState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SiteState")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl SiteState {
    /// Creates the state of a configuration, and takes over the routes' state that is equal in
    /// `before`.
    ///
    /// # Errors
    ///
    /// When the snippet for an origin's pages has no route, or there are no certificate authorities
    /// to verify PostHog's host with.
    pub(super) fn new(
        active: Arc<ActiveConfig>,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let config = &active.config;
        let timeouts = Timeouts {
            connect: config.delivery.connect_timeout,
            exchange: SITE_TIMEOUT,
        };
        let named = before.map(|before| before.by_name());
        let mut routes = Vec::with_capacity(config.routes.len());
        for (route, compiled) in config.routes.iter().zip(active.routes.iter()) {
            let known = named
                .as_ref()
                .and_then(|named| named.get(compiled.name.as_str()));
            let upstream = match (&compiled.action, &route.action) {
                (RouteAction::PostHog(posthog_proxy), _) => {
                    Some(RouteUpstream::PostHog(Arc::clone(posthog_proxy)))
                }
                (RouteAction::Origin, Action::Origin(origin)) => {
                    let page = match &origin.inject {
                        None => None,
                        Some(path) => Some(page_of(config, path, route.host.as_ref(), origin)?),
                    };
                    let known = before.and_then(|before| {
                        let mut known = before.servers();
                        known.find(|known| known.behaves_the_same(origin, timeouts, page.as_ref()))
                    });
                    Some(RouteUpstream::Origin(match known {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(Servers::new(origin, timeouts, page)),
                    }))
                }
                _ => None,
            };
            routes.push(Arc::new(SiteRoute {
                path: route.path.to_string(),
                number: compiled.number,
                upstream,
                health: known
                    .map(|known| Arc::clone(&known.health))
                    .unwrap_or_default(),
            }));
        }
        Ok(Self { active, routes })
    }

    /// The route of this number.
    pub(super) fn route(&self, number: usize) -> Option<&Arc<SiteRoute>> {
        self.routes.get(number)
    }

    fn by_name(&self) -> HashMap<&str, &SiteRoute> {
        let names = self.active.routes.iter().map(|route| route.name.as_str());
        let named = names.zip(self.routes.iter().map(AsRef::as_ref));
        // Reversed, so that the first of equal names wins.
        let named: Vec<_> = named.collect();
        named.into_iter().rev().collect()
    }

    fn servers(&self) -> impl Iterator<Item = &Arc<Servers>> {
        self.routes
            .iter()
            .filter_map(|route| match &route.upstream {
                Some(RouteUpstream::Origin(servers)) => Some(servers),
                Some(RouteUpstream::PostHog(_)) | None => None,
            })
    }

    /// Starts the health checks of the origins' servers on the current runtime.
    pub(super) fn watch_health(&self) {
        for servers in self.servers() {
            servers.watch_health();
        }
    }

    pub(super) fn balancers(&self) -> Vec<Arc<Balancer>> {
        let servers = self.servers();
        servers
            .filter_map(|servers| servers.balancer().cloned())
            .collect()
    }
}

/// The snippet for the pages of an origin.
fn page_of(
    config: &Config,
    path: &PathPrefix,
    host: Option<&SiteHost>,
    origin: &SiteOrigin,
) -> Result<Page, BuildError> {
    let path = path.to_string();
    let host = host.map_or(PageHost::Every, PageHost::Named);
    let page = config.page(
        Some(&path),
        host,
        Libraries::All,
        None,
        Some(ProxyAddress::SameHost),
    );
    page.map_err(|error| BuildError::Snippet {
        origin: origin
            .servers
            .first()
            .map_or_else(String::new, ToString::to_string),
        reason: error.to_string(),
    })
}

//! The compiled routes of a configuration.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{DeliveryConfig, RouteTable};
use crate::segment::WriteKeys;

use crate::proxy::first_party::files::Files;
use crate::proxy::first_party::posthog::PostHogProxy;
use crate::proxy::outbound::sender::Destination;
use crate::proxy::sending::group::RequestGrouper;
use crate::proxy::spool::backlog::ProjectSpool;

/// All routes, found by the host and path of a request.
pub(crate) struct Routes {
    table: RouteTable,
    list: Vec<CompiledRoute>,
}

/// One route.
pub(crate) struct CompiledRoute {
    /// Its name in logs and metrics.
    pub(crate) name: String,
    /// Its position in the configuration. Its requests are counted by this number.
    pub(crate) number: usize,
    pub(crate) action: RouteAction,
}

/// The action of a route.
pub(crate) enum RouteAction {
    Segment(Box<SegmentRoute>),
    PostHog(Arc<PostHogProxy>),
    /// Passes requests on to the site's own server. Only the proxy of the binary does this.
    Origin,
}

/// A route that accepts Segment's calls.
pub(crate) struct SegmentRoute {
    /// The write keys that it accepts, each with the target of its events.
    pub(crate) keys: WriteKeys<Arc<ProjectSink>>,
    pub(crate) files: Files,
}

/// The targets of all projects' events, by the project's name.
pub(crate) type ProjectSinks = HashMap<String, Arc<ProjectSink>>;

/// The target of a project's events.
pub(crate) struct ProjectSink {
    pub(crate) destination: Arc<Destination>,
    /// Stores events that PostHog does not accept.
    pub(crate) spool: Option<ProjectSpool>,
    /// Collects whole batches that are sent together.
    pub(crate) grouper: Option<Arc<RequestGrouper>>,
}

impl ProjectSink {
    /// Returns whether a sink with these settings would behave the same.
    pub(crate) fn behaves_the_same(
        &self,
        delivery: &DeliveryConfig,
        destination: &Arc<Destination>,
    ) -> bool {
        // The mode, which decides whether there is a grouper, belongs to the destination's project.
        let mut grouper = self.grouper.iter();
        Arc::ptr_eq(&self.destination, destination)
            && grouper.all(|grouper| grouper.behaves_the_same(delivery))
    }
}

impl Routes {
    /// Creates the routes. The table refers to a route by its position in the list.
    pub(crate) fn new(table: RouteTable, list: Vec<CompiledRoute>) -> Self {
        Self { table, list }
    }

    /// Returns the first route that matches a request, and the path after the route's prefix and slash.
    pub(crate) fn find<'p>(
        &self,
        authority: Option<&str>,
        path: &'p str,
    ) -> Option<(&CompiledRoute, &'p str)> {
        let (number, tail) = self.table.find(authority, path)?;
        Some((self.list.get(number)?, tail))
    }

    /// Returns whether the path would match a different route (or none) if the next server
    /// normalizes it.
    pub(crate) fn is_ambiguous(&self, authority: Option<&str>, path: &str) -> bool {
        self.table.is_ambiguous(authority, path)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CompiledRoute> {
        self.list.iter()
    }

    /// Returns the routes by their names. If two have the same name, the first one counts.
    pub(crate) fn by_name(&self) -> HashMap<&str, &CompiledRoute> {
        let named = self.list.iter().rev();
        named.map(|route| (route.name.as_str(), route)).collect()
    }
}

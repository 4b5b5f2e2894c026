//! The compiled routes of a configuration.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::RouteTable;
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
    /// Its place in the configuration, under which its requests are counted.
    pub(crate) number: usize,
    pub(crate) does: RouteAction,
}

/// The action of a route.
pub(crate) enum RouteAction {
    Segment(Box<SegmentRoute>),
    PostHog(Arc<PostHogProxy>),
    /// The site's own server has them; the binary's proxy knows it.
    Origin,
}

/// A route that takes Segment's calls.
pub(crate) struct SegmentRoute {
    /// The keys that it takes, each with where the events go.
    pub(crate) keys: WriteKeys<Arc<ProjectSink>>,
    pub(crate) files: Files,
}

/// Where the events of a project go.
pub(crate) struct ProjectSink {
    pub(crate) destination: Arc<Destination>,
    /// Stores events that PostHog does not accept.
    pub(crate) spool: Option<ProjectSpool>,
    /// Where whole batches wait for others.
    pub(crate) grouper: Option<Arc<RequestGrouper>>,
}

impl Routes {
    /// These routes, which the table knows by their places in the list.
    pub(crate) fn new(table: RouteTable, list: Vec<CompiledRoute>) -> Self {
        Self { table, list }
    }

    /// The first route that has the request, and the path behind its prefix and slash.
    pub(crate) fn find<'p>(
        &self,
        authority: Option<&str>,
        path: &'p str,
    ) -> Option<(&CompiledRoute, &'p str)> {
        let (number, tail) = self.table.find(authority, path)?;
        Some((self.list.get(number)?, tail))
    }

    /// Whether a server behind may read another route's path in this one.
    pub(crate) fn is_ambiguous(&self, authority: Option<&str>, path: &str) -> bool {
        self.table.is_ambiguous(authority, path)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CompiledRoute> {
        self.list.iter()
    }

    /// The same by their names; of equal ones the first.
    pub(crate) fn by_name(&self) -> HashMap<&str, &CompiledRoute> {
        let named = self.list.iter().rev();
        named.map(|route| (route.name.as_str(), route)).collect()
    }
}

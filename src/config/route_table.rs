//! Finds the route of a request without a comparison with each route.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::routes::{Action, Route};
use super::site_host;
use crate::site::head::normal;

/// The routes of a configuration, found by host and path. The cost of a look-up depends on the
/// request's path and hardly on the number of routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// The routes of one host, by its name in lower case.
    by_host: HashMap<Box<str>, Branch>,
    /// The routes for every host.
    any_host: Branch,
}

/// Routes whose prefixes begin with the same segments.
#[derive(Debug, Default)]
struct Branch {
    /// The routes with longer prefixes, by the next segment.
    below: BTreeMap<Box<str>, Branch>,
    /// The first route whose prefix ends here and that gets its paths as they were sent.
    as_sent: Option<usize>,
    /// The first route whose prefix ends here and for which several slashes in a row count as one.
    lenient: Option<usize>,
}

/// The number of a route, and the path after its prefix and slash.
type RouteMatch<'p> = (usize, &'p str);

impl RouteTable {
    /// Returns a table of these routes. The number of a route is its position in `routes`.
    pub fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (number, route) in routes.iter().enumerate() {
            let mut branch = match &route.host {
                Some(host) => table.by_host.entry(host.to_string().into()).or_default(),
                None => &mut table.any_host,
            };
            for segment in route.path.segments() {
                branch = branch.below.entry(segment.into()).or_default();
            }
            let end = match route.action {
                Action::Segment { .. } => &mut branch.lenient,
                Action::PostHog(_) | Action::Origin(_) => &mut branch.as_sent,
            };
            end.get_or_insert(number);
        }
        table
    }

    /// Returns the number of the first route that matches the request, and the path after the route's
    /// prefix and slash, as [`Config::route`](super::Config::route) finds them.
    pub fn find<'p>(&self, host: Option<&str>, path: &'p str) -> Option<(usize, &'p str)> {
        let everywhere = self.any_host.find(path);
        let own = host.and_then(|host| self.of_host(host)?.find(path));
        first(own, everywhere)
    }

    /// Returns whether the normalized path leads to another route, or to none, or only the normalized path
    /// leads to one. A server may read the path in that form.
    pub fn is_ambiguous(&self, host: Option<&str>, path: &str) -> bool {
        let Some(normal) = normal(path) else {
            return false;
        };
        let number = |found: Option<(usize, &str)>| found.map(|(number, _)| number);
        number(self.find(host, path)) != number(self.find(host, &normal))
    }

    fn of_host(&self, authority: &str) -> Option<&Branch> {
        if self.by_host.is_empty() {
            return None;
        }
        let name = site_host::name(authority);
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        self.by_host.get(&*name)
    }
}

impl Branch {
    fn find<'p>(&self, path: &'p str) -> Option<RouteMatch<'p>> {
        let below_root = path.strip_prefix('/')?;
        let mut found = self.ends(Some(below_root), PrefixForm::Exactly);
        let (mut branch, mut rest, mut sent) = (self, path, PrefixForm::Exactly);
        while let Some(behind) = rest.strip_prefix('/') {
            let begins = behind.trim_start_matches('/');
            if begins.len() < behind.len() {
                sent = PrefixForm::WithMoreSlashes;
            }
            let ends = memchr::memchr(b'/', begins.as_bytes()).unwrap_or(begins.len());
            let (segment, more) = begins.split_at(ends);
            let Some(next) = branch.below.get(segment) else {
                break;
            };
            (branch, rest) = (next, more);
            found = first(found, branch.ends(rest.strip_prefix('/'), sent));
        }
        found
    }

    /// Returns the first route whose prefix ends here. `behind` is the rest of the path after the slash.
    fn ends<'p>(&self, behind: Option<&'p str>, sent: PrefixForm) -> Option<RouteMatch<'p>> {
        let behind = behind.unwrap_or_default();
        let as_sent = self.as_sent.filter(|_| sent == PrefixForm::Exactly);
        let lenient = self.lenient.map(|route| {
            let tail = behind.trim_start_matches('/');
            (route, tail)
        });
        first(as_sent.map(|route| (route, behind)), lenient)
    }
}

/// The form of the prefix in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PrefixForm {
    Exactly,
    /// With several slashes in a row.
    WithMoreSlashes,
}

/// Returns the match whose route is earlier in the configuration.
fn first<'p>(one: Option<RouteMatch<'p>>, other: Option<RouteMatch<'p>>) -> Option<RouteMatch<'p>> {
    match (one, other) {
        (Some(one), Some(other)) if other.0 < one.0 => Some(other),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "route_table_tests.rs"]
mod tests;

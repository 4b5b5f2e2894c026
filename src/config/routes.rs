//! `routes`: which requests match a route, and what happens to them.

use std::sync::Arc;

use super::listeners::Listener;
use super::origin_route::{self, SiteOrigin};
use super::posthog_route::{self, PostHogPassThrough};
use super::projects::{DeclaredProjects, Project};
use super::reader::{ConfigReader, Field, Section};
use super::segment_route::{self, SegmentFiles};
use super::shape::{KeyType, SectionSchema, PATH, PLAIN, PROJECT_NAME, SERVER_URL};
use super::site_host::SiteHost;
use super::tree::NodeKind;
use crate::segment::WriteKeys;
use crate::site::snippet::ProxyAddress;
use crate::site::PathPrefix;

/// The largest number of routes. While the file is read, each route is compared with those before it.
const ROUTE_LIMIT: usize = 1000;
const HOME: &str = "scheme and host, such as https://t.example.com";

/// The actions among the keys of a route.
const ACTIONS: &[&str] = &["segment", "posthog", "origin"];

/// One of `routes`.
pub(super) const ROUTE: SectionSchema = SectionSchema {
    name: "routes",
    label: "a route",
    at: "routes[0]",
    required: &["path"],
    one_of: &[ACTIONS],
    excludes: &[("home", "origin")],
    keys: &[
        ("host", KeyType::Text),
        ("path", PATH),
        ("home", KeyType::Pattern("^https?://[^/]+/?$")),
        ("segment", KeyType::Section("segment")),
        (
            "posthog",
            KeyType::AnyOf(&[PROJECT_NAME, KeyType::Section("posthog")]),
        ),
        (
            "origin",
            KeyType::AnyOf(&[KeyType::OneOrMore(&SERVER_URL), KeyType::Section("origin")]),
        ),
    ],
    ..PLAIN
};

/// A route: which requests match it, and what happens to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host of the request; `None` for every host.
    pub host: Option<SiteHost>,
    /// The prefix of the request's path.
    pub path: PathPrefix,
    /// The address at which pages on other hosts reach the route; `None` if it is a path of the page's own
    /// host.
    pub home: Option<ProxyAddress>,
    /// What happens to the requests.
    pub action: Action,
}

impl Route {
    /// Returns the route's name in logs and metrics: its host, if it has one, and its path.
    pub fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("{host}{}", self.path),
            None => self.path.to_string(),
        }
    }
}

/// The action of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Segment's calls, rewritten for the project of the write key.
    Segment {
        /// The write keys that the route accepts.
        write_keys: WriteKeys<Arc<Project>>,
        /// analytics.js, its settings, and what happens to a real Segment account.
        files: Box<SegmentFiles>,
    },
    /// The requests of posthog-js, passed through to a project's host.
    PostHog(PostHogPassThrough),
    /// The site itself.
    Origin(SiteOrigin),
}

/// Reads `routes`.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
    projects: &mut DeclaredProjects<'_>,
    listen: &[Listener],
) -> Vec<Route> {
    let Some(field) = top.require(reader, "routes") else {
        return Vec::new();
    };
    let entries = match &field.node.kind {
        NodeKind::List(items) if items.len() > ROUTE_LIMIT => {
            reader.wrong(field, format!("more than {ROUTE_LIMIT} routes"));
            return Vec::new();
        }
        NodeKind::List(items) if !items.is_empty() => field.each(),
        _ => {
            reader.expected(field, "a list of at least one route");
            return Vec::new();
        }
    };
    let mut routes = Vec::new();
    let mut injects = Vec::new();
    let mut matched: Vec<(Option<SiteHost>, PathPrefix, String)> = Vec::new();
    for entry in &entries {
        let Some(section) = reader.section(entry, &ROUTE) else {
            continue;
        };
        let place = place(reader, &section);
        let path = place.as_ref().map(|(_, path)| path);
        let mut inject = Vec::new();
        let action = action(reader, &section, projects, listen, path, &mut inject);
        let home = home(reader, &section);
        let Some((host, path)) = place else {
            continue;
        };
        let earlier = matched.iter().find(|(earlier_host, earlier_path, _)| {
            (earlier_host.is_none() || *earlier_host == host) && earlier_path.covers(&path)
        });
        if let Some((_, _, name)) = earlier {
            let message = format!(
                "this route can never match: {name} comes first and matches all \
                its requests"
            );
            match section.get("path") {
                Some(path) => reader.wrong(path, message),
                None => reader.incomplete(&section, message),
            }
        }
        let line = entry.node.span.start.line;
        let name = format!("{} (line {line})", entry.path);
        matched.push((host.clone(), path.clone(), name));
        if let Some(action) = action {
            injects.extend(inject.pop().map(|field| (field, routes.len())));
            routes.push(Route {
                host,
                path,
                home,
                action,
            });
        }
    }
    // `inject` may name a route that was not read because of a mistake.
    let complete = routes.len() == entries.len();
    for (field, number) in injects.iter().filter(|_| complete) {
        if let Some(origin) = routes.get(*number) {
            check_inject(reader, field, origin, &routes);
        }
    }
    projects.warn_about_unused(reader);
    routes
}

fn place(
    reader: &mut ConfigReader<'_>,
    section: &Section<'_>,
) -> Option<(Option<SiteHost>, PathPrefix)> {
    let host = section.get("host").map(|field| {
        let text = reader.text(field, "a host name such as shop.example.com")?;
        match SiteHost::new(text) {
            Ok(host) => {
                if text.contains(':') && !text.ends_with(']') && text.matches(':').count() < 2 {
                    reader.warn(
                        field,
                        "Hedgerow ignores the port: it compares hosts without it",
                    );
                }
                Some(host)
            }
            Err(message) => {
                reader.wrong(field, message);
                None
            }
        }
    });
    let path = section.require(reader, "path").and_then(|field| {
        let text = reader.text(field, "a path that begins with /")?;
        match PathPrefix::new(text) {
            Ok(path) => Some(path),
            Err(message) => {
                reader.wrong(field, message);
                None
            }
        }
    });
    match host {
        Some(host) => Some((Some(host?), path?)),
        None => Some((None, path?)),
    }
}

/// Reads the address at which pages on other hosts reach a route.
fn home(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<ProxyAddress> {
    let field = section.get("home")?;
    let text = reader.text(field, HOME)?;
    if section.get("origin").is_some() {
        reader.wrong_key(
            field,
            "an `origin` route is the site itself; `home` is for `segment` and `posthog`",
        );
    }
    let home = ProxyAddress::other(text);
    if home.is_none() {
        reader.wrong(field, format!("expected {HOME}"));
    }
    home
}

fn action<'n>(
    reader: &mut ConfigReader<'_>,
    section: &Section<'n>,
    projects: &mut DeclaredProjects<'_>,
    listen: &[Listener],
    path: Option<&PathPrefix>,
    injects: &mut Vec<Field<'n>>,
) -> Option<Action> {
    let mut found = ACTIONS.iter().filter_map(|key| section.get(key));
    let Some(first) = found.next() else {
        let message = "one of `segment`, `posthog` and `origin` is missing";
        reader.incomplete(section, message);
        return None;
    };
    let others: Vec<_> = found.collect();
    for other in &others {
        let message =
            "a route has one action; `segment`, `posthog` and `origin` exclude each other";
        reader.wrong_key(other, message);
    }
    // Every action is read, to report the mistakes in it.
    let first = one_action(reader, first, projects, listen, path, injects);
    for other in others {
        one_action(reader, other, projects, listen, path, injects);
    }
    first
}

fn one_action<'n>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'n>,
    projects: &mut DeclaredProjects<'_>,
    listen: &[Listener],
    path: Option<&PathPrefix>,
    injects: &mut Vec<Field<'n>>,
) -> Option<Action> {
    if field.path.ends_with(".segment") {
        let (write_keys, files) = segment_route::read(reader, field, projects, path)?;
        let files = Box::new(files);
        Some(Action::Segment { write_keys, files })
    } else if field.path.ends_with(".posthog") {
        posthog_route::read(reader, field, projects).map(Action::PostHog)
    } else {
        origin_route::read(reader, field, listen, injects).map(Action::Origin)
    }
}

/// Checks that a page of this origin can load the library of the route that `inject` names. The route must
/// be one that [`super::Config::page`] finds, on the page's host.
fn check_inject(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    origin: &Route,
    routes: &[Route],
) {
    let Action::Origin(SiteOrigin {
        inject: Some(path), ..
    }) = &origin.action
    else {
        return;
    };
    let serves = |route: &&Route| match &route.action {
        Action::Segment { files, .. } => files.library.is_some(),
        Action::PostHog(_) => true,
        Action::Origin(_) => false,
    };
    let mut library_routes = routes
        .iter()
        .filter(serves)
        .filter(|route| route.path == *path)
        .peekable();
    if library_routes.peek().is_none() {
        reader.wrong(
            field,
            "no `segment` route with `library` and no `posthog` route has this path",
        );
    } else if !library_routes.any(|route| route.host.is_none() || route.host == origin.host) {
        reader.wrong(field, "that route is for another host than these pages");
    }
}

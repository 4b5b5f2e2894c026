//! `routes`: which requests, and what happens to them.

use std::collections::HashMap;
use std::sync::Arc;

use super::first_party::{self, SegmentFiles};
use super::listeners::Listener;
use super::model::{Action, Project, Route};
use super::projects::DeclaredProjects;
use super::reader::{ConfigReader, Field, Section};
use super::site_host::SiteHost;
use super::tree::NodeKind;
use super::{schema, secret};
use crate::segment::{WriteKey, WriteKeys};
use crate::site::snippet::ProxyAddress;
use crate::site::PathPrefix;

/// The most routes; each is compared with those before it, and a request with all of them.
const ROUTE_LIMIT: usize = 1000;
const HOME: &str = "scheme and host, such as https://t.example.com";

/// Reads the section.
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
        let Some(section) = reader.section(entry, &schema::ROUTE) else {
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
                None => reader.lacking(&section, message),
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
    // A route with a mistake may be the intended one.
    let complete = routes.len() == entries.len();
    for (field, number) in injects.iter().filter(|_| complete) {
        if let Some(origin) = routes.get(*number) {
            first_party::check_inject(reader, field, origin, &routes);
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

/// Where pages on other hosts reach a route.
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
    let mut found = schema::ACTIONS.iter().filter_map(|key| section.get(key));
    let Some(first) = found.next() else {
        let message = "one of `segment`, `posthog` and `origin` is missing";
        reader.lacking(section, message);
        return None;
    };
    let others: Vec<_> = found.collect();
    for other in &others {
        let message =
            "a route has one action; `segment`, `posthog` and `origin` exclude each other";
        reader.wrong_key(other, message);
    }
    // Each is read even then, for the mistakes in it.
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
        let (write_keys, files) = segment(reader, field, projects, path)?;
        let files = Box::new(files);
        Some(Action::Segment { write_keys, files })
    } else if field.path.ends_with(".posthog") {
        first_party::posthog(reader, field, projects).map(Action::PostHog)
    } else {
        first_party::origin(reader, field, listen, injects).map(Action::Origin)
    }
}

fn segment(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    projects: &mut DeclaredProjects<'_>,
    path: Option<&PathPrefix>,
) -> Option<(WriteKeys<Arc<Project>>, SegmentFiles)> {
    let section = reader.section(field, &schema::SEGMENT)?;
    let keys = write_keys(reader, &section, projects);
    let files = first_party::segment_files(reader, &section, path?, keys.as_ref())?;
    Some((keys?, files))
}

fn write_keys(
    reader: &mut ConfigReader<'_>,
    section: &Section<'_>,
    projects: &mut DeclaredProjects<'_>,
) -> Option<WriteKeys<Arc<Project>>> {
    const EXPECTED: &str = "any, a list of write keys, or a mapping from write key to project";
    let keys = section.get("write_keys");
    let has_map = keys.is_some_and(|keys| matches!(keys.node.kind, NodeKind::Mapping(_)));
    // A map names the projects itself.
    let project = match section.get("project") {
        Some(field) => projects.named(reader, field),
        None if has_map => None,
        None => {
            section.require(reader, "project");
            None
        }
    };
    let Some(keys) = keys else {
        return project.map(WriteKeys::Any);
    };
    let mut listed = HashMap::new();
    match &keys.node.kind {
        NodeKind::Text(text) if text == "any" => return project.map(WriteKeys::Any),
        NodeKind::List(items) if !items.is_empty() => {
            for item in keys.each() {
                let Some(key) = write_key(reader, &item) else {
                    continue;
                };
                if listed.insert(key, project.clone()).is_some() {
                    reader.wrong(&item, "the list already has this write key");
                }
            }
        }
        NodeKind::Mapping(entries) if !entries.is_empty() => {
            for (index, entry) in entries.iter().enumerate() {
                // The key is a secret, and so is its place in the path.
                let value = Field {
                    path: format!("{}[{index}]", keys.path),
                    ..keys.entry(entry)
                };
                let target = match &project {
                    Some(project) if value.is_nothing() => Some(Arc::clone(project)),
                    _ => projects.named(reader, &value),
                };
                match WriteKey::new(&entry.key) {
                    // A key of a mapping is no value.
                    Some(_) if secret::is_reference(&entry.key) => reader.wrong_key(
                        &value,
                        "Hedgerow uses a key of a mapping literally and reads no variable or \
                         file; a list of `write_keys` may have env:NAME",
                    ),
                    Some(key) => {
                        listed.insert(key, target);
                    }
                    None => reader.wrong_key(&value, "expected a write key of 1 to 256 bytes"),
                }
            }
        }
        NodeKind::List(_) | NodeKind::Mapping(_) => {
            reader.wrong(keys, format!("the list is empty; expected {EXPECTED}"));
        }
        NodeKind::Text(_) => reader.wrong(keys, format!("expected {EXPECTED}")),
        NodeKind::Nothing => reader.expected(keys, EXPECTED),
    }
    let listed = listed.into_iter().map(|(key, target)| Some((key, target?)));
    listed
        .collect::<Option<HashMap<_, _>>>()
        .map(WriteKeys::Listed)
}

fn write_key(reader: &mut ConfigReader<'_>, item: &Field<'_>) -> Option<WriteKey> {
    let (text, place) = secret::named(reader, item, "a write key")?;
    let text = text.trim();
    // No client can send another one in a header.
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    let key = WriteKey::new(text).filter(|_| printable);
    if key.is_none() {
        reader.wrong(
            item,
            format!("{place}expected a write key of 1 to 256 bytes of printable ASCII"),
        );
    }
    key
}

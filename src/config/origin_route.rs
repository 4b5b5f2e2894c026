//! `origin` of a route: the servers of a site.

use std::time::Duration;

use super::listeners::{is_ours, Listener};
use super::reader::{ConfigReader, Field};
use super::shape::{KeyType, SectionSchema, PATH, PLAIN, SERVER_URL};
use super::tree::NodeKind;
use crate::posthog::{Host, Scheme};
use crate::site::forwarding_headers::Underscores;
use crate::site::PathPrefix;

/// The default interval of health checks.
const EVERY: Duration = Duration::from_secs(10);

/// A route's `origin`.
pub(super) const ORIGIN: SectionSchema = SectionSchema {
    name: "origin",
    label: "`origin` of a route",
    at: "routes[2].origin",
    required: &["servers"],
    keys: &[
        ("servers", KeyType::OneOrMore(&SERVER_URL)),
        ("inject", PATH),
        (
            "health",
            KeyType::AnyOf(&[KeyType::Off, KeyType::Section("health")]),
        ),
        ("underscores", KeyType::Read),
        ("keepalive", KeyType::AnyOf(&[KeyType::Read, KeyType::Off])),
    ],
    ..PLAIN
};

/// `health` of `origin`.
pub(super) const HEALTH: SectionSchema = SectionSchema {
    name: "health",
    label: "`health` of `origin`",
    at: "routes[2].origin.health",
    keys: &[("path", PATH), ("every", KeyType::Read)],
    ..PLAIN
};

/// The servers of a site; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteOrigin {
    /// The servers, in the order of the file.
    pub servers: Vec<Host>,
    /// The path of the `segment` or `posthog` route whose snippet is added to the site's pages.
    pub inject: Option<PathPrefix>,
    /// How the process detects that a server is down. It checks only if there are several.
    pub health: ServerHealthCheck,
    /// What happens to header fields with underscores in their names.
    pub underscores: Underscores,
    /// How long an idle connection to a server is kept. Zero keeps none; with `None` the server's own
    /// announcement or the default counts.
    pub keepalive: Option<Duration>,
}

/// How the process detects that a server of a site is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerHealthCheck {
    /// Only by a request that fails to connect.
    Off,
    /// The process opens a connection at this interval.
    Connect(Duration),
    /// The process requests this path at this interval. A status of 2xx or 3xx is healthy.
    Path(String, Duration),
}

/// Reads a route's `origin`: a server, a list of servers, or a section. Adds its `inject` to `injects`,
/// which is checked when all routes are known.
pub(super) fn read<'n>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'n>,
    listen: &[Listener],
    injects: &mut Vec<Field<'n>>,
) -> Option<SiteOrigin> {
    let NodeKind::Mapping(_) = field.node.kind else {
        return Some(SiteOrigin {
            servers: servers(reader, field, listen)?,
            inject: None,
            health: ServerHealthCheck::Connect(EVERY),
            underscores: Underscores::Drop,
            keepalive: None,
        });
    };
    let section = reader.section(field, &ORIGIN)?;
    let servers = section.require(reader, "servers").cloned();
    let servers = servers.and_then(|field| self::servers(reader, &field, listen));
    let inject = section.get("inject").and_then(|field| {
        let text = reader.text(field, "the path of a `segment` or `posthog` route")?;
        match PathPrefix::new(text) {
            Ok(path) => {
                injects.push(field.clone());
                Some(path)
            }
            Err(message) => {
                reader.wrong(field, message);
                None
            }
        }
    });
    let health = match section.get("health") {
        None => ServerHealthCheck::Connect(EVERY),
        Some(field) if field.is_off() => ServerHealthCheck::Off,
        Some(field) => {
            let health = reader.section(field, &HEALTH)?;
            let range = Duration::from_secs(1)..=Duration::from_secs(3600);
            let every = reader.duration(&health, "every", range).unwrap_or(EVERY);
            match health.get("path") {
                None => ServerHealthCheck::Connect(every),
                Some(path) => {
                    let text = reader.text(path, "a path that begins with /")?;
                    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                        reader.wrong(path, "expected a path that begins with /");
                    }
                    let mixed = servers.as_ref().is_some_and(|servers| {
                        let secure = |server: &&Host| server.scheme() == Scheme::Https;
                        let count = servers.iter().filter(secure).count();
                        count != 0 && count != servers.len()
                    });
                    if mixed {
                        reader.wrong(path, "the servers must all be http:// or all https://");
                    }
                    ServerHealthCheck::Path(text.to_owned(), every)
                }
            }
        }
    };
    let words = [("drop", Underscores::Drop), ("keep", Underscores::Keep)];
    let underscores = reader.choice(&section, "underscores", &words);
    let keepalive = match section.get("keepalive") {
        Some(field) if field.is_off() => Some(Duration::ZERO),
        _ => {
            let range = Duration::from_millis(1)..=Duration::from_secs(3600);
            reader.duration(&section, "keepalive", range)
        }
    };
    Some(SiteOrigin {
        servers: servers?,
        inject,
        health,
        underscores: underscores.unwrap_or_default(),
        keepalive,
    })
}

fn servers(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    listen: &[Listener],
) -> Option<Vec<Host>> {
    const EXPECTED: &str = "a URL such as http://127.0.0.1:3000";
    let entries = field.each();
    if entries.is_empty() {
        reader.expected(field, &format!("{EXPECTED}, or a list of them"));
    }
    let mut servers = Vec::new();
    for entry in &entries {
        let Some(text) = reader.text(entry, EXPECTED) else {
            continue;
        };
        match text.parse::<Host>() {
            Ok(host) if text.contains("://") && host.base_path().is_empty() => {
                if is_ours(listen, host.name(), host.port()) {
                    reader.wrong(
                        entry,
                        "this is the address of one of Hedgerow's own listeners",
                    );
                }
                servers.push(host);
            }
            Ok(_) => reader.wrong(entry, format!("expected {EXPECTED}, without a path")),
            Err(_) => reader.wrong(entry, format!("expected {EXPECTED}")),
        }
    }
    (!servers.is_empty()).then_some(servers)
}

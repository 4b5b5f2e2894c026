//! The settings of routes about first-party files: analytics.js and its settings, posthog-js, the
//! servers of a site.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::library::{self, LibraryFiles};
use super::listeners::is_ours;
use super::listeners::Listener;
use super::model::{Action, Project, Route};
use super::projects::DeclaredProjects;
use super::reader::{ConfigReader, Field, Section};
use super::tree::NodeKind;
use super::{schema, secret};
use crate::posthog::{Host, Scheme};
use crate::segment::{WriteKey, WriteKeys};
use crate::site::forward::Region;
use crate::site::forwarding_headers::Underscores;
use crate::site::PathPrefix;
use crate::site::{DeviceMode, KeyForm, Layout, PathNames, Settings};

/// The first-party files of a route with Segment calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFiles {
    /// Their paths.
    pub layout: Layout,
    /// Where analytics.js comes from; without it no script is served.
    pub library: Option<LibraryFiles>,
    /// The content of the settings.
    pub settings: Settings,
    /// A real Segment account in addition to PostHog.
    pub forward: Option<Forward>,
    /// The key that a page gets: the first of the list; none when every key is taken.
    pub page_key: Option<WriteKey>,
}

/// A real Segment account that gets the original requests too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where events go.
    pub api: Host,
    /// Where the account's settings and destinations' code come from.
    pub cdn: Host,
    /// What happens to destinations whose code runs in the page.
    pub device_mode: DeviceMode,
    /// The account's key, where pages and their events do not bring it themselves.
    pub write_key: Option<WriteKey>,
}

/// posthog-js, passed through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostHogPassThrough {
    /// Whose host it is passed to.
    pub project: Arc<Project>,
    /// Neutral names for its paths.
    pub names: Option<PathNames>,
    /// The most that kept scripts and remote config may take, in bytes.
    pub cache: usize,
}

/// The servers of a site; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteOrigin {
    /// In the order of the file.
    pub servers: Vec<Host>,
    /// The Segment route whose snippet is added to the site's pages.
    pub inject: Option<PathPrefix>,
    /// How it is determined that a server is away; only where there are several.
    pub health: ServerHealthCheck,
    /// What happens to header fields with underscores in their names.
    pub underscores: Underscores,
    /// How long an idle connection to a server is kept: zero for not at all, `None` for the
    /// server's announcement and the default.
    pub keepalive: Option<Duration>,
}

/// How it is determined that a server of a site is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerHealthCheck {
    /// Only when a request fails to connect.
    Off,
    /// A connection is tried every so often.
    Connect(Duration),
    /// A path is asked for every so often; a 2xx or 3xx is well.
    Path(String, Duration),
}

/// The default interval of health checks.
const EVERY: Duration = Duration::from_secs(10);
/// The default memory for cached scripts and remote config of a route.
const CACHE: u64 = 32 << 20;

/// Reads `library`, `settings` and `forward` of a route's `segment`.
pub(super) fn segment_files(
    reader: &mut ConfigReader<'_>,
    section: &Section<'_>,
    path: &PathPrefix,
    keys: Option<&WriteKeys<Arc<Project>>>,
) -> Option<SegmentFiles> {
    let mut layout = Some(Layout::segments_own(&path.to_string()));
    let mut library = None;
    if let Some(section) = reader.optional_section(section, "library", &schema::LIBRARY) {
        (layout, library) = library::read(reader, &section, path);
    }
    let settings = settings(reader, section, keys);
    let forward = match section.get("forward") {
        Some(field) => {
            let forward = forward(reader, field)?;
            if let Some(forward) = &forward {
                check_keys(reader, field, forward, &settings, keys, library.is_some());
            }
            forward
        }
        None => None,
    };
    Some(SegmentFiles {
        layout: layout?,
        library,
        settings,
        forward,
        page_key: first_key(section),
    })
}

fn settings(
    reader: &mut ConfigReader<'_>,
    section: &Section<'_>,
    keys: Option<&WriteKeys<Arc<Project>>>,
) -> Settings {
    let mut settings = Settings::default();
    let Some(section) = reader.optional_section(section, "settings", &schema::SETTINGS) else {
        return settings;
    };
    let forms = [("sent", KeyForm::Sent), ("left_out", KeyForm::LeftOut)];
    if let Some(form) = reader.choice(&section, "key", &forms) {
        settings.key_form = form;
    }
    if let (Some(field), KeyForm::LeftOut, Some(WriteKeys::Listed(_))) =
        (section.get("key"), settings.key_form, keys)
    {
        reader.wrong(
            field,
            "left_out needs `write_keys: any`, because a page without a key cannot be recognised",
        );
    }
    let queue = [("true", true), ("false", false)];
    settings.retry_queue = reader.choice(&section, "retry_queue", &queue);
    let mut value = |key: &str| {
        let field = section.get(key)?;
        if !matches!(field.node.kind, NodeKind::Mapping(_)) {
            reader.expected(field, "a mapping, as analytics.js takes it");
            return None;
        }
        reader.refuse_references(field);
        Some(json(&field.node.kind))
    };
    settings.delivery_strategy = value("delivery_strategy");
    settings.http_config = value("http_config");
    settings.consent_settings = value("consent_settings");
    settings
}

/// A value whose keys are analytics.js's own.
fn json(kind: &NodeKind) -> Value {
    match kind {
        NodeKind::Nothing => Value::Null,
        NodeKind::Text(text) => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => match serde_json::from_str(text) {
                Ok(Value::Number(number)) => Value::Number(number),
                _ => Value::from(text),
            },
        },
        NodeKind::List(items) => items.iter().map(|item| json(&item.kind)).collect(),
        NodeKind::Mapping(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), json(&entry.value.kind)))
                .collect(),
        ),
    }
}

/// `Some(None)` is no account; `None` a mistake.
fn forward(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Option<Forward>> {
    let mut region = Region::default();
    let mut device_mode = DeviceMode::Removed;
    let (mut api, mut cdn) = (None, None);
    let mut write_key = None;
    match field.text() {
        Some("false") => return Some(None),
        Some("true") => {}
        _ => {
            let section = reader.section(field, &schema::FORWARD)?;
            let regions = [("us", Region::Us), ("eu", Region::Eu)];
            region = reader
                .choice(&section, "region", &regions)
                .unwrap_or(region);
            let modes = [("kept", DeviceMode::Kept), ("removed", DeviceMode::Removed)];
            device_mode = reader
                .choice(&section, "device_mode", &modes)
                .unwrap_or(device_mode);
            let mut host = |key: &str| {
                let field = section.get(key)?;
                let text = reader.text(field, "a URL such as https://api.segment.io")?;
                let host = text.parse::<Host>().ok();
                if host.is_none() {
                    reader.wrong(field, "expected a URL such as https://api.segment.io");
                }
                host
            };
            (api, cdn) = (host("api"), host("cdn"));
            if let Some(field) = section.get("write_key") {
                let expected = "env:NAME, file:PATH or the account's write key";
                let (value, origin) = secret::named(reader, field, expected)?;
                write_key = WriteKey::new(value.trim());
                if write_key.is_none() {
                    let message = format!("{origin}expected a write key of 1 to 256 bytes");
                    reader.wrong(field, message);
                }
            }
        }
    }
    let own = |name: &str| Host::new(Scheme::Https, name, 443).ok();
    Some(Some(Forward {
        api: api.or_else(|| own(region.api_host()))?,
        cdn: cdn.or_else(|| own(region.cdn_host()))?,
        device_mode,
        write_key,
    }))
}

/// Whether the account would recognise the events' key. Segment answers 200 for an unknown key, so
/// the mistake would not be noticed.
fn check_keys(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    forward: &Forward,
    settings: &Settings,
    keys: Option<&WriteKeys<Arc<Project>>>,
    serves_pages: bool,
) {
    match (&forward.write_key, keys) {
        (None, _) if settings.key_form == KeyForm::LeftOut => reader.wrong(
            field,
            "with `key: left_out` events have no write key: `forward` needs `write_key`, the \
             account's own key",
        ),
        (None, Some(WriteKeys::Any(_))) if serves_pages => reader.warn(
            field,
            "pages send the key of their snippet, which the account may not know: set `write_key` \
             to the account's own key",
        ),
        (Some(key), Some(WriteKeys::Listed(listed))) if !listed.contains_key(key) => reader.wrong(
            field,
            "`write_keys` does not list its `write_key`, so Hedgerow would reject the events of \
             pages",
        ),
        _ => {}
    }
}

/// The first key of the list, as it is written in the file.
fn first_key(section: &Section<'_>) -> Option<WriteKey> {
    let field = section.get("write_keys")?;
    match &field.node.kind {
        NodeKind::List(items) => match &items.first()?.kind {
            NodeKind::Text(text) => WriteKey::new(text),
            _ => None,
        },
        NodeKind::Mapping(entries) => WriteKey::new(&entries.first()?.key),
        _ => None,
    }
}

/// Reads a route's `posthog`: a project's name, or more.
pub(super) fn posthog(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    projects: &mut DeclaredProjects<'_>,
) -> Option<PostHogPassThrough> {
    if field.text().is_some() {
        return Some(PostHogPassThrough {
            project: projects.named(reader, field)?,
            names: None,
            cache: CACHE as usize,
        });
    }
    let section = reader.section(field, &schema::POSTHOG)?;
    let project = section.require(reader, "project").cloned();
    let project = project.and_then(|field| projects.named(reader, &field));
    let cache = reader.size(&section, "cache", 1 << 20..=1 << 32);
    let seed = section.get("names").map(|field| {
        let text = reader.text(field, "8 to 64 letters and digits, the seed of the names");
        (field, text)
    });
    let project = project?;
    let names = match seed {
        None => None,
        Some((field, seed)) => match PathNames::new(seed?, project.api_key.expose()) {
            Ok(names) => Some(names),
            Err(error) => {
                reader.wrong(field, error.to_string());
                return None;
            }
        },
    };
    Some(PostHogPassThrough {
        project,
        names,
        cache: usize::try_from(cache.unwrap_or(CACHE)).ok()?,
    })
}

/// Reads a route's `origin`: a server, a list of them, or a section. Its `inject` is added to
/// `injects`, which is checked when all routes are known.
pub(super) fn origin<'n>(
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
    let section = reader.section(field, &schema::ORIGIN)?;
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
            let health = reader.section(field, &schema::HEALTH)?;
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

/// Whether a page of this origin could load what its `inject` names: the same as
/// [`super::Config::page`] looks for, on a host that the page has.
pub(super) fn check_inject(
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
    let mut there = routes
        .iter()
        .filter(serves)
        .filter(|route| route.path == *path)
        .peekable();
    if there.peek().is_none() {
        reader.wrong(
            field,
            "no `segment` route with `library` and no `posthog` route has this path",
        );
    } else if !there.any(|route| route.host.is_none() || route.host == origin.host) {
        reader.wrong(field, "that route is for another host than these pages");
    }
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
                    reader.wrong(entry, "this is one of Hedgerow's own listeners");
                }
                servers.push(host);
            }
            Ok(_) => reader.wrong(entry, format!("expected {EXPECTED}, without a path")),
            Err(_) => reader.wrong(entry, format!("expected {EXPECTED}")),
        }
    }
    (!servers.is_empty()).then_some(servers)
}

//! `segment` of a route: the accepted write keys, analytics.js, its settings, and a real Segment account.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::library::{self, LibraryFiles, LIBRARY};
use super::projects::{DeclaredProjects, Project};
use super::reader::{ConfigReader, Field, Section};
use super::references;
use super::secret::is_reference;
use super::shape::{KeyType, SectionSchema, PLAIN, PROJECT_NAME, SECRET};
use super::tree::NodeKind;
use crate::posthog::{Host, Scheme};
use crate::segment::{WriteKey, WriteKeys};
use crate::site::forward::Region;
use crate::site::{DeviceMode, KeyForm, Layout, PathPrefix, Settings};

/// A route's `segment`.
pub(super) const SEGMENT: SectionSchema = SectionSchema {
    name: "segment",
    label: "`segment` of a route",
    at: "routes[0].segment",
    keys: &[
        ("project", PROJECT_NAME),
        (
            "write_keys",
            KeyType::AnyOf(&[
                KeyType::Words(&["any"]),
                KeyType::ListOf(&SECRET, 1, 0),
                KeyType::MapOf(&KeyType::AnyOf(&[PROJECT_NAME, KeyType::Nothing]), 0),
            ]),
        ),
        ("library", KeyType::Optional("library")),
        ("settings", KeyType::Optional("settings")),
        (
            "forward",
            KeyType::AnyOf(&[
                KeyType::Words(&["true", "false"]),
                KeyType::Section("forward"),
            ]),
        ),
    ],
    ..PLAIN
};

/// `settings` of `segment`.
pub(super) const SETTINGS: SectionSchema = SectionSchema {
    name: "settings",
    label: "`settings` of `segment`",
    at: "routes[0].segment.settings",
    keys: &[
        ("key", KeyType::Read),
        ("delivery_strategy", KeyType::Mapping),
        ("http_config", KeyType::Mapping),
        ("retry_queue", KeyType::Read),
        ("consent_settings", KeyType::Mapping),
    ],
    ..PLAIN
};

/// `forward` of `segment`.
pub(super) const FORWARD: SectionSchema = SectionSchema {
    name: "forward",
    label: "`forward` of `segment`",
    at: "routes[0].segment.forward",
    keys: &[
        ("region", KeyType::Read),
        ("device_mode", KeyType::Read),
        ("write_key", SECRET),
        ("api", KeyType::Text),
        ("cdn", KeyType::Text),
    ],
    ..PLAIN
};

/// The first-party files of a route with Segment calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFiles {
    /// Their paths.
    pub layout: Layout,
    /// The source of analytics.js. If `None`, the route serves no script.
    pub library: Option<LibraryFiles>,
    /// The content of the settings.
    pub settings: Settings,
    /// A real Segment account in addition to PostHog.
    pub forward: Option<Forward>,
    /// The write key for pages: the first one of `write_keys`. `None` if the route accepts any key.
    pub page_key: Option<WriteKey>,
}

/// A real Segment account that also gets the original requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The host that gets the events.
    pub api: Host,
    /// The host of the account's settings and of the destinations' code.
    pub cdn: Host,
    /// Whether pages keep the destinations whose code runs in the page.
    pub device_mode: DeviceMode,
    /// The account's key, if pages and their events do not send it themselves.
    pub write_key: Option<WriteKey>,
}

/// Reads the section. Returns the accepted write keys and the first-party files.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    projects: &mut DeclaredProjects<'_>,
    path: Option<&PathPrefix>,
) -> Option<(WriteKeys<Arc<Project>>, SegmentFiles)> {
    let section = reader.section(field, &SEGMENT)?;
    let keys = write_keys(reader, &section, projects);
    let files = segment_files(reader, &section, path?, keys.as_ref())?;
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
    // A mapping names a project for each write key, so `project` is optional.
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
                // The key is a secret, so the path contains its index and not the key.
                let value = Field {
                    path: format!("{}[{index}]", keys.path),
                    ..keys.entry(entry)
                };
                let target = match &project {
                    Some(project) if value.is_nothing() => Some(Arc::clone(project)),
                    _ => projects.named(reader, &value),
                };
                match WriteKey::new(&entry.key) {
                    // References are resolved only in values, and this is a key.
                    Some(_) if is_reference(&entry.key) => reader.wrong_key(
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
    let (text, origin) = references::named(reader, item, "a write key")?;
    let text = text.trim();
    // A client cannot send any other characters in a header.
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    let key = WriteKey::new(text).filter(|_| printable);
    if key.is_none() {
        reader.wrong(
            item,
            format!("{origin}expected a write key of 1 to 256 bytes of printable ASCII"),
        );
    }
    key
}

/// Reads `library`, `settings` and `forward` of a route's `segment`.
fn segment_files(
    reader: &mut ConfigReader<'_>,
    section: &Section<'_>,
    path: &PathPrefix,
    keys: Option<&WriteKeys<Arc<Project>>>,
) -> Option<SegmentFiles> {
    let mut layout = Some(Layout::segments_own(&path.to_string()));
    let mut library = None;
    if let Some(section) = reader.optional_section(section, "library", &LIBRARY) {
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
    let Some(section) = reader.optional_section(section, "settings", &SETTINGS) else {
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
            "left_out needs `write_keys: any`, because pages then send no key",
        );
    }
    let queue = [("true", true), ("false", false)];
    settings.retry_queue = reader.choice(&section, "retry_queue", &queue);
    let mut value = |key: &str| {
        let field = section.get(key)?;
        if !matches!(field.node.kind, NodeKind::Mapping(_)) {
            reader.expected(field, "a mapping in the form that analytics.js expects");
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

/// Converts a value to JSON. Its keys are analytics.js's own, so they are not checked.
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

/// Reads `forward`. Returns `Some(None)` if there is no account, and `None` after a mistake.
fn forward(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Option<Forward>> {
    let mut region = Region::default();
    let mut device_mode = DeviceMode::Removed;
    let (mut api, mut cdn) = (None, None);
    let mut write_key = None;
    match field.text() {
        Some("false") => return Some(None),
        Some("true") => {}
        _ => {
            let section = reader.section(field, &FORWARD)?;
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
                let (value, origin) = references::named(reader, field, expected)?;
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

/// Checks whether the account recognises the write key of the events. Segment answers 200 for an unknown
/// key, so the mistake would stay unnoticed.
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

/// Returns the first of the write keys, as the file contains it.
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

//! `projects`: the PostHog projects, with their hosts and keys.

use std::sync::Arc;

use hedgerow_spool::DeliveryMode;

use super::delivery::{self, SpoolNamed};
use super::listeners::{is_ours, Listener};
use super::pem::{pem, CaFile, PemContent};
use super::reader::{did_you_mean, ConfigReader, Field, Section};
use super::shape::{KeyType, SectionSchema, PLAIN, SECRET};
use super::tree::NodeKind;
use super::{references, rules};
use crate::posthog::{ApiKey, Host, ProjectId, Scheme};
use crate::rewrite::Recipient;

/// One of `projects`.
pub(super) const PROJECT: SectionSchema = SectionSchema {
    name: "projects",
    label: "a project",
    at: "projects.shop",
    required: &["host", "api_key"],
    keys: &[
        ("host", KeyType::Pattern("^(us|eu|https?://.+)$")),
        ("api_key", SECRET),
        ("ca_file", KeyType::Text),
        ("http", KeyType::Read),
        (
            "properties",
            KeyType::AnyOf(&[KeyType::MapOf(&KeyType::Value, 63), KeyType::Nothing]),
        ),
        ("delivery", KeyType::Optional("delivery of a project")),
    ],
    ..PLAIN
};

/// One PostHog project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The project's name in the file.
    pub name: String,
    /// The PostHog host of the project.
    pub host: Host,
    /// The project key.
    pub api_key: ApiKey,
    /// The authority that must have signed the host's certificate, instead of the public ones.
    pub ca_file: Option<CaFile>,
    /// The HTTP version of requests to the host.
    pub http: UpstreamHttp,
    /// The properties that each event of the project gets: names, and values as JSON text.
    pub properties: Vec<(String, String)>,
    /// When clients get their 200: the project's own mode, or that of `delivery`.
    pub mode: DeliveryMode,
}

impl Project {
    /// Returns the recipient of the project's events, for the rewriting.
    pub fn recipient(&self) -> Recipient {
        Recipient {
            project: ProjectId::of(&self.api_key),
            properties: self.properties.clone(),
        }
    }
}

/// The HTTP version of requests to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamHttp {
    /// The host chooses over TLS (ALPN); plain connections use HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; over plain connections with prior knowledge (RFC 9113, 3.3).
    Http2,
}

/// The projects of a file by name. A project with a mistake keeps its name, so that the routes to it are
/// not reported as mistakes too.
pub(super) struct DeclaredProjects<'n> {
    projects: Vec<(Field<'n>, &'n str, Option<Arc<Project>>)>,
    used: std::collections::HashSet<&'n str>,
}

/// Reads `projects`. `delivery` has the mode of projects without their own, and whether there is a spool.
pub(super) fn read<'n>(
    reader: &mut ConfigReader<'_>,
    top: &Section<'n>,
    listen: &[Listener],
    delivery: (DeliveryMode, SpoolNamed),
) -> DeclaredProjects<'n> {
    let mut declared = DeclaredProjects {
        projects: Vec::new(),
        used: Default::default(),
    };
    let Some(field) = top.get("projects").filter(|field| !field.is_nothing()) else {
        return declared;
    };
    if !matches!(field.node.kind, NodeKind::Mapping(_)) {
        reader.expected(field, "a mapping from names to projects");
        return declared;
    }
    for entry in field.entries() {
        let below = field.entry(entry);
        if entry.key.is_empty() || entry.key.len() > 64 || entry.key.contains(char::is_control) {
            reader.wrong_key(&below, "expected a name of 1 to 64 characters");
        }
        reader.refuse_reference_in_key(&below, &entry.key);
        let project = project(reader, &below, &entry.key, listen, delivery).map(Arc::new);
        declared.projects.push((below, &entry.key, project));
    }
    declared
}

impl<'n> DeclaredProjects<'n> {
    /// Returns the project that a field names. Returns `None` if there is none, which is recorded as a
    /// mistake, and if the project itself has a mistake.
    ///
    /// The message does not repeat the name: in a map of write keys someone may have written a write key
    /// in its place.
    pub fn named(
        &mut self,
        reader: &mut ConfigReader<'_>,
        field: &Field<'_>,
    ) -> Option<Arc<Project>> {
        let text = reader.text(field, "the name of a project")?;
        let found = self.projects.iter().find(|(_, name, _)| *name == text);
        match found {
            Some((_, name, project)) => {
                self.used.insert(name);
                project.clone()
            }
            None => {
                let names = self.projects.iter().map(|(_, name, _)| *name);
                let hint = did_you_mean(text, names);
                reader.wrong(
                    field,
                    format!("`projects` has no project of this name{hint}"),
                );
                None
            }
        }
    }

    /// Warns about projects to which no route leads.
    pub fn warn_about_unused(&self, reader: &mut ConfigReader<'_>) {
        for (field, name, _) in &self.projects {
            if !self.used.contains(name) {
                reader.warn(field, "no route uses this project");
            }
        }
    }

    /// Returns the projects without mistakes.
    pub fn compiled(self) -> Vec<Arc<Project>> {
        let projects = self.projects.into_iter();
        projects.filter_map(|(_, _, project)| project).collect()
    }
}

fn project(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    name: &str,
    listen: &[Listener],
    (mode, spool): (DeliveryMode, SpoolNamed),
) -> Option<Project> {
    let section = reader.section(field, &PROJECT)?;
    let host = section.require(reader, "host").cloned();
    let host = host.and_then(|field| host_of(reader, &field, listen));
    let api_key = section.require(reader, "api_key").cloned();
    let api_key = api_key.and_then(|field| key(reader, &field));
    let ca_file = section.get("ca_file").cloned().and_then(|field| {
        if host.as_ref().map(Host::scheme) == Some(Scheme::Http) {
            reader.wrong(&field, "has no effect for a host with http://");
        }
        let (path, pem) = pem(reader, &field, PemContent::Certificate)?;
        Some(CaFile { path, pem })
    });
    let http = reader.choice(
        &section,
        "http",
        &[
            ("auto", UpstreamHttp::Auto),
            ("1", UpstreamHttp::Http1),
            ("2", UpstreamHttp::Http2),
        ],
    );
    let properties = rules::constants(reader, &section);
    let own_mode = delivery::of_project(reader, &section, spool);
    Some(Project {
        name: name.to_owned(),
        host: host?,
        api_key: api_key?,
        ca_file,
        http: http.unwrap_or_default(),
        properties,
        mode: own_mode.unwrap_or(mode),
    })
}

fn host_of(reader: &mut ConfigReader<'_>, field: &Field<'_>, listen: &[Listener]) -> Option<Host> {
    let text = reader.text(
        field,
        "us, eu or a URL that begins with http:// or https://",
    )?;
    match text.parse::<Host>() {
        Ok(host) => {
            if is_ours(listen, host.name(), host.port()) {
                reader.wrong(
                    field,
                    "this is the address of one of Hedgerow's own listeners",
                );
            }
            if let Some(misdirection) = host.misdirection() {
                reader.warn(field, misdirection.to_string());
            }
            Some(host)
        }
        Err(error) => {
            let hint = did_you_mean(text, ["us", "eu"]);
            reader.wrong(field, format!("{error}{hint}"));
            None
        }
    }
}

/// Reads a project key: `env:NAME`, `file:PATH` or the key itself. No message repeats the value.
fn key(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<ApiKey> {
    const EXPECTED: &str = "env:NAME, file:PATH or the project key itself (phc_…)";
    let (value, origin) = references::named(reader, field, EXPECTED)?;
    match ApiKey::new(&value) {
        Ok(key) => {
            if !key.expose().starts_with("phc_") {
                reader.warn(
                    field,
                    "PostHog's project keys begin with phc_; this one does not",
                );
            }
            Some(key)
        }
        Err(error) => {
            reader.wrong(field, format!("{origin}{error}"));
            None
        }
    }
}

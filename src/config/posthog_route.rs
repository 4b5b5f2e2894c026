//! `posthog` of a route: passes the requests of posthog-js through.

use std::sync::Arc;

use super::projects::{DeclaredProjects, Project};
use super::reader::{ConfigReader, Field};
use super::shape::{KeyType, SectionSchema, PLAIN, PROJECT_NAME};
use crate::site::PathNames;

/// The default size of a route's cache for scripts and remote config, in bytes.
const CACHE: u64 = 32 << 20;

/// A route's `posthog`.
pub(super) const POSTHOG: SectionSchema = SectionSchema {
    name: "posthog",
    label: "`posthog` of a route",
    at: "routes[1].posthog",
    required: &["project"],
    keys: &[
        ("project", PROJECT_NAME),
        ("names", KeyType::Text),
        ("cache", KeyType::Read),
    ],
    ..PLAIN
};

/// A route that passes the requests of posthog-js through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostHogPassThrough {
    /// The project to whose host the requests are passed.
    pub project: Arc<Project>,
    /// The neutral names for the paths.
    pub names: Option<PathNames>,
    /// The largest size of the cache for scripts and remote config, in bytes.
    pub cache: usize,
}

/// Reads a route's `posthog`: a project's name or a section.
pub(super) fn read(
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
    let section = reader.section(field, &POSTHOG)?;
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

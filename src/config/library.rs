//! `library` of a route's `segment`: the source of analytics.js, and the names under which it is served.

use std::path::{Path, PathBuf};

use super::reader::{ConfigReader, Field, Section};
use super::shape::{KeyType, SectionSchema, PLAIN};
use crate::posthog::Host;
use crate::site::PathPrefix;
use crate::site::{Layout, Sha256};

const SHA256: &str = "^[0-9A-Fa-f]{64}$";

/// `library` of `segment`.
pub(super) const LIBRARY: SectionSchema = SectionSchema {
    name: "library",
    label: "`library` of `segment`",
    at: "routes[0].segment.library",
    required: &["script", "settings", "chunks", "calls"],
    one_of: &[&["folder", "url"]],
    needs: &[
        ("url", "sha256"),
        ("url", "keep"),
        ("sha256", "url"),
        ("keep", "url"),
    ],
    keys: &[
        ("folder", KeyType::Text),
        ("url", KeyType::Pattern("^https?://.+/.+")),
        ("sha256", KeyType::Pattern(SHA256)),
        ("keep", KeyType::Text),
        (
            "previous",
            KeyType::AnyOf(&[
                KeyType::Text,
                KeyType::ListOf(&KeyType::Text, 0, 8),
                KeyType::Nothing,
            ]),
        ),
        ("script", KeyType::Text),
        ("settings", KeyType::Text),
        ("chunks", KeyType::Text),
        ("calls", KeyType::Text),
    ],
    ..PLAIN
};

/// The largest number of previous versions.
const PREVIOUS: usize = 8;

/// The versions of analytics.js that a route serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryFiles {
    /// The current version.
    pub current: LibrarySource,
    /// The previous versions. Only their chunks are served.
    pub previous: Vec<PreviousLibrary>,
}

/// The source of the current version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LibrarySource {
    /// The folder `dist/umd` of the npm package.
    Folder(PathBuf),
    /// The npm package as one file, downloaded from this address unless it is stored already.
    Url(Host, KeptArchive),
}

/// The source of a previous version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviousLibrary {
    /// The folder `dist/umd` of the npm package.
    Folder(PathBuf),
    /// An archive that was downloaded when that version was current.
    Kept(KeptArchive),
}

impl LibraryFiles {
    /// Returns the files and folders from which the versions are read.
    pub fn paths(&self) -> Vec<PathBuf> {
        let current = match &self.current {
            LibrarySource::Folder(folder) => folder.clone(),
            LibrarySource::Url(_, kept) => kept.file(),
        };
        let previous = self.previous.iter().map(|previous| match previous {
            PreviousLibrary::Folder(folder) => folder.clone(),
            PreviousLibrary::Kept(kept) => kept.file(),
        });
        std::iter::once(current).chain(previous).collect()
    }
}

/// An npm package that is stored on disk as one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptArchive {
    /// The folder of all stored packages.
    pub folder: PathBuf,
    /// The SHA-256 of the file.
    pub sha256: Sha256,
}

impl KeptArchive {
    /// Returns the path of the file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.tgz", self.sha256))
    }
}

/// Reads `library`.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    library: &Section<'_>,
    path: &PathPrefix,
) -> (Option<Layout>, Option<LibraryFiles>) {
    let files = files(reader, library);
    let mut text = |key: &str| {
        let field = library.require(reader, key)?.clone();
        reader.text(&field, "a neutral name")
    };
    let [Some(script), Some(settings), Some(chunks), Some(calls)] =
        ["script", "settings", "chunks", "calls"].map(&mut text)
    else {
        return (None, files);
    };
    match Layout::new(&path.to_string(), script, settings, chunks, calls) {
        Ok(layout) => (Some(layout), files),
        Err(error) => {
            reader.incomplete(library, error.to_string());
            (None, files)
        }
    }
}

fn files(reader: &mut ConfigReader<'_>, library: &Section<'_>) -> Option<LibraryFiles> {
    let folder = library.get("folder");
    let url = library.get("url");
    if let (Some(_), Some(url)) = (folder, url) {
        reader.wrong_key(url, "`folder` and `url` exclude each other");
    }
    let keep = match (folder, library.get("keep")) {
        (Some(_), Some(keep)) => {
            reader.wrong_key(keep, "has no effect without `url`");
            None
        }
        (_, keep) => keep.and_then(|field| {
            let text = reader.text(field, "a folder for downloaded archives")?;
            Some(reader.secrets.resolve(Path::new(text)))
        }),
    };
    let current = match (folder, url) {
        (Some(field), _) => {
            if let Some(hash) = library.get("sha256") {
                reader.wrong_key(hash, "has no effect without `url`");
            }
            let text = reader.text(field, "the folder dist/umd of @segment/analytics-next");
            text.map(|text| LibrarySource::Folder(reader.secrets.resolve(Path::new(text))))
        }
        (None, Some(field)) => {
            let address = address(reader, field);
            let hash = library.require(reader, "sha256").cloned();
            let hash = hash.and_then(|field| hash_of(reader, &field));
            library.require(reader, "keep")?;
            address
                .zip(hash)
                .zip(keep.clone())
                .map(|((host, sha256), folder)| {
                    LibrarySource::Url(host, KeptArchive { folder, sha256 })
                })
        }
        (None, None) => {
            reader.incomplete(library, "one of `folder` and `url` is missing");
            None
        }
    };
    let previous = library.get("previous").map(Field::each).unwrap_or_default();
    if let (Some(field), true) = (library.get("previous"), previous.len() > PREVIOUS) {
        reader.wrong(field, format!("more than {PREVIOUS} previous versions"));
    }
    let previous = previous
        .iter()
        .filter_map(|field| before(reader, field, keep.as_deref()))
        .collect();
    Some(LibraryFiles {
        current: current?,
        previous,
    })
}

fn address(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Host> {
    const EXPECTED: &str = "the https URL of the npm package as one file (.tgz)";
    let host = reader.text(field, EXPECTED)?.parse::<Host>().ok();
    let host = host.filter(|host| !host.base_path().is_empty());
    if host.is_none() {
        reader.wrong(field, format!("expected {EXPECTED}"));
    }
    host
}

fn hash_of(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Sha256> {
    let text = reader.text(field, "the SHA-256 of the file")?;
    let hash = text.parse::<Sha256>();
    hash.map_err(|error| reader.wrong(field, error.to_string()))
        .ok()
}

/// Reads a previous version: a folder, or the hash of a stored archive.
fn before(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    keep: Option<&Path>,
) -> Option<PreviousLibrary> {
    let text = reader.text(field, "a folder, or the SHA-256 of a stored archive")?;
    let Ok(sha256) = text.parse::<Sha256>() else {
        let folder = reader.secrets.resolve(Path::new(text));
        return Some(PreviousLibrary::Folder(folder));
    };
    let Some(folder) = keep.map(Path::to_owned) else {
        reader.wrong(field, "an archive needs `keep`, the folder that stores it");
        return None;
    };
    Some(PreviousLibrary::Kept(KeptArchive { folder, sha256 }))
}

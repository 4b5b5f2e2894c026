//! analytics.js from the npm package, served from the site's own host (segment-tracking 3.2,
//! adblock 7).

mod archive;
mod asset;
mod error;
mod limits;
mod rewrite;
mod sha256;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

pub(in crate::site) use asset::etag_matches;
pub use asset::{Asset, CachePolicy};
pub use error::LibraryError;
pub use sha256::{Sha256, Sha256Error};

use limits::{MAX_FILE, MAX_FILES};
use rewrite::{is_wanted, LOADER};

use super::layout::Layout;
use super::page_sessions::PageSessions;

/// The largest archive that is read, in bytes.
pub const LARGEST_ARCHIVE: usize = archive::ARCHIVE as usize;

/// analytics.js and its chunks, rewritten, compressed and ready to be served.
///
/// One value serves every host: the rewritten file computes its addresses in the browser, from the
/// address from which the script itself was loaded.
#[derive(Debug)]
pub struct Library {
    version: String,
    script: Asset,
    /// The chunks, each by its neutral name and by the package's own name.
    chunks: BTreeMap<String, Asset>,
}

impl Library {
    /// Reads the package's folder `dist/umd`, rewrites it for the layout and compresses it. With
    /// [`PageSessions::Kept`] the loader also keeps the visitor's session.
    ///
    /// This takes about a second: call it once, at start, and not on a thread that serves requests.
    ///
    /// # Errors
    /// The folder cannot be read, or contains a version with unknown literals.
    pub fn load(
        folder: &Path,
        layout: &Layout,
        sessions: PageSessions,
    ) -> Result<Self, LibraryError> {
        Self::from_files(&read_folder(folder)?, layout, sessions)
    }

    /// Does the same as [`Library::load`] for the bytes of an npm package, after it has checked their
    /// hash.
    ///
    /// # Errors
    /// The hash differs, the archive is not the package's, or its content is not valid for
    /// [`Library::load`].
    pub fn from_archive(
        archive: &[u8],
        pinned: &Sha256,
        layout: &Layout,
        sessions: PageSessions,
    ) -> Result<Self, LibraryError> {
        Self::from_files(&archive::unpack(archive, pinned)?, layout, sessions)
    }

    /// Does the same as [`Library::from_archive`] for a file on disk. Returns `None` if the file does
    /// not exist.
    ///
    /// # Errors
    /// The file cannot be read, or its content is not valid for [`Library::from_archive`].
    pub fn load_archive(
        file: &Path,
        pinned: &Sha256,
        layout: &Layout,
        sessions: PageSessions,
    ) -> Result<Option<Self>, LibraryError> {
        let archive = archive::read(file)?;
        let library = archive.map(|archive| Self::from_archive(&archive, pinned, layout, sessions));
        library.transpose()
    }

    /// Adds the chunks of another version: pages that were loaded before an upgrade request them
    /// until they are closed.
    pub fn add_chunks_of(&mut self, previous: &Self) {
        for (name, chunk) in &previous.chunks {
            let here = self.chunks.entry(name.clone());
            here.or_insert_with(|| chunk.clone());
        }
    }

    /// Does the same as [`Library::load`] for files by name. Files that are neither the loader nor a
    /// chunk are ignored.
    ///
    /// # Errors
    /// A file is missing, or contains other literals than the known ones.
    pub fn from_files(
        files: &BTreeMap<String, Vec<u8>>,
        layout: &Layout,
        sessions: PageSessions,
    ) -> Result<Self, LibraryError> {
        let loader = text(files, LOADER)?;
        let mut sources = BTreeMap::new();
        for name in files
            .keys()
            .filter(|name| rewrite::ChunkFile::parse(name).is_some())
        {
            sources.insert(name.clone(), text(files, name)?);
        }
        let rewritten = rewrite::rewrite(loader, &sources, layout, sessions)?;
        let mut chunks = BTreeMap::new();
        for chunk in rewritten.chunks {
            let asset = Asset::script(chunk.code.into_bytes(), CachePolicy::Immutable);
            // Pages with an older copy of the loader request the chunk by the package's own name.
            chunks.insert(chunk.original_name, asset.clone());
            chunks.insert(chunk.neutral_name, asset);
        }
        Ok(Self {
            version: rewritten.version,
            script: Asset::script(rewritten.loader.into_bytes(), CachePolicy::Loader),
            chunks,
        })
    }

    /// Returns the version of analytics.js, as the loader contains it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns analytics.js itself.
    pub fn script(&self) -> &Asset {
        &self.script
    }

    /// Returns a chunk by its neutral file name or by the package's own.
    pub fn chunk(&self, name: &str) -> Option<&Asset> {
        self.chunks.get(name)
    }

    /// Returns the file names of the chunks, in alphabetical order.
    pub fn chunk_names(&self) -> impl Iterator<Item = &str> {
        self.chunks.keys().map(String::as_str)
    }
}

fn text<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a str, LibraryError> {
    let bytes = files.get(name).ok_or_else(|| LibraryError::Missing {
        file: name.to_owned(),
    })?;
    std::str::from_utf8(bytes).map_err(|_| LibraryError::NotText {
        file: name.to_owned(),
    })
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, LibraryError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LibraryError::Read { path, source }
    };
    let mut files = BTreeMap::new();
    if !folder.exists() {
        return Err(LibraryError::NoFolder {
            path: folder.to_owned(),
        });
    }
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !is_wanted(&name) {
            continue;
        }
        if files.len() >= MAX_FILES {
            return Err(LibraryError::TooLarge { file: name });
        }
        let path = entry.path();
        let mut bytes = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(failed(&path))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(LibraryError::TooLarge { file: name });
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

#[cfg(test)]
mod tests;

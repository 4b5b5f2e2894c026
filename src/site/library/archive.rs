//! Reads the npm package as one file, a gzipped tar. Only its build for browsers is read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::error::LibraryError;
use super::limits::{MAX_FILE, MAX_FILES};
use super::rewrite::is_wanted;
use super::sha256::Sha256;

/// The folder of the build for browsers in the package. Files outside of it are ignored, and no
/// path from an archive is ever used as a path on disk.
const BUILD: &str = "package/dist/umd/";

/// The largest size of a decompressed archive, in bytes. Real archives have less than a tenth of it.
const INFLATED: u64 = 128 << 20;

/// The largest archive that is read, in bytes. Real archives have less than 2 MB.
pub(super) const ARCHIVE: u64 = 32 << 20;

/// Reads an archive from disk. Returns `None` if the file does not exist.
pub(super) fn read(file: &Path) -> Result<Option<Vec<u8>>, LibraryError> {
    let failed = |source| LibraryError::Read {
        path: file.to_owned(),
        source,
    };
    let opened = match std::fs::File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    let read = opened.take(ARCHIVE + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() as u64 > ARCHIVE {
        return Err(LibraryError::Archive(format!(
            "{} is too large",
            file.display()
        )));
    }
    Ok(Some(bytes))
}

/// Returns the build's files by name, after it has checked the archive's hash.
pub(super) fn unpack(
    archive: &[u8],
    pinned: &Sha256,
) -> Result<BTreeMap<String, Vec<u8>>, LibraryError> {
    let found = Sha256::of(archive);
    if found != *pinned {
        return Err(LibraryError::Hash {
            expected: *pinned,
            found,
        });
    }
    let broken = |error: std::io::Error| LibraryError::Archive(error.to_string());
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(INFLATED));
    let mut files = BTreeMap::new();
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path_bytes();
        let name = std::str::from_utf8(&path).ok();
        let name = name.and_then(|path| path.strip_prefix(BUILD));
        let Some(name) = name.filter(|name| is_wanted(name)).map(str::to_owned) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            return Err(LibraryError::Archive(format!(
                "{name} is not a regular file"
            )));
        }
        let mut bytes = Vec::new();
        let read = entry.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(broken)?;
        if bytes.len() as u64 > MAX_FILE || files.len() >= MAX_FILES {
            return Err(LibraryError::TooLarge { file: name });
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

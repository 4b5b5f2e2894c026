//! Reads the npm package as one file, a gzipped tar. Only its build for browsers is read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use flate2::read::GzDecoder;
use ring::digest;
use thiserror::Error;

use super::{is_wanted, LibraryError, MAX_FILE, MAX_FILES};

/// The folder of the build for browsers in the package. Files outside of it are ignored, and no
/// path from an archive is ever used as a path on disk.
const BUILD: &str = "package/dist/umd/";

/// The largest size of a decompressed archive, in bytes. Real archives have less than a tenth of it.
const INFLATED: u64 = 128 << 20;

/// The largest archive that is read, in bytes. Real archives have less than 2 MB.
pub(super) const ARCHIVE: u64 = 32 << 20;

/// The SHA-256 of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

/// The text is not a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected the SHA-256 of the file, 64 hexadecimal digits")]
pub struct Sha256Error;

impl Sha256 {
    /// Returns the hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(hash)
    }
}

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let hash = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let hash = hash.ok().and_then(|hash| hash.try_into().ok());
        hash.map(Self).ok_or(Sha256Error)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

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

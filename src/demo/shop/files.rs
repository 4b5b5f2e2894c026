//! The files of analytics.js, in memory (segment-tracking 3.2).

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use thiserror::Error;

/// The file that the shop serves as `analytics.min.js`.
pub(super) const MAIN: &str = "standalone.js";

/// The most bytes of one file; version 1.84 has 115 kB. `TOTAL_LIMIT` is the limit for all files, which
/// have 270 kB in that version.
const FILE_LIMIT: u64 = 4 << 20;
const TOTAL_LIMIT: u64 = 32 << 20;

/// The files of `@segment/analytics-next`.
#[derive(Debug)]
pub enum ShopLibrary {
    /// The shop serves them.
    Present(Scripts),
    /// The page works without them, for this reason.
    Absent(ShopLibraryError),
}

/// The scripts by name.
pub struct Scripts(HashMap<String, Bytes>);

impl std::fmt::Debug for Scripts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why analytics.js is not served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShopLibraryError {
    /// The options name no folder.
    #[error("no folder with analytics.js was given")]
    NotGiven,
    /// The folder, its `dist/umd` or its `package/dist/umd` has no `standalone.js`.
    #[error("the folder holds no standalone.js of @segment/analytics-next")]
    NotFound,
    /// A file cannot be read.
    #[error("a file of analytics.js cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// The folder contains more than 32 MiB of scripts, or one of more than 4 MiB.
    #[error("the folder holds more than analytics.js")]
    TooLarge,
}

impl ShopLibrary {
    /// Reads every script from a folder: that of the package, or its `dist/umd`.
    pub(super) fn read(folder: &Path) -> Self {
        let places = ["", "dist/umd", "package/dist/umd"];
        let found = places
            .iter()
            .map(|place| folder.join(place))
            .find(|folder| folder.join(MAIN).is_file());
        let scripts = match found {
            Some(folder) => read_scripts(&folder),
            None => Err(ShopLibraryError::NotFound),
        };
        scripts.map_or_else(Self::Absent, |scripts| Self::Present(Scripts(scripts)))
    }

    /// Returns the script of this name.
    pub(super) fn file(&self, name: &str) -> Option<Bytes> {
        match self {
            Self::Present(Scripts(scripts)) => scripts.get(name).cloned(),
            Self::Absent(_) => None,
        }
    }
}

fn read_scripts(folder: &Path) -> Result<HashMap<String, Bytes>, ShopLibraryError> {
    let mut scripts = HashMap::new();
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // A link is skipped because its target may be outside of the folder.
        if !name.ends_with(".js") || !entry.file_type()?.is_file() {
            continue;
        }
        let size = entry.metadata()?.len();
        total += size;
        if size > FILE_LIMIT || total > TOTAL_LIMIT {
            return Err(ShopLibraryError::TooLarge);
        }
        scripts.insert(name, Bytes::from(std::fs::read(entry.path())?));
    }
    Ok(scripts)
}

//! Why analytics.js cannot be served.

use std::path::PathBuf;

use thiserror::Error;

use super::sha256::Sha256;

/// Why a folder or an archive cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The path that was read.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no such folder.
    #[error(
        "the folder {path} does not exist. Run `npm install @segment/analytics-next` in the folder of the configuration, or set another folder in `library.folder`"
    )]
    NoFolder {
        /// The missing path.
        path: PathBuf,
    },
    /// A file of the package's build for browsers is missing.
    #[error("expected the folder dist/umd of the npm package @segment/analytics-next: {file} is missing")]
    Missing {
        /// The missing file.
        file: String,
    },
    /// A file is larger, or there are more files, than in any version of the package.
    #[error("{file} is larger than 4 MiB, or the folder has more than 64 scripts")]
    TooLarge {
        /// The file at which reading stopped.
        file: String,
    },
    /// The archive is too large, or not a readable gzipped tar, or one of its scripts is not a plain file.
    #[error("the archive cannot be used: {0}")]
    Archive(String),
    /// The archive has another hash than the configuration. Its content is not read.
    #[error("its SHA-256 is {found}, but `sha256` is {expected}")]
    Hash {
        /// The configured hash.
        expected: Sha256,
        /// The archive's hash.
        found: Sha256,
    },
    /// A file is not UTF-8 text.
    #[error("{file} is not UTF-8")]
    NotText {
        /// Its name.
        file: String,
    },
    /// A literal that has to be rewritten appears more or less often than expected. The file is
    /// refused, because it could send visitors' requests to a vendor's host.
    #[error(
        "this version of analytics.js is not supported: expected {literal} exactly {expected} \
        times in {file}, found {found}; versions 1.83.0 to 1.84.3 work"
    )]
    Literal {
        /// The literal, as it is in the file.
        literal: String,
        /// The file.
        file: String,
        /// The expected number of its appearances.
        expected: usize,
        /// The actual number of its appearances.
        found: usize,
    },
    /// A file contains a host that this version of Hedgerow does not know.
    #[error("this version of analytics.js is not supported: {file} names the host in {url:?}")]
    UnknownHost {
        /// The address, up to its first quote.
        url: String,
        /// The file.
        file: String,
    },
}

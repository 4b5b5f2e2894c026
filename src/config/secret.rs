//! What a configuration names but does not hold: environment variables and files.

use std::env::VarError;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest key, certificate or CA file that is read, in bytes.
const FILE_LIMIT: u64 = 4 << 20;

/// Where `env:NAME`, `file:PATH` and the paths of certificates lead.
///
/// The values it gives are secrets: they go into the compiled configuration and nowhere else.
pub trait SecretSource {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Result<String, VarError>;

    /// The content of a file whose path has gone through [`resolve`](Self::resolve).
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// A path of the configuration, seen from where the process runs.
    fn resolve(&self, path: &Path) -> PathBuf;
}

/// The process's environment, and files relative to the folder of the configuration.
#[derive(Debug, Clone)]
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// For a configuration whose file lies in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }
}

impl SecretSource for Environment {
    fn variable(&self, name: &str) -> Result<String, VarError> {
        std::env::var(name)
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(path, FILE_LIMIT)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// Reads a file of at most `limit` bytes, devices that never end included.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

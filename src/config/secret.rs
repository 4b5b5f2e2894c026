//! The sources of values that a configuration names but does not hold: environment variables and
//! files.

use std::env::VarError;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::marks::FileMarks;
use data_encoding::HEXLOWER;

/// The largest key, certificate or CA file that is read, in bytes.
const FILE_LIMIT: u64 = 4 << 20;

/// Reads the values that `env:NAME`, `file:PATH` and the paths of certificates name.
///
/// The returned values are secrets: only the compiled configuration stores them.
pub trait SecretSource {
    /// Returns the value of an environment variable.
    fn variable(&self, name: &str) -> Result<String, VarError>;

    /// Returns the content of a file. The path is one that [`resolve`](Self::resolve) returned.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Returns the content of a file that holds a secret, such as the file of a `file:PATH`.
    fn secret_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.file(path)
    }

    /// Converts a path of the configuration to one that the process can open.
    fn resolve(&self, path: &Path) -> PathBuf;
}

/// The process's environment, and files relative to the folder of the configuration.
#[derive(Debug, Clone)]
pub struct Environment {
    folder: PathBuf,
    /// The states of the requested files at the time of the request.
    marks: Arc<Mutex<FileMarks>>,
}

impl Environment {
    /// Creates an environment for a configuration whose file is in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            marks: Arc::default(),
        }
    }

    /// Returns the states of the requested files when they were read, including missing ones.
    #[doc(hidden)]
    pub fn marks(&self) -> FileMarks {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.clone()
    }
}

impl SecretSource for Environment {
    fn variable(&self, name: &str) -> Result<String, VarError> {
        std::env::var(name)
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let marks = self.marks.lock();
        marks
            .unwrap_or_else(PoisonError::into_inner)
            .add(path.to_owned());
        read_bounded(path, FILE_LIMIT)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// An `Environment` for checking a configuration on a machine without keys: it returns a placeholder
/// for each missing variable, and for each secret file that is missing or not readable. Each name gets its
/// own placeholder.
#[derive(Debug, Clone)]
pub struct WithoutSecrets(Environment);

/// The beginning of each placeholder.
const MADE_UP: &str = "phc_made_up_";

impl WithoutSecrets {
    /// Creates the source for a configuration whose file is in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Environment::new(folder))
    }

    /// Whether a value is a placeholder.
    #[doc(hidden)]
    pub fn is_placeholder(value: &str) -> bool {
        value.starts_with(MADE_UP)
    }

    fn value(name: &[u8]) -> String {
        use sha1::Digest as _;
        let hash = sha1::Sha1::digest(name);
        format!("{MADE_UP}{}", HEXLOWER.encode(&hash))
    }
}

impl SecretSource for WithoutSecrets {
    fn variable(&self, name: &str) -> Result<String, VarError> {
        match self.0.variable(name) {
            Err(VarError::NotPresent) => Ok(Self::value(name.as_bytes())),
            found => found,
        }
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.file(path)
    }

    fn secret_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.file(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(Self::value(path.as_os_str().as_encoded_bytes()).into_bytes())
            }
            found => found,
        }
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.0.resolve(path)
    }
}

/// Reads a file of at most `limit` bytes. The limit also applies to a device that never ends.
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

/// Whether a text is a reference to a value and not the value itself.
pub(super) fn is_reference(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("env:") || text.starts_with("file:") || text.starts_with("${")
}

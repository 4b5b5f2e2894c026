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

/// Where `env:NAME`, `file:PATH` and the paths of certificates lead.
///
/// The values it gives are secrets: they go into the compiled configuration and nowhere else.
pub trait SecretSource {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Result<String, VarError>;

    /// The content of a file whose path was returned by [`resolve`](Self::resolve).
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The content of a file that holds a secret, as `file:PATH` names it.
    fn secret_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.file(path)
    }

    /// A path of the configuration, seen from where the process runs.
    fn resolve(&self, path: &Path) -> PathBuf;
}

/// The process's environment, and files relative to the folder of the configuration.
#[derive(Debug, Clone)]
pub struct Environment {
    folder: PathBuf,
    /// The files that were asked for, as they were then.
    marks: Arc<Mutex<FileMarks>>,
}

impl Environment {
    /// For a configuration whose file is in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            marks: Arc::default(),
        }
    }

    /// The state of the requested files when they were read, including missing ones.
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

/// The same, for checking a configuration on a machine without keys: a placeholder, different for
/// each, replaces each missing variable and secret file.
#[derive(Debug, Clone)]
pub struct WithoutSecrets(Environment);

/// How each made-up value begins.
const MADE_UP: &str = "phc_made_up_";

impl WithoutSecrets {
    /// For a configuration whose file is in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Environment::new(folder))
    }

    /// Whether a value was made up.
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

/// Whether a text refers to a value, rather than being one.
pub(super) fn is_reference(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("env:") || text.starts_with("file:") || text.starts_with("${")
}

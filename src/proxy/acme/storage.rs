//! The folder that stores an account, certificates and attempts. Several processes may share it.
//!
//! Each directory has its own folder below `storage`, so that a certificate of a staging directory
//! is never used in production:
//!
//! ```text
//! acme-v02.api.letsencrypt.org%2Fdirectory/
//!   account.json             the account and its key
//!   account.lock             held by the process that reads or creates the account
//!   shop.example.pem         a private key, and the certificate with its chain
//!   shop.example.json        the failed attempts since then, and when the next may be made
//!   shop.example.lock        held by the process that orders
//!   challenges/              the proofs for authorities while an order is in progress
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use percent_encoding::{utf8_percent_encode, AsciiSet, NON_ALPHANUMERIC};
use serde::{Deserialize, Serialize};

use crate::config;

/// The characters that are escaped in a folder's name: all except letters, digits, `.`, `-` and
/// `_`.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');
/// The longest token, in bytes, that is looked up among the files.
const TOKEN: usize = 128;
/// After this time, the files that an interrupted order has left are deleted.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3600);

/// The files of one certificate, and of the account that orders it.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    folder: PathBuf,
    name: String,
}

/// The inode, the modification time (seconds and nanoseconds) and the size of a file; `None` if
/// there is none.
pub(super) type FileStamp = Option<(u64, i64, i64, u64)>;

/// A stored account.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAccount {
    pub(super) email: Option<String>,
    /// The library's credentials: the account's address and key.
    pub(super) credentials: serde_json::Value,
}

/// The attempts since the last certificate. Times are in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attempts {
    /// The settings of the last attempt: a process with other settings makes the next one at once.
    pub(super) settings: String,
    /// How many attempts failed.
    pub(super) failures: u32,
    /// Why the last attempt failed.
    pub(super) error: Option<String>,
    /// When the current attempt began; 0 if there is none. The value remains if the process ends
    /// during the attempt.
    pub(super) begun: u64,
    /// When the first attempt and the last one were made. After a success, `last` is the time of
    /// the success.
    pub(super) since: u64,
    pub(super) last: u64,
    /// The earliest time of the next attempt.
    pub(super) next: u64,
    /// The earliest time of the next attempt that the authority itself has set; 0 if it has set
    /// none.
    pub(super) retry_after: u64,
}

/// A lock that is held until it is dropped or the process ends.
pub(super) struct StorageLock {
    _file: File,
}

impl Storage {
    pub(super) fn of(acme: &config::AcmeConfig) -> Self {
        let directory = acme.directory.as_str();
        let directory_name = directory.strip_prefix("https://").unwrap_or(directory);
        let directory_name = utf8_percent_encode(directory_name, KEPT).to_string();
        Self {
            folder: acme.storage.join(directory_name),
            name: acme.name().to_owned(),
        }
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.file("pem")
    }

    pub(super) fn attempts_file(&self) -> PathBuf {
        self.file("json")
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    fn challenges(&self) -> PathBuf {
        self.folder.join("challenges")
    }

    /// Creates the folder, which only this user can read.
    fn make(&self) -> io::Result<()> {
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700);
        folder.create(self.challenges())
    }

    /// Takes the lock of this certificate, unless another process has it.
    ///
    /// # Errors
    ///
    /// When the folder or the lock file cannot be written.
    pub(super) fn try_lock(&self) -> io::Result<Option<StorageLock>> {
        self.make()?;
        lock(&self.file("lock"))
    }

    /// Takes the lock of the account, unless another order has it: two orders must not create two
    /// accounts.
    ///
    /// # Errors
    ///
    /// When the folder or the lock file cannot be written.
    pub(super) fn try_lock_account(&self) -> io::Result<Option<StorageLock>> {
        self.make()?;
        lock(&self.folder.join("account.lock"))
    }

    /// Returns the stored account; `None` if its file does not exist.
    ///
    /// # Errors
    ///
    /// When the file exists and cannot be read: a new account must not replace it.
    pub(super) fn account(&self) -> io::Result<Option<StoredAccount>> {
        let bytes = match fs::read(self.folder.join("account.json")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    pub(super) fn keep_account(&self, account: &StoredAccount) -> io::Result<()> {
        write(
            &self.folder.join("account.json"),
            &serde_json::to_vec_pretty(account)?,
        )
    }

    /// Renames the file of an account that the authority no longer knows.
    pub(super) fn forget_account(&self) -> io::Result<()> {
        let from = self.folder.join("account.json");
        fs::rename(from, self.folder.join("account.gone.json"))
    }

    /// Stores a certificate in place of the previous one.
    pub(super) fn keep_certificate(&self, pem: &str) -> io::Result<()> {
        self.make()?;
        write(&self.certificate(), pem.as_bytes())
    }

    /// Returns the recorded attempts; none if there is no readable file.
    pub(super) fn attempts(&self) -> Attempts {
        let bytes = fs::read(self.attempts_file()).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn keep_attempts(&self, attempts: &Attempts) -> io::Result<()> {
        write(&self.attempts_file(), &serde_json::to_vec_pretty(attempts)?)
    }

    /// Stores a proof for a token or a name, so that all processes can show it.
    pub(super) fn show(&self, challenge: &str, content: &[u8]) -> io::Result<()> {
        write(&self.challenges().join(challenge), content)
    }

    pub(super) fn hide(&self, challenge: &str) {
        // If the file cannot be deleted now, a later order deletes it.
        let _ = fs::remove_file(self.challenges().join(challenge));
    }

    /// Returns the proof for a token or a name that any process has stored.
    pub(super) fn shown(&self, challenge: &str) -> Option<Vec<u8>> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = (1..=TOKEN).contains(&challenge.len()) || challenge.ends_with(".pem");
        if !fits || !challenge.bytes().all(is_name) || challenge.starts_with('.') {
            return None;
        }
        fs::read(self.challenges().join(challenge)).ok()
    }

    /// Deletes the files that interrupted orders have left.
    pub(super) fn clear(&self) {
        let Ok(entries) = fs::read_dir(self.challenges()) else {
            return;
        };
        for entry in entries.flatten() {
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            if age.is_ok_and(|age| age > LEFT_OVER) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Returns the stamp of the file that is now at a path.
pub(super) fn file_stamp(path: &Path) -> FileStamp {
    let metadata = fs::metadata(path).ok()?;
    Some((
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.size(),
    ))
}

fn lock(path: &Path) -> io::Result<Option<StorageLock>> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(StorageLock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes a file completely or not at all, readable only by this user, and durably. The temporary
/// name contains the process id, so that two processes that write at once do not mix.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new_file = path.as_os_str().to_owned();
    new_file.push(format!(".{}.new", std::process::id()));
    let new_file = PathBuf::from(new_file);
    let written = write_new(&new_file, content).and_then(|()| fs::rename(&new_file, path));
    if written.is_err() {
        let _ = fs::remove_file(&new_file);
    }
    written?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Checks, without writing, that certificates can be stored in a folder. The folder does not have
/// to exist yet.
///
/// # Errors
///
/// When they cannot be stored there.
pub(super) fn check_folder(storage: &Path) -> io::Result<()> {
    let ancestor = storage.ancestors().find(|folder| folder.exists());
    let ancestor = match ancestor {
        Some(ancestor) if ancestor.as_os_str().is_empty() => Path::new("."),
        Some(ancestor) => ancestor,
        None => Path::new("."),
    };
    if !ancestor.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::access(ancestor, wanted)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn storage(folder: &Path) -> Storage {
        Storage {
            folder: folder.join("ca.example%2Fdirectory"),
            name: "shop.example".to_owned(),
        }
    }

    #[test]
    fn keys_are_private_to_this_user_and_replaced_completely() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path());
        storage.keep_certificate("first").unwrap();
        let first = file_stamp(&storage.certificate());
        storage.keep_certificate("second").unwrap();
        assert_ne!(file_stamp(&storage.certificate()), first);
        assert_eq!(fs::read(storage.certificate()).unwrap(), b"second");
        let account = StoredAccount {
            email: None,
            credentials: serde_json::json!({"key": "k"}),
        };
        storage.keep_account(&account).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&storage.folder), 0o700);
        for entry in fs::read_dir(&storage.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
        let names: Vec<_> = fs::read_dir(&storage.folder).unwrap().collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn one_holds_the_lock_and_another_learns_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (storage(folder.path()), storage(folder.path()));
        let lock = one.try_lock().unwrap();
        assert!(lock.is_some());
        assert!(other.try_lock().unwrap().is_none());
        drop(lock);
        assert!(other.try_lock().unwrap().is_some());
    }

    #[test]
    fn challenges_are_seen_by_others_and_lead_out_of_their_folder_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (storage(folder.path()), storage(folder.path()));
        one.keep_certificate("a key").unwrap();
        one.show("toKen_1-", b"answer").unwrap();
        assert_eq!(other.shown("toKen_1-").as_deref(), Some(&b"answer"[..]));
        for name in ["../shop.example.pem", ".", "..", "", "a/b", "a\0b"] {
            assert_eq!(other.shown(name), None, "{name:?}");
        }
        one.hide("toKen_1-");
        assert_eq!(other.shown("toKen_1-"), None);
    }

    #[test]
    fn a_broken_record_is_ignored_and_a_broken_account_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path());
        assert_eq!(storage.attempts(), Attempts::default());
        let attempts = Attempts {
            failures: 3,
            error: Some("why".to_owned()),
            ..Attempts::default()
        };
        storage.make().unwrap();
        storage.keep_attempts(&attempts).unwrap();
        assert_eq!(storage.attempts(), attempts);
        fs::write(storage.attempts_file(), "{").unwrap();
        assert_eq!(storage.attempts(), Attempts::default());
        assert!(storage.account().unwrap().is_none());
        fs::write(storage.folder.join("account.json"), "{").unwrap();
        assert!(storage.account().is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_folder(&folder.path().join("a/b")).is_ok());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(check_folder(&folder.path().join("file/b")).is_err());
    }
}

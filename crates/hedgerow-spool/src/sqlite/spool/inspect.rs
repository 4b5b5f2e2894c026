//! Inspects a spool without changing it, while another process may use it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{access, Access};

use super::database::FILE;
use super::migration;
use super::schema::FORMAT;
use super::settings::FolderState;
use crate::error::SpoolError;

/// Returns whether [`SqliteSpool::open`](super::SqliteSpool::open) could use or create a spool in this
/// folder. This function creates and changes nothing.
///
/// # Errors
/// [`SpoolError::Format`] if the process would not start with this spool. With any other error, the
/// process would start, but could not store events until the cause is removed.
pub(super) fn inspect_folder(folder: &Path) -> Result<FolderState, SpoolError> {
    let unusable = |source: io::Error| SpoolError::Folder {
        path: folder.to_owned(),
        source: Arc::new(source),
    };
    let needed = Access::WRITE_OK | Access::EXEC_OK;
    let file = folder.join(FILE);
    if !file.exists() {
        // The nearest existing folder on the path must be writable.
        let ancestor = folder.ancestors().find(|folder| folder.exists());
        let ancestor = ancestor.unwrap_or(Path::new("."));
        if !ancestor.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        access(ancestor, needed).map_err(|error| unusable(error.into()))?;
        return Ok(FolderState::Empty);
    }
    access(folder, needed).map_err(|error| unusable(error.into()))?;
    access(&file, Access::READ_OK | Access::WRITE_OK).map_err(|error| unusable(error.into()))?;
    if fs::metadata(&file).map_err(unusable)?.len() == 0 {
        return Ok(FolderState::Empty);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&file, flags)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => Ok(FolderState::Empty),
        FORMAT => Ok(FolderState::Usable),
        old if migration::knows(old) => Ok(FolderState::Usable),
        found => Err(SpoolError::Format {
            found,
            known: FORMAT,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SqliteSettings;
    use super::super::SqliteSpool;
    use super::*;

    #[test]
    fn an_inspection_matches_opening_and_creates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("a/b");
        assert_eq!(inspect_folder(&spool).unwrap(), FolderState::Empty);
        assert!(!folder.path().join("a").exists());
        let open = SqliteSpool::open(&spool, SqliteSettings::default()).unwrap();
        assert_eq!(inspect_folder(&spool).unwrap(), FolderState::Usable);
        drop(open);
        assert_eq!(inspect_folder(&spool).unwrap(), FolderState::Usable);
        let newer = Connection::open(spool.join(FILE)).unwrap();
        newer.execute_batch("PRAGMA user_version = 99").unwrap();
        let found = inspect_folder(&spool);
        assert!(matches!(found, Err(SpoolError::Format { found: 99, .. })));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let found = inspect_folder(&file.join("spool"));
        assert!(matches!(found, Err(SpoolError::Folder { .. })), "{found:?}");
    }
}

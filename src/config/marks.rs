//! Records the state of files, to detect changes: a file is written in place, is replaced by another file
//! of the same name, or is reached through a link that has changed.
//!
//! The process checks the files repeatedly and does not let the kernel watch them. The kernel watches the
//! target of a name, so each link on the way and each folder would need a watch. Network disks send no
//! notices, and a full queue loses some. A check of a file costs one system call.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest number of entries of a folder that are checked.
const ENTRIES: usize = 2_000;

/// The marks of some files and folders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileMarks {
    /// The requested paths.
    paths: Vec<PathBuf>,
    /// The files that were found, including those in folders.
    found: Vec<(PathBuf, Option<FileMark>)>,
}

/// The identity of a file, its size, and when it was changed last. Even a write that keeps the size and
/// the modification time changes `changed`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileMark {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileMarks {
    /// Returns the marks of these paths, and of the files in folders. A missing file has no mark.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut marks = Self::default();
        for path in paths {
            marks.add(path);
        }
        marks
    }

    /// Adds the marks of `others`.
    pub(super) fn join(&mut self, others: Self) {
        // For a file that is in both, the earlier mark detects more changes.
        for path in others.paths {
            if !self.paths.contains(&path) {
                let below = others.found.iter();
                let below = below.filter(|(found, _)| found.starts_with(&path));
                self.found.extend(below.cloned());
                self.paths.push(path);
            }
        }
    }

    /// Returns the current marks of the same paths.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::of(self.paths.iter().cloned())
    }

    /// Adds one path. If it is added before its file is read, its mark detects every later change.
    pub fn add(&mut self, path: PathBuf) {
        if self.paths.contains(&path) {
            return;
        }
        self.found.push((path.clone(), mark(&path).ok()));
        for entry in entries(&path) {
            let mark = mark(&entry).ok();
            self.found.push((entry, mark));
        }
        self.paths.push(path);
    }
}

fn mark(path: &Path) -> io::Result<FileMark> {
    let metadata = fs::metadata(path)?;
    Ok(FileMark {
        file: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut entries: Vec<PathBuf> = entries.take(ENTRIES).collect();
    entries.sort_unstable();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_change_a_file_changes_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("one")).unwrap();
        fs::create_dir(at("two")).unwrap();
        fs::write(at("one/file"), "text").unwrap();
        fs::write(at("two/file"), "text").unwrap();
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        let look = || FileMarks::of([at("data/file")]);
        let before = look();
        assert_eq!(before, look());
        // As Kubernetes updates a ConfigMap.
        std::os::unix::fs::symlink("two", at("new")).unwrap();
        fs::rename(at("new"), at("data")).unwrap();
        let swapped = look();
        assert_ne!(before, swapped);
        // As editors save a file.
        fs::write(at("two/new"), "text").unwrap();
        fs::rename(at("two/new"), at("two/file")).unwrap();
        let replaced = look();
        assert_ne!(swapped, replaced);
        fs::write(at("two/file"), "longer text").unwrap();
        let written = look();
        assert_ne!(replaced, written);
        fs::remove_file(at("two/file")).unwrap();
        assert_ne!(written, look());
        let folder = FileMarks::of([at("two")]);
        fs::write(at("two/more"), "").unwrap();
        assert_ne!(folder, FileMarks::of([at("two")]));
    }
}

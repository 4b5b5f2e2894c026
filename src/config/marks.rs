//! The state of files when they were checked, to detect a change: written in place, replaced by
//! another file of the name, or reached through a link that has changed.
//!
//! The files are checked repeatedly instead of being watched by the kernel. The kernel's notices
//! belong to the target of a name, so each link on the way and each folder would have to be
//! watched, network disks send none, and a full queue loses some; a check costs a system call.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The entries of a folder that are looked at.
const ENTRIES: usize = 2_000;

/// The marks of some files and folders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileMarks {
    /// The requested paths.
    paths: Vec<PathBuf>,
    /// The files that were found, including those in folders.
    found: Vec<(PathBuf, Option<FileMark>)>,
}

/// Which file it is, and when it was changed last. Also a write that keeps size and time of a file
/// sets its time of change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileMark {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileMarks {
    /// The marks of these paths, and of the files in folders. A missing file has no mark.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut marks = Self::default();
        for path in paths {
            marks.add(path);
        }
        marks
    }

    /// Takes those of others in.
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

    /// The marks of the same files and folders as they are now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::of(self.paths.iter().cloned())
    }

    /// Adds one path. If it is added before it is read, it detects every change after that.
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
    let about = fs::metadata(path)?;
    Ok(FileMark {
        file: (about.dev(), about.ino()),
        size: about.size(),
        modified: (about.mtime(), about.mtime_nsec()),
        changed: (about.ctime(), about.ctime_nsec()),
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
        // As a ConfigMap does it.
        std::os::unix::fs::symlink("two", at("new")).unwrap();
        fs::rename(at("new"), at("data")).unwrap();
        let swapped = look();
        assert_ne!(before, swapped);
        // As editors do it.
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

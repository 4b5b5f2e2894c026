//! The limits of the package's files.

/// The largest file that is read, in bytes. The largest real file has 115 kB.
pub(super) const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The largest number of files that are read. The package has nine.
pub(super) const MAX_FILES: usize = 64;

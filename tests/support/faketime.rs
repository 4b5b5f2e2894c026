//! Debian's library that gives a process another time.

use std::path::PathBuf;

/// Returns the library; `None` if it is not installed and the tests may do without it.
pub fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut libraries = folders.filter_map(|folder| {
        let file = folder.ok()?.path().join("faketime/libfaketimeMT.so.1");
        file.exists().then_some(file)
    });
    let found = libraries.next();
    let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
    assert!(
        found.is_some() || !required,
        "faketime is required and not installed"
    );
    found
}

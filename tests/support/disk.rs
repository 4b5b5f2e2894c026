//! A disk that can be full or read-only.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A small file system of its own.
pub struct SmallDisk {
    pub at: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// A disk of this size, in `mount`'s notation; `None` if this user may not mount.
    pub fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            println!("SKIPPED: no file system can be mounted by this user");
            return None;
        }
        Some(Self {
            at,
            _folder: folder,
        })
    }

    /// Mounts it `ro` or `rw`.
    pub fn remount(&self, how: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.at)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

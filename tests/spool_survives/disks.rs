//! Disks that are full, read-only or not there.

use super::*;

/// A small file system of its own; nothing if this user may not mount one.
struct SmallDisk {
    at: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        fs::create_dir(&at).unwrap();
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

    fn remount(&self, how: &str) {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_loses_nothing_and_recovers_when_emptied_through_the_spool() {
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let settings = SpoolSettings::default();
    let spool = Spool::open(&disk.at.join("spool"), settings).unwrap();
    for round in 0..3 {
        let mut acknowledged = ids(&all(&spool).await);
        let mut number = 0;
        let error = loop {
            let some: Vec<String> = (0..50)
                .map(|one| format!("{round}-{number}-{one}"))
                .collect();
            let events = some.iter().map(|id| event(id, 900)).collect();
            match spool.append("shop", events).await {
                Ok(()) => acknowledged.extend(some),
                Err(error) => break error,
            }
            number += 1;
        };
        println!(
            "round {round}: {} acknowledged, then: {error}",
            acknowledged.len()
        );
        assert!(matches!(error, SpoolError::NoSpace), "{error:?}");
        assert!(acknowledged.len() > 1_000);
        // Fill what is left to the last byte: somebody else's log, say.
        let mut other = fs::File::create(disk.at.join("other")).unwrap();
        while other.write_all(&[0; 512]).is_ok() {}
        let held = all(&spool).await;
        assert_eq!(ids(&held), acknowledged, "round {round}");
        // A replay empties it although the disk is full.
        for some in held[..held.len() - 10].chunks(700) {
            let positions: Vec<Position> = some.iter().map(|held| held.position).collect();
            spool.settle("shop", positions).await;
        }
        append_until_taken(&spool, &format!("recovered {round}")).await;
        let mut expected = acknowledged[acknowledged.len() - 10..].to_vec();
        expected.push(format!("recovered {round}"));
        assert_eq!(ids(&all(&spool).await), expected);
        drop(other);
        fs::remove_file(disk.at.join("other")).unwrap();
    }
    drop(spool);
    let again = Spool::open(&disk.at.join("spool"), settings).unwrap();
    assert_eq!(
        all(&again).await.len(),
        11,
        "nothing comes back from the dead"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_size_limit_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes (dash) or 1 KiB (bash): 4 or 8 MiB.
    let mut child = child(folder.path(), 0, "ulimit -f 8192;");
    let mut acknowledged = BTreeSet::new();
    let mut refused = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, id)) = line.split_once("acknowledged ") {
            acknowledged.insert(id.to_owned());
        }
        refused += usize::from(line.contains("refused"));
    }
    assert!(
        child.wait().unwrap().success(),
        "it ends by itself, in order"
    );
    println!(
        "{} acknowledged, {refused} writers refused",
        acknowledged.len()
    );
    assert_eq!(refused, 8);
    assert!(acknowledged.len() > 1_000);
    let spool = Spool::open(folder.path(), SpoolSettings::default()).unwrap();
    let found: BTreeSet<String> = ids(&all(&spool).await).into_iter().collect();
    assert_eq!(acknowledged.difference(&found).count(), 0);
    append_until_taken(&spool, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_refuses_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let folder = disk.at.join("spool");
    drop(Spool::open(&folder, SpoolSettings::default()).unwrap());
    disk.remount("ro");
    let spool = Spool::open(&folder, SpoolSettings::default()).unwrap();
    for _ in 0..3 {
        let error = spool
            .append("shop", vec![event("a", 10)])
            .await
            .unwrap_err();
        println!("read-only: {error:?}");
    }
    assert_eq!(spool.counters().refused.load(Ordering::Relaxed), 3);
    disk.remount("rw");
    append_until_taken(&spool, "b").await;
    assert_eq!(ids(&all(&spool).await), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_refuses_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::write(&path, "a file stands where the folder should be").unwrap();
    let spool = Spool::open(&path, SpoolSettings::default()).unwrap();
    let error = spool
        .append("shop", vec![event("a", 10)])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "folder", "{error:?}");
    fs::remove_file(&path).unwrap();
    append_until_taken(&spool, "b").await;
    for file in ["spool.db", "spool.db-wal"] {
        let mode = fs::metadata(path.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}: events are for this user only");
    }
}

//! A disk that is full, limited, read-only or emptied while the spool uses it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_loses_nothing_and_recovers_when_emptied_through_the_spool() {
    let Some(disk) = SmallDisk::mount("8m") else {
        return;
    };
    let settings = SqliteSettings::default();
    let spool = SqliteSpool::open(&disk.at.join("spool"), settings).unwrap();
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
        // Another program fills the rest to the last byte, for example with a log.
        let mut other = fs::File::create(disk.at.join("other")).unwrap();
        while other.write_all(&[0; 512]).is_ok() {}
        let held = all(&spool).await;
        assert_eq!(ids(&held), acknowledged, "round {round}");
        // A replay empties the spool although the disk is full.
        for some in held[..held.len() - 10].chunks(700) {
            let positions: Vec<Position> = some.iter().map(|held| held.position).collect();
            spool.acknowledge("shop", positions).await;
        }
        append_until_taken(&spool, &format!("recovered {round}")).await;
        let mut expected = acknowledged[acknowledged.len() - 10..].to_vec();
        expected.push(format!("recovered {round}"));
        assert_eq!(ids(&all(&spool).await), expected);
        drop(other);
        fs::remove_file(disk.at.join("other")).unwrap();
    }
    drop(spool);
    let again = SqliteSpool::open(&disk.at.join("spool"), settings).unwrap();
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
    let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    let found: BTreeSet<String> = ids(&all(&spool).await).into_iter().collect();
    assert_eq!(acknowledged.difference(&found).count(), 0);
    append_until_taken(&spool, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_refuses_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount("64m") else {
        return;
    };
    let folder = disk.at.join("spool");
    // A signal ends the process, so its log remains.
    let before = kill_after(child(&folder, 0, ""), 100);
    // As the process before left it.
    fs::write(folder.join("replay.lock"), "").unwrap();
    disk.remount("ro");
    let spool = SqliteSpool::open(&folder, SqliteSettings::default()).unwrap();
    // The spool knows the waiting events and can send them.
    let waiting = spool.gauges().of("shop").events();
    assert!(
        waiting >= before.len() as u64,
        "{waiting} of {}",
        before.len()
    );
    assert!(matches!(spool.lead("shop").await, Ok(Lead::Ours(_))));
    let held: BTreeSet<String> = ids(&all(&spool).await).into_iter().collect();
    assert_eq!(before.difference(&held).count(), 0);
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
    let after = ids(&all(&spool).await);
    assert_eq!(after.len(), held.len() + 1);
    assert_eq!(after.last().unwrap(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_events_are_sent_when_the_disk_is_read_only_or_full_at_the_start() {
    let Some(disk) = SmallDisk::mount("16m") else {
        return;
    };
    let folder = disk.at.join("spool");
    let settings = SqliteSettings::default();
    let spool = SqliteSpool::open(&folder, settings).unwrap();
    append_until_taken(&spool, "a").await;
    append_until_taken(&spool, "b").await;
    // A graceful shutdown, not a signal.
    drop(spool);
    disk.remount("ro");
    let spool = SqliteSpool::open(&folder, settings).unwrap();
    assert_eq!(ids(&all(&spool).await), ["a", "b"], "read-only");
    // No lock file exists, because no process has drained the spool yet, and none can be created.
    assert!(!folder.join("replay.lock").exists());
    assert!(matches!(spool.lead("shop").await, Ok(Lead::Ours(_))));
    let mut said = Vec::new();
    SpoolCommand::Ls(Default::default())
        .run(&folder, &mut said)
        .unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\tshop\t2 events"), "{said}");
    drop(spool);
    disk.remount("rw");
    let mut other = fs::File::create(disk.at.join("other")).unwrap();
    while other.write_all(&[0; 512]).is_ok() {}
    let spool = SqliteSpool::open(&folder, settings).unwrap();
    let held = all(&spool).await;
    assert_eq!(ids(&held), ["a", "b"], "full");
    spool.acknowledge("shop", vec![held[0].position]).await;
    drop(spool);
    let spool = SqliteSpool::open(&folder, settings).unwrap();
    assert_eq!(ids(&all(&spool).await), ["b"], "full, and opened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_refuses_and_recovers_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::write(&path, "a file stands where the folder should be").unwrap();
    let spool = SqliteSpool::open(&path, SqliteSettings::default()).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_whose_files_are_deleted_writes_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let spool = SqliteSpool::open(&path, SqliteSettings::default()).unwrap();
    append_until_taken(&spool, "a").await;
    fs::remove_dir_all(&path).unwrap();
    append_until_taken(&spool, "b").await;
    drop(spool);
    let again = SqliteSpool::open(&path, SqliteSettings::default()).unwrap();
    assert_eq!(ids(&all(&again).await), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_too_little_room_counts_as_full_until_it_has_enough() {
    // Enough for the files, but not for the reserve with which a full disk can be emptied.
    let Some(disk) = SmallDisk::mount("600k") else {
        return;
    };
    let settings = SqliteSettings::default();
    let spool = SqliteSpool::open(&disk.at.join("spool"), settings).unwrap();
    let error = spool
        .append("shop", vec![event("a", 3_000)])
        .await
        .unwrap_err();
    assert!(matches!(error, SpoolError::NoSpace), "{error:?}");
    until_it_is(&spool, Availability::Unavailable).await;
    disk.remount("size=16m");
    append_until_taken(&spool, "b").await;
    until_it_is(&spool, Availability::Available).await;
    assert_eq!(ids(&all(&spool).await), ["b"]);
}

async fn until_it_is(spool: &SqliteSpool, expected: Availability) {
    let until = Instant::now() + PATIENCE;
    while spool.availability() != expected {
        assert!(Instant::now() < until, "not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

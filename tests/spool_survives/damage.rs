//! What remains of a spool with damaged files.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_or_damaged_tail_costs_only_the_tail() {
    const COMMIT: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let spool = SqliteSpool::open(folder.path(), SqliteSettings::default()).unwrap();
    // Less than SQLite moves into the file, so that the log has all of it.
    let whole: Vec<String> = (0..20 * COMMIT)
        .map(|number| format!("n{number}"))
        .collect();
    for some in whole.chunks(COMMIT) {
        let events = some.iter().map(|id| event(id, 300)).collect();
        spool.append("shop", events).await.unwrap();
    }
    // The disk now has what a kill would leave: without a final write.
    let left = tempfile::tempdir().unwrap();
    copy(folder.path(), left.path());
    let log = "spool.db-wal";
    let length = fs::metadata(left.path().join(log)).unwrap().len();
    // The log's frames have 8,216 bytes, and a commit here has at least three.
    for cut in [1, 23, 24, 100, 8_191, 8_192, 8_216, 50_000, 500_000, length] {
        for damage in ["cut", "flipped"] {
            let copied = tempfile::tempdir().unwrap();
            copy(left.path(), copied.path());
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(copied.path().join(log))
                .unwrap();
            if damage == "cut" {
                file.set_len(length - cut).unwrap();
            } else {
                file.seek(SeekFrom::Start(length - cut)).unwrap();
                let mut tail = Vec::new();
                file.read_to_end(&mut tail).unwrap();
                tail.iter_mut().for_each(|byte| *byte ^= 0x55);
                file.seek(SeekFrom::Start(length - cut)).unwrap();
                file.write_all(&tail).unwrap();
            }
            drop(file);
            let spool = SqliteSpool::open(copied.path(), SqliteSettings::default()).unwrap();
            let found = ids(&all(&spool).await);
            println!("{damage} {cut} of {length}: {} events", found.len());
            assert_eq!(found, whole[..found.len()], "{damage} {cut}");
            let commits_hit = usize::try_from(cut).unwrap().div_ceil(3 * 8_216);
            assert!(
                found.len() < whole.len(),
                "{damage} {cut}: the tail was hit"
            );
            assert!(
                found.len() + commits_hit * COMMIT >= whole.len(),
                "{damage} {cut}"
            );
            append_until_taken(&spool, "afterwards").await;
            assert_eq!(ids(&all(&spool).await).last().unwrap(), "afterwards");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_set_aside_and_the_rest_of_it_is_kept() {
    let source = tempfile::tempdir().unwrap();
    let whole: Vec<String> = (0..3_000).map(|number| format!("n{number}")).collect();
    {
        let spool = SqliteSpool::open(source.path(), SqliteSettings::default()).unwrap();
        for some in whole.chunks(500) {
            let events = some.iter().map(|id| event(id, 700)).collect();
            spool.append("shop", events).await.unwrap();
        }
    }
    let length = fs::metadata(source.path().join("spool.db")).unwrap().len();
    let cases = [
        ("the header", 0, 100, 0),
        ("pages in the middle", length / 2, 20_000, 2_900),
        ("a page's end", length / 3 + 8_000, 50, 2_900),
        ("the last page", length - 8_192, 8_192, 2_900),
    ];
    for (what, from, bytes, least) in cases {
        let copied = tempfile::tempdir().unwrap();
        copy(source.path(), copied.path());
        let mut file = OpenOptions::new()
            .write(true)
            .open(copied.path().join("spool.db"))
            .unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        file.write_all(&vec![0xa5; bytes]).unwrap();
        drop(file);
        let spool = SqliteSpool::open(copied.path(), SqliteSettings::default()).unwrap();
        append_until_taken(&spool, "afterwards").await;
        // The first read may find the damage.
        let found = loop {
            match spool.peek("shop", EVERYTHING).await {
                Ok(taken) => break ids(&taken.events),
                Err(error) => println!("{what}: {error:?}"),
            }
        };
        println!("{what}: {} of {} kept", found.len() - 1, whole.len());
        assert!(found.len() > least, "{what}");
        assert!(found.contains(&"afterwards".to_owned()), "{what}");
        let known: Vec<&String> = found.iter().filter(|id| *id != "afterwards").collect();
        let expected: Vec<&String> = whole.iter().filter(|id| found.contains(id)).collect();
        assert_eq!(known, expected, "{what}: in order and each once");
    }
}

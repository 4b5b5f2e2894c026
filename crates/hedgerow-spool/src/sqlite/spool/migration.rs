//! Converts files of older formats.

use super::schema::{COUNT_DEAD_LETTERS, FORMAT};
use super::writing::Writing;

/// The first format. It has the same rows, with other names of tables and columns.
pub(super) const FIRST: i64 = 1;

/// The second format. It stores no number of dead letters: they were counted by reading them all.
const UNCOUNTED: i64 = 2;

/// The table of dead letters in [`FIRST`], and the column with the time of the refusal.
pub(super) const FIRST_DEAD_LETTERS: (&str, &str) = ("letter", "buried");

// Only names change, so this is fast for any number of events. An old file may lack the table `age`.
const RENAME: &str = "
    ALTER TABLE event RENAME COLUMN since TO stored_at;
    ALTER TABLE event RENAME COLUMN collapse TO dedup_key;
    ALTER TABLE letter RENAME TO dead_letter;
    ALTER TABLE dead_letter RENAME COLUMN buried TO refused_at;
    CREATE TABLE IF NOT EXISTS age (id INTEGER PRIMARY KEY CHECK (id = 0), time INTEGER NOT NULL);
    ALTER TABLE age RENAME TO clock;
";

/// Returns whether a file of this format can be converted to [`FORMAT`].
pub(super) fn knows(format: i64) -> bool {
    matches!(format, FIRST | UNCOUNTED)
}

/// Converts a file of an old format to [`FORMAT`], in one transaction.
pub(super) fn run(writing: &mut Writing<'_>, from: i64) -> Result<(), rusqlite::Error> {
    match from {
        FIRST => writing.change_format(from, &[RENAME, COUNT_DEAD_LETTERS], FORMAT),
        _ => writing.change_format(from, &[COUNT_DEAD_LETTERS], FORMAT),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::super::inspect::inspect_folder;
    use super::super::lease::FileLease;
    use super::super::recovery::recover;
    use super::super::settings::FolderState;
    use super::super::settings::SqliteSettings;
    use super::super::writing::checksum;
    use super::super::SqliteSpool;
    use crate::command::{CommandError, ListFormat, Selection, SpoolCommand};
    use crate::error::SpoolError;
    use crate::event::time_of;
    use crate::event::SpooledEvent;
    use crate::store::{Leadership, PeekLimit, Store};

    /// The tables of a new file in the old format. The table `age` was created in the first second of use.
    const OLD_SCHEMA: &str = "
        CREATE TABLE project (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            events INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE event (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            project INTEGER NOT NULL,
            arrived INTEGER NOT NULL,
            since INTEGER NOT NULL,
            crc INTEGER NOT NULL,
            collapse BLOB NOT NULL,
            body BLOB NOT NULL
        );
        CREATE INDEX event_order ON event (project, seq, collapse);
        CREATE TABLE letter (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            project INTEGER NOT NULL,
            arrived INTEGER NOT NULL,
            buried INTEGER NOT NULL,
            status INTEGER NOT NULL,
            reason TEXT NOT NULL,
            body BLOB NOT NULL
        );
        PRAGMA user_version = 1;
    ";
    const OLD_AGE: &str = "
        CREATE TABLE age (id INTEGER PRIMARY KEY CHECK (id = 0), time INTEGER NOT NULL);
        INSERT INTO age VALUES (0, 3000);
    ";
    const EVERYTHING: PeekLimit = PeekLimit {
        events: 100,
        bytes: 1 << 20,
    };

    fn event(number: u8) -> SpooledEvent {
        let text = format!(
            "{{\"uuid\":\"{number}\",\"event\":\"e\",\"distinct_id\":\"p\",\"timestamp\":\"2026-11-23T10:00:00Z\"}}"
        );
        SpooledEvent::new(text.into(), time_of(1_000)).unwrap()
    }

    /// Creates a file of the old format with two events and a dead letter. Their positions do not begin at
    /// 1, as if earlier ones had left.
    fn old_file(folder: &Path, more: &str) {
        let old = Connection::open(folder.join("spool.db")).unwrap();
        old.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;",
        )
        .unwrap();
        old.execute_batch(OLD_SCHEMA).unwrap();
        old.execute_batch(more).unwrap();
        let (one, two) = (event(1), event(2));
        let bytes = one.body().len() + two.body().len();
        old.execute("INSERT INTO project VALUES (1, 'shop', 2, ?1)", [bytes])
            .unwrap();
        for (seq, event) in [(2, &one), (3, &two)] {
            old.execute(
                "INSERT INTO event VALUES (?1, 1, 1000, 2000, ?2, ?3, ?4)",
                rusqlite::params![
                    seq,
                    checksum(event.body()),
                    event.dedup_key().to_be_bytes(),
                    event.body().as_ref()
                ],
            )
            .unwrap();
        }
        old.execute(
            "INSERT INTO letter VALUES (7, 1, 1000, 2500, 400, 'invalid event', ?1)",
            [event(9).body().as_ref()],
        )
        .unwrap();
    }

    fn listed(folder: &Path) -> String {
        let mut out = Vec::new();
        SpoolCommand::Ls(ListFormat::Lines)
            .run(folder, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    async fn waiting(spool: &SqliteSpool) -> Vec<bytes::Bytes> {
        let queued = spool.peek("shop", EVERYTHING).await.unwrap().events;
        queued.into_iter().map(|queued| queued.body).collect()
    }

    #[tokio::test]
    async fn a_file_of_the_old_format_keeps_all_that_it_held() {
        for more in ["", OLD_AGE] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            old_file(path, more);
            assert_eq!(inspect_folder(path).unwrap(), FolderState::Usable, "{more}");
            let always = SqliteSettings {
                max_age: Duration::from_secs(1 << 40),
                ..SqliteSettings::default()
            };
            let spool = SqliteSpool::open(path, always).unwrap();
            // The second event is repeated and recognised. The third one is new, and follows both.
            spool
                .append("shop", vec![event(2), event(3)])
                .await
                .unwrap();
            let expected = [1, 2, 3].map(|number| event(number).body().clone());
            assert_eq!(waiting(&spool).await, expected, "{more}");
            let lines = listed(path);
            assert!(lines.contains("3 events"), "{lines}");
            assert!(
                lines.contains("dead 7\tshop\t1970-01-01T00:00:01.000Z\t400 invalid event"),
                "{lines}"
            );
            let retry = SpoolCommand::Retry(Selection::Numbers(vec![7]));
            retry.run(path, &mut Vec::new()).unwrap();
            assert_eq!(
                waiting(&spool).await.last(),
                Some(event(9).body()),
                "{more}"
            );
            drop(spool);
            assert!(listed(path).contains("4 events"), "{more}");
        }
    }

    #[test]
    fn the_readable_part_of_a_damaged_old_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        old_file(folder.path(), OLD_AGE);
        let (database, recovered) = recover(folder.path(), time_of(5_000)).unwrap();
        assert_eq!((recovered.events, recovered.letters), (2, 1));
        let mut letters = Vec::new();
        database
            .each_dead_letter(|letter| letters.push(letter))
            .unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].refused_at, time_of(2_500));
        assert_eq!(database.totals().unwrap()[0].dead_letters, 1);
    }

    #[test]
    fn a_command_does_not_convert_an_old_file_in_use() {
        let folder = tempfile::tempdir().unwrap();
        old_file(folder.path(), "");
        let running = FileLease::new(folder.path());
        assert_eq!(running.leadership(), Leadership::Leader);
        let run = || SpoolCommand::Ls(ListFormat::Lines).run(folder.path(), &mut Vec::new());
        let refused = run();
        let format = matches!(
            refused,
            Err(CommandError::Spool(SpoolError::Format { found: 1, .. }))
        );
        assert!(format, "{refused:?}");
        drop(running);
        run().unwrap();
    }
}

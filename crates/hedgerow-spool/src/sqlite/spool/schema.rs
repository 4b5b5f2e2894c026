//! The spool's tables, and the triggers that count dead letters.

/// The file format that this version reads and writes.
pub(super) const FORMAT: i64 = 3;

/// The size of a page, in bytes.
pub(super) const PAGE: usize = 8192;

// `event_order` contains the deduplication key, so that the spool can read the keys at its start without
// the bodies. With AUTOINCREMENT, no position is used twice, so a late acknowledgement never affects
// another event.
const TABLES: &str = "
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
        stored_at INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        dedup_key BLOB NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX event_order ON event (project, seq, dedup_key);
    CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        project INTEGER NOT NULL,
        arrived INTEGER NOT NULL,
        refused_at INTEGER NOT NULL,
        status INTEGER NOT NULL,
        reason TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE clock (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        time INTEGER NOT NULL
    );
";

// The number of dead letters and the size of their JSON are stored with the project, because they are
// read each second. Triggers update both, so that the changes of a command, and of a process of an older
// version that still has the file open, are counted as well.
pub(super) const COUNT_DEAD_LETTERS: &str = "
    ALTER TABLE project ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE project ADD COLUMN dead_letter_bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE project SET dead_letters = counted.number, dead_letter_bytes = counted.bytes
    FROM (SELECT project, count(*) AS number, sum(length(body)) AS bytes
          FROM dead_letter GROUP BY project) AS counted
    WHERE counted.project = project.id;
    CREATE TRIGGER dead_letter_came AFTER INSERT ON dead_letter BEGIN
        UPDATE project SET dead_letters = dead_letters + 1,
            dead_letter_bytes = dead_letter_bytes + length(NEW.body) WHERE id = NEW.project;
    END;
    CREATE TRIGGER dead_letter_went AFTER DELETE ON dead_letter BEGIN
        UPDATE project SET dead_letters = dead_letters - 1,
            dead_letter_bytes = dead_letter_bytes - length(OLD.body) WHERE id = OLD.project;
    END;
";

/// The statements for a new file.
pub(super) const NEW: [&str; 2] = [TABLES, COUNT_DEAD_LETTERS];

//! Changes the tables within one transaction.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Crc;
use rusqlite::{params, Connection, OptionalExtension, Transaction};

use crate::event::SpooledEvent;
use crate::event::{milliseconds, time_of};
use crate::store::Position;
use crate::store::Refusal;

/// The events and dead letters that were dropped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct RemovedCounts {
    /// The project and the deduplication key of each event.
    pub(crate) events: Vec<(String, u128)>,
    pub(crate) letters: u64,
}

/// An open transaction.
pub(crate) struct Writing<'a> {
    transaction: Transaction<'a>,
    projects: &'a mut HashMap<String, i64>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(
        transaction: Transaction<'a>,
        projects: &'a mut HashMap<String, i64>,
    ) -> Self {
        Self {
            transaction,
            projects,
        }
    }

    pub(super) fn commit(self) -> Result<(), rusqlite::Error> {
        self.transaction.commit()
    }

    /// Converts the tables from one format to another, unless another process has already done it.
    pub(super) fn change_format(
        &mut self,
        from: i64,
        statements: &[&str],
        to: i64,
    ) -> Result<(), rusqlite::Error> {
        let found: i64 = self
            .transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found == from {
            for statements in statements {
                self.transaction.execute_batch(statements)?;
            }
            self.transaction.pragma_update(None, "user_version", to)?;
        }
        Ok(())
    }

    /// Writes the spool's own time, unless the stored time is later.
    pub(crate) fn remember(&mut self, time: SystemTime) -> Result<(), rusqlite::Error> {
        self.transaction
            .prepare_cached(
                "INSERT INTO clock (id, time) VALUES (0, ?1)
                 ON CONFLICT (id) DO UPDATE SET time = MAX(time, excluded.time)",
            )?
            .execute([milliseconds(time)])?;
        Ok(())
    }

    /// Makes new events get positions after this one.
    pub(crate) fn begin_after(&mut self, position: i64) -> Result<(), rusqlite::Error> {
        let changed = self.transaction.execute(
            "UPDATE sqlite_sequence SET seq = MAX(seq, ?1) WHERE name = 'event'",
            [position],
        )?;
        if changed == 0 {
            let query = "INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?1)";
            self.transaction.execute(query, [position])?;
        }
        Ok(())
    }

    pub(crate) fn used(&self) -> Result<u64, rusqlite::Error> {
        used(&self.transaction)
    }

    fn project(&mut self, name: &str) -> Result<i64, rusqlite::Error> {
        if let Some(id) = self.projects.get(name) {
            return Ok(*id);
        }
        self.transaction
            .prepare_cached("INSERT OR IGNORE INTO project (name) VALUES (?1)")?
            .execute([name])?;
        let id = self
            .transaction
            .prepare_cached("SELECT id FROM project WHERE name = ?1")?
            .query_row([name], |row| row.get(0))?;
        self.projects.insert(name.to_owned(), id);
        Ok(id)
    }

    fn count(&self, project: i64, events: i64, bytes: i64) -> Result<(), rusqlite::Error> {
        self.transaction
            .prepare_cached(
                "UPDATE project SET events = events + ?2, bytes = bytes + ?3 WHERE id = ?1",
            )?
            .execute([project, events, bytes])?;
        Ok(())
    }

    pub(crate) fn append<'e>(
        &mut self,
        project: &str,
        events: impl IntoIterator<Item = &'e SpooledEvent>,
        now: SystemTime,
    ) -> Result<(), rusqlite::Error> {
        let project = self.project(project)?;
        let (mut number, mut bytes) = (0, 0);
        for event in events {
            self.insert(
                project,
                milliseconds(event.first_arrival()),
                now,
                event.dedup_key(),
                event.body(),
            )?;
            number += 1;
            bytes += size(event.body());
        }
        self.count(project, number, bytes)
    }

    fn insert(
        &self,
        project: i64,
        arrived: i64,
        now: SystemTime,
        dedup_key: u128,
        body: &[u8],
    ) -> Result<(), rusqlite::Error> {
        self.transaction
            .prepare_cached(
                "INSERT INTO event (project, arrived, stored_at, crc, dedup_key, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                project,
                arrived,
                milliseconds(now),
                checksum(body),
                dedup_key.to_be_bytes(),
                body
            ])?;
        Ok(())
    }

    /// Removes an event. Returns its project and deduplication key if it existed.
    pub(crate) fn remove(
        &mut self,
        position: Position,
    ) -> Result<Option<(String, u128)>, rusqlite::Error> {
        let removed = self
            .transaction
            .prepare_cached(
                "DELETE FROM event WHERE seq = ?1 RETURNING project, length(body), dedup_key,
                 (SELECT name FROM project WHERE id = project)",
            )?
            .query_row([position.0], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((project, bytes, dedup_key, name)) = removed else {
            return Ok(None);
        };
        self.count(project, -1, -bytes)?;
        Ok(Some((name, u128::from_be_bytes(dedup_key))))
    }

    /// Moves an event to the dead letters, if it still exists. Returns its project and deduplication key.
    pub(crate) fn dead_letter(
        &mut self,
        position: Position,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Result<Option<(String, u128)>, rusqlite::Error> {
        self.transaction
            .prepare_cached(
                "INSERT INTO dead_letter (project, arrived, refused_at, status, reason, body)
                 SELECT project, arrived, ?2, ?3, ?4, body FROM event WHERE seq = ?1",
            )?
            .execute(params![
                position.0,
                milliseconds(now),
                refusal.status,
                refusal.reason
            ])?;
        self.remove(position)
    }

    /// Moves a dead letter to the end of the queue, if it exists.
    pub(crate) fn requeue(&mut self, number: i64, now: SystemTime) -> Result<(), rusqlite::Error> {
        let found = self
            .transaction
            .prepare_cached("SELECT project, arrived, body FROM dead_letter WHERE id = ?1")?
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((project, arrived, body)) = found else {
            return Ok(());
        };
        let body = Bytes::from(Vec::<u8>::clone(&body));
        let bytes = size(&body);
        // A damaged body that is no longer a valid event is sent unchanged; PostHog's capture service
        // decides.
        let dedup_key =
            SpooledEvent::new(body.clone(), time_of(arrived)).map_or(0, |event| event.dedup_key());
        self.insert(project, arrived, now, dedup_key, &body)?;
        self.count(project, 1, bytes)?;
        self.delete_dead_letter(number)
    }

    /// Inserts a dead letter. `values` are arrived, refused_at, status, reason and body, in this order.
    pub(crate) fn insert_dead_letter(
        &mut self,
        project: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<(), rusqlite::Error> {
        let project = self.project(project)?;
        let mut all: Vec<&dyn rusqlite::ToSql> = vec![&project];
        all.extend_from_slice(values);
        self.transaction
            .prepare_cached(
                "INSERT INTO dead_letter (project, arrived, refused_at, status, reason, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(&*all)?;
        Ok(())
    }

    pub(crate) fn delete_dead_letter(&mut self, number: i64) -> Result<(), rusqlite::Error> {
        self.transaction
            .prepare_cached("DELETE FROM dead_letter WHERE id = ?1")?
            .execute([number])?;
        Ok(())
    }

    /// Drops rows that are older than `limit`: at most `max_rows` events, and at most `max_rows` dead letters.
    pub(crate) fn expire(
        &mut self,
        limit: SystemTime,
        max_rows: usize,
    ) -> Result<RemovedCounts, rusqlite::Error> {
        let (limit, max_rows) = (
            milliseconds(limit),
            i64::try_from(max_rows).unwrap_or(i64::MAX),
        );
        let mut removed = RemovedCounts {
            events: Vec::new(),
            letters: self.expire_dead_letters(limit, max_rows)?,
        };
        // Usually the oldest event is not old enough, and nothing else has to be read.
        let oldest: Option<i64> = self
            .transaction
            .prepare_cached("SELECT stored_at FROM event ORDER BY seq LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if oldest.is_none_or(|since| since >= limit) {
            return Ok(removed);
        }
        let old: Vec<i64> = self
            .transaction
            .prepare_cached(
                "SELECT seq FROM (SELECT seq, stored_at FROM event ORDER BY seq LIMIT ?2)
                 WHERE stored_at < ?1",
            )?
            .query_map([limit, max_rows], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for seq in old {
            removed.events.extend(self.remove(Position(seq))?);
        }
        Ok(removed)
    }

    fn expire_dead_letters(&self, limit: i64, max_rows: i64) -> Result<u64, rusqlite::Error> {
        let oldest: Option<i64> = self
            .transaction
            .prepare_cached("SELECT refused_at FROM dead_letter ORDER BY id LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if oldest.is_none_or(|refused_at| refused_at >= limit) {
            return Ok(0);
        }
        let dropped = self
            .transaction
            .prepare_cached(
                "DELETE FROM dead_letter WHERE id IN
                 (SELECT id FROM dead_letter ORDER BY id LIMIT ?2) AND refused_at < ?1",
            )?
            .execute([limit, max_rows])?;
        Ok(dropped as u64)
    }

    /// Drops the oldest dead letters until the rest has at most `limit` bytes of JSON, but at most `max_rows`
    /// of them. Returns how many were dropped.
    pub(crate) fn evict_dead_letters(
        &mut self,
        limit: u64,
        max_rows: usize,
    ) -> Result<u64, rusqlite::Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let total: i64 = self
            .transaction
            .prepare_cached("SELECT coalesce(sum(dead_letter_bytes), 0) FROM project")?
            .query_row([], |row| row.get(0))?;
        let (mut excess, mut last) = (total - limit, 0);
        let mut next = self.transaction.prepare_cached(
            "SELECT id, length(body) FROM dead_letter WHERE id > ?1 ORDER BY id LIMIT 1",
        )?;
        for _ in 0..max_rows {
            if excess <= 0 {
                break;
            }
            let oldest = next
                .query_row([last], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
                .optional()?;
            let Some((id, bytes)) = oldest else { break };
            (last, excess) = (id, excess - bytes);
        }
        if last == 0 {
            return Ok(0);
        }
        let dropped = self
            .transaction
            .prepare_cached("DELETE FROM dead_letter WHERE id <= ?1")?
            .execute([last])?;
        Ok(dropped as u64)
    }
}

/// Returns the bytes of the file's pages that are in use.
pub(super) fn used(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    Ok((read("page_count")? - read("freelist_count")?) * read("page_size")?)
}

/// Returns the length of an event in bytes, as the integer type of a column.
pub(super) fn size(body: &[u8]) -> i64 {
    i64::try_from(body.len()).unwrap_or(i64::MAX)
}

/// Returns the CRC-32 of a body, to detect damaged bytes.
pub(super) fn checksum(body: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(body);
    crc.sum()
}

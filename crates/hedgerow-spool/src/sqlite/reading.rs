//! What is read of the spool's tables.

use std::collections::HashMap;
use std::time::SystemTime;

use rusqlite::{params, Row};

use super::database::{Database, NextRow};
use super::writing::checksum;
use crate::event::time_of;
use crate::store::{PeekLimit, Position, QueuedEvent, Rest};
use crate::{DeadLetter, Refusal, SpoolError};

/// What waits for one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingEvents {
    /// The project.
    pub project: String,
    /// Events.
    pub events: u64,
    /// Their JSON in bytes.
    pub bytes: u64,
    /// The first arrival of the oldest.
    pub oldest: Option<SystemTime>,
}

/// What `take` found.
#[derive(Debug, Default)]
pub(crate) struct TakenEvents {
    pub(crate) events: Vec<QueuedEvent>,
    /// Their bytes are not what was written.
    pub(crate) damaged: Vec<Position>,
    pub(crate) rest: Rest,
}

impl Database {
    /// The oldest events of a project after a position, in order, and those whose bytes are not
    /// what was written.
    pub(crate) fn peek(
        &self,
        project: &str,
        limit: PeekLimit,
        without: &dyn Fn(i64) -> bool,
    ) -> Result<TakenEvents, SpoolError> {
        let mut found = TakenEvents::default();
        let mut bytes = 0;
        self.each(
            "SELECT seq, arrived, crc, body FROM event
             WHERE project = (SELECT id FROM project WHERE name = ?1) ORDER BY seq",
            params![project],
            |row| {
                let seq: i64 = row.get(0)?;
                if without(seq) {
                    return Ok(NextRow::Row);
                }
                let body: Vec<u8> = row.get(3)?;
                if checksum(&body) != row.get::<_, u32>(2)? {
                    found.damaged.push(Position(seq));
                    return Ok(NextRow::Row);
                }
                bytes += body.len();
                let enough = found.events.len() >= limit.events || bytes > limit.bytes;
                if enough && !found.events.is_empty() {
                    found.rest = Rest::More;
                    return Ok(NextRow::Enough);
                }
                found.events.push(QueuedEvent {
                    position: Position(seq),
                    body: body.into(),
                    first_arrival: time_of(row.get(1)?),
                });
                Ok(NextRow::Row)
            },
        )?;
        Ok(found)
    }

    /// The spool's own time as it was last written down, or that of its newest event or dead letter.
    pub(crate) fn time(&self) -> Result<Option<SystemTime>, SpoolError> {
        let mut newest: Option<i64> = None;
        let mut keep = |row: &Row<'_>| {
            newest = newest.max(row.get(0)?);
            Ok(NextRow::Row)
        };
        self.each("SELECT time FROM clock", [], &mut keep)?;
        self.each(
            "SELECT stored_at FROM event ORDER BY seq DESC LIMIT 1",
            [],
            &mut keep,
        )?;
        self.each(
            "SELECT refused_at FROM dead_letter ORDER BY id DESC LIMIT 1",
            [],
            &mut keep,
        )?;
        Ok(newest.map(time_of))
    }

    /// Project, events and bytes, of all projects that were ever seen.
    pub(crate) fn totals(&self) -> Result<Vec<(String, u64, u64)>, SpoolError> {
        let mut totals = Vec::new();
        self.each(
            "SELECT name, events, bytes FROM project ORDER BY name",
            [],
            |row| {
                totals.push((row.get(0)?, row.get(1)?, row.get(2)?));
                Ok(NextRow::Row)
            },
        )?;
        Ok(totals)
    }

    /// What waits, per project.
    pub(crate) fn waiting(&self) -> Result<Vec<WaitingEvents>, SpoolError> {
        let mut all = Vec::new();
        self.each(
            "SELECT name, events, bytes, (SELECT arrived FROM event WHERE project = project.id
             ORDER BY seq LIMIT 1) FROM project ORDER BY name",
            [],
            |row| {
                all.push(WaitingEvents {
                    project: row.get(0)?,
                    events: row.get(1)?,
                    bytes: row.get(2)?,
                    oldest: row.get::<_, Option<i64>>(3)?.map(time_of),
                });
                Ok(NextRow::Row)
            },
        )?;
        Ok(all)
    }

    /// The deduplication keys of what waits, with their projects, at most `limit`.
    pub(crate) fn dedup_keys(&self, limit: usize) -> Result<Vec<(String, u128)>, SpoolError> {
        let mut all = Vec::new();
        self.each(
            "SELECT name, dedup_key FROM event INDEXED BY event_order
             JOIN project ON project.id = event.project LIMIT ?1",
            params![i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| {
                all.push((row.get(0)?, u128::from_be_bytes(row.get(1)?)));
                Ok(NextRow::Row)
            },
        )?;
        Ok(all)
    }

    /// The dead letters in the order of their numbers, or only one.
    pub(crate) fn dead_letters(&self, only: Option<i64>) -> Result<Vec<DeadLetter>, SpoolError> {
        let mut all = Vec::new();
        self.each(
            "SELECT dead_letter.id, name, arrived, refused_at, status, reason, body
             FROM dead_letter JOIN project ON project.id = dead_letter.project
             WHERE ?1 IS NULL OR dead_letter.id = ?1 ORDER BY dead_letter.id",
            params![only],
            |row| {
                all.push(DeadLetter {
                    number: row.get(0)?,
                    project: row.get(1)?,
                    first_arrival: time_of(row.get(2)?),
                    refused_at: time_of(row.get(3)?),
                    refusal: Refusal {
                        status: row.get(4)?,
                        reason: row.get(5)?,
                    },
                    body: row.get::<_, Vec<u8>>(6)?.into(),
                });
                Ok(NextRow::Row)
            },
        )?;
        Ok(all)
    }

    /// How many dead letters there are of each project.
    pub(crate) fn dead_letter_counts(&self) -> Result<HashMap<String, u64>, SpoolError> {
        let mut counts = HashMap::new();
        self.each(
            "SELECT name, count(*) FROM dead_letter JOIN project ON project.id = dead_letter.project
             GROUP BY dead_letter.project",
            [],
            |row| {
                counts.insert(row.get(0)?, row.get(1)?);
                Ok(NextRow::Row)
            },
        )?;
        Ok(counts)
    }
}

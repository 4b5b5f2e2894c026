//! Reads the spool's tables.

use std::time::SystemTime;

use rusqlite::{params, Row};

use super::database::{Database, NextRow};
use super::writing::checksum;
use crate::error::SpoolError;
use crate::event::time_of;
use crate::store::{PeekLimit, Position, QueuedEvent, Rest};

/// The amount of waiting events of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingEvents {
    /// The project.
    pub project: String,
    /// The number of events.
    pub events: u64,
    /// The size of their JSON, in bytes.
    pub bytes: u64,
    /// When the oldest event first arrived.
    pub oldest: Option<SystemTime>,
}

/// The result of [`Database::peek`].
#[derive(Debug, Default)]
pub(crate) struct TakenEvents {
    pub(crate) events: Vec<QueuedEvent>,
    /// The positions of events whose bytes are damaged.
    pub(crate) damaged: Vec<Position>,
    pub(crate) rest: Rest,
}

/// The totals of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectTotal {
    pub(crate) project: String,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) dead_letters: u64,
}

impl ProjectTotal {
    fn of(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            project: row.get(0)?,
            events: row.get(1)?,
            bytes: row.get(2)?,
            dead_letters: row.get(3)?,
        })
    }
}

impl Database {
    /// Returns the oldest events of a project, in order, and the positions of damaged ones. Skips the
    /// positions for which `is_delivered` returns `true`.
    pub(crate) fn peek(
        &self,
        project: &str,
        limit: PeekLimit,
        is_delivered: &dyn Fn(i64) -> bool,
    ) -> Result<TakenEvents, SpoolError> {
        let mut found = TakenEvents::default();
        let mut bytes = 0;
        self.each(
            "SELECT seq, arrived, crc, body FROM event
             WHERE project = (SELECT id FROM project WHERE name = ?1) ORDER BY seq",
            params![project],
            |row| {
                let seq: i64 = row.get(0)?;
                if is_delivered(seq) {
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

    /// Returns the spool's own time: the latest of the stored time, the time of the newest event and the
    /// time of the newest dead letter.
    pub(crate) fn time(&self) -> Result<Option<SystemTime>, SpoolError> {
        let mut newest: Option<i64> = None;
        let mut keep_newest = |row: &Row<'_>| {
            newest = newest.max(row.get(0)?);
            Ok(NextRow::Row)
        };
        self.each("SELECT time FROM clock", [], &mut keep_newest)?;
        self.each(
            "SELECT stored_at FROM event ORDER BY seq DESC LIMIT 1",
            [],
            &mut keep_newest,
        )?;
        self.each(
            "SELECT refused_at FROM dead_letter ORDER BY id DESC LIMIT 1",
            [],
            &mut keep_newest,
        )?;
        Ok(newest.map(time_of))
    }

    /// Returns the totals of all projects that ever had events.
    pub(crate) fn totals(&self) -> Result<Vec<ProjectTotal>, SpoolError> {
        let mut totals = Vec::new();
        self.each(
            "SELECT name, events, bytes, dead_letters FROM project ORDER BY name",
            [],
            |row| {
                totals.push(ProjectTotal::of(row)?);
                Ok(NextRow::Row)
            },
        )?;
        Ok(totals)
    }

    /// Returns the totals of one project, if it ever had events.
    pub(crate) fn total(&self, project: &str) -> Result<Option<ProjectTotal>, SpoolError> {
        let mut total = None;
        self.each(
            "SELECT name, events, bytes, dead_letters FROM project WHERE name = ?1",
            params![project],
            |row| {
                total = Some(ProjectTotal::of(row)?);
                Ok(NextRow::Enough)
            },
        )?;
        Ok(total)
    }

    /// Returns the amount of waiting events for each project.
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

    /// Calls `visit` for at most `limit` deduplication keys of waiting events. It takes the newest events
    /// of each project, because these are the most likely to be repeated, and gives each project the
    /// same share.
    pub(crate) fn newest_dedup_keys(
        &self,
        limit: usize,
        mut visit: impl FnMut(&str, u128),
    ) -> Result<(), SpoolError> {
        let mut totals = self.totals()?;
        totals.retain(|total| total.events > 0);
        // Projects with few events come first and leave the rest of their share to the others.
        totals.sort_unstable_by_key(|total| total.events);
        let (mut left, mut projects) = (limit, totals.len());
        for ProjectTotal { project, .. } in totals {
            let share = left / projects.max(1);
            projects -= 1;
            self.each(
                "SELECT dedup_key FROM event INDEXED BY event_order
                 WHERE project = (SELECT id FROM project WHERE name = ?1)
                 ORDER BY seq DESC LIMIT ?2",
                params![project, i64::try_from(share).unwrap_or(i64::MAX)],
                |row| {
                    visit(&project, u128::from_be_bytes(row.get(0)?));
                    left -= 1;
                    Ok(NextRow::Row)
                },
            )?;
        }
        Ok(())
    }
}

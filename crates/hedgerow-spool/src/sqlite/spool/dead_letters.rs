//! Reads the dead letters.

use rusqlite::{params, Row};

use super::database::{Database, NextRow};
use crate::error::SpoolError;
use crate::event::time_of;
use crate::store::{DeadLetter, Refusal};

impl Database {
    /// Calls `visit` for each dead letter, in the order of their numbers. It does not collect them:
    /// together they may take a tenth of `max_size`.
    pub(crate) fn each_dead_letter(
        &self,
        mut visit: impl FnMut(DeadLetter),
    ) -> Result<(), SpoolError> {
        self.each(
            "SELECT dead_letter.id, name, arrived, refused_at, status, reason, body
             FROM dead_letter JOIN project ON project.id = dead_letter.project
             ORDER BY dead_letter.id",
            [],
            |row| {
                visit(letter(row)?);
                Ok(NextRow::Row)
            },
        )
    }

    /// Returns the dead letter with this number.
    pub(crate) fn dead_letter(&self, number: i64) -> Result<Option<DeadLetter>, SpoolError> {
        let mut found = None;
        self.each(
            "SELECT dead_letter.id, name, arrived, refused_at, status, reason, body
             FROM dead_letter JOIN project ON project.id = dead_letter.project
             WHERE dead_letter.id = ?1",
            params![number],
            |row| {
                found = Some(letter(row)?);
                Ok(NextRow::Enough)
            },
        )?;
        Ok(found)
    }

    /// Returns the numbers of all dead letters, in order.
    pub(crate) fn dead_letter_numbers(&self) -> Result<Vec<i64>, SpoolError> {
        let mut numbers = Vec::new();
        self.each("SELECT id FROM dead_letter ORDER BY id", [], |row| {
            numbers.push(row.get(0)?);
            Ok(NextRow::Row)
        })?;
        Ok(numbers)
    }

    /// Returns whether there is a dead letter with this number.
    pub(crate) fn has_dead_letter(&self, number: i64) -> Result<bool, SpoolError> {
        let mut found = false;
        self.each(
            "SELECT 1 FROM dead_letter WHERE id = ?1",
            params![number],
            |_| {
                found = true;
                Ok(NextRow::Enough)
            },
        )?;
        Ok(found)
    }
}

fn letter(row: &Row<'_>) -> Result<DeadLetter, rusqlite::Error> {
    Ok(DeadLetter {
        number: row.get(0)?,
        project: row.get(1)?,
        first_arrival: time_of(row.get(2)?),
        refused_at: time_of(row.get(3)?),
        refusal: Refusal {
            status: row.get(4)?,
            reason: row.get(5)?,
        },
        body: row.get::<_, Vec<u8>>(6)?.into(),
    })
}

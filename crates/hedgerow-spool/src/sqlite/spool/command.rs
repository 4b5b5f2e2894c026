//! `hedgerow spool` for a spool in a folder. It needs no connection to the running proxy: SQLite lets
//! several processes use one file, each change is one transaction, and the replay finds a retried event
//! within a second.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use super::database::{Database, Opener};
use crate::command::{CommandError, Selection, SpoolCommand};
use crate::error::SpoolError;
use crate::listing::{time, DeadRow, ListedCount, Listing, WaitingRow};

impl SpoolCommand {
    /// Runs this command on the spool in `folder`, and writes the result to `out` as lines.
    ///
    /// # Errors
    /// [`SpoolError::Missing`] if the folder contains no spool, [`SpoolError::NoSuchDeadLetter`] for a
    /// number that no dead letter has (then nothing has changed), otherwise an error of the storage.
    pub fn run(&self, folder: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
        let mut database = Database::open(folder, Opener::Command)?;
        match self {
            Self::Ls(format) => Ok(format.write(&list(&database)?, out)?),
            Self::Show { number } => {
                let letter = database
                    .dead_letter(*number)?
                    .ok_or(SpoolError::NoSuchDeadLetter(*number))?;
                out.write_all(&letter.body)?;
                writeln!(out)?;
                Ok(())
            }
            Self::Retry(letters) => {
                let numbers = letters.resolve(&database)?;
                let now = database.time()?.unwrap_or_else(SystemTime::now);
                database.write(|writing| {
                    numbers
                        .iter()
                        .try_for_each(|number| writing.requeue(*number, now).map(drop))
                })?;
                writeln!(out, "{} back in the queue", numbers.len())?;
                Ok(())
            }
            Self::Drop(letters) => {
                let numbers = letters.resolve(&database)?;
                database.write(|writing| {
                    numbers
                        .iter()
                        .try_for_each(|number| writing.delete_dead_letter(*number))
                })?;
                writeln!(out, "{} dropped", numbers.len())?;
                Ok(())
            }
        }
    }
}

impl Selection {
    fn resolve(&self, database: &Database) -> Result<Vec<i64>, SpoolError> {
        let mut numbers = match self {
            Self::All => return database.dead_letter_numbers(),
            Self::Numbers(numbers) => numbers.clone(),
        };
        numbers.sort_unstable();
        numbers.dedup();
        for number in &numbers {
            if !database.has_dead_letter(*number)? {
                return Err(SpoolError::NoSuchDeadLetter(*number));
            }
        }
        Ok(numbers)
    }
}

fn list(database: &Database) -> Result<Listing, SpoolError> {
    let waiting = database.waiting()?.into_iter();
    let waiting = waiting.filter(|waiting| waiting.events > 0);
    let mut dead = Vec::new();
    database.each_dead_letter(|letter| dead.push(DeadRow::from(letter)))?;
    Ok(Listing {
        waiting: waiting
            .map(|waiting| WaitingRow {
                amount: ListedCount::Events {
                    events: waiting.events,
                    bytes: waiting.bytes,
                },
                oldest: waiting.oldest.map(time),
                project: waiting.project,
            })
            .collect(),
        dead,
        bytes: database.used()?,
    })
}

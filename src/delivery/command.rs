//! `hedgerow spool`: looks into a spool and works on its dead letters, while the proxy runs.
//!
//! No line to the running proxy is needed (for a spool on NATS, see `nats::command`). SQLite lets several processes into one file, each
//! change is one transaction, and the replay finds a retried event within a second.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::listing::{time, Amount, DeadRow, Listing, WaitingRow};
use super::spool::{Absent, Database};
use super::SpoolError;

/// What `hedgerow spool` can do.
#[derive(Debug, Clone, Subcommand)]
pub enum SpoolCommand {
    /// What waits, per project, and the dead letters: number, project, time, status, reason.
    Ls(Form),
    /// The event of a dead letter as JSON, on one line.
    Show {
        /// The number that `ls` shows.
        number: i64,
    },
    /// Puts dead letters at the end of the queue; their first arrival and uuid stay.
    Retry(Letters),
    /// Deletes dead letters.
    Drop(Letters),
}

/// How `ls` writes.
#[derive(Debug, Clone, Default, Args)]
pub struct Form {
    /// One JSON object: `waiting`, `dead`, and `bytes` in use.
    #[arg(long)]
    pub json: bool,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Letters {
    /// The numbers that `ls` shows.
    #[arg(num_args = 1..)]
    pub numbers: Vec<i64>,
    /// All dead letters.
    #[arg(long)]
    pub all: bool,
}

/// Why a command could not be carried out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The spool could not be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The answer could not be written.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl SpoolCommand {
    /// Works on the spool in `folder`, and writes the answer as lines.
    ///
    /// # Errors
    /// [`SpoolError::Missing`] without a spool there, [`SpoolError::NoSuchLetter`] for a number
    /// that no letter has (then nothing has been changed), else those of the storage.
    pub fn run(&self, folder: &Path, out: &mut dyn Write) -> Result<(), CommandError> {
        let mut database = Database::open(folder, Absent::Refuse)?;
        match self {
            Self::Ls(form) => Ok(form.write(&list(&database)?, out)?),
            Self::Show { number } => {
                let letters = database.letters(Some(*number))?;
                let letter = letters.first().ok_or(SpoolError::NoSuchLetter(*number))?;
                out.write_all(&letter.body)?;
                writeln!(out)?;
                Ok(())
            }
            Self::Retry(letters) => {
                let numbers = letters.resolve(&database)?;
                let now = database.age()?.unwrap_or_else(SystemTime::now);
                database.write(|writing| {
                    numbers
                        .iter()
                        .try_for_each(|number| writing.revive(*number, now).map(drop))
                })?;
                writeln!(out, "{} back in the queue", numbers.len())?;
                Ok(())
            }
            Self::Drop(letters) => {
                let numbers = letters.resolve(&database)?;
                database.write(|writing| {
                    numbers
                        .iter()
                        .try_for_each(|number| writing.drop_letter(*number))
                })?;
                writeln!(out, "{} dropped", numbers.len())?;
                Ok(())
            }
        }
    }
}

impl Letters {
    fn resolve(&self, database: &Database) -> Result<Vec<i64>, SpoolError> {
        if self.all {
            let letters = database.letters(None)?;
            return Ok(letters.iter().map(|letter| letter.number).collect());
        }
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        numbers.dedup();
        for number in &numbers {
            if database.letters(Some(*number))?.is_empty() {
                return Err(SpoolError::NoSuchLetter(*number));
            }
        }
        Ok(numbers)
    }
}

fn list(database: &Database) -> Result<Listing, SpoolError> {
    let waiting = database.waiting()?.into_iter();
    let waiting = waiting.filter(|waiting| waiting.events > 0);
    Ok(Listing {
        waiting: waiting
            .map(|waiting| WaitingRow {
                amount: Amount::Events {
                    events: waiting.events,
                    bytes: waiting.bytes,
                },
                oldest: waiting.oldest.map(time),
                project: waiting.project,
            })
            .collect(),
        dead: database
            .letters(None)?
            .into_iter()
            .map(DeadRow::from)
            .collect(),
        bytes: database.used()?,
    })
}

impl Form {
    /// Writes a listing.
    pub(super) fn write(&self, listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
        match self.json {
            true => listing.json(out),
            false => listing.lines(out),
        }
    }
}

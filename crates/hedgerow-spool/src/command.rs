//! The commands of `hedgerow spool`, which [`Backend::run`](crate::Backend::run) runs. They work while the
//! proxy runs.

use std::io::{self, Write};

use thiserror::Error;

use crate::error::SpoolError;
use crate::listing::Listing;

/// A command of `hedgerow spool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolCommand {
    /// Prints how much waits for each project, and the dead letters: number, project, time of arrival,
    /// status, reason, name and uuid of the event.
    Ls(ListFormat),
    /// Prints the event of a dead letter as JSON, on one line.
    Show {
        /// The number that `ls` shows.
        number: i64,
    },
    /// Moves dead letters to the end of the queue. They keep their first arrival and uuid.
    Retry(Selection),
    /// Deletes dead letters.
    Drop(Selection),
}

/// The output format of `ls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListFormat {
    /// Headings, and a line for each project and dead letter, with tabs between the columns.
    #[default]
    Lines,
    /// One JSON object with `waiting`, `dead`, and `bytes` (the bytes in use).
    Json,
}

/// The dead letters to which a command applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those with the numbers that `ls` shows.
    Numbers(Vec<i64>),
    /// All of them.
    All,
}

/// The reason why a command failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The spool could not be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The answer could not be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl ListFormat {
    /// Writes a listing.
    pub(super) fn write(&self, listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Json => listing.json(out),
            Self::Lines => listing.lines(out),
        }
    }
}

//! The commands of `hedgerow spool`, which work while the proxy runs:
//! [`Backend::run`](crate::Backend::run).

use std::io::{self, Write};

use thiserror::Error;

use crate::error::SpoolError;
use crate::listing::Listing;

/// A command of `hedgerow spool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolCommand {
    /// Prints the waiting events of each project, and the dead letters: number, project, time, status, reason.
    Ls(ListFormat),
    /// Prints the event of a dead letter as JSON, on one line.
    Show {
        /// The number that `ls` shows.
        number: i64,
    },
    /// Puts dead letters at the end of the queue; they keep their first arrival and uuid.
    Retry(Selection),
    /// Deletes dead letters.
    Drop(Selection),
}

/// How `ls` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListFormat {
    /// Headings and a line for each, with tabs between the columns.
    #[default]
    Lines,
    /// One JSON object: `waiting`, `dead`, and `bytes` in use.
    Json,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those with the numbers that `ls` shows.
    Numbers(Vec<i64>),
    /// All of them.
    All,
}

/// Why a command could not be carried out.
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

//! Mistakes and warnings, with their position, message and line.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// A position in a configuration file. Both numbers count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePosition {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One mistake in a configuration file, or one thing in it that is worth a warning.
///
/// No field contains a secret: project keys and write keys are masked in the line as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The position where it begins.
    pub position: SourcePosition,
    /// The keys that lead to it, as in `routes[1].path`; empty for the file as a whole. An entry
    /// of a map of write keys has its index, counted from 0, instead of its key.
    pub path: String,
    /// The mistake, and what was expected.
    pub message: String,
    /// The line of the file with the mistake.
    pub(super) snippet: Option<SourceExcerpt>,
}

/// A valid setting that is probably not intended.
pub type Warning = Problem;

/// One line of a file, with secrets masked, and the part of it that has the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceExcerpt {
    pub line: String,
    /// The number of characters before that part.
    pub before: usize,
    /// The number of characters in that part, at least 1.
    pub width: usize,
}

/// Every mistake of one file, in the order of lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    pub(super) list: Vec<Problem>,
    pub(super) left_out: usize,
}

impl Problems {
    /// Returns the mistakes in the order of their positions, at most 100.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Returns the number of all mistakes, including those after the hundredth.
    pub fn count(&self) -> usize {
        self.list.len() + self.left_out
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: ",
            self.position.line, self.position.column
        )?;
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.list.iter().enumerate() {
            if number > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(formatter, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// The reason why there is no configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file itself cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file has mistakes.
    #[error("{problems}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of its mistakes.
        problems: Problems,
    },
}

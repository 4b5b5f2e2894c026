//! `hedgerow spool`: the events that wait for PostHog, and the dead letters.

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::{Args, Subcommand};
use hedgerow::config::WithoutSecrets;
use hedgerow::delivery::{ListFormat, Selection, SpoolCommand};

use super::command_end::CommandEnd;
use super::file::{self, KeyLookup};
use super::output::{aligned, complain, print};

/// The arguments of `hedgerow spool`.
#[derive(Debug, Args)]
pub(super) struct SpoolArgs {
    #[command(subcommand)]
    command: SpoolSubcommand,
}

/// The commands for a spool.
#[derive(Debug, Subcommand)]
enum SpoolSubcommand {
    /// Print the waiting events of each project, and the dead letters: number, project, time,
    /// status, reason.
    Ls {
        /// Print one JSON object: `waiting`, `dead`, and `bytes` in use.
        #[arg(long)]
        json: bool,
    },
    /// Print the event of a dead letter as JSON, on one line.
    Show {
        /// The number that `ls` shows.
        number: i64,
    },
    /// Put dead letters at the end of the queue; they keep their first arrival and uuid.
    Retry(DeadLetterArgs),
    /// Delete dead letters.
    Drop(DeadLetterArgs),
}

/// The chosen dead letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct DeadLetterArgs {
    /// The numbers that `ls` shows.
    #[arg(num_args = 1..)]
    numbers: Vec<i64>,
    /// All dead letters.
    #[arg(long)]
    all: bool,
}

impl From<&DeadLetterArgs> for Selection {
    fn from(selected: &DeadLetterArgs) -> Self {
        match selected.all {
            true => Self::All,
            false => Self::Numbers(selected.numbers.clone()),
        }
    }
}

impl From<&SpoolSubcommand> for SpoolCommand {
    fn from(command: &SpoolSubcommand) -> Self {
        match command {
            SpoolSubcommand::Ls { json: true } => Self::Ls(ListFormat::Json),
            SpoolSubcommand::Ls { json: false } => Self::Ls(ListFormat::Lines),
            SpoolSubcommand::Show { number } => Self::Show { number: *number },
            SpoolSubcommand::Retry(selected) => Self::Retry(selected.into()),
            SpoolSubcommand::Drop(selected) => Self::Drop(selected.into()),
        }
    }
}

/// Lists the spool of a configuration, or changes its dead letters. The proxy may run meanwhile.
pub(super) fn spool(config: Option<&Path>, options: &SpoolArgs) -> CommandEnd {
    let loaded = file::find(config, None).and_then(|path| file::load(&path, KeyLookup::Spared));
    let config = match loaded {
        Ok(config) => config,
        Err(end) => return end,
    };
    let Some(spool) = &config.delivery.spool else {
        complain!("hedgerow: the configuration has no `delivery.spool`");
        return CommandEnd::Unable;
    };
    let command = SpoolCommand::from(&options.command);
    let mut out = Vec::new();
    let backend = spool.place.backend();
    if backend
        .secrets()
        .into_iter()
        .any(WithoutSecrets::is_placeholder)
    {
        complain!(
            "hedgerow: `delivery.spool` refers to a variable or file with its login, but that does not exist"
        );
        return CommandEnd::Unable;
    }
    let done = backend.run(spool.limits(), &command, &mut out);
    let text = String::from_utf8_lossy(&out);
    // A terminal gets aligned columns, a program gets tabs. An event is one long line, not a table.
    let listed = matches!(command, SpoolCommand::Ls(_));
    let printed = match listed && io::stdout().is_terminal() {
        true => print(&aligned(&text)),
        false => print(&text),
    };
    match done {
        Ok(()) => printed,
        Err(error) => {
            complain!("hedgerow: {error}");
            CommandEnd::Unable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct ListingLine {
        #[command(flatten)]
        options: SpoolArgs,
    }

    fn parse(line: &str) -> Option<SpoolCommand> {
        let words = ["spool"].into_iter().chain(line.split(' '));
        let line = ListingLine::try_parse_from(words).ok()?;
        Some(SpoolCommand::from(&line.options.command))
    }

    #[test]
    fn flags_select_the_right_dead_letters() {
        let numbers = |numbers: &[i64]| Selection::Numbers(numbers.to_vec());
        for (line, expected) in [
            ("ls", SpoolCommand::Ls(ListFormat::Lines)),
            ("ls --json", SpoolCommand::Ls(ListFormat::Json)),
            ("show 2", SpoolCommand::Show { number: 2 }),
            ("retry 1 2", SpoolCommand::Retry(numbers(&[1, 2]))),
            ("retry --all", SpoolCommand::Retry(Selection::All)),
            ("drop 3", SpoolCommand::Drop(numbers(&[3]))),
            ("drop --all", SpoolCommand::Drop(Selection::All)),
        ] {
            assert_eq!(parse(line), Some(expected), "{line}");
        }
        for wrong in ["drop", "drop 1 --all", "retry", "show", "show x", "ls 1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

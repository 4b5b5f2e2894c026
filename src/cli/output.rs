//! Prints the output of commands. A closed pipe or a full disk does not cause a panic.

use std::io::{self, Write};
use std::process::ExitCode;

use super::command_end::CommandEnd;

/// Writes a line to standard error. If it cannot be written, there is no other place to report it.
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($words)*);
    }};
}

pub(super) use complain;

/// Writes a command's result to standard output. A reader that closes the
/// pipe is not an error.
pub(super) fn print(text: &str) -> CommandEnd {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints the message of the command-line parser: the requested help or version, or the mistake in the
/// command line.
pub(super) fn help_or_mistake(error: &clap::Error) -> ExitCode {
    let written = error.print().and_then(|()| io::stdout().flush());
    match error.use_stderr() {
        true => CommandEnd::Unable.into(),
        false => printed(written).into(),
    }
}

fn printed(written: io::Result<()>) -> CommandEnd {
    match written {
        Ok(()) => CommandEnd::Well,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => CommandEnd::Well,
        Err(error) => {
            complain!("hedgerow: standard output: {error}");
            CommandEnd::Unable
        }
    }
}

/// Formats lines with tabs between their columns as a table. A line that has another number of columns
/// than the line above it begins a new table.
pub(super) fn aligned(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let mut table = String::new();
    for group in rows.chunk_by(|one, next| one.len() == next.len()) {
        let columns = group.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = group.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in group {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            table.push_str(line.trim_end());
            table.push('\n');
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let table = aligned("A\tBB\tC\naaa\tb\tc\nin use\t1 B\n");
        assert_eq!(table, "A    BB  C\naaa  b   c\nin use  1 B\n");
    }
}

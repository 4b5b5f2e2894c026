//! The colours of the log on a terminal.

use std::io::IsTerminal;

use log::Level;

/// Whether log lines have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    On,
    Off,
}

impl Colour {
    /// Returns `On` if standard error is a terminal, and neither `NO_COLOR` (<https://no-color.org>) nor
    /// `TERM=dumb` is set.
    pub(super) fn of_the_log() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let unwanted =
            variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb");
        match std::io::stderr().is_terminal() && !unwanted {
            true => Self::On,
            false => Self::Off,
        }
    }

    /// Returns the beginning of a line: its time, level and target.
    pub(super) fn head(self, time: impl std::fmt::Display, level: Level, target: &str) -> String {
        let code = match level {
            Level::Error => "1;31",
            Level::Warn => "33",
            Level::Info => "32",
            Level::Debug => "34",
            Level::Trace => "2",
        };
        match self {
            Self::On => {
                format!(
                    "\x1b[2m[{time}\x1b[0m \x1b[{code}m{level:<5}\x1b[0m \x1b[2m{target}]\x1b[0m"
                )
            }
            Self::Off => format!("[{time} {level:<5} {target}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_same_text_with_and_without_colours() {
        let plain = Colour::Off.head("12:00", Level::Warn, "hedgerow");
        assert_eq!(plain, "[12:00 WARN  hedgerow]");
        let painted = Colour::On.head("12:00", Level::Warn, "hedgerow");
        assert!(painted.contains("\x1b[33mWARN "), "{painted:?}");
        let bare: String = painted
            .split('\x1b')
            .map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))
            .collect();
        assert_eq!(bare, plain);
    }
}

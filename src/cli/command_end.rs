//! The exit codes of the commands.

use std::process::ExitCode;

/// The result of a command, which determines its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandEnd {
    /// The command succeeded (exit code 0).
    Well,
    /// Some of the input could not be used, or a check has failed (exit code 1).
    Refused,
    /// The command cannot do its work, for example because of a wrong flag, a wrong configuration or a port
    /// that is in use (exit code 2).
    Unable,
}

impl From<CommandEnd> for ExitCode {
    fn from(end: CommandEnd) -> Self {
        Self::from(match end {
            CommandEnd::Well => 0,
            CommandEnd::Refused => 1,
            CommandEnd::Unable => 2,
        })
    }
}

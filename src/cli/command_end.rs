//! How a command ends.

use std::process::ExitCode;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandEnd {
    /// All is well.
    Well,
    /// Some of the input could not be used.
    Refused,
    /// The command cannot do its work: bad flags, a bad configuration, a taken port.
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

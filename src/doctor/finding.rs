//! The findings as values and as text.

use std::fmt::Write;
use std::time::Duration;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckStatus {
    /// The checked part is as it should be.
    Passed,
    /// It works, but is probably not intended, or the check was not possible.
    Note,
    /// Events are lost or late because of it.
    Failed,
}

/// The result of one check, as `hedgerow doctor` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub status: CheckStatus,
    /// The checked part, such as `project shop, name`.
    pub about: String,
    /// The observation.
    pub observation: String,
    /// What the user should do.
    pub advice: Option<String>,
}

impl Finding {
    /// Creates a finding without a problem.
    pub fn ok(about: impl Into<String>, observation: impl Into<String>) -> Self {
        Self {
            status: CheckStatus::Passed,
            about: about.into(),
            observation: observation.into(),
            advice: None,
        }
    }

    /// Creates a finding that works, but comes with advice.
    pub fn note(
        about: impl Into<String>,
        observation: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: CheckStatus::Note,
            advice: Some(advice.into()),
            ..Self::ok(about, observation)
        }
    }

    /// Creates a finding about something that does not work.
    pub fn bad(
        about: impl Into<String>,
        observation: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: CheckStatus::Failed,
            ..Self::note(about, observation, advice)
        }
    }
}

/// Formats the findings as lines. The last line has the number of problems.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.status {
            CheckStatus::Passed => "ok   ",
            CheckStatus::Note => "note ",
            CheckStatus::Failed => "BAD  ",
        };
        // A text from outside must not control the terminal.
        let _ = writeln!(
            text,
            "{mark} {}: {}",
            printable(&finding.about),
            printable(&finding.observation)
        );
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "      -> {}", printable(advice));
        }
    }
    let count = |status| {
        let these = findings.iter().filter(|finding| finding.status == status);
        these.count()
    };
    let _ = match (count(CheckStatus::Failed), count(CheckStatus::Note)) {
        (0, 0) => writeln!(text, "all is well"),
        (0, notes) => writeln!(text, "nothing is broken; notes: {notes}"),
        (failed, _) => writeln!(text, "problems: {failed}"),
    };
    text
}

fn printable(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.chars().map(shown).collect()
}

/// Formats a duration in milliseconds.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

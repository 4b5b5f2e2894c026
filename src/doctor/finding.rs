//! The findings as values and as text.

use std::fmt::Write;
use std::time::Duration;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckStatus {
    /// The checked part is as it should be.
    Well,
    /// It works, but is probably not intended, or the check was not possible.
    Odd,
    /// Events are lost or late because of it.
    Bad,
}

/// The result of one check, as `hedgerow doctor` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub health: CheckStatus,
    /// The checked part, such as `project shop, name`.
    pub about: String,
    /// The observation.
    pub said: String,
    /// What the user should do.
    pub advice: Option<String>,
}

impl Finding {
    /// Creates a finding without a problem.
    pub fn ok(about: impl Into<String>, said: impl Into<String>) -> Self {
        Self {
            health: CheckStatus::Well,
            about: about.into(),
            said: said.into(),
            advice: None,
        }
    }

    /// Creates a finding that works, but comes with advice.
    pub fn odd(
        about: impl Into<String>,
        said: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health: CheckStatus::Odd,
            advice: Some(advice.into()),
            ..Self::ok(about, said)
        }
    }

    /// Creates a finding about something that does not work.
    pub fn bad(
        about: impl Into<String>,
        said: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health: CheckStatus::Bad,
            ..Self::odd(about, said, advice)
        }
    }
}

/// Formats the findings as lines. The last line has the number of problems.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.health {
            CheckStatus::Well => "ok   ",
            CheckStatus::Odd => "note ",
            CheckStatus::Bad => "BAD  ",
        };
        // A text from outside must not control the terminal.
        let _ = writeln!(
            text,
            "{mark} {}: {}",
            printable(&finding.about),
            printable(&finding.said)
        );
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "      -> {}", printable(advice));
        }
    }
    let count = |health| {
        let these = findings.iter().filter(|finding| finding.health == health);
        these.count()
    };
    let _ = match (count(CheckStatus::Bad), count(CheckStatus::Odd)) {
        (0, 0) => writeln!(text, "all is well"),
        (0, odd) => writeln!(text, "nothing is broken; notes: {odd}"),
        (bad, _) => writeln!(text, "problems: {bad}"),
    };
    text
}

fn printable(text: &str) -> String {
    let shown = |sign: char| if sign.is_control() { ' ' } else { sign };
    text.chars().map(shown).collect()
}

/// Formats a duration in milliseconds.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

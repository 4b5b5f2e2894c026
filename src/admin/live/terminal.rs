//! Draws an entry for a terminal: the original message on the left, the result on the right.

use super::entry::{LiveEntry, RewriteResult};
use super::pretty;

/// Below this width the two sides are shown one above the other.
const SIDE_BY_SIDE: usize = 60;

/// The minimum width of the output.
const NARROWEST: usize = 20;

/// Draws one entry for a terminal of `width` columns, as plain text with a line break after each line.
/// No line is wider than `width`, or 20 if `width` is less. Control characters are replaced, so that a
/// message cannot control the terminal.
pub fn render_terminal(entry: &LiveEntry, width: usize) -> String {
    let width = width.max(NARROWEST);
    let original = pretty::indent(&entry.original);
    let (heading, result) = match &entry.result {
        RewriteResult::Event(event) => ("as it left", pretty::indent(event)),
        RewriteResult::LeftOut(_, reason) => ("left out on purpose", reason.clone()),
        RewriteResult::Refused(_, reason) => ("refused", reason.clone()),
        RewriteResult::Rejected(status, code) => ("answered", format!("{status} {code}")),
    };
    let mut out = rule(
        &format!("#{} {}", entry.number, entry.at.format("%H:%M:%S%.3f")),
        width,
    );
    if width < SIDE_BY_SIDE {
        for (heading, text) in [
            ("as it came", original.as_str()),
            (heading, result.as_str()),
        ] {
            out.push_str(&format!("{heading}:\n"));
            for line in wrap(text, width) {
                out.push_str(line.trim_end());
                out.push('\n');
            }
        }
        return out;
    }
    // Two columns and " │ " between them.
    let column = (width - 3) / 2;
    let mut original_lines = vec!["as it came".to_owned()];
    original_lines.extend(wrap(&original, column));
    let mut result_lines = vec![heading.to_owned()];
    result_lines.extend(wrap(&result, column));
    for row in 0..original_lines.len().max(result_lines.len()) {
        let original = original_lines.get(row).map_or("", String::as_str);
        let result = result_lines.get(row).map_or("", String::as_str);
        let padding = " ".repeat(column.saturating_sub(columns(original)));
        let line = format!("{original}{padding} │ {result}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn rule(title: &str, width: usize) -> String {
    let line = "─".repeat(width.saturating_sub(columns(title) + 4));
    format!("── {title} {line}\n")
}

/// Breaks text into lines of at most `width` columns. The continuation of a line is indented by four
/// columns more than its beginning, but at most by half of `width`.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        let hanging = " ".repeat((blanks + 4).min(width / 2));
        let mut current = String::new();
        let mut used = 0;
        for character in line.chars() {
            let character = if controls_terminal(character) {
                '\u{fffd}'
            } else {
                character
            };
            let wide = columns_of(character);
            if used + wide > width {
                lines.push(std::mem::replace(&mut current, hanging.clone()));
                used = hanging.len();
            }
            current.push(character);
            used += wide;
        }
        lines.push(current);
    }
    lines
}

/// Returns whether a character controls the terminal or changes the direction of the text after it.
fn controls_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Returns the approximate number of columns of a character: 0 for combining marks, 2 for wide East Asian
/// characters and emoji, otherwise 1.
fn columns_of(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    use crate::rewrite::{Fault, MessageOutcome, Omission};

    fn entry(original: &str, outcome: MessageOutcome<'_>) -> LiveEntry {
        let at = DateTime::from_timestamp_millis(1_795_166_130_250).unwrap();
        LiveEntry::alone(7, at, original.as_bytes(), outcome)
    }

    #[test]
    fn both_sides_are_in_their_columns() {
        let entry = entry(
            r#"{"type":"track","event":"Hedge Bought"}"#,
            MessageOutcome::Event(br#"{"event":"Hedge Bought"}"#),
        );
        assert_eq!(
            render_terminal(&entry, 63),
            "\
── #7 09:15:30.250 ────────────────────────────────────────────
as it came                     │ as it left
{                              │ {
  \"type\": \"track\",             │   \"event\": \"Hedge Bought\"
  \"event\": \"Hedge Bought\"      │ }
}                              │
"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_nothing_is_lost() {
        let long = "é世界🌿abc ".repeat(40);
        let entry = entry(
            &format!("{{\"x\":{{\"y\":\"{long}\"}}}}"),
            MessageOutcome::Refused(Fault::MissingDistinctId),
        );
        for width in [0, 20, 33, 59, 60, 61, 80, 200] {
            let out = render_terminal(&entry, width);
            for line in out.lines() {
                assert!(columns(line) <= width.max(20), "{width}: {line:?}");
            }
            for character in ['é', '世', '🌿'] {
                let count = out.chars().filter(|other| *other == character).count();
                assert_eq!(count, 40, "{width}");
            }
            assert!(out.contains("refused"), "{width}");
        }
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        let entry = entry(
            "{\"x\":\"\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\"}",
            MessageOutcome::LeftOut(Omission::SelfAlias),
        );
        for width in [30, 80] {
            let out = render_terminal(&entry, width);
            assert!(out
                .chars()
                .all(|character| character == '\n' || !controls_terminal(character)));
            assert!(out.contains("[2J"), "{out}");
        }
    }
}

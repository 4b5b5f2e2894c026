//! The output of `hedgerow spool ls`, as lines and as JSON.

use std::io::{self, Write};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::event::{labels, EventLabels};
use crate::store::DeadLetter;

/// The content of a spool, without the text of the events.
#[derive(Debug, Default, Serialize)]
pub(super) struct Listing {
    pub waiting: Vec<WaitingRow>,
    pub dead: Vec<DeadRow>,
    /// Bytes in use.
    pub bytes: u64,
}

/// The waiting events of a project.
#[derive(Debug, Serialize)]
pub(super) struct WaitingRow {
    pub project: String,
    #[serde(flatten)]
    pub amount: ListedCount,
    /// The first arrival of the oldest, if known.
    pub oldest: Option<String>,
}

/// The amount of waiting events.
#[derive(Debug, Serialize)]
#[serde(untagged)]
// A build with only one kind of spool uses only one of these variants.
#[allow(dead_code)]
pub(super) enum ListedCount {
    Events {
        events: u64,
        bytes: u64,
    },
    /// On NATS: the number of messages. Each contains one event or more.
    Messages {
        messages: u64,
    },
}

/// A dead letter.
#[derive(Debug, Serialize)]
pub(super) struct DeadRow {
    number: i64,
    project: String,
    first_arrival: String,
    status: u16,
    reason: String,
    event: Option<String>,
    uuid: Option<String>,
}

impl From<DeadLetter> for DeadRow {
    fn from(letter: DeadLetter) -> Self {
        let (event, uuid) = match labels(&letter.body) {
            Some(EventLabels { event, uuid }) => (Some(event), Some(uuid)),
            None => (None, None),
        };
        Self {
            number: letter.number,
            project: letter.project,
            first_arrival: time(letter.first_arrival),
            status: letter.refusal.status,
            reason: letter.refusal.reason,
            event,
            uuid,
        }
    }
}

impl Listing {
    /// Writes the listing as one JSON object.
    pub(super) fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes headings, and a line for each project and dead letter, with tabs between the columns.
    pub(super) fn lines(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.waiting.is_empty() {
            writeln!(out, "WAITING\tPROJECT\tAMOUNT\tSIZE\tOLDEST")?;
        }
        for row in &self.waiting {
            let project = printable(&row.project);
            let oldest = row.oldest.as_deref().unwrap_or("-");
            let (amount, size) = match row.amount {
                ListedCount::Events { events, bytes } => (format!("{events} events"), size(bytes)),
                ListedCount::Messages { messages } => {
                    (format!("{messages} messages"), "-".to_owned())
                }
            };
            writeln!(out, "waiting\t{project}\t{amount}\t{size}\toldest {oldest}")?;
        }
        if !self.dead.is_empty() {
            writeln!(out, "DEAD LETTER\tPROJECT\tARRIVED\tANSWER\tEVENT\tUUID")?;
        }
        for row in &self.dead {
            writeln!(
                out,
                "dead {}\t{}\t{}\t{} {}\t{}\t{}",
                row.number,
                printable(&row.project),
                row.first_arrival,
                row.status,
                printable(&row.reason),
                printable(row.event.as_deref().unwrap_or("-")),
                row.uuid.as_deref().unwrap_or("-"),
            )?;
        }
        if self.waiting.is_empty() && self.dead.is_empty() {
            writeln!(out, "the spool is empty")?;
        }
        writeln!(out, "in use\t{}", size(self.bytes))
    }
}

/// Returns a size as text, in the unit that suits it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        // A value that would be printed as 1024.0 gets the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Replaces control characters. A client chose the event's name, and it must not move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

pub(super) fn time(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_572_864, "1.5 MiB"),
            (3 << 30, "3.0 GiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }
}

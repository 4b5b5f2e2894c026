//! The documents match the code: their examples run, and their lists are complete.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/address.rs"]
mod address;
#[path = "docs/configuration.rs"]
mod configuration;
#[path = "docs/floors.rs"]
mod floors;
#[path = "docs/mapping.rs"]
mod mapping;
#[path = "docs/metrics.rs"]
mod metrics;
#[path = "docs/moving.rs"]
mod moving;
#[path = "docs/protocols.rs"]
mod protocols;
#[path = "docs/public_items.rs"]
mod public_items;
#[path = "docs/quick_start.rs"]
mod quick_start;
#[path = "docs/repairs.rs"]
mod repairs;

use std::path::Path;
use std::sync::Arc;

use hedgerow::posthog::{ApiKey, Batch, Envelope};
use hedgerow::rewrite::{
    is_batch, Arrival, Bounds, Mapping, MessageOutcome, RewriteError, Rewriter, Timestamp, Watch,
};
use hedgerow::segment::Call;
use serde_json::Value;

/// A file of the project.
pub fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of all tables below this heading, or of all tables for `None`: their cells, without the
/// header rows.
pub fn rows(document: &str, heading: Option<&str>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut here = heading.is_none();
    let mut head = true;
    for line in document.lines() {
        if line.starts_with('#') {
            let title = line.trim_start_matches('#').trim();
            here = heading.is_none_or(|wanted| wanted == title);
        }
        let Some(inner) = line
            .strip_prefix('|')
            .and_then(|line| line.strip_suffix('|'))
        else {
            head = true;
            continue;
        };
        let rule = inner.chars().all(|sign| matches!(sign, '|' | '-' | ' '));
        if rule {
            head = false;
        } else if here && !head {
            rows.push(
                inner
                    .split('|')
                    .map(|cell| cell.trim().to_owned())
                    .collect(),
            );
        }
    }
    rows
}

/// The text between a cell's backquotes, if the cell has nothing else.
pub fn code(cell: &str) -> Option<&str> {
    let inner = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!inner.contains('`')).then_some(inner)
}

/// The outcome of the messages of one body.
#[derive(Default)]
pub struct Seen {
    pub events: Vec<Value>,
    pub codes: Vec<&'static str>,
}

impl Watch for Seen {
    fn message(&mut self, _: usize, _: &[u8], fate: MessageOutcome<'_>) {
        match fate {
            MessageOutcome::Event(event) => {
                self.events.push(serde_json::from_slice(event).unwrap())
            }
            MessageOutcome::LeftOut(omission) => self.codes.push(omission.code()),
            MessageOutcome::Refused(fault) => self.codes.push(fault.code()),
        }
    }
}

/// Rewrites a body with the arrival time of the documents.
pub fn rewritten(body: &str, mapping: Mapping) -> Result<Seen, RewriteError> {
    let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
    let mut rewrite = rewriter
        .begin(Arrival {
            received_at: Timestamp::parse_rfc3339("2026-11-23T21:00:00Z"),
            client_ip: Some([203, 0, 113, 7].into()),
            ..Arrival::new(Call::Batch)
        })
        .address_to(Arc::default());
    rewrite.push(body.as_bytes())?;
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_docs").unwrap());
    let mut seen = Seen::default();
    rewrite.pull(&mut Batch::open(&envelope), usize::MAX, &mut seen)?;
    assert!(is_batch(body.as_bytes()) || seen.events.len() + seen.codes.len() == 1);
    Ok(seen)
}

/// The entries of `part` that `whole` lacks; `None` if there are none.
pub fn lacking(whole: &Value, part: &Value) -> Option<String> {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().find_map(|(key, part)| {
            let lacking = match whole.get(key) {
                Some(whole) => lacking(whole, part)?,
                None => "is missing".to_owned(),
            };
            Some(format!("{key}: {lacking}"))
        }),
        (whole, part) => (whole != part).then(|| format!("is {whole}, not {part}")),
    }
}

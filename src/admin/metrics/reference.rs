//! Generates a part of docs/metrics.md.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::table::metrics;
use crate::admin::requests::{RequestKind, RequestOutcome};

/// Returns the metrics, and the values of the labels of `hedgerow_requests_total`, as Markdown tables.
pub fn reference() -> String {
    let mut page = String::from(
        "| Metric | Type | Labels | Meaning | What to do |\n| --- | --- | --- | --- | --- |\n",
    );
    for metric in metrics() {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        // Writing into a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.word(),
            labels.join(", "),
            metric.help,
            metric.action
        );
    }
    page.push_str("\n| Label of `hedgerow_requests_total` | Values |\n| --- | --- |\n");
    let quoted = |words: &mut dyn Iterator<Item = &'static str>| {
        let mut known = BTreeSet::new();
        let words: Vec<String> = words
            .filter(|word| known.insert(*word))
            .map(|word| format!("`{word}`"))
            .collect();
        words.join(", ")
    };
    for (label, values) in [
        (
            "route",
            "host and path of the route as the configuration has them, or `none`".to_owned(),
        ),
        (
            "call",
            quoted(&mut RequestKind::all().map(|kind| kind.word())),
        ),
        (
            "status",
            quoted(&mut RequestOutcome::all().iter().map(|outcome| outcome.status())),
        ),
        (
            "code",
            quoted(&mut RequestOutcome::all().iter().map(|outcome| outcome.code())),
        ),
    ] {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    page
}

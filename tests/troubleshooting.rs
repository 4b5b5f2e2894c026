//! The table of docs/troubleshooting.md: the tests cause each trouble with the real binary, and its
//! log, metrics, health and live view must match the table.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "troubleshooting/cells.rs"]
mod cells;
mod support;
#[path = "troubleshooting/troubles.rs"]
mod troubles;

use std::collections::BTreeSet;

use cells::{rows, Row};
use troubles::TROUBLES;

fn table() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/troubleshooting.md");
    rows(&std::fs::read_to_string(path).expect("the document"))
}

#[test]
fn every_row_of_the_table_is_played_and_every_trouble_that_is_played_has_a_row() {
    let table = table();
    let written: BTreeSet<&str> = table.iter().map(|row| row.trouble.as_str()).collect();
    let played: BTreeSet<&str> = TROUBLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(written, played);
    assert_eq!(written.len(), table.len(), "a trouble has two rows");
    for row in &table {
        assert!(!row.log.is_empty() && !row.metrics.is_empty(), "{row:?}");
        assert!(!row.health.is_empty() && !row.advice.is_empty(), "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_is_shown_as_the_table_says() {
    let mut wrong = Vec::new();
    for row in table() {
        let Some((_, play)) = TROUBLES.iter().find(|(name, _)| *name == row.trouble) else {
            continue;
        };
        let Some(trouble) = Box::pin(play()).await else {
            println!("SKIPPED: {}", row.trouble);
            continue;
        };
        let missing = trouble.waits_for(&row).await;
        println!(
            "{}: {}",
            row.trouble,
            if missing.is_empty() {
                "as written"
            } else {
                "WRONG"
            }
        );
        if !missing.is_empty() {
            let log = trouble.log();
            wrong.push(format!("{}: {missing:#?}\n{log}", row.trouble));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

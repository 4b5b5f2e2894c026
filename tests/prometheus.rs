//! Metrics, alerts and dashboard with Debian's real Prometheus.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "prometheus/alerts.rs"]
mod alerts;
#[path = "prometheus/dashboard.rs"]
mod dashboard;
#[path = "prometheus/rules.rs"]
mod rules;
mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program of Debian's package; `None` if it is not installed, with a message that the test is
/// skipped.
fn installed(program: &'static str) -> Option<&'static str> {
    let mut asking = Command::new(program);
    asking
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if asking.status().is_ok() {
        return Some(program);
    }
    let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
    assert!(!required, "{program} is required and not installed");
    println!("SKIPPED: {program} is not installed (apt-get install prometheus)");
    None
}

/// A file of the project.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn file(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs `promtool` with these arguments and returns its output if it succeeds.
fn promtool(words: &[&str], input: &str) -> Option<String> {
    use std::io::Write;
    let mut child = Command::new(installed("promtool")?)
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {words:?}: {said}");
    Some(said)
}

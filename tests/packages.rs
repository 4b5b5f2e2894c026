//! What packages contain beside the binary: the unit, the settings, the manifests, and the command
//! for health checks.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "support/address.rs"]
mod address;
#[path = "packages/health.rs"]
mod health;
#[path = "packages/settings.rs"]
mod settings;
#[path = "packages/unit.rs"]
mod unit;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn file(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn hedgerow(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .env_remove("HEDGEROW_CONFIG")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

//! The libraries that run on servers.

use chrono::Utc;
use tokio::process::Command;

use super::events::{check, six_calls_of_a_server, Copies, Library};
use super::installed::{all_here, clients, Prerequisite};
use super::setup::{Setup, PATIENCE};

/// Runs a client to its end and checks the events.
async fn sends_six_calls(mut client: Command, setup: &Setup, library: &Library) {
    let begun = Utc::now();
    client.kill_on_drop(true).current_dir(clients());
    let output = tokio::time::timeout(PATIENCE, client.output())
        .await
        .unwrap_or_else(|_| panic!("{client:?} does not end:\n{}", setup.log()))
        .unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {printed}\n{}",
        output.status,
        setup.log()
    );
    check(
        setup,
        &six_calls_of_a_server(),
        library,
        &Copies::None,
        begun,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn analytics_node_brings_its_six_calls_through() {
    if !all_here(
        "analytics-node",
        &[Prerequisite::Node, Prerequisite::AnalyticsNode],
    ) {
        return;
    }
    let setup = Setup::without_site().await;
    let mut client = Command::new(Prerequisite::Node.path());
    client.arg("node.mjs");
    client.arg(format!("http://{}", setup.hedgerow));
    client.arg("/hr/v1/batch");
    let library = Library::Server {
        name: "@segment/analytics-node",
        version: "3.1.0",
    };
    sends_six_calls(client, &setup, &library).await;
}

async fn the_older_analytics_node(line: &str, version: &'static str) {
    if !all_here(
        "the older analytics-node",
        &[Prerequisite::Node, Prerequisite::OlderAnalyticsNode],
    ) {
        return;
    }
    let setup = Setup::without_site().await;
    let mut client = Command::new(Prerequisite::Node.path());
    client.args(["analytics_node.mjs", line]);
    // This library has no setting for a path, so its host contains the prefix.
    client.arg(format!("http://{}/hr", setup.hedgerow));
    let library = Library::Server {
        name: "analytics-node",
        version,
    };
    sends_six_calls(client, &setup, &library).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn analytics_node_3_5_brings_its_six_calls_through() {
    the_older_analytics_node("3.5", "3.5.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn analytics_node_2_4_brings_its_six_calls_through() {
    the_older_analytics_node("2.4", "2.4.1").await;
}

async fn analytics_python(coding: &str) {
    if !all_here("analytics-python", &[Prerequisite::Python]) {
        return;
    }
    let setup = Setup::without_site().await;
    let mut client = Command::new(Prerequisite::Python.path());
    client.arg("python_client.py");
    client.arg(format!("http://{}/hr", setup.hedgerow));
    client.arg(coding);
    let library = Library::Server {
        name: "analytics-python",
        version: "2.4.0",
    };
    sends_six_calls(client, &setup, &library).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn analytics_python_brings_its_six_calls_through() {
    analytics_python("plain").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn analytics_python_brings_its_six_calls_through_in_gzip() {
    analytics_python("gzip").await;
}

async fn the_rust_crate(way: &str) {
    if !all_here("the segment crate", &[Prerequisite::RustClient]) {
        return;
    }
    let setup = Setup::without_site().await;
    let mut client = Command::new(Prerequisite::RustClient.path());
    client.arg(format!("http://{}/hr", setup.hedgerow));
    client.arg(way);
    sends_six_calls(client, &setup, &Library::Unnamed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_rust_crate_brings_its_six_calls_through_one_by_one() {
    the_rust_crate("single").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_rust_crate_brings_its_six_calls_through_in_a_batch() {
    the_rust_crate("batch").await;
}

//! Headless Chromium, driven by `tests/clients/browser.mjs`.

use std::process::Stdio;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;

use super::house::PATIENCE;
use super::installed::{all_here, clients, Needed, Version};

/// One browser at a time: several of them on a small machine only wait for each other.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// What the browser saw, as `browser.mjs` prints it.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub requests: Vec<Sent>,
    /// The heads of the demo shop's live list, newest first.
    pub shown: Vec<String>,
    /// What the demo shop says of itself.
    pub note: Option<String>,
    /// Errors of the page's scripts and of its console.
    pub errors: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Sent {
    pub method: String,
    pub url: String,
    pub authorized: bool,
    pub status: Option<u16>,
}

pub struct Browser {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    pub fn open(url: &str, scenario: &str) -> Self {
        let argument = json!({
            "chromium": Needed::Chromium.path(),
            "url": url,
            "scenario": scenario,
        });
        let mut process = Command::new(Needed::Node.path())
            .arg("browser.mjs")
            .arg(argument.to_string())
            .current_dir(clients())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    async fn line(&mut self) -> String {
        match tokio::time::timeout(PATIENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            other => panic!("the browser says nothing more: {other:?}"),
        }
    }

    /// Waits until the visitor has done everything.
    pub async fn done(&mut self) {
        assert_eq!(self.line().await, "done");
    }

    /// Ends it, and what it saw.
    pub async fn close(mut self) -> Report {
        drop(self.process.stdin.take());
        let report = serde_json::from_str(&self.line().await).unwrap();
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        assert!(status.expect("the browser ends").unwrap().success());
        report
    }
}

/// Whether everything is installed that a browser with this analytics.js needs.
pub fn is_here(test: &str, version: Version) -> bool {
    let needed = [
        Needed::Node,
        Needed::Playwright,
        Needed::Chromium,
        Needed::AnalyticsJs(version),
    ];
    all_here(test, &needed)
}

//! Headless Chromium, controlled through `tests/clients/browser.mjs`.

use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::installed::{all_here, Prerequisite, Version};
use super::script::{Script, WhenDropped};

/// One browser at a time: on a small machine, several would only wait for each other.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// What the browser saw, as `browser.mjs` prints it.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub requests: Vec<Sent>,
    /// The headings in the demo shop's live list, newest first.
    pub shown: Vec<String>,
    /// The text of the demo shop about itself.
    pub note: Option<String>,
    /// Errors of the page's scripts and in its console.
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
    script: Script,
}

impl Browser {
    pub fn open(url: &str, scenario: &str) -> Self {
        let argument = json!({
            "chromium": Prerequisite::Chromium.path(),
            "url": url,
            "scenario": scenario,
        });
        let script = Script::start("browser.mjs", &argument, WhenDropped::Killed);
        Self { script }
    }

    /// Waits until the visitor has done everything.
    pub async fn done(&mut self) {
        assert_eq!(self.script.line("the scenario").await, "done");
    }

    /// Ends the browser and returns what it saw.
    pub async fn close(self) -> Report {
        serde_json::from_str(&self.script.end().await).unwrap()
    }
}

/// Whether the browser and this version of analytics.js are installed.
pub fn is_here(test: &str, version: Version) -> bool {
    let needed = [
        Prerequisite::Node,
        Prerequisite::Playwright,
        Prerequisite::Chromium,
        Prerequisite::AnalyticsJs(version),
    ];
    all_here(test, &needed)
}

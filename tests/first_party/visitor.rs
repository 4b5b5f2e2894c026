//! One visitor with one page in a real browser, controlled through `tests/clients/visitor.mjs`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{json, Value};
use tokio::sync::Mutex;

use super::installed::Prerequisite;
use super::script::{Script, WhenDropped};

/// One browser at a time: on a small machine, several would only wait for each other.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// Where Chromium resolves the names of the pages to.
const MAP: &str = "MAP shop.test 127.0.0.1, MAP t.shop.test 127.0.0.1, MAP other.test 127.0.0.1, \
    MAP * ~NOTFOUND, EXCLUDE 127.0.0.1";

/// What the browser saw.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub requests: Vec<Sent>,
    /// The requests that the browser itself made, as its own log has them.
    #[serde(default)]
    pub asked: Vec<String>,
    pub errors: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Sent {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub method: String,
    pub url: String,
    pub status: Option<u16>,
    pub headers: BTreeMap<String, String>,
}

pub struct Visitor {
    script: Script,
}

impl Visitor {
    pub async fn with_chromium() -> Self {
        Self::with(json!({
            "browser": "chromium",
            "executable": Prerequisite::Chromium.path(),
            "map": MAP,
        }))
        .await
    }

    /// Chromium whose pages' clock the test can move.
    pub async fn with_a_clock() -> Self {
        Self::with(json!({
            "browser": "chromium",
            "executable": Prerequisite::Chromium.path(),
            "map": MAP,
            "clock": true,
        }))
        .await
    }

    /// Any browser that `visitor.mjs` knows.
    pub async fn with(options: Value) -> Self {
        let script = Script::start("visitor.mjs", &options, WhenDropped::Left);
        let mut visitor = Self { script };
        assert_eq!(visitor.script.answer("the start").await, "here");
        visitor
    }

    async fn tell(&mut self, order: Value) -> Value {
        self.script.tell(&order).await
    }

    pub async fn open(&mut self, url: &str) {
        self.tell(json!({"open": url})).await;
    }

    /// Opens a page that has both libraries, and waits for both.
    pub async fn open_with_both(&mut self, url: &str) {
        self.open(url).await;
        self.until(ANALYTICS).await;
        self.until(POSTHOG).await;
    }

    /// Runs a script in the page and returns its value, or that of its promise.
    pub async fn run(&mut self, script: &str) -> Value {
        self.tell(json!({"run": script})).await
    }

    /// Runs a script until it returns a true value.
    pub async fn until(&mut self, script: &str) -> Value {
        self.tell(json!({"until": script})).await
    }

    pub async fn click(&mut self, selector: &str) {
        self.tell(json!({"click": selector})).await;
    }

    /// Continues in another tab; the first one is 0.
    pub async fn tab(&mut self, number: usize) {
        self.tell(json!({"tab": number})).await;
    }

    /// Sets the pages' clock ahead by so many milliseconds.
    pub async fn clock(&mut self, ahead: i64) {
        self.tell(json!({"clock": ahead})).await;
    }

    pub async fn back(&mut self) {
        self.tell(json!({"back": true})).await;
    }

    /// What the browser has seen so far.
    pub async fn seen(&mut self) -> Report {
        let seen = self.tell(json!({"seen": true})).await;
        serde_json::from_value(seen).unwrap()
    }

    /// Leaves the page and closes the browser.
    pub async fn leave(self) -> Report {
        // The script leaves when its input closes.
        serde_json::from_str(&self.script.end().await).unwrap()
    }
}

pub const ANALYTICS: &str = "window.analytics && window.analytics.initialized";
pub const POSTHOG: &str = "window.posthog && window.posthog.__loaded";

/// The ids that the libraries have given the visitor.
#[derive(Debug, Deserialize)]
pub struct Ids {
    pub anonymous: Option<String>,
    pub user: Option<String>,
    pub distinct: Option<String>,
    pub device: Option<String>,
    pub session: Option<String>,
}

impl Ids {
    pub async fn of(visitor: &mut Visitor) -> Self {
        let ids = visitor
            .run(
                "({
                    anonymous: window.analytics.user().anonymousId(),
                    user: window.analytics.user().id(),
                    distinct: window.posthog.get_distinct_id(),
                    device: window.posthog.get_property('$device_id'),
                    session: window.posthog.get_session_id(),
                })",
            )
            .await;
        serde_json::from_value(ids).unwrap()
    }
}

/// The ids that a visitor of a page with both libraries has had.
#[derive(Debug)]
pub struct VisitorIds {
    pub before: Ids,
    pub after: Ids,
    pub flag: Value,
}

/// Does everything that a visitor can do on the open page.
pub async fn stay(visitor: &mut Visitor) -> VisitorIds {
    let before = Ids::of(visitor).await;
    visitor
        .until("window.posthog.isFeatureEnabled('beta') !== undefined")
        .await;
    let flag = visitor.run("window.posthog.isFeatureEnabled('beta')").await;
    visitor
        .until("window.posthog.sessionRecordingStarted()")
        .await;
    visitor.run("void window.posthog.capture('direct')").await;
    visitor
        .run(
            "(async () => {
                await window.analytics.track('Bought', { price: 1 });
                await window.analytics.identify('u1', { plan: 'gold' });
                await window.analytics.group('g1', { seats: 3 });
            })()",
        )
        .await;
    visitor.click("#buy").await;
    VisitorIds {
        before,
        after: Ids::of(visitor).await,
        flag,
    }
}

/// Sends an event with each library and leaves for another page at once.
pub async fn send_and_leave(visitor: &mut Visitor) {
    visitor
        .run(
            "(() => {
                window.analytics.track('Left');
                window.posthog.capture('left directly');
                window.location.href = '/plain';
            })()",
        )
        .await;
    visitor.until("location.pathname === '/plain'").await;
}

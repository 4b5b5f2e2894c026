//! One page in headless Chromium, controlled step by step through `tests/clients/page.mjs`.

use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use super::installed::Prerequisite;
use super::script::{Script, WhenDropped};

pub struct Page {
    script: Script,
}

/// The folder for screenshots, for a person to look at.
pub fn pictures() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target.expect("it is below target").join("screenshots")
}

impl Page {
    pub async fn open(url: &str) -> Self {
        let argument = json!({"chromium": Prerequisite::Chromium.path()});
        let script = Script::start("page.mjs", &argument, WhenDropped::Killed);
        let mut page = Self { script };
        page.tell(json!(["open", url])).await;
        page
    }

    async fn tell(&mut self, command: Value) -> Value {
        self.script.tell(&command).await
    }

    pub async fn go(&mut self, url: &str) {
        self.tell(json!(["open", url])).await;
    }

    /// The value of an expression in the page.
    pub async fn value(&mut self, script: &str) -> Value {
        self.tell(json!(["evaluate", script])).await
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, script: &str) {
        self.tell(json!(["wait", script])).await;
    }

    pub async fn click(&mut self, selector: &str) {
        self.tell(json!(["click", selector])).await;
    }

    pub async fn fill(&mut self, selector: &str, text: &str) {
        self.tell(json!(["fill", selector, text])).await;
    }

    pub async fn choose(&mut self, selector: &str, value: &str) {
        self.tell(json!(["choose", selector, value])).await;
    }

    pub async fn press(&mut self, key: &str) {
        self.tell(json!(["press", key])).await;
    }

    pub async fn width(&mut self, width: u32) {
        self.tell(json!(["width", width])).await;
    }

    /// Takes screenshots under this name, 1280 and 390 wide, light and dark. Fails if a text has
    /// too little contrast or the page is wider than the window.
    pub async fn pictures(&mut self, name: &str) {
        let amiss = self.tell(json!(["pictures", pictures(), name])).await;
        assert_eq!(amiss, json!([]), "{amiss:#}");
    }

    /// Ends the browser. Fails if a script of the page has failed.
    pub async fn close(self) {
        self.close_after("no message says this").await;
    }

    /// The same, but errors with these words are expected.
    pub async fn close_after(mut self, expected: &str) {
        let errors = self.tell(json!(["errors"])).await;
        let is_expected =
            |error: &Value| error.as_str().is_some_and(|text| text.contains(expected));
        let all_expected = errors.as_array().unwrap().iter().all(is_expected);
        assert!(all_expected, "{errors:#}");
        self.script.end().await;
    }
}

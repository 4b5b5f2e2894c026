//! Hedgerow reads user agents as posthog-js does. The expected values come from
//! `scripts/user_agents`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;

use hedgerow::rewrite::enrich::user_agent::UserAgent;
use serde_json::{json, Value};

/// The number of different browsers, systems, devices and device types.
const NAMES: usize = 56;
/// The number of different apps with a browser of their own.
const APPS: usize = 17;

#[test]
fn user_agents_are_read_as_posthog_js_reads_them() {
    let mut count = 0;
    let mut names = BTreeSet::new();
    let mut apps = BTreeSet::new();
    let mut wrong = Vec::new();
    for line in include_str!("data/user_agents.jsonl").lines() {
        let mut expected: Vec<Value> = serde_json::from_str(line).unwrap();
        let text = expected.remove(0);
        let parsed = UserAgent::parse(text.as_str().unwrap());
        let version: Value = match &parsed.browser_version {
            Some(version) => serde_json::from_str(version).expect("a version is a JSON number"),
            None => Value::Null,
        };
        let ours = [
            json!(parsed.browser),
            version,
            json!(parsed.os),
            json!(parsed.os_version),
            json!(parsed.device),
            json!(parsed.device_type),
            json!(parsed.webview_app),
            json!(parsed.webview_app_version),
        ];
        let same = ours.iter().zip(&expected).all(|(ours, theirs)| {
            match (ours.as_f64(), theirs.as_f64()) {
                // 120 and 120.0 are the same number.
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => ours == theirs,
            }
        });
        if !same {
            wrong.push(format!(
                "{text}\n  posthog-js {expected:?}\n  Hedgerow   {ours:?}"
            ));
        }
        count += 1;
        names.extend(parsed.browser);
        names.extend(parsed.os);
        names.extend(parsed.device);
        names.extend(parsed.device_type);
        apps.extend(parsed.webview_app);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 1000, "{count} user agents are too few");
    // Every name in posthog-js's rules occurs. Some are browser, system and device at once.
    assert_eq!(names.len(), NAMES, "{names:?}");
    assert_eq!(apps.len(), APPS, "{apps:?}");
}

//! The requests as other installations would make them.

use std::path::Path;

use hedgerow::config::{Action, Config, Environment};
use hedgerow::site::init::{init, InitOptions};
use hedgerow::site::names::ENOUGH_RANDOM_BYTES;
use hedgerow::site::{Layout, PathNames, SiteFile};
use serde_json::{json, Value};

use super::setup::API_KEY;

const INSTALLATIONS: u64 = 200;

struct Installation {
    layout: Layout,
    posthog: String,
    names: PathNames,
    /// `None` where the page gets no key.
    write_key: Option<String>,
}

/// The addresses for 200 generated installations, the given one first.
pub fn of(yaml: &Path, list: &[Value]) -> Vec<Vec<Value>> {
    let text = std::fs::read_to_string(yaml).unwrap();
    let own = installation(&text);
    let mut all = vec![list.to_vec()];
    for seed in 1..INSTALLATIONS {
        let other = installation(&init(&InitOptions::default(), &random(seed)).unwrap());
        let moved = list.iter().map(|sent| {
            let path = moved(&own, &other, sent["path"].as_str().unwrap());
            json!({"kind": sent["kind"], "path": path})
        });
        all.push(moved.collect());
    }
    all
}

/// The path of Segment's calls in this configuration.
pub fn calls(yaml: &Path) -> String {
    let text = std::fs::read_to_string(yaml).unwrap();
    installation(&text).layout.calls_path()
}

/// The paths of analytics.js's settings (for the page's own key) and of posthog-js.
pub fn settings_and_posthog_js(yaml: &Path) -> [String; 2] {
    let text = std::fs::read_to_string(yaml).unwrap();
    let own = installation(&text);
    let script = own.names.to_neutral("/static/array.js").into_owned();
    [
        own.layout.settings_path(&own.write_key.unwrap()),
        format!("/{}{script}", own.posthog),
    ]
}

/// The paths of posthog-js's requests: prefix, events and flags.
pub fn posthog_calls(yaml: &Path) -> (String, Vec<String>) {
    let text = std::fs::read_to_string(yaml).unwrap();
    let own = installation(&text);
    let calls = ["/e/", "/i/v0/e/", "/flags/", "/s/"];
    let calls = calls.map(|path| own.names.to_neutral(path).into_owned());
    (format!("/{}/", own.posthog), calls.to_vec())
}

/// The path of analytics.js.
pub fn script(yaml: &Path) -> String {
    let text = std::fs::read_to_string(yaml).unwrap();
    installation(&text).layout.script_path()
}

fn random(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..ENOUGH_RANDOM_BYTES).map(|_| next()).collect()
}

fn installation(text: &str) -> Installation {
    let text = text.replace("env:POSTHOG_API_KEY", API_KEY);
    let (config, _) = Config::parse(&text, &Environment::new("")).unwrap();
    let Config { routes, .. } = config;
    let posthog = routes.iter().find_map(|route| match &route.action {
        Action::PostHog(js) => Some((route.path.to_string(), js.names.clone()?)),
        _ => None,
    });
    let files = routes.iter().find_map(|route| match &route.action {
        Action::Segment { files, .. } => Some(files),
        _ => None,
    });
    let (posthog, names) = posthog.unwrap();
    let files = files.unwrap();
    Installation {
        layout: files.layout.clone(),
        posthog: posthog.trim_matches('/').to_owned(),
        names,
        write_key: files.page_key.as_ref().map(|key| key.expose().to_owned()),
    }
}

/// A path and query without its first slash.
fn moved(own: &Installation, other: &Installation, path: &str) -> String {
    if let Some(tail) = path.strip_prefix(&own.posthog) {
        let real = own.names.to_real(tail).into_owned();
        return format!("{}{}", other.posthog, other.names.to_neutral(&real));
    }
    let prefix = format!("{}/", own.layout.prefix().trim_matches('/'));
    let tail = path
        .strip_prefix(&prefix)
        .unwrap_or_else(|| panic!("{path}"));
    let layout = &other.layout;
    let moved = match own.layout.recognise(tail) {
        SiteFile::Script { .. } => layout.script_path(),
        SiteFile::Settings { write_key } => {
            assert_eq!(Some(write_key), own.write_key.as_deref());
            layout.settings_path(other.write_key.as_ref().unwrap())
        }
        SiteFile::Chunk { name } => format!("{}/{}/{name}", layout.prefix(), layout.chunks()),
        SiteFile::Call { tail } => format!("{}/{tail}", layout.calls_path()),
        strange => panic!("{path}: {strange:?}"),
    };
    moved.trim_start_matches('/').to_owned()
}

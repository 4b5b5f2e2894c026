//! Pages, campaigns and user agents (mapping 5.1 and 5.2), as posthog-js reads them.

use std::sync::OnceLock;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use super::javascript::{says, spread, truthy};
use super::normalise::{Library, Message};
use super::{Expected, Object};

/// Read from a URL's query if the campaign does not have them (docs/mapping.md).
const PARAMETERS: [&str; 28] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "utm_id",
    "utm_name",
    "gclid",
    "gad_source",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "twclid",
    "li_fat_id",
    "mc_cid",
    "igshid",
    "ttclid",
    "rdt_cid",
    "epik",
    "qclid",
    "sccid",
    "irclid",
    "oppref",
    "bfcid",
    "_kx",
];

pub fn add(message: &Message, expected: &mut Expected) {
    let own = spread(message.field("properties"));
    gives_way(message, &own, expected);
    if message.kind == "page" {
        if let Some(referrer) = says(own.get("referrer")) {
            expected.add("$referrer", referrer);
        }
        let current = says(expected.properties.get("$current_url"));
        if let (Some(path), Some(_)) = (says(own.get("path")), current.and_then(web_url)) {
            expected.add("$pathname", path);
        }
    }
    if let Some(title) = says(message.context_at("page.title")) {
        expected.add("title", title);
    }
    page(message, expected);
    if message.kind == "page" {
        if let Some(title) = says(own.get("title")) {
            expected.add("title", title);
        }
    }
    referrer(message, expected);
}

/// The URL's value replaces one that stands for a missing value.
fn gives_way(message: &Message, own: &Object, expected: &mut Expected) {
    let path = message.in_context("page.path");
    let is_ours = !own.contains_key("$pathname");
    if is_ours && path.is_some() && says(path).is_none() {
        let url = says(expected.properties.get("$current_url"));
        if url.and_then(web_url).is_some() {
            expected.properties.remove("$pathname");
        }
    }
}

/// `$host`, `$pathname` and the parameters of the final `$current_url`.
fn page(message: &Message, expected: &mut Expected) {
    let current = says(expected.properties.get("$current_url")).map(str::to_owned);
    let url = current.as_deref().and_then(web_url);
    if let Some(url) = &url {
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        expected.add("$host", host);
        expected.add("$pathname", url.path());
    }
    let own = spread(message.field("properties"));
    // The page's `search`, if the URL has no query.
    let query = current.as_deref().map_or("", query);
    let has_one = query.split('&').any(|pair| !pair.is_empty());
    let search = says(message.context_at("page.search")).filter(|_| !has_one);
    for name in PARAMETERS {
        let value = [current.as_deref(), search]
            .into_iter()
            .flatten()
            .map(|url| parameter(url, name))
            .find(|value| !value.is_empty());
        let Some(value) = value else { continue };
        // Values of the campaign that stand for a missing value give way.
        let given = expected.properties.get(name);
        if given.is_some() && !own.contains_key(name) && !says_something(given) {
            expected.properties.remove(name);
        }
        expected.add(name, value);
    }
}

fn says_something(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(_)) => says(value).is_some(),
        Some(_) => true,
    }
}

fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// posthog-js's `getQueryParam`.
pub fn parameter(url: &str, name: &str) -> String {
    for pair in query(url).split('&') {
        let (key, raw) = pair.split_once('=').unwrap_or((pair, ""));
        if key == name {
            return decoded(raw).replace('+', " ");
        }
    }
    String::new()
}

fn query(url: &str) -> &str {
    let without_hash = url.split('#').next().unwrap_or_default();
    let query = without_hash.split_once('?').map_or("", |(_, query)| query);
    // Its expression does not match beyond the end of a line.
    let line = query.split(['\n', '\r', '\u{2028}', '\u{2029}']).next();
    line.unwrap_or_default().trim_start_matches('?')
}

/// `decodeURIComponent`, or the text unchanged if that throws.
fn decoded(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let is_whole = bytes.iter().enumerate().all(|(at, byte)| {
        let hex = bytes.get(at + 1..at + 3);
        *byte != b'%' || hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) if is_whole => text.into_owned(),
        _ => raw.to_owned(),
    }
}

/// `$referring_domain`, `$search_engine` and `ph_keyword` of the final `$referrer`.
fn referrer(message: &Message, expected: &mut Expected) {
    let own = spread(message.field("properties")).get("referrer").cloned();
    let own = own.filter(|_| message.kind == "page");
    let referrer = expected.properties.get("$referrer").cloned().or(own);
    let Some(Value::String(referrer)) = referrer else {
        return;
    };
    if referrer.is_empty() {
        expected.add("$referring_domain", "$direct");
        return;
    }
    if says(Some(&Value::from(referrer.as_str()))).is_none() {
        return;
    }
    if let Some(url) = Url::parse(&referrer).ok().filter(|url| url.has_host()) {
        let host = url.host_str().unwrap_or_default();
        expected.add(
            "$referring_domain",
            match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
        );
    }
    let Some(rest) = referrer
        .strip_prefix("https://")
        .or(referrer.strip_prefix("http://"))
    else {
        return;
    };
    let engine = if rest.find("google").is_some_and(|at| rest.len() > at + 6) {
        "google"
    } else if rest.contains("bing.com") {
        "bing"
    } else if rest.contains("yahoo.com") {
        "yahoo"
    } else if rest.contains("duckduckgo.com") {
        "duckduckgo"
    } else {
        return;
    };
    expected.add("$search_engine", engine);
    let keyword = parameter(&referrer, if engine == "yahoo" { "p" } else { "q" });
    if !keyword.is_empty() {
        expected.add("ph_keyword", keyword);
    }
}

/// A user agent and posthog-js's result: name, version, system, its version, device, type, app, its
/// version.
pub type Agent = (String, Vec<Value>);

/// posthog-js's own results for many user agents (tests/data/user_agents.jsonl).
pub fn agents() -> &'static [Agent] {
    static AGENTS: OnceLock<Vec<Agent>> = OnceLock::new();
    AGENTS.get_or_init(|| {
        let text = include_str!("../../../../../tests/data/user_agents.jsonl");
        let mut agents: Vec<Agent> = Vec::new();
        for line in text.lines() {
            let row: Vec<Value> = serde_json::from_str(line).unwrap();
            let agent = row[0].as_str().unwrap().to_owned();
            agents.push((agent, row[1..].to_vec()));
        }
        agents
    })
}

/// The values from a user agent; this implementation may not know them.
const OF_AGENT: [&str; 8] = [
    "$browser",
    "$browser_version",
    "$os",
    "$os_version",
    "$device",
    "$device_type",
    "$webview_app",
    "$webview_app_version",
];

pub fn user_agent(message: &Message, expected: &mut Expected) {
    let Some(agent) = says(message.context_at("userAgent")) else {
        if message.context_at("userAgentData").is_some() {
            expected.wild.extend(OF_AGENT);
        }
        return;
    };
    let cut: String = agent.chars().take(1_000).collect();
    expected.add("$raw_user_agent", cut);
    let hinted = message.context_at("userAgentData").is_some();
    let known = agents().iter().find(|(known, _)| known == agent);
    let (Some((_, read)), false) = (known, hinted) else {
        expected.wild.extend(OF_AGENT);
        return;
    };
    if message.library == Library::Server && !agent.starts_with("Mozilla/") {
        expected.wild.extend(OF_AGENT);
        return;
    }
    // The context's own system and device count first.
    for (path, name) in [("os.name", "$os"), ("device.type", "$device_type")] {
        let own = spread(message.field("properties")).contains_key(name)
            && !matches!(message.kind, "group" | "alias");
        let value = message.in_context(path);
        if !own && value.is_some() && says(value).is_none() {
            let at = if name == "$os" { 2 } else { 5 };
            if !read[at].is_null() {
                expected.properties.remove(name);
            }
        }
    }
    // Other values about the system in the context make the agent's version of it doubtful.
    if message.context_at("os").is_some() || message.in_context("os.name").is_some() {
        expected.wild.insert("$os_version");
    }
    if message.context_at("device").is_some() {
        expected.wild.insert("$device");
    }
    // A version may not be combined with the name of another browser.
    let own = spread(message.field("properties"));
    let is_callers = !matches!(message.kind, "group" | "alias");
    let names_browser = truthy(own.get("browser")) || own.contains_key("$browser");
    for (name, value) in OF_AGENT.iter().zip(read) {
        let is_a_lie = match *name {
            "$browser_version" => is_callers && names_browser,
            "$os_version" => is_callers && own.contains_key("$os"),
            _ => false,
        };
        if !value.is_null() && !is_a_lie {
            expected.add(name, value.clone());
        }
    }
}

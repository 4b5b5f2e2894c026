//! The values of the site's cookies (docs/mapping.md, docs/sessions.md).

use percent_encoding::percent_decode_str;
use serde_json::{json, Value};

use super::normalise::{Library, Message};
use super::{web, Expected, Request};

/// The decoded value of the first cookie with this name.
pub fn value(header: &str, name: &str) -> Option<String> {
    let mut pairs = header.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    let decoded = percent_decode_str(value.trim()).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// analytics.js's group; older versions put quotes around it.
pub fn group(request: &Request) -> Option<Value> {
    let id = value(&request.cookies, "ajs_group_id")?;
    match id.starts_with('"') {
        true => serde_json::from_str(&id).ok(),
        false => Some(Value::from(id)),
    }
}

/// `$fbc` and `$fbp` of a browser's visitor with a profile.
pub fn meta(request: &Request, message: &Message, expected: &mut Expected) {
    let no_profile = Some(&Value::Bool(false));
    let is_call = !matches!(message.kind, "group" | "alias");
    let is_browser = message.library == Library::Browser;
    let has_profile = expected.properties.get("$process_person_profile") != no_profile;
    if !is_call || !is_browser || !has_profile {
        return;
    }
    // Not if the caller or the context's traits have a `$set`, or if `$set` is no object.
    let set = expected.properties.get("$set");
    let stays = match message.kind {
        "identify" => set.is_some_and(|set| !set.is_object()),
        _ => set.is_some(),
    };
    if stays {
        return;
    }
    let mut ids = Vec::new();
    if let Some(click) = value(&request.cookies, "_fbc").filter(|it| is_click(it)) {
        // The cookie does not have this newer click yet.
        let url = expected
            .properties
            .get("$current_url")
            .and_then(Value::as_str);
        let newer = web::parameter(url.unwrap_or_default(), "fbclid");
        if !is_word(&newer) || Some(newer.as_str()) == click.split('.').nth(3) {
            ids.push(("$fbc", click));
        }
    }
    if let Some(browser) = value(&request.cookies, "_fbp").filter(|it| is_browser_id(it)) {
        ids.push(("$fbp", browser));
    }
    if ids.is_empty() {
        return;
    }
    let set = expected.properties.entry("$set").or_insert(json!({}));
    for (name, id) in ids {
        let set = set.as_object_mut().unwrap();
        set.entry(name).or_insert(Value::from(id));
    }
}

/// `fb.INDEX.TIME.CLICK`, perhaps with a suffix.
fn is_click(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let is_number = |part: &str| part.parse::<u64>().is_ok();
    (4..=5).contains(&parts.len())
        && parts[0] == "fb"
        && is_number(parts[1])
        && is_number(parts[2])
        && parts[3..].iter().all(|part| is_word(part))
}

fn is_browser_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    is_click(text) && parts.len() == 4 && parts[3].parse::<u64>().is_ok()
}

fn is_word(text: &str) -> bool {
    let is_part = |sign: char| sign.is_ascii_alphanumeric() || sign == '_' || sign == '-';
    !text.is_empty() && text.chars().all(is_part)
}

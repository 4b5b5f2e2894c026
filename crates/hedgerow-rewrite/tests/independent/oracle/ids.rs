//! Ids (docs/repairs.md, "Who"; posthog-ingestion 3.2 and 3.3; mapping 1.2).

use ring::digest::{digest, SHA256};
use serde_json::Value;
use sha1::{Digest, Sha1};

use super::javascript::{number_text, truthy};

/// A person's id in the reference: every value that is true in JavaScript, numbers as text; a blank
/// text is no id.
pub fn reference(id: Option<&Value>) -> Option<Value> {
    match id? {
        Value::String(text) if text.trim().is_empty() => None,
        Value::Number(number) => Some(Value::from(number_text(number))),
        other => Some(other.clone()),
    }
}

/// An id in the enriched mode, in every place.
pub fn enriched(id: Option<&Value>) -> Option<String> {
    let id = match id? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number_text(number),
        _ => return None,
    };
    names_a_person(&id).then(|| bounded(&id))
}

fn names_a_person(id: &str) -> bool {
    let bare = ['"', '\''].iter().find_map(|quote| {
        let inside = id.strip_prefix(*quote)?;
        inside.strip_suffix(*quote)
    });
    let bare = bare.unwrap_or(id);
    let refused_in_any_case = [
        "anonymous",
        "guest",
        "distinctid",
        "distinct_id",
        "id",
        "not_authenticated",
        "email",
        "undefined",
        "true",
        "false",
    ];
    let refused = ["[object Object]", "NaN", "None", "none", "null", "0"];
    let printed = ["nil", "<nil>", "(null)", "<null>"];
    let zeros = "00000000-0000-0000-0000-000000000000";
    !(bare.trim().is_empty()
        || refused_in_any_case.contains(&bare.to_ascii_lowercase().as_str())
        || refused.contains(&bare)
        || printed.contains(&id)
        || id == zeros
        || id == zeros.replace('-', ""))
}

/// PostHog cuts ids at 200 characters and replaces NUL.
fn bounded(id: &str) -> String {
    if id.encode_utf16().count() <= 200 && !id.contains('\0') {
        return id.to_owned();
    }
    let hash = digest(&SHA256, id.as_bytes());
    let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// Whether an `anonymousId`, as written, can be merged: a true text or number.
pub fn can_be_merged(id: Option<&Value>) -> bool {
    id.is_some_and(|id| id.is_string() || id.is_number()) && truthy(id)
}

/// UUID v5 of the message's id in the reference's namespace.
pub fn uuid(message_id: &str) -> String {
    let namespace = [
        0x67, 0x1b, 0xc8, 0x69, 0xc8, 0xec, 0x5b, 0xcb, 0x9b, 0xb5, 0x8d, 0x78, 0x8b, 0xd2, 0x05,
        0x13,
    ];
    let hash = Sha1::new()
        .chain_update(namespace)
        .chain_update(message_id.as_bytes())
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id[6] = id[6] & 0x0f | 0x50;
    id[8] = id[8] & 0x3f | 0x80;
    let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

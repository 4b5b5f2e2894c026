//! Compares the pass over a written event with an independent implementation for a parsed event.

use super::bodies::bodies;
use super::privacy::{mapping, outcome, paths};
use super::*;
use crate::rewrite::enrich::privacy::{is_click_id, mask_click_ids, Hit};
use crate::rewrite::privacy::{ClickIds, IpMask, PathPattern, Privacy, Signals, PROTECTED};

/// Applies the privacy settings to a parsed event. It is slow, and written differently from the pass.
fn by_hand(privacy: &Privacy, event: &Json) -> Json {
    fn hit(patterns: &[PathPattern], path: &[String]) -> bool {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        patterns
            .iter()
            .any(|pattern| pattern.at(&path) == Hit::Here)
    }
    fn walk(privacy: &Privacy, path: &mut Vec<String>, value: &Json) -> Option<Json> {
        let name = path.last().cloned().unwrap_or_default();
        if path.len() == 1 && PROTECTED.contains(&name.as_str()) {
            return Some(value.clone());
        }
        let hashed = !path.is_empty() && hit(&privacy.hash, path);
        if path.len() == 1 && name == "$ip" && (hashed || hit(&privacy.drop, path)) {
            return Some(json!("0.0.0.0"));
        }
        if !path.is_empty() && hit(&privacy.drop, path) {
            return None;
        }
        let mut below = |name: String, value: &Json| {
            path.push(name);
            let written = walk(privacy, path, value);
            path.pop();
            written
        };
        Some(match value {
            Json::Object(entries) => entries
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), below(key.clone(), value)?)))
                .collect(),
            Json::Array(items) => items
                .iter()
                .enumerate()
                .filter_map(|(index, value)| below(index.to_string(), value))
                .collect(),
            Json::Null => Json::Null,
            Json::String(text) if text.is_empty() => value.clone(),
            Json::String(text)
                if path.len() == 1
                    && (name == "$ip" || name == "segment_ip")
                    && privacy.ip != IpMask::Off =>
            {
                json!(privacy.ip.apply(text))
            }
            // A parsed number has lost its original digits, so their hash is unknown.
            Json::Number(number) if hashed && number.is_f64() => json!("sha256:digits"),
            _ if hashed => {
                let text = value.as_str().map_or(value.to_string(), str::to_owned);
                let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
                let hex: String = hash
                    .as_ref()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                json!(format!("sha256:{hex}"))
            }
            Json::String(_) if privacy.click_ids == ClickIds::Mask && is_click_id(&name) => {
                json!("<masked>")
            }
            Json::String(text) if privacy.click_ids == ClickIds::Mask && text.contains('?') => {
                json!(mask_click_ids(text))
            }
            Json::String(text)
                if name == "ip" && text.trim().parse::<std::net::IpAddr>().is_ok() =>
            {
                json!(privacy.ip.apply(text))
            }
            other => other.clone(),
        })
    }
    let mut event = event.clone();
    if let Some(properties) = event.get("properties") {
        event["properties"] = walk(privacy, &mut Vec::new(), properties).unwrap();
    }
    event
}

/// Whether two values are equal. If the digits of a number are lost, any hash is accepted.
fn is_equal(found: &Json, expected: &Json) -> bool {
    match (found, expected) {
        (Json::String(found), Json::String(expected)) if expected == "sha256:digits" => {
            found.len() == 7 + 64
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            let mut both = a
                .iter()
                .map(|(key, value)| Some(is_equal(value, b.get(key)?)));
            a.len() == b.len() && both.all(|is_equal| is_equal == Some(true))
        }
        _ => same(found, expected),
    }
}

#[test]
fn the_pass_over_the_text_matches_the_same_changes_on_a_parsed_event() {
    let privacies = [
        (vec![], vec![], IpMask::Off, ClickIds::Mask),
        (vec![], vec![], IpMask::LastOctet, ClickIds::Keep),
        (
            vec!["**.email"],
            vec!["**.name"],
            IpMask::Off,
            ClickIds::Keep,
        ),
        (
            vec!["*.email", "a.*.b.1", "segment_*"],
            vec!["$set"],
            IpMask::LastOctet,
            ClickIds::Mask,
        ),
        (vec!["*.**.email"], vec!["**"], IpMask::Off, ClickIds::Mask),
        (vec!["**"], vec![], IpMask::Off, ClickIds::Keep),
        (
            vec!["$*", "é.ü.*"],
            vec!["deep.**.deep.*", "a*.*.*"],
            IpMask::Off,
            ClickIds::Keep,
        ),
        (
            vec!["segment_page.url", "segment_context.traits"],
            vec!["q*", "a"],
            IpMask::Off,
            ClickIds::Keep,
        ),
    ];
    let (mut wrong, mut changed) = (Vec::new(), 0);
    for (drop, hash, ip, click_ids) in privacies {
        let privacy = Privacy {
            drop: paths(&drop),
            hash: paths(&hash),
            ip,
            click_ids,
            ..Privacy::default()
        };
        for mode in [Mode::Reference, Mode::Enriched] {
            for (name, call, body) in bodies() {
                let plain = mapping(mode, Privacy::default());
                let before = outcome(&plain, call, Signals::default(), &body);
                let private = mapping(mode, privacy.clone());
                let after = outcome(&private, call, Signals::default(), &body);
                assert_eq!(before.events.len(), after.events.len(), "{name}");
                for (before, after) in before.events.iter().zip(&after.events) {
                    let mut expected = by_hand(&privacy, before);
                    if let ("$create_alias", Some(alias)) = (
                        before["event"].as_str().unwrap(),
                        before["properties"].get("alias"),
                    ) {
                        expected["properties"]["alias"] = alias.clone();
                    }
                    changed += usize::from(!same(before, &expected));
                    if !is_equal(after, &expected) {
                        wrong.push(format!("{name} {privacy:?}\n  {after}\n  {expected}"));
                    }
                }
            }
        }
    }
    for wrong in wrong.iter().take(5) {
        eprintln!("{wrong}");
    }
    assert_eq!(wrong.len(), 0);
    assert!(changed > 1000, "{changed}");
}

//! Tests that the enriched mode keeps every value of the reference, whatever a message holds.
//! `tests/capture_takes_all.rs` sends the events of such messages to the stand-in for PostHog.

use proptest::prelude::*;

use super::messages::message;
use super::*;
use crate::rewrite::enrich::ids::{number_as_text, usable};
use crate::rewrite::rules::PERSON_EVENTS;
use crate::rewrite::usable::is_nothing;

const RECEIVED_AT: &str = "2026-11-23T12:00:01.500Z";

/// Whether `more` has everything that `less` has. Objects may gain keys; nothing else may change.
pub(super) fn is_superset(more: &Json, less: &Json) -> bool {
    match (more, less) {
        (Json::Object(more), Json::Object(less)) => less
            .iter()
            .all(|(key, value)| more.get(key).is_some_and(|other| is_superset(other, value))),
        _ => same(more, less),
    }
}

/// Whether the enriched mode reads an id differently from the reference: the id is a placeholder, has
/// space around it, is too long, is a number that JavaScript prints differently, or is neither a string
/// nor a number (mapping 5.4).
fn is_odd_id(id: &Json) -> bool {
    match id {
        Json::String(text) => usable(text).as_deref() != Some(text),
        Json::Number(number) => {
            let written = number.to_string();
            number_as_text(&written) != written || usable(&written).is_none()
        }
        Json::Null => false,
        _ => true,
    }
}

/// Whether the enriched mode writes a group's key differently from the reference. PostHog itself turns
/// numbers into strings, except those with more digits than a double holds.
fn is_odd_group(id: &Json) -> bool {
    let many_digits = id.is_number() && id.to_string().len() > 15;
    is_odd_id(id) || many_digits
}

/// Whether a value is a string that is not a placeholder for nothing.
fn has_content(value: &Json) -> bool {
    value.as_str().is_some_and(|text| !is_nothing(text))
}

/// Removes from the reference's event the values that the enriched mode may remove; docs/fields.md
/// lists each of them.
pub(super) fn allow_exceptions(message: &Json, event: &mut Json) {
    if !has_content(&message["messageId"]) {
        event.as_object_mut().unwrap().remove("uuid");
    }
    let name = event["event"].as_str().unwrap_or_default().to_owned();
    let Some(properties) = event["properties"].as_object_mut() else {
        return;
    };
    let takes_properties = !matches!(message["type"].as_str(), Some("group" | "alias"));
    let callers = |key: &str| message["properties"].get(key).filter(|_| takes_properties);
    let context = &message["context"];
    // PostHog drops the events that change persons and have this property (posthog-ingestion 4.4).
    if PERSON_EVENTS.contains(&&*name)
        && properties.get("$process_person_profile") == Some(&json!(false))
    {
        properties.remove("$process_person_profile");
    }
    // An unusable `previousId` counts as missing.
    if message["type"] == "alias" && !usable_id(&message["previousId"]) {
        properties.remove("alias");
    }
    // A value that is not an object sets nothing, and an empty object does not replace the context's
    // traits.
    for key in ["$set", "$group_set"] {
        let own = callers(key).is_some() && message["type"] != "identify";
        let set = properties.get(key).and_then(Json::as_object);
        if !own && set.is_none_or(serde_json::Map::is_empty) {
            properties.remove(key);
        }
    }
    // A placeholder does not replace another address.
    if callers("$ip").is_some_and(|ip| !has_content(ip)) || !has_content(&context["ip"]) {
        properties.remove("$ip");
        if callers("segment_ip").is_none() {
            properties.remove("segment_ip");
        }
    }
    // A placeholder does not replace the operating system of the user agent, or the other values here.
    for key in ["$os", "$pathname", "$device_type"] {
        if callers(key).is_none() && properties.get(key).is_some_and(|v| !has_content(v)) {
            properties.remove(key);
        }
    }
    // A placeholder in the campaign does not replace the value from the URL.
    properties.retain(|key, value| {
        let is_missing = value.is_null() || value.is_string() && !has_content(value);
        !key.starts_with("utm_") || callers(key).is_some() || !is_missing
    });
    // An id has the same form under every key.
    if properties
        .get("$anon_distinct_id")
        .is_some_and(|id| !id.is_string() || is_odd_id(id))
    {
        properties.remove("$anon_distinct_id");
    }
    if message["groupId"].is_null() || is_odd_group(&message["groupId"]) {
        properties.remove("$group_key");
    }
    if is_odd_group(&context["groupId"]) {
        properties.remove("$groups");
    }
    let groups = properties.get_mut("$groups").and_then(Json::as_object_mut);
    if let Some(groups) = groups {
        groups.retain(|_, id| !id.is_null() && !is_odd_group(id));
        // The caller's group wins over the context's of the same type (mapping 5.5).
        let group_type = Mapping::default().group_type;
        if callers("$groups").is_some_and(|groups| groups.get(&group_type).is_some()) {
            groups.remove(&group_type);
        }
    }
}

fn usable_id(id: &Json) -> bool {
    !id.is_null() && !is_odd_id(id)
}

fn mapped(mapping: Mapping, message: &Json) -> TestOutcome {
    let rewriter = Rewriter::new(mapping, Bounds::default());
    let body = message.to_string();
    let arrival = arrival(Call::Batch, Some(RECEIVED_AT));
    rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_reference_value_of_any_message_is_lost(message in message()) {
        let mut less = mapped(Mapping::reference(), &message);
        let more = mapped(Mapping::default(), &message);
        let odd = ["userId", "anonymousId", "previousId"].iter().any(|id| is_odd_id(&message[id]));
        if odd {
            // The person of the event may differ, and with it the merge. Everything else must be kept.
            for outcome in [&mut less] {
                for event in &mut outcome.events {
                    event["event"] = more.events.first().map_or(Json::Null, |more| more["event"].clone());
                    let properties = event["properties"].as_object_mut().unwrap();
                    properties.retain(|key, _| key != "distinct_id" && key != "$anon_distinct_id");
                }
            }
            if more.events.is_empty() || less.events.is_empty() {
                // A notice is about an event that is sent, so it does not count as a message that was
                // left out.
                let left_out = more.reports.iter().filter(|report| !report.starts_with("notice"));
                prop_assert_eq!(left_out.count() + more.events.len(), 1);
                return Ok(());
            }
        }
        prop_assert_eq!(less.events.len(), more.events.len(), "{} {:?} {:?}", &message, &less.reports, &more.reports);
        for (less, more) in less.events.iter_mut().zip(&more.events) {
            allow_exceptions(&message, less);
            prop_assert!(is_superset(more, less), "{}\n  less {}\n  more {}", &message, less, more);
        }
    }
}

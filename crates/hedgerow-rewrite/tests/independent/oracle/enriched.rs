//! The additions of the enriched mode (mapping, section 5; docs/mapping.md; docs/fields.md).

use serde_json::Value;

use super::javascript::{says, spread};
use super::normalise::{Library, Message};
use super::reference::{on, Who};
use super::{cookies, groups, ids, session, web, Expected, Object, Request};

/// Events that PostHog drops if they make no profile (posthog-ingestion 4.4).
const NEED_A_PROFILE: [&str; 5] = [
    "$identify",
    "$create_alias",
    "$merge_dangerously",
    "$groupidentify",
    "$set",
];

pub fn add(request: &Request, message: &Message, expected: &mut Expected) {
    let who = Who::of(request, message);
    let has_properties = !matches!(message.kind, "group" | "alias");
    groups::merge(request, message, expected);
    persons(request, message, &who, expected);
    address(message, expected);
    if has_properties {
        expected.add("$is_identified", who.user.is_some());
        web::add(message, expected);
        for (inner, from, to) in [
            ("screen.innerWidth", "viewport_width", "$viewport_width"),
            ("screen.innerHeight", "viewport_height", "$viewport_height"),
        ] {
            let own = spread(message.field("properties")).get(from).cloned();
            let inner = message.context_at(inner).cloned();
            if let Some(value) = [inner, own].into_iter().flatten().find(Value::is_number) {
                expected.add(to, value);
            }
        }
        let locale = says(message.context_at("locale"));
        if let (Some(locale), Library::Browser) = (locale, message.library) {
            expected.add("$browser_language", locale);
            // A text that stands for a missing value makes no property.
            let prefix = locale.split('-').next().unwrap();
            if !prefix.is_empty() {
                expected.add("$browser_language_prefix", prefix);
            }
        }
        if matches!(message.kind, "page" | "screen") {
            for name in ["name", "category"] {
                if let Some(value) = word(message.field(name)) {
                    expected.add(name, value);
                }
            }
        }
    }
    device(message, &who, expected);
    session::add(request, message, &who, expected);
    profile(request, message, &who, expected);
    cookies::meta(request, message, expected);
    bookkeeping(request, message, expected);
    by_posthogs_names(expected);
}

fn persons(request: &Request, message: &Message, who: &Who, expected: &mut Expected) {
    let of_context = message
        .context_at("traits")
        .filter(|traits| traits.as_object().is_some_and(|traits| !traits.is_empty()));
    match message.kind {
        "identify" => {
            let own = message.field("traits");
            let is_odd = own.is_some_and(|traits| !traits.is_object() && !traits.is_null());
            let is_empty = own.is_none_or(|traits| match traits {
                Value::Object(traits) => traits.is_empty(),
                _ => true,
            });
            if is_odd {
                expected.properties.remove("$set");
            }
            if let (true, Some(traits)) = (is_empty, of_context) {
                expected.properties.insert("$set".into(), traits.clone());
            }
            let is_same = who.user.is_some() && who.user == who.anonymous;
            if is_same && on(request.settings.drops_same_anonymous_id) {
                expected.properties.remove("$anon_distinct_id");
            }
        }
        "group" => {
            let own = message.field("traits");
            if own.is_some_and(|traits| !traits.is_object() && !traits.is_null()) {
                expected.properties.remove("$group_set");
            }
        }
        "track" | "page" | "screen" if on(request.settings.context_traits_always) => {
            if let Some(traits) = of_context {
                // A value that is no object sets nothing.
                let own = expected.properties.get("$set");
                if own.is_some_and(|own| !own.is_object()) {
                    expected.properties.remove("$set");
                }
                expected.add("$set", traits.clone());
            }
        }
        _ => {}
    }
}

/// `$ip` and `$geoip_disable`.
fn address(message: &Message, expected: &mut Expected) {
    let of_context = message
        .context_at("ip")
        .filter(|ip| says(Some(ip)).is_some());
    let callers = match message.kind {
        "group" | "alias" => None,
        _ => spread(message.field("properties")).get("$ip").cloned(),
    };
    if let (Some(own), Some(other)) = (&callers, of_context) {
        if says(Some(own)).is_none() {
            expected.properties.insert("$ip".into(), other.clone());
        }
    }
    let can_be_looked_up = says(expected.properties.get("$ip")).is_some_and(|ip| {
        let inner = [
            "127.", "10.", "192.168.", "169.254.", "0.0.0.0", "::1", "fe80:", "fd",
        ];
        let ip = ip.trim();
        ip.parse::<std::net::IpAddr>().is_ok() && !inner.iter().any(|net| ip.starts_with(net))
    });
    if message.library == Library::Server && !can_be_looked_up {
        expected.add("$geoip_disable", true);
    }
}

/// A text other than those for a missing value, or a number: clients send versions and names as
/// either.
fn word(value: Option<&Value>) -> Option<Value> {
    let value = value.filter(|value| value.is_number() || says(Some(value)).is_some());
    value.cloned()
}

/// Browser, device, app and network (mapping 5.2).
fn device(message: &Message, who: &Who, expected: &mut Expected) {
    web::user_agent(message, expected);
    for (path, name) in [
        ("os.version", "$os_version"),
        ("app.version", "$app_version"),
        ("app.build", "$app_build"),
        ("library.version", "$lib_version"),
        ("library.version", "segment_library_version"),
    ] {
        if let Some(value) = word(message.context_at(path)) {
            expected.add(name, value);
        }
    }
    for (path, name) in [
        ("device.model", "$device_model"),
        ("device.manufacturer", "$device_manufacturer"),
        ("device.name", "$device_name"),
        ("app.name", "$app_name"),
        ("app.namespace", "$app_namespace"),
        ("network.carrier", "$network_carrier"),
        ("locale", "$locale"),
        ("timezone", "$timezone"),
        ("library.name", "segment_library_name"),
    ] {
        if let Some(text) = says(message.context_at(path)) {
            expected.add(name, text);
        }
    }
    for name in ["wifi", "cellular", "bluetooth"] {
        let value = message.context_at(&format!("network.{name}"));
        if let Some(truth) = value.and_then(Value::as_bool) {
            expected.add(&format!("$network_{name}"), truth);
        }
    }
    let density = message.context_at("screen.density");
    if let Some(density) = density.filter(|it| it.as_f64().is_some_and(|it| it > 0.0)) {
        expected.add("$screen_density", density.clone());
    }
    let device = ids::enriched(message.context_at("device.id"));
    let visitor = who.anonymous.as_ref().and_then(Value::as_str);
    match (device, visitor, message.library) {
        (Some(device), _, _) => expected.add("$device_id", device),
        (None, Some(visitor), Library::Browser) => expected.add("$device_id", visitor),
        _ => {}
    }
}

/// `$process_person_profile`.
fn profile(request: &Request, message: &Message, who: &Who, expected: &mut Expected) {
    let name = expected.event["event"].as_str().unwrap_or_default();
    // The caller's own changes count; the context's traits do not.
    let own = match message.kind {
        "group" | "alias" => Object::new(),
        _ => spread(message.field("properties")),
    };
    let keys = ["$set", "$set_once", "$unset"];
    let changes_a_person = keys.iter().any(|key| match own.get(*key) {
        Some(Value::Object(changes)) => !changes.is_empty(),
        Some(Value::Array(changes)) => *key == "$unset" && !changes.is_empty(),
        _ => false,
    });
    if NEED_A_PROFILE.contains(&name) {
        let given = expected.properties.get("$process_person_profile");
        if given == Some(&Value::Bool(false)) {
            expected.properties.remove("$process_person_profile");
        }
    } else if on(request.settings.identified_only) && who.user.is_none() && !changes_a_person {
        expected.add("$process_person_profile", false);
    }
}

fn bookkeeping(request: &Request, message: &Message, expected: &mut Expected) {
    if !on(request.settings.bookkeeping) {
        return;
    }
    if let Some(id) = &message.message_id {
        expected.add("segment_message_id", id.as_str());
    }
    expected.wild.extend([
        "segment_original_timestamp",
        "segment_sent_at",
        "segment_message_id",
    ]);
}

/// Ids that the caller gives under PostHog's own names get the same form; a placeholder is removed
/// (docs/fields.md).
fn by_posthogs_names(expected: &mut Expected) {
    let name = expected.event["event"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut keys = vec!["$anon_distinct_id"];
    match name.as_str() {
        "$create_alias" | "$merge_dangerously" => keys.push("alias"),
        "$groupidentify" => keys.push("$group_key"),
        _ => {}
    }
    for key in keys {
        let Some(value) = expected.properties.get(key).cloned() else {
            continue;
        };
        let id = match key {
            "$group_key" => groups::key(&value),
            _ => ids::enriched(Some(&value)).map(Value::from),
        };
        match id {
            Some(id) => drop(expected.properties.insert(key.to_owned(), id)),
            None => drop(expected.properties.remove(key)),
        }
    }
}

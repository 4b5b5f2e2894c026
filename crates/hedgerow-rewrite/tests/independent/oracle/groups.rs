//! Groups (mapping 1.3, 1.6 and 5.5).

use serde_json::{json, Value};

use super::javascript::{says, spread, truthy};
use super::normalise::{Library, Message};
use super::reference::on;
use super::{cookies, ids, Expected, Mode, Object, Request};

/// `$groups` from the context.
pub fn of_context(request: &Request, message: &Message) -> Option<Value> {
    let group = message.context.as_ref()?.as_object()?.get("groupId")?;
    let key = match request.settings.mode {
        Mode::Reference => Some(group.clone()).filter(|group| truthy(Some(group))),
        Mode::Enriched => key(group),
    };
    key.map(|key| json!({ request.settings.group_type.as_str(): key }))
}

/// A group's key in the enriched mode: a number becomes text only if JavaScript prints it in
/// another form, or if it has more than 15 digits (docs/fields.md).
pub fn key(group: &Value) -> Option<Value> {
    let text = ids::enriched(Some(group))?;
    match group {
        Value::Number(number)
            if number.to_string() == text && text.len() <= 15 && !text.contains("e+") =>
        {
            Some(group.clone())
        }
        _ => Some(Value::from(text)),
    }
}

/// The type of a group call, and its traits.
pub fn of_call(request: &Request, message: &Message) -> (String, Option<Value>) {
    let traits = message.field("traits").cloned();
    let by_setting = request.settings.group_type.clone();
    if !on(request.settings.group_type_from_traits) {
        return (by_setting, traits);
    }
    if let Some(Value::Object(mut entries)) = traits.clone() {
        let names = ["$group_type", "groupType"];
        let named = names.iter().find_map(|name| says(entries.get(*name)));
        let named = named.map(str::to_owned);
        entries.retain(|key, _| !names.contains(&key.as_str()));
        return (named.unwrap_or(by_setting), Some(Value::Object(entries)));
    }
    (by_setting, traits)
}

/// Merges the caller's `$groups` and the context's; for the same type the caller's value counts.
pub fn merge(request: &Request, message: &Message, expected: &mut Expected) {
    if message.kind == "alias" {
        return;
    }
    let by_context = of_context(request, message);
    if message.kind == "group" {
        let own = message.field("groupId").and_then(key);
        let group_type = expected.properties["$group_type"].clone();
        match &own {
            Some(key) => {
                expected.properties.insert("$group_key".into(), key.clone());
                if by_context.is_none() {
                    let group_type = group_type.as_str().unwrap();
                    expected.add("$groups", json!({ group_type: key }));
                }
            }
            None => {
                expected.properties.remove("$group_key");
            }
        }
        return;
    }
    let callers = spread(message.field("properties"));
    let given = callers.get("$groups");
    let by_cookie = || {
        let id = key(&cookies::group(request)?)?;
        let is_browser = message.library == Library::Browser;
        is_browser.then(|| json!({ request.settings.group_type.as_str(): id }))
    };
    let groups = match (by_context, given) {
        // Nothing can be added to a value that is no object.
        (None, Some(given)) if !given.is_object() => None,
        (None, _) => by_cookie(),
        (by_context, _) => by_context,
    };
    let Some(Value::Object(given)) = given else {
        if let Some(groups) = groups {
            expected.properties.insert("$groups".into(), groups);
        }
        return;
    };
    let mut all = groups
        .and_then(|it| it.as_object().cloned())
        .unwrap_or_default();
    for (name, value) in given {
        if let Some(key) = key(value) {
            all.insert(name.clone(), key);
        }
    }
    expected
        .properties
        .insert("$groups".into(), Object::into(all));
}

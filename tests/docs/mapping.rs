use std::collections::BTreeSet;
use std::path::Path;

use hedgerow::rewrite::Mapping;
use serde_json::{json, Value};

use super::{code, file, lacking, rewritten, rows};

const MAPPING: &str = "docs/mapping.md";

/// The message of a table row: a track call of the user `u` with the row's fields.
fn message(part: &str) -> String {
    let part: Value = serde_json::from_str(part).unwrap();
    let mut message = json!({"type": "track", "event": "E", "userId": "u", "messageId": "m"});
    let named = part["type"].as_str().unwrap_or("track");
    let fields = message.as_object_mut().unwrap();
    if named != "track" {
        fields.remove("event");
    }
    fields.extend(part.as_object().unwrap().clone());
    message.to_string()
}

fn event(message: &str, mapping: Mapping) -> Value {
    let mut seen = rewritten(message, mapping).unwrap();
    assert_eq!(seen.events.len(), 1, "{message}: {:?}", seen.codes);
    seen.events.remove(0)
}

#[test]
fn every_row_matches_both_modes() {
    let document = file(MAPPING);
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for row in rows(&document, None) {
        let (Some(part), Some(by_reference), Some(added)) =
            (code(&row[0]), code(&row[1]), code(&row[2]))
        else {
            wrong.push(format!("{row:?}: no example"));
            continue;
        };
        tried += 1;
        let by_reference: Value = serde_json::from_str(by_reference).unwrap();
        let added: Value = serde_json::from_str(added).unwrap();
        let reference = event(&message(part), Mapping::reference());
        let enriched = event(&message(part), Mapping::default());
        if let Some(lacking) = lacking(&reference, &by_reference) {
            wrong.push(format!("{part}: reference: {lacking}"));
        }
        if let Some(lacking) = lacking(&enriched, &added) {
            wrong.push(format!("{part}: enriched: {lacking}"));
        }
        for (key, value) in added["properties"].as_object().into_iter().flatten() {
            if reference["properties"].get(key) == Some(value) {
                wrong.push(format!("{part}: {key} is no addition"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 30, "{tried}");
}

/// Bodies of real clients, and the messages of the reference vectors.
fn bodies() -> Vec<String> {
    let mut bodies = Vec::new();
    for (folder, key) in [("recordings", "body"), ("reference", "segment")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let file: Value = serde_json::from_str(&text).unwrap();
            match &file[key] {
                Value::String(body) => bodies.push(body.clone()),
                Value::Object(message) => bodies.push(Value::from(message.clone()).to_string()),
                _ => {}
            }
        }
    }
    assert!(bodies.len() > 100, "{}", bodies.len());
    bodies
}

#[test]
fn no_property_is_added_that_is_not_documented() {
    let document = file(MAPPING);
    let mut undocumented = BTreeSet::new();
    let mut added = BTreeSet::new();
    for body in bodies() {
        let (Ok(reference), Ok(enriched)) = (
            rewritten(&body, Mapping::reference()),
            rewritten(&body, Mapping::default()),
        ) else {
            continue;
        };
        let all = |events: &[Value]| -> BTreeSet<String> {
            let properties = events
                .iter()
                .filter_map(|event| event["properties"].as_object());
            properties.flat_map(|all| all.keys().cloned()).collect()
        };
        for key in all(&enriched.events).difference(&all(&reference.events)) {
            if !document.contains(&format!("\"{key}\"")) && !document.contains(&format!("`{key}`"))
            {
                undocumented.insert(key.clone());
            }
            added.insert(key.clone());
        }
    }
    assert!(undocumented.is_empty(), "{undocumented:?}");
    assert!(added.len() > 20, "{added:?}");
}

#[test]
fn every_parameter_that_is_read_from_urls_is_documented() {
    let document = file(MAPPING);
    let source = file("crates/hedgerow-rewrite/src/rewrite/enrich/url/parameters.rs");
    let names: Vec<&str> = source
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("(name!(\"")?
                .split_once("\"), ParameterPrivacy::")
        })
        .map(|(name, _)| name)
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
}

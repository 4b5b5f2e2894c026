//! The JSON Schema of the YAML (`hedgerow schema`), for editors that complete and check it.
//!
//! The keys come from the reader's tables. The allowed words and bounds are those that the reader expects
//! while it reads an example with every key. The description of a key is its row in
//! docs/configuration.md.

use std::collections::BTreeMap;
use std::env::VarError;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{json, Map, Value};

use super::load::{compile, whole};
use super::reader::{Accepted, ConfigReader};
use super::schema::sections;
use super::secret::SecretSource;
use super::shape::{KeyType, SectionSchema};
use super::source::SourceText;
use super::tree;

/// The reference page.
const PAGE: &str = include_str!("../../../docs/configuration.md");
/// An example with every section, also with keys that exclude each other. Reading it shows what the reader
/// expects; the result is not used. `accepted` adds the keys whose words or bounds come from the reader.
const EVERYTHING: &str = include_str!("everything.yaml");

/// Returns the schema (draft 2020-12).
pub fn json_schema() -> Value {
    let accepted = accepted();
    let descriptions = descriptions();
    let mut definitions = Map::new();
    let mut schema = Map::new();
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("Hedgerow"));
    for section in sections() {
        let object = object(section, &accepted, &descriptions);
        match section.at {
            "" => schema.extend(object),
            _ => {
                definitions.insert(definition(section.name), Value::Object(object));
            }
        }
    }
    schema.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(schema)
}

type AcceptedByPath = BTreeMap<String, Accepted>;

/// Returns the values that the reader expects, by path.
fn accepted() -> AcceptedByPath {
    let Ok(mut root) = tree::read(EVERYTHING) else {
        return AcceptedByPath::new();
    };
    for section in sections() {
        let read = section.keys.iter().filter(|(_, shape)| shape.is_read());
        for (key, _) in read {
            // The value does not matter; only the reader's expectation counts.
            tree::add_if_missing(&mut root, section.at, key, "0");
        }
    }
    let mut mistakes = Vec::new();
    SourceText::new(EVERYTHING, &root, sections(), &mut mistakes);
    let mut reader = ConfigReader::new(&EverySource, sections(), mistakes);
    compile(&mut reader, &whole(&root));
    reader.accepted.into_iter().collect()
}

/// A source in which every variable and every file exists.
struct EverySource;

impl SecretSource for EverySource {
    fn variable(&self, _: &str) -> Result<String, VarError> {
        Ok("phc_a_value_that_is_long_enough_for_a_secret".to_owned())
    }

    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
          -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
                .to_vec(),
        )
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Returns the name of a section among the definitions.
fn definition(name: &str) -> String {
    name.replace(' ', "_")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{}", definition(name))})
}

fn object(
    section: &SectionSchema,
    accepted: &AcceptedByPath,
    descriptions: &Descriptions<'_>,
) -> Map<String, Value> {
    let mut properties = Map::new();
    for (key, shape) in section.keys {
        let path = match section.at {
            "" => (*key).to_owned(),
            at => format!("{at}.{key}"),
        };
        let mut value = shape.schema(&path, accepted);
        if let (Some(object), Some(meaning)) = (
            value.as_object_mut(),
            descriptions.get(&(section.name, *key)),
        ) {
            object.insert("description".to_owned(), json!(meaning));
        }
        properties.insert((*key).to_owned(), value);
    }
    let mut all: Vec<Value> = Vec::new();
    for keys in section.one_of {
        let each = keys.iter().map(|key| json!({"required": [key]}));
        all.push(json!({"oneOf": each.collect::<Vec<_>>()}));
    }
    for (one, other) in section.excludes {
        all.push(json!({"not": {"required": [one, other]}}));
    }
    if section.name == "segment" {
        // Without `project`, `write_keys` must be a map, which contains the projects.
        let is_map = json!({
            "required": ["write_keys"],
            "properties": {"write_keys": {"type": "object"}},
        });
        all.push(json!({"anyOf": [{"required": ["project"]}, is_map]}));
    }
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    object.insert("properties".to_owned(), Value::Object(properties));
    if !section.required.is_empty() {
        object.insert("required".to_owned(), json!(section.required));
    }
    if !section.needs.is_empty() {
        let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, needed) in section.needs {
            needs.entry(key).or_default().push(needed);
        }
        object.insert("dependentRequired".to_owned(), json!(needs));
    }
    if !all.is_empty() {
        object.insert("allOf".to_owned(), json!(all));
    }
    object
}

impl KeyType {
    fn schema(&self, path: &str, accepted: &AcceptedByPath) -> Value {
        let list = |shape: &KeyType, least: usize, most: usize| {
            let mut list = json!({"type": "array", "items": shape.schema(path, accepted)});
            if let Some(list) = list.as_object_mut() {
                for (key, bound) in [("minItems", least), ("maxItems", most)] {
                    if bound > 0 {
                        list.insert(key.to_owned(), json!(bound));
                    }
                }
            }
            list
        };
        match self {
            Self::Read => accepted.get(path).map_or(json!({}), accepted_schema),
            Self::ReadAt(other) => accepted.get(*other).map_or(json!({}), accepted_schema),
            // The reader takes a name or key that looks like a number as text.
            Self::Text => json!({"type": ["string", "number"], "minLength": 1}),
            Self::Value => json!({"type": ["string", "number", "boolean"]}),
            Self::Number(least, most) => accepted_schema(&Accepted::Number(*least, *most)),
            Self::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
            Self::Words(words) => of_words(words),
            Self::Off => of_words(&["off"]),
            Self::Nothing => json!({"type": "null"}),
            Self::Section(name) => reference(name),
            Self::Optional(name) => json!({"anyOf": [reference(name), {"type": "null"}]}),
            Self::Mapping => json!({"type": "object"}),
            Self::MapOf(shape, most) => {
                let mut map = json!({
                    "type": "object",
                    "additionalProperties": shape.schema(path, accepted),
                });
                if let (Some(map), true) = (map.as_object_mut(), *most > 0) {
                    map.insert("maxProperties".to_owned(), json!(most));
                }
                map
            }
            Self::ListOf(shape, least, most) => list(shape, *least, *most),
            Self::OneOrMore(shape) => {
                json!({"anyOf": [shape.schema(path, accepted), list(shape, 1, 0)]})
            }
            Self::AnyOf(shapes) => {
                let each = shapes.iter().map(|shape| shape.schema(path, accepted));
                json!({"anyOf": each.collect::<Vec<_>>()})
            }
        }
    }
}

/// Returns the schema of the values that the reader accepts. It accepts text for every value, so a number
/// may be in quotes.
fn accepted_schema(accepted: &Accepted) -> Value {
    match accepted {
        Accepted::Words(words) => of_words(words),
        Accepted::Size(least, most) => json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "string", "pattern": "^[0-9]+ *(B|kB|KB|MB|GB|kiB|KiB|MiB|GiB)?$"},
        ]}),
        Accepted::Duration(least) => {
            let timed = json!({"type": "string", "pattern": "^([0-9]+ *(ms|s|m|h|d)|0)$"});
            match least.is_zero() {
                true => json!({"anyOf": [timed, {"const": 0}]}),
                false => timed,
            }
        }
        Accepted::Number(least, most) => json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "string", "pattern": "^[0-9]+$"},
        ]}),
    }
}

/// Returns the schema of one of these words. Editors may parse a word as a number, or as a boolean (the
/// `on` and `off` of YAML 1.1), so the schema accepts these too.
fn of_words<W: AsRef<str>>(words: &[W]) -> Value {
    let mut values = Vec::new();
    for word in words {
        let word = word.as_ref();
        values.push(json!(word));
        match word {
            "off" | "false" => values.push(json!(false)),
            "on" | "true" => values.push(json!(true)),
            other => values.extend(other.parse::<u64>().ok().map(|number| json!(number))),
        }
    }
    json!({"enum": values})
}

type Descriptions<'p> = BTreeMap<(&'p str, &'p str), String>;

/// Returns the reference page's text about each key, by section and key: meaning, values and default.
fn descriptions() -> Descriptions<'static> {
    let mut descriptions = Descriptions::new();
    let mut section = "";
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim();
        }
        let Some(row) = line
            .strip_prefix("| `")
            .and_then(|row| row.strip_suffix('|'))
        else {
            continue;
        };
        let cells: Vec<&str> = row.splitn(4, '|').map(str::trim).collect();
        if let [key, value, default, meaning] = *cells {
            let key = key.trim_end_matches('`');
            let mut text = String::new();
            for (before, what) in [("", meaning), ("Takes: ", value), ("Default: ", default)] {
                if !what.is_empty() {
                    let space = if text.is_empty() { "" } else { " " };
                    text.push_str(&format!("{space}{before}{what}."));
                }
            }
            descriptions.insert((section, key), text);
        }
    }
    descriptions
}

#[cfg(test)]
mod tests;

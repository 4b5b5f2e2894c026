//! `rules`, with which a site keeps, drops or renames events, and the constant `properties` of a project.

use super::reader::{ConfigReader, Field, Section};
use super::shape::{KeyType, SectionSchema, PLAIN};
use super::tree::NodeKind;
use crate::rewrite::privacy::NamePattern;
use crate::rewrite::rules::{Rule, RuleAction, PERSON_EVENTS};

/// One of `rules`.
pub(super) const RULE: SectionSchema = SectionSchema {
    name: "rules",
    label: "a rule",
    at: "rules[0]",
    required: &["event"],
    one_of: &[&["action", "rename"]],
    keys: &[
        ("event", KeyType::Text),
        ("action", KeyType::Read),
        ("rename", KeyType::Text),
    ],
    ..PLAIN
};

/// The largest number of rules. Each rule is compared with each event's name.
const RULES: usize = 256;

/// The longest name, in bytes. PostHog cuts the names of events at 200 characters.
const NAME_BYTES: usize = 200;

/// The largest number of constant properties of a project.
const CONSTANTS: usize = 63;

/// The longest value of a constant property, in bytes.
const VALUE_BYTES: usize = 1000;

/// Reads `rules`.
pub(super) fn read(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> Vec<Rule> {
    let Some(list) = top.get("rules").filter(|list| !list.is_nothing()) else {
        return Vec::new();
    };
    if !matches!(list.node.kind, NodeKind::List(_)) {
        reader.expected(list, "a list of rules");
        return Vec::new();
    }
    let fields = list.each();
    if fields.len() > RULES {
        reader.wrong(list, format!("expected at most {RULES} rules"));
        return Vec::new();
    }
    let mut rules: Vec<Rule> = Vec::new();
    for field in fields {
        let Some(rule) = rule(reader, &field) else {
            continue;
        };
        if let Some(number) = rules.iter().position(|before| hides(before, &rule)) {
            reader.wrong(
                &field,
                format!(
                    "no event reaches this rule: rule {} matches all",
                    number + 1
                ),
            );
        }
        rules.push(rule);
    }
    rules
}

/// Returns whether a rule matches everything that a later rule matches. A rename rule does not match
/// identify, group and alias calls, so it hides only other rename rules.
fn hides(before: &Rule, after: &Rule) -> bool {
    let takes_all = before.event.to_string() == "*" || before.event == after.event;
    let same_calls = !matches!(before.action, RuleAction::Rename(_))
        || matches!(after.action, RuleAction::Rename(_));
    takes_all && same_calls
}

fn rule(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Rule> {
    let section = reader.section(field, &RULE)?;
    let event = section.require(reader, "event").cloned();
    let event = event.and_then(|field| pattern(reader, &field));
    let action = section.get("action").is_some();
    let action = match (action, section.get("rename")) {
        (true, None) => reader.choice(
            &section,
            "action",
            &[("keep", RuleKind::Keep), ("drop", RuleKind::Drop)],
        ),
        (false, Some(name)) => {
            return Some(Rule {
                action: RuleAction::Rename(new_name(reader, name)?),
                event: event?,
            })
        }
        _ => {
            reader.incomplete(&section, "expected `action` or `rename`, and not both");
            None
        }
    };
    Some(Rule {
        event: event?,
        action: match action? {
            RuleKind::Keep => RuleAction::Keep,
            RuleKind::Drop => RuleAction::Drop,
        },
    })
}

#[derive(Clone, Copy)]
enum RuleKind {
    Keep,
    Drop,
}

fn pattern(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<NamePattern> {
    const EXPECTED: &str = "an event's name, in which * stands for any characters";
    match reader.text(field, EXPECTED)?.parse() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reader.wrong(field, format!("expected {EXPECTED}: {error}"));
            None
        }
    }
}

fn new_name(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<String> {
    let name = reader.text(field, "the new name of the event")?;
    if name.trim().is_empty() || name.len() > NAME_BYTES || name.contains(char::is_control) {
        reader.wrong(
            field,
            format!("expected a name of 1 to {NAME_BYTES} bytes without control characters"),
        );
        return None;
    }
    if PERSON_EVENTS.contains(&name) {
        reader.wrong(
            field,
            "PostHog would change persons for an event of this name",
        );
        return None;
    }
    Some(name.to_owned())
}

/// Reads the constant `properties` of a project: names, and values as JSON text. All values become JSON
/// strings, because `1.10` may be a version instead of a number.
pub(super) fn constants(
    reader: &mut ConfigReader<'_>,
    project: &Section<'_>,
) -> Vec<(String, String)> {
    let properties = project.get("properties");
    let Some(field) = properties.filter(|field| !field.is_nothing()) else {
        return Vec::new();
    };
    if !matches!(field.node.kind, NodeKind::Mapping(_)) {
        reader.expected(field, "a mapping from names to values");
        return Vec::new();
    }
    if field.entries().len() > CONSTANTS {
        reader.wrong(field, format!("expected at most {CONSTANTS} properties"));
        return Vec::new();
    }
    let mut constants = Vec::new();
    for entry in field.entries() {
        let below = field.entry(entry);
        if !is_constants_name(&entry.key) {
            reader.wrong_key(
                &below,
                "expected a name that begins with a letter, has no quotes or backslashes, and is \
                 none of distinct_id, token and alias",
            );
            continue;
        }
        reader.refuse_reference_in_key(&below, &entry.key);
        let Some(value) = reader.text(&below, "a single value") else {
            continue;
        };
        if value.len() > VALUE_BYTES {
            reader.wrong(&below, format!("expected at most {VALUE_BYTES} bytes"));
            continue;
        }
        let value = serde_json::Value::from(value).to_string();
        constants.push((entry.key.clone(), value));
    }
    constants
}

/// Returns whether a constant property may have this name. PostHog's own properties begin with a dollar
/// sign, and it gives some other names a meaning.
fn is_constants_name(name: &str) -> bool {
    let is_plain =
        |character: char| !character.is_control() && character != '"' && character != '\\';
    name.starts_with(char::is_alphabetic)
        && name.len() <= NAME_BYTES
        && name.chars().all(is_plain)
        && !matches!(name, "distinct_id" | "token" | "alias")
}

/// Returns the lines of `hedgerow check` about the rules, one for each rule.
pub(super) fn lines(rules: &[Rule]) -> Vec<String> {
    let lines = rules.iter().enumerate().map(|(index, rule)| {
        let action = match &rule.action {
            RuleAction::Keep => "keep".to_owned(),
            RuleAction::Drop => "drop".to_owned(),
            RuleAction::Rename(name) => format!("rename to {name:?}"),
        };
        format!("rule {}: {:?} {action}", index + 1, rule.event.to_string())
    });
    lines.collect()
}

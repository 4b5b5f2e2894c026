//! The keys and values of a configuration, read from its tree.

use crate::admin::outline::{Outline, ValueVisibility};

use super::problem::{Problems, SourcePosition};
use super::schema::sections;
use super::source::{holds_login, is_secret_key, RawProblem, SourceText};
use super::tree::{self, Node, NodeKind, SourceSpan};

/// Returns the outline of a configuration's text.
///
/// # Errors
///
/// Returns an error if the text is not YAML.
pub fn outline_of(text: &str) -> Result<Outline, Problems> {
    let root = tree::read(text).map_err(|broken| {
        let SourcePosition { line, column } = broken.position;
        only_problem(text, SourcePosition { line, column }, broken.message)
    })?;
    let mut outline = Outline::default();
    collect(&root, String::new(), false, &mut outline);
    Ok(outline)
}

fn collect(node: &Node, path: String, secret: bool, values: &mut Outline) {
    match &node.kind {
        NodeKind::Nothing => add(values, path, String::new(), secret),
        NodeKind::Text(text) => add(values, path, text.clone(), secret),
        NodeKind::List(items) if items.is_empty() => add(values, path, "[]".to_owned(), false),
        NodeKind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = name_of(item).unwrap_or_else(|| index.to_string());
                let mut below = format!("{path}[{name}]");
                // If two items have the same name, the second also gets its index.
                if values.has_below(&below) {
                    below = format!("{path}[{name} {index}]");
                }
                collect(item, below, secret, values);
            }
        }
        NodeKind::Mapping(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let below = match (secret, path.is_empty()) {
                    (true, _) => format!("{path}[{index}]"),
                    (false, true) => entry.key.clone(),
                    (false, false) => format!("{path}.{}", entry.key),
                };
                if secret {
                    add(values, format!("{below} key"), entry.key.clone(), true);
                }
                let hidden = secret || is_secret_key(&entry.key);
                collect(&entry.value, below, hidden, values);
            }
        }
    }
}

fn add(values: &mut Outline, path: String, held: String, secret: bool) {
    let named = held == "any" || ["env:", "file:"].iter().any(|how| held.starts_with(how));
    let pasted = held.contains("-----BEGIN") || holds_login(&held);
    let shown = match pasted || (secret && !named) {
        true => ValueVisibility::Hidden,
        false => ValueVisibility::AsItIs,
    };
    values.add(path, held, shown);
}

/// Returns the name of a list's item: its host, path or address.
fn name_of(node: &Node) -> Option<String> {
    let NodeKind::Mapping(entries) = &node.kind else {
        return None;
    };
    let text = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key)?;
        match &entry.value.kind {
            NodeKind::Text(text) if !holds_login(text) => Some(text.clone()),
            _ => None,
        }
    };
    match (text("host"), text("path").or_else(|| text("address"))) {
        (Some(host), Some(path)) => Some(format!("{host}{path}")),
        (one, other) => other.or(one),
    }
}

/// Returns the only mistake of a text that cannot be read at all.
pub(super) fn only_problem(text: &str, position: SourcePosition, message: String) -> Problems {
    SourceText::broken(text, sections()).problems(vec![RawProblem {
        span: SourceSpan::point(position),
        path: String::new(),
        message,
    }])
}

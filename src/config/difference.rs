//! What is different between two configurations, key by key. Secrets are named and not shown.

use std::collections::BTreeMap;

use super::problem::Problems;
use super::source::{holds_login, is_secret_key};
use super::tree::{self, Kind, Node};
use super::{only_problem, Place};

/// Keys, with all below them, that only a new process changes.
const NEW_PROCESS: [&str; 3] = ["server.threads", "server.upgrade_socket", "delivery.spool"];

/// What stands for a value that may not be shown.
const HIDDEN: &str = "(hidden)";

/// When a change comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// With a reload.
    Reload,
    /// With a new process.
    NewProcess,
}

/// One key whose value is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The keys that lead to it. Routes, listeners and other entries of lists stand under their
    /// path, address or host, where they have one.
    pub path: String,
    /// Its value before; none where it was not there.
    pub before: Option<String>,
    /// Its value after; none where it is not there.
    pub after: Option<String>,
    /// When that comes into force.
    pub force: Force,
}

/// A value: as it may be shown, and as it is.
struct Value {
    shown: String,
    held: String,
}

/// What changes from the text of one configuration to that of another, in the order of paths.
///
/// # Errors
///
/// Where one of them is no YAML.
pub fn differences(before: &str, after: &str) -> Result<Vec<Difference>, Problems> {
    let (before, mut after) = (outline(before)?, outline(after)?);
    let mut all = Vec::new();
    for (path, value) in before {
        let next = after.remove(&path);
        if next.as_ref().is_none_or(|next| next.held != value.held) {
            let next = next.map(|next| next.shown);
            all.push(difference(path, Some(value.shown), next));
        }
    }
    let added = after.into_iter();
    all.extend(added.map(|(path, value)| difference(path, None, Some(value.shown))));
    all.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(all)
}

/// The differences as lines.
pub fn render_differences(differences: &[Difference]) -> String {
    let mut text = String::new();
    for Difference {
        path,
        before,
        after,
        force,
    } in differences
    {
        let change = match (before, after) {
            (Some(before), Some(after)) => format!("~ {path}: {before} -> {after}"),
            (None, Some(after)) => format!("+ {path}: {after}"),
            (Some(before), None) => format!("- {path}: {before}"),
            (None, None) => continue,
        };
        text.push_str(&change);
        if *force == Force::NewProcess {
            text.push_str("  (takes a new process)");
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("nothing is different\n");
    }
    text
}

fn difference(path: String, before: Option<String>, after: Option<String>) -> Difference {
    let fixed = NEW_PROCESS.iter().any(|fixed| {
        let below = path.strip_prefix(fixed);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    Difference {
        force: match fixed {
            true => Force::NewProcess,
            false => Force::Reload,
        },
        path,
        before,
        after,
    }
}

fn outline(text: &str) -> Result<BTreeMap<String, Value>, Problems> {
    let root = tree::read(text).map_err(|broken| {
        let Place { line, column } = broken.place;
        only_problem(text, Place { line, column }, broken.message)
    })?;
    let mut values = BTreeMap::new();
    collect(&root, String::new(), false, &mut values);
    Ok(values)
}

fn collect(node: &Node, path: String, secret: bool, values: &mut BTreeMap<String, Value>) {
    match &node.kind {
        Kind::Nothing => add(values, path, String::new(), secret),
        Kind::Text(text) => add(values, path, text.clone(), secret),
        Kind::List(items) if items.is_empty() => add(values, path, "[]".to_owned(), false),
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = name_of(item).unwrap_or_else(|| index.to_string());
                let mut below = format!("{path}[{name}]");
                // Of two with one name the second has its number as well.
                let taken = values
                    .range(below.clone()..)
                    .next()
                    .is_some_and(|(known, _)| known.starts_with(&below));
                if taken {
                    below = format!("{path}[{name} {index}]");
                }
                collect(item, below, secret, values);
            }
        }
        Kind::Mapping(entries) => {
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

fn add(values: &mut BTreeMap<String, Value>, path: String, held: String, secret: bool) {
    let named = held == "any" || ["env:", "file:"].iter().any(|how| held.starts_with(how));
    let pasted = held.contains("-----BEGIN") || holds_login(&held);
    let shown = match pasted || (secret && !named) {
        true => HIDDEN.to_owned(),
        false => held.escape_debug().to_string(),
    };
    values.insert(path, Value { shown, held });
}

/// What an entry of a list is known by.
fn name_of(node: &Node) -> Option<String> {
    let Kind::Mapping(entries) = &node.kind else {
        return None;
    };
    let text = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key)?;
        match &entry.value.kind {
            Kind::Text(text) if !holds_login(text) => Some(text.clone()),
            _ => None,
        }
    };
    match (text("host"), text("path").or_else(|| text("address"))) {
        (Some(host), Some(path)) => Some(format!("{host}{path}")),
        (one, other) => other.or(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
listen: [127.0.0.1:8080]
projects:
  shop: {host: us, api_key: phc_one}
routes:
  - path: /hr/
    segment: {project: shop, write_keys: {wk_secret_one: shop}}
  - {path: /, host: a.example, origin: http://user:word@127.0.0.1:1}
server: {threads: 2}
limits: {body: 1MiB}
";

    #[test]
    fn each_change_is_told_by_its_path_and_no_secret_is_shown() {
        let after = BEFORE
            .replace("phc_one", "phc_two")
            .replace("wk_secret_one", "wk_secret_two")
            .replace("user:word", "user:other")
            .replace("threads: 2", "threads: 4")
            .replace("limits: {body: 1MiB}", "health: 127.0.0.1:9")
            .replace(
                "  - path: /hr/",
                "  - {path: /new/, posthog: shop}\n  - path: /hr/",
            );
        let found = render_differences(&differences(BEFORE, &after).unwrap());
        let expected = "\
+ health: 127.0.0.1:9
- limits.body: 1MiB
~ projects.shop.api_key: (hidden) -> (hidden)
~ routes[/hr/].segment.write_keys[0] key: (hidden) -> (hidden)
+ routes[/new/].path: /new/
+ routes[/new/].posthog: shop
~ routes[a.example/].origin: (hidden) -> (hidden)
~ server.threads: 2 -> 4  (takes a new process)
";
        assert_eq!(found, expected);
        let same = render_differences(&differences(BEFORE, BEFORE).unwrap());
        assert_eq!(same, "nothing is different\n");
    }
}

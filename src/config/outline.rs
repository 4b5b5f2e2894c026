//! What a configuration says, key by key. Secrets are held, and never shown.

use std::collections::BTreeMap;
use std::fmt;

use ring::hmac;
use serde_json::{json, Value as Json};

use super::problem::Problems;
use super::source::{holds_login, is_secret_key};
use super::tree::{self, Node, NodeKind};
use super::{only_problem, Place};

/// What stands for a value that may not be shown.
const HIDDEN: &str = "(hidden)";

/// What a configuration says, by the keys that lead to it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Outline(BTreeMap<String, OutlineValue>);

/// A value: as it may be shown, and as it is.
#[derive(Clone, PartialEq, Eq)]
struct OutlineValue {
    shown: String,
    held: String,
}

impl fmt::Debug for Outline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Outline({} keys)", self.0.len())
    }
}

/// An outline that may leave the process: a hidden value is a digest, which says whether it is the
/// same as another one under the same salt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealedOutline(pub(super) BTreeMap<String, Sealed>);

/// A value that may be shown, or what stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) shown: String,
    digest: Option<String>,
}

impl Outline {
    /// The outline of the text of a configuration.
    ///
    /// # Errors
    ///
    /// Where it is no YAML.
    pub fn of(text: &str) -> Result<Self, Problems> {
        let root = tree::read(text).map_err(|broken| {
            let Place { line, column } = broken.place;
            only_problem(text, Place { line, column }, broken.message)
        })?;
        Ok(Self::of_tree(&root))
    }

    /// The same of a text that has been read.
    pub(super) fn of_tree(root: &Node) -> Self {
        let mut values = BTreeMap::new();
        collect(root, String::new(), false, &mut values);
        Self(values)
    }

    /// What it says below these keys is what `running` says: it is not in force.
    #[must_use]
    pub fn keeping(mut self, keys: &[&str], running: &Self) -> Self {
        let kept = |path: &str| keys.iter().any(|key| is_below(path, key));
        self.0.retain(|path, _| !kept(path));
        let before = running.0.iter().filter(|(path, _)| kept(path));
        let before = before.map(|(path, value)| (path.clone(), value.clone()));
        self.0.extend(before);
        self
    }

    /// What of it may be shown, without digests.
    pub fn shown(&self) -> SealedOutline {
        let values = self.0.iter().map(|(path, value)| {
            let shown = value.shown.clone();
            (
                path.clone(),
                Sealed {
                    shown,
                    digest: None,
                },
            )
        });
        SealedOutline(values.collect())
    }

    /// What of it may leave the process. The digests of hidden values are made with this salt.
    pub fn sealed(&self, salt: &[u8]) -> SealedOutline {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
        let values = self.0.iter().map(|(path, value)| {
            let hidden = value.shown == HIDDEN;
            let digest = hidden.then(|| {
                let digest = hmac::sign(&key, value.held.as_bytes());
                let bytes = digest.as_ref().iter();
                bytes.map(|byte| format!("{byte:02x}")).collect()
            });
            let shown = value.shown.clone();
            (path.clone(), Sealed { shown, digest })
        });
        SealedOutline(values.collect())
    }
}

impl SealedOutline {
    /// It as JSON: an array of `path`, `value` and, where the value is hidden, `digest`.
    pub fn to_json(&self) -> Json {
        let values = self.0.iter().map(|(path, value)| {
            let mut entry = json!({"path": path, "value": value.shown});
            if let (Some(digest), Json::Object(entry)) = (&value.digest, &mut entry) {
                entry.insert("digest".to_owned(), digest.as_str().into());
            }
            entry
        });
        values.collect()
    }

    /// From what [`to_json`](Self::to_json) makes; none where it is something else.
    pub fn from_json(json: &Json) -> Option<Self> {
        let entries = json.as_array()?.iter().map(|entry| {
            let text = |name: &str| Some(entry.get(name)?.as_str()?.to_owned());
            let (shown, digest) = (text("value")?, text("digest"));
            Some((text("path")?, Sealed { shown, digest }))
        });
        Some(Self(entries.collect::<Option<_>>()?))
    }
}

/// Whether a path is this key, or stands below it.
pub(super) fn is_below(path: &str, key: &str) -> bool {
    let rest = path.strip_prefix(key);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn collect(node: &Node, path: String, secret: bool, values: &mut BTreeMap<String, OutlineValue>) {
    match &node.kind {
        NodeKind::Nothing => add(values, path, String::new(), secret),
        NodeKind::Text(text) => add(values, path, text.clone(), secret),
        NodeKind::List(items) if items.is_empty() => add(values, path, "[]".to_owned(), false),
        NodeKind::List(items) => {
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

fn add(values: &mut BTreeMap<String, OutlineValue>, path: String, held: String, secret: bool) {
    let named = held == "any" || ["env:", "file:"].iter().any(|how| held.starts_with(how));
    let pasted = held.contains("-----BEGIN") || holds_login(&held);
    let shown = match pasted || (secret && !named) {
        true => HIDDEN.to_owned(),
        false => held.escape_debug().to_string(),
    };
    values.insert(path, OutlineValue { shown, held });
}

/// What an entry of a list is known by.
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

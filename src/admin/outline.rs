//! The keys and values of a configuration, as a running process shows them. Secrets are stored, but
//! never shown.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use ring::hmac;
use serde_json::{json, Value as Json};

/// The text that replaces a value that must not be shown.
const HIDDEN: &str = "(hidden)";

/// The values of a configuration, by their keys.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Outline(BTreeMap<String, OutlineValue>);

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueVisibility {
    AsItIs,
    Hidden,
}

/// A value: the text that may be shown, and the value itself.
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

/// An outline that may leave the process. A hidden value may have a digest; equal values have equal
/// digests if the salt is the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealedOutline(pub(crate) BTreeMap<String, SealedValue>);

/// A value that may be shown, or the text that replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    pub(crate) shown: String,
    digest: Option<String>,
}

impl Outline {
    /// Adds a value, and whether it may be shown.
    pub(crate) fn add(&mut self, path: String, held: String, visibility: ValueVisibility) {
        let shown = match visibility {
            ValueVisibility::Hidden => HIDDEN.to_owned(),
            ValueVisibility::AsItIs => held.escape_debug().to_string(),
        };
        self.0.insert(path, OutlineValue { shown, held });
    }

    /// Returns whether a key begins with this text.
    pub(crate) fn has_below(&self, path: &str) -> bool {
        let next = self.0.range(path.to_owned()..).next();
        next.is_some_and(|(known, _)| known.starts_with(path))
    }

    /// Replaces the values of and below these keys with those of `running`, because the new ones are not
    /// active.
    #[must_use]
    pub fn keeping(mut self, keys: &[&str], running: &Self) -> Self {
        let kept = |path: &str| keys.iter().any(|key| is_below(path, key));
        self.0.retain(|path, _| !kept(path));
        let before = running.0.iter().filter(|(path, _)| kept(path));
        let before = before.map(|(path, value)| (path.clone(), value.clone()));
        self.0.extend(before);
        self
    }

    /// Returns an outline that hides the secrets and has no digests.
    pub fn without_digests(&self) -> SealedOutline {
        let values = self.0.iter().map(|(path, value)| {
            let shown = value.shown.clone();
            (
                path.clone(),
                SealedValue {
                    shown,
                    digest: None,
                },
            )
        });
        SealedOutline(values.collect())
    }

    /// Returns an outline that hides the secrets and has their digests with this salt.
    pub fn sealed(&self, salt: &[u8]) -> SealedOutline {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
        let values = self.0.iter().map(|(path, value)| {
            let hidden = value.shown == HIDDEN;
            let digest = hidden.then(|| {
                let digest = hmac::sign(&key, value.held.as_bytes());
                HEXLOWER.encode(digest.as_ref())
            });
            let shown = value.shown.clone();
            (path.clone(), SealedValue { shown, digest })
        });
        SealedOutline(values.collect())
    }
}

impl SealedOutline {
    /// Returns a JSON array of objects with `path`, `value` and, if the value has one, `digest`.
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

    /// Reads the JSON that [`to_json`](Self::to_json) returns. Returns `None` for other JSON.
    pub fn from_json(json: &Json) -> Option<Self> {
        let entries = json.as_array()?.iter().map(|entry| {
            let text = |name: &str| Some(entry.get(name)?.as_str()?.to_owned());
            let (shown, digest) = (text("value")?, text("digest"));
            Some((text("path")?, SealedValue { shown, digest }))
        });
        Some(Self(entries.collect::<Option<_>>()?))
    }
}

/// Returns whether a path is this key, or is below it.
pub(crate) fn is_below(path: &str, key: &str) -> bool {
    let rest = path.strip_prefix(key);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

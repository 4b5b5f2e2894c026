//! The keys and values of a configuration, as a running process shows them. Secrets are stored, and
//! never shown.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use ring::hmac;
use serde_json::{json, Value as Json};

/// The replacement of a value that may not be shown.
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

/// An outline that may leave the process: a hidden value is a digest, which is equal for equal
/// values under the same salt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SealedOutline(pub(crate) BTreeMap<String, SealedValue>);

/// A value that may be shown, or its replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    pub(crate) shown: String,
    digest: Option<String>,
}

impl Outline {
    /// Takes a value in: as it is, and whether it may be shown.
    pub(crate) fn add(&mut self, path: String, held: String, visibility: ValueVisibility) {
        let shown = match visibility {
            ValueVisibility::Hidden => HIDDEN.to_owned(),
            ValueVisibility::AsItIs => held.escape_debug().to_string(),
        };
        self.0.insert(path, OutlineValue { shown, held });
    }

    /// Whether a key begins like this one.
    pub(crate) fn has_below(&self, path: &str) -> bool {
        let next = self.0.range(path.to_owned()..).next();
        next.is_some_and(|(known, _)| known.starts_with(path))
    }

    /// Takes the values below these keys from `running`, because the new ones are not active.
    #[must_use]
    pub fn keeping(mut self, keys: &[&str], running: &Self) -> Self {
        let kept = |path: &str| keys.iter().any(|key| is_below(path, key));
        self.0.retain(|path, _| !kept(path));
        let before = running.0.iter().filter(|(path, _)| kept(path));
        let before = before.map(|(path, value)| (path.clone(), value.clone()));
        self.0.extend(before);
        self
    }

    /// The part that may be shown, without digests.
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

    /// The part that may leave the process. The digests of hidden values use this salt.
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
            Some((text("path")?, SealedValue { shown, digest }))
        });
        Some(Self(entries.collect::<Option<_>>()?))
    }
}

/// Whether a path is this key, or is below it.
pub(crate) fn is_below(path: &str, key: &str) -> bool {
    let rest = path.strip_prefix(key);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

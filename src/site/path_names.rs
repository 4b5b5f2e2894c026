//! Replaces the parts of posthog-js's paths by neutral names, and restores them (adblock 6 and 7).
//!
//! posthog-js from 1.416.0 calls a function of the page, `rewriteRequestPath`, for every address.
//! The function that `hedgerow snippet` prints replaces every known part of a path by a name
//! derived from the deployment's seed, and every occurrence of the project key. Unknown parts
//! (versions, ids, and new parts of later releases) stay unchanged, so a part that is missing in the
//! list breaks nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use super::names::derive;

/// The parts of posthog-js's paths (posthog-ingestion 6.2, and the files of posthog-js 1.449.2 that
/// a page can request), without `.js`. A name depends only on the seed and its word, so a new word
/// does not change the names of the others.
const WORDS: &[&str] = &[
    "all-external-dependencies",
    "api",
    "array",
    "array.full",
    "array.full.es5",
    "array.full.no-external",
    "array.no-external",
    "batch",
    "capture",
    "config",
    "conversations",
    "crisp-chat-integration",
    "customizations",
    "customizations.full",
    "dead-clicks-autocapture",
    "decide",
    "definitions",
    "e",
    "early_access_features",
    "element-inference",
    "engage",
    "events",
    "exception-autocapture",
    "external-scripts-loader",
    "flags",
    "i",
    "intercom-integration",
    "lazy-recorder",
    "loader",
    "loader-bootstrap",
    "logs",
    "message",
    "messages",
    "metrics",
    "posthog-recorder",
    "product-tours",
    "product-tours-preview",
    "product_tours",
    "read",
    "recorder",
    "recorder-v2",
    "restore",
    "rrweb",
    "rrweb-plugin-console-record",
    "s",
    "site_app",
    "static",
    "surveys",
    "surveys-preview",
    "tickets",
    "toolbar",
    "track",
    "tracing-headers",
    "v0",
    "v1",
    "web-vitals",
    "web-vitals-soft-navs",
    "web-vitals-with-attribution",
    "web-vitals-with-attribution-soft-navs",
    "web_experiments",
    "widget",
    "analytics",
    "ai",
    "otel",
    "module",
    "module.full",
];

/// The neutral names of one `posthog:` route, in both directions.
#[derive(Clone, PartialEq, Eq)]
pub struct PathNames {
    /// The neutral name of each word. The project key is one of the words.
    names: BTreeMap<String, String>,
    /// The word of each neutral name.
    words: BTreeMap<String, String>,
    /// The project key, which also appears in queries.
    key: String,
    key_name: String,
}

impl fmt::Debug for PathNames {
    /// Omits the project key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PathNames").finish_non_exhaustive()
    }
}

/// Why there are no names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathNamesError {
    /// The seed is shorter than 8 or longer than 64, or has other characters than letters and digits.
    #[error("expected a seed of 8 to 64 letters and digits")]
    Seed,
    /// Two words have the same name. This is very unlikely to happen by chance.
    #[error("expected another seed: this one gives {one:?} and {other:?} the same name")]
    Collision {
        /// One word.
        one: String,
        /// The other.
        other: String,
    },
}

impl PathNames {
    /// Derives the names from a seed, for a project with this key.
    ///
    /// # Errors
    /// The seed is not 8 to 64 letters and digits, or gives two words the same name.
    pub fn new(seed: &str, api_key: &str) -> Result<Self, PathNamesError> {
        let valid =
            (8..=64).contains(&seed.len()) && seed.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !valid {
            return Err(PathNamesError::Seed);
        }
        let mut path_names = Self {
            names: BTreeMap::new(),
            words: BTreeMap::new(),
            key: api_key.to_owned(),
            key_name: derive(seed, api_key),
        };
        for word in WORDS.iter().copied().chain([api_key]) {
            let name = derive(seed, word);
            if let Some(other) = path_names.words.insert(name.clone(), word.to_owned()) {
                return Err(PathNamesError::Collision {
                    one: word.to_owned(),
                    other,
                });
            }
            path_names.names.insert(word.to_owned(), name);
        }
        Ok(path_names)
    }

    /// Returns the real path and query of a page's request. Every part that is not a neutral name
    /// stays unchanged, so real paths work too.
    pub fn to_real<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        replace(path_and_query, &self.words, &self.key_name, &self.key)
    }

    /// Returns the neutral form of a real path and query. It is the inverse of [`PathNames::to_real`].
    pub fn to_neutral<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        replace(path_and_query, &self.names, &self.key, &self.key_name)
    }

    /// Returns every word with its neutral name, for the page's function. The project key is omitted,
    /// because the page already has it.
    pub fn table(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names
            .iter()
            .filter(|(word, _)| **word != self.key)
            .map(|(word, name)| (word.as_str(), name.as_str()))
    }

    /// Returns the project key's neutral name.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }
}

/// Replaces whole parts of the path, with or without `.js`, and the project key where it is the
/// whole value of a query parameter.
fn replace<'a>(
    path_and_query: &'a str,
    table: &BTreeMap<String, String>,
    key: &str,
    instead_of_key: &str,
) -> Cow<'a, str> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let mut replaced = String::with_capacity(path_and_query.len() * 2);
    for (position, part) in path.split('/').enumerate() {
        if position > 0 {
            replaced.push('/');
        }
        let (stem, suffix) = match part.strip_suffix(".js") {
            Some(stem) => (stem, ".js"),
            None => (part, ""),
        };
        match table.get(stem) {
            Some(other) => {
                replaced.push_str(other);
                replaced.push_str(suffix);
            }
            None => replaced.push_str(part),
        }
    }
    if let Some(query) = query {
        for (position, pair) in query.split('&').enumerate() {
            replaced.push(if position == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((name, value)) if value == key => {
                    replaced.push_str(name);
                    replaced.push('=');
                    replaced.push_str(instead_of_key);
                }
                _ => replaced.push_str(pair),
            }
        }
    }
    if replaced == path_and_query {
        Cow::Borrowed(path_and_query)
    } else {
        Cow::Owned(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::forbidden_word;
    use super::*;

    const KEY: &str = "phc_abcdefghijklmnop";

    fn names() -> PathNames {
        PathNames::new("k3v9x2mnq7", KEY).unwrap()
    }

    const PATHS: &[&str] = &[
        "/e/",
        "/i/v0/e/",
        "/i/v0/e/?retry_count=2",
        "/s/",
        "/flags/?v=2",
        "/decide/?v=3",
        "/static/array.js",
        "/static/array.full.es5.js",
        "/static/1.449.2/dead-clicks-autocapture.js",
        "/static/posthog-recorder.js?v=1.449.2",
        "/static/toolbar.js?v=1.449.2&t=1700000000000",
        "/static/rrweb.js",
        "/static/loader.js",
        "/static/loader-bootstrap.js?v=1.449.2",
        "/static/1/array.js",
        "/static/1/loader.js",
        "/static/1.449.2/all-external-dependencies.js",
        "/static/web-vitals-with-attribution-soft-navs.js",
        "/array/phc_abcdefghijklmnop/config.js",
        "/array/phc_abcdefghijklmnop/config",
        "/array/phc_abcdefghijklmnop/array.js",
        "/api/surveys/?token=phc_abcdefghijklmnop",
        "/api/early_access_features/?token=phc_abcdefghijklmnop&_=1",
        "/api/conversations/v1/widget/messages/6f/read",
        "/i/v1/logs?token=phc_abcdefghijklmnop",
        "/site_app/12/phc_abcdefghijklmnop/0f3a/",
        "/batch/",
        "/track/",
    ];

    #[test]
    fn every_path_of_posthog_js_is_restored_exactly_and_is_neutral_in_between() {
        for path in PATHS {
            let names = names();
            let neutral = names.to_neutral(path).into_owned();
            assert_eq!(names.to_real(&neutral), *path, "{neutral}");
            assert_eq!(forbidden_word(&neutral), None, "{path}: {neutral}");
            assert!(
                !["static", "array", "loader"]
                    .iter()
                    .any(|word| neutral.contains(word)),
                "{neutral}"
            );
        }
    }

    #[test]
    fn paths_that_were_not_renamed_and_unknown_parts_stay_as_they_are() {
        for path in
            PATHS
                .iter()
                .copied()
                .chain(["/", "", "/new/thing.js?x=%20", "//e//", "/e?a&b=&c=d=e"])
        {
            assert_eq!(names().to_real(path), path);
        }
        let neutral = names()
            .to_neutral("/static/2.0.0/new-thing.js")
            .into_owned();
        assert!(neutral.ends_with("/2.0.0/new-thing.js"), "{neutral}");
        assert_eq!(names().to_real(&neutral), "/static/2.0.0/new-thing.js");
    }

    #[test]
    fn names_differ_between_deployments_and_a_guessable_seed_is_refused() {
        let other = PathNames::new("w8k2z4trbb", KEY).unwrap();
        for (word, name) in names().table() {
            assert!(other.table().all(|(_, theirs)| theirs != name), "{word}");
        }
        assert_eq!(names().table().count(), WORDS.len());
        for seed in ["", "short", "with space in", &"a".repeat(65)] {
            assert_eq!(
                PathNames::new(seed, KEY),
                Err(PathNamesError::Seed),
                "{seed:?}"
            );
        }
    }

    #[test]
    fn an_installation_keeps_its_names_when_the_list_grows() {
        for (path, neutral) in [
            ("/static/array.js", "/dvrckd9/h6kmtj6.js"),
            ("/static/1.449.2/recorder.js", "/dvrckd9/1.449.2/n329k2z.js"),
            ("/e/", "/v33f2x9/"),
            ("/flags/?v=2", "/fzc5b9f/?v=2"),
            ("/static/loader.js", "/dvrckd9/vdhs676.js"),
            ("/static/loader-bootstrap.js", "/dvrckd9/r95vj6q.js"),
        ] {
            assert_eq!(names().to_neutral(path), neutral);
            assert_eq!(names().to_real(neutral), path);
        }
    }

    #[test]
    fn no_seed_of_many_gives_two_words_one_name() {
        for seed in 0..2_000 {
            PathNames::new(&format!("seed{seed:06}"), KEY).unwrap();
        }
    }
}

//! The paths of the first-party files and the tracking calls below one path prefix (adblock 6).

use thiserror::Error;

use super::names::is_path_part;
use crate::segment::Kind;

/// The paths of one installation of analytics.js. Below the prefix `P`:
///
/// | path | what |
/// | --- | --- |
/// | `/P/{script}.js` | analytics.js |
/// | `/P/{settings}/KEY` | the settings of a write key, or of an alias of one |
/// | `/P/{chunks}/NAME.js` | parts that analytics.js loads when it needs them |
/// | `/P/{calls}/t` … | tracking calls that `segment::recognise` knows |
///
/// analytics.js uses the prefix as its CDN, so Segment's own paths below it
/// (`/P/analytics.js/v1/KEY/analytics.min.js`, `/P/v1/projects/KEY/settings`,
/// `/P/analytics-next/bundles/NAME`) are served as well, for existing pages, npm users and phones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    prefix: String,
    script: String,
    settings: String,
    chunks: String,
    calls: String,
}

/// Why a layout is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The prefix does not start and end with a slash, or has an odd part.
    #[error("expected a prefix such as /k3v9x2mn/, of letters, digits, '-', '_' and '.'")]
    Prefix,
    /// A name is not valid in a path.
    #[error("expected {part} to be 1 to 64 letters, digits, '-', '_' or '.'")]
    Name {
        /// Which of the four names.
        part: &'static str,
    },
    /// A name would hide one of Segment's own paths.
    #[error(
        "expected another name than {name:?} for {part}: Segment's libraries use it themselves"
    )]
    Reserved {
        /// Which of the four names.
        part: &'static str,
        /// The name.
        name: String,
    },
    /// Two names are equal.
    #[error("expected four different names, but two of them are {name:?}")]
    Twice {
        /// The name.
        name: String,
    },
}

/// The file that a path below the prefix requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteFile<'a> {
    /// analytics.js itself. `write_key` is known only on Segment's own path.
    Script {
        /// The key in the path, percent-encoding untouched.
        write_key: Option<&'a str>,
    },
    /// The settings of a write key, or of an alias that the configuration maps to one.
    Settings {
        /// The key in the path, percent-encoding untouched.
        write_key: &'a str,
    },
    /// A chunk of analytics.js, to be looked up in the library.
    Chunk {
        /// Its file name.
        name: &'a str,
    },
    /// A device-mode destination of a real Segment account (`/next-integrations/…`). The answer is a
    /// 404, or comes from Segment's CDN if calls are forwarded to the account.
    Destination {
        /// The whole path below the prefix, as [`Layout::recognise`] got it.
        path: &'a str,
    },
    /// A tracking call below the name for calls. `segment::recognise` reads the tail.
    Call {
        /// The rest of the path, without a slash at its start.
        tail: &'a str,
    },
    /// None of these: a tracking call on Segment's own path, or an unknown path.
    Other {
        /// The whole path below the prefix, without a slash at its start.
        tail: &'a str,
    },
}

/// A name that no request can have: a path never contains a space.
const UNUSED: &str = " ";

/// Names that already have a meaning as the first part of a path, besides those of Segment's calls.
const RESERVED: &[&str] = &[
    "v1",
    "b",
    "m",
    "batch",
    "import",
    "pixel",
    "analytics.js",
    "analytics-next",
    "next-integrations",
];

impl Layout {
    /// Returns a layout below `prefix`, which starts and ends with a slash (`/` is possible).
    ///
    /// # Errors
    /// The prefix is invalid, or a name is not valid in a path, is Segment's own, or appears twice.
    pub fn new(
        prefix: &str,
        script: &str,
        settings: &str,
        chunks: &str,
        calls: &str,
    ) -> Result<Self, LayoutError> {
        let inner = prefix
            .strip_prefix('/')
            .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let valid = match inner {
            Some("") => prefix == "/",
            Some(inner) => prefix.ends_with('/') && inner.split('/').all(is_path_part),
            None => false,
        };
        if !valid {
            return Err(LayoutError::Prefix);
        }
        let named = [
            ("script", script),
            ("settings", settings),
            ("chunks", chunks),
            ("calls", calls),
        ];
        for (position, (part, name)) in named.iter().enumerate() {
            if !is_path_part(name) {
                return Err(LayoutError::Name { part });
            }
            if RESERVED.contains(name) || Kind::of_path(name).is_some() {
                return Err(LayoutError::Reserved {
                    part,
                    name: (*name).to_owned(),
                });
            }
            if named
                .iter()
                .skip(position + 1)
                .any(|(_, other)| other == name)
            {
                return Err(LayoutError::Twice {
                    name: (*name).to_owned(),
                });
            }
        }
        Ok(Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            script: script.to_owned(),
            settings: settings.to_owned(),
            chunks: chunks.to_owned(),
            calls: calls.to_owned(),
        })
    }

    /// Returns a layout that has only Segment's own paths below `prefix`, which starts with a slash.
    pub fn segments_own(prefix: &str) -> Self {
        let unused = || UNUSED.to_owned();
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            script: unused(),
            settings: unused(),
            chunks: unused(),
            calls: unused(),
        }
    }

    /// Returns the prefix without the slash at its end: empty for `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the path part of the chunks.
    pub fn chunks(&self) -> &str {
        &self.chunks
    }

    /// Returns the path part of the settings.
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// Returns the path part of the tracking calls.
    pub fn calls(&self) -> &str {
        &self.calls
    }

    /// Returns the script's file name, with `.js`.
    pub fn script_file(&self) -> String {
        format!("{}.js", self.script)
    }

    /// Returns the script's path.
    pub fn script_path(&self) -> String {
        format!("{}/{}.js", self.prefix, self.script)
    }

    /// Returns the path of the settings of this key or alias.
    pub fn settings_path(&self, write_key: &str) -> String {
        format!("{}/{}/{write_key}", self.prefix, self.settings)
    }

    /// Returns the path of the tracking calls, without a slash at its end.
    pub fn calls_path(&self) -> String {
        match self.calls.as_str() {
            UNUSED => format!("{}/v1", self.prefix),
            calls => format!("{}/{calls}", self.prefix),
        }
    }

    /// Returns the file that a path below the prefix requests. `tail` may start with a slash, and has
    /// no query.
    pub fn recognise<'a>(&self, tail: &'a str) -> SiteFile<'a> {
        let path = tail;
        let tail = tail.strip_prefix('/').unwrap_or(tail);
        let (first, rest) = match tail.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (tail, None),
        };
        if first.strip_suffix(".js") == Some(self.script.as_str()) && rest.is_none() {
            return SiteFile::Script { write_key: None };
        }
        if let Some(rest) = rest {
            if first == self.calls {
                return SiteFile::Call { tail: rest };
            }
            if first == self.settings && is_single(rest) {
                return SiteFile::Settings { write_key: rest };
            }
            if first == self.chunks && is_single(rest) {
                return SiteFile::Chunk { name: rest };
            }
        } else if first == self.calls {
            return SiteFile::Call { tail: "" };
        }
        old_path(path, tail).unwrap_or(SiteFile::Other { tail })
    }
}

/// Recognises Segment's own paths (segment-tracking 1.1 and 3.2).
fn old_path<'a>(path: &'a str, tail: &'a str) -> Option<SiteFile<'a>> {
    if let Some(rest) = tail.strip_prefix("analytics.js/v1/") {
        let (write_key, file) = rest.split_once('/')?;
        // The pattern by which analytics.js finds the key in its own address allows a `platform` folder.
        let file = file.strip_prefix("platform/").unwrap_or(file);
        let known = matches!(file, "analytics.min.js" | "analytics.js");
        return (known && !write_key.is_empty()).then_some(SiteFile::Script {
            write_key: Some(write_key),
        });
    }
    if let Some(name) = tail.strip_prefix("analytics-next/bundles/") {
        return is_single(name).then_some(SiteFile::Chunk { name });
    }
    if tail.starts_with("next-integrations/") {
        return Some(SiteFile::Destination { path });
    }
    let rest = tail.strip_prefix("v1/").unwrap_or(tail);
    let write_key = rest.strip_prefix("projects/")?;
    let write_key = write_key.strip_suffix('/').unwrap_or(write_key);
    let write_key = write_key.strip_suffix("/settings")?;
    is_single(write_key).then_some(SiteFile::Settings { write_key })
}

fn is_single(part: &str) -> bool {
    !part.is_empty() && !part.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("/k3v9x2mn/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd").unwrap()
    }

    #[test]
    fn neutral_paths_and_segments_own_paths_lead_to_the_same_files() {
        let script = SiteFile::Script { write_key: None };
        let settings = SiteFile::Settings { write_key: "KEY" };
        let chunk = SiteFile::Chunk { name: "a.b.js" };
        for (tail, expected) in [
            ("fq7dk2.js", script),
            ("/fq7dk2.js", script),
            (
                "analytics.js/v1/KEY/analytics.min.js",
                SiteFile::Script {
                    write_key: Some("KEY"),
                },
            ),
            (
                "analytics.js/v1/KEY/platform/analytics.min.js",
                SiteFile::Script {
                    write_key: Some("KEY"),
                },
            ),
            ("sz4mwp/KEY", settings),
            ("v1/projects/KEY/settings", settings),
            ("v1/projects/KEY/settings/", settings),
            ("projects/KEY/settings", settings),
            ("ch8tvn/a.b.js", chunk),
            ("analytics-next/bundles/a.b.js", chunk),
            ("qn5rzd/t", SiteFile::Call { tail: "t" }),
            ("qn5rzd/v1/batch/", SiteFile::Call { tail: "v1/batch/" }),
            ("qn5rzd", SiteFile::Call { tail: "" }),
            (
                "/next-integrations/x/y.js",
                SiteFile::Destination {
                    path: "/next-integrations/x/y.js",
                },
            ),
            ("v1/t", SiteFile::Other { tail: "v1/t" }),
            ("", SiteFile::Other { tail: "" }),
            (
                "fq7dk2.js/x",
                SiteFile::Other {
                    tail: "fq7dk2.js/x",
                },
            ),
            (
                "ch8tvn/a/b.js",
                SiteFile::Other {
                    tail: "ch8tvn/a/b.js",
                },
            ),
            (
                "v1/projects//settings",
                SiteFile::Other {
                    tail: "v1/projects//settings",
                },
            ),
        ] {
            assert_eq!(layout().recognise(tail), expected, "{tail:?}");
        }
    }

    #[test]
    fn a_layout_that_would_hide_segments_paths_or_itself_is_refused() {
        let made =
            |prefix, names: [&str; 4]| Layout::new(prefix, names[0], names[1], names[2], names[3]);
        assert_eq!(made("k3/", ["f", "d", "c", "q"]), Err(LayoutError::Prefix));
        assert_eq!(made("/k3", ["f", "d", "c", "q"]), Err(LayoutError::Prefix));
        assert_eq!(
            made("/k/../3/", ["f", "d", "c", "q"]),
            Err(LayoutError::Prefix)
        );
        assert_eq!(made("//", ["f", "d", "c", "q"]), Err(LayoutError::Prefix));
        assert_eq!(
            made("/k/", ["f", "", "c", "q"]),
            Err(LayoutError::Name { part: "settings" })
        );
        assert!(matches!(
            made("/k/", ["f", "d", "v1", "q"]),
            Err(LayoutError::Reserved { .. })
        ));
        assert!(matches!(
            made("/k/", ["f", "d", "c", "f"]),
            Err(LayoutError::Twice { .. })
        ));
        assert_eq!(
            made("/", ["f", "d", "c", "q"]).unwrap().script_path(),
            "/f.js"
        );
        assert_eq!(
            made("/x/y/", ["f", "d", "c", "q"]).unwrap().calls_path(),
            "/x/y/q"
        );
    }
}

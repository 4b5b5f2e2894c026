//! Removes the vendor's hosts, and the texts that a filter list could match, from analytics.js
//! (adblock 7).
//!
//! Every literal is counted before it is replaced. A version with another count is refused, because
//! a missed literal would send requests to a blocked host.

use std::collections::{BTreeMap, BTreeSet};

use super::super::layout::Layout;
use super::super::names::derive;
use super::super::page_sessions::{PageSessions, CALL};
use super::super::unanswered;
use super::error::LibraryError;

/// The loader's file name in the package.
pub(super) const LOADER: &str = "standalone.js";

/// The variable in which the rewritten file stores its own origin. The loader must not use this name.
const HOME: &str = "servedFrom";

/// The parts of a chunk's file name in the package, `NAME.bundle.HASH.js`.
pub(super) struct ChunkFile<'a> {
    pub(super) name: &'a str,
    pub(super) hash: &'a str,
}

impl<'a> ChunkFile<'a> {
    pub(super) fn parse(file: &'a str) -> Option<Self> {
        let (name, hash) = file.strip_suffix(".js")?.split_once(".bundle.")?;
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let known = !name.is_empty() && plain(name) && hash.len() >= 16 && plain(hash);
        known.then_some(Self { name, hash })
    }
}

/// Returns whether a file of the build is the loader or a chunk.
pub(super) fn is_wanted(name: &str) -> bool {
    name == LOADER || ChunkFile::parse(name).is_some()
}

pub(super) struct Rewritten {
    pub(super) version: String,
    pub(super) loader: String,
    pub(super) chunks: Vec<RewrittenChunk>,
}

pub(super) struct RewrittenChunk {
    pub(super) original_name: String,
    pub(super) neutral_name: String,
    pub(super) code: String,
}

/// Rewrites the loader and the chunks for this layout.
pub(super) fn rewrite(
    loader: &str,
    chunks: &BTreeMap<String, &str>,
    layout: &Layout,
    sessions: PageSessions,
) -> Result<Rewritten, LibraryError> {
    require(loader, HOME, 0)?;
    if sessions == PageSessions::Kept {
        require(loader, &format!("\"{CALL}\""), 1)?;
    }
    let version = version(loader)?;
    check_chunks_are_complete(loader, chunks)?;
    let mut code = without_source_map(loader).to_owned();
    for (literal, replacement) in literals(layout) {
        require(&code, literal, 1)?;
        code = code.replace(literal, &replacement);
    }
    let mut done = Vec::with_capacity(chunks.len());
    for (file, source) in chunks {
        let Some(chunk) = ChunkFile::parse(file) else {
            continue;
        };
        let source = without_source_map(source);
        for host in ["segment.com", "segment.io", "segment.build"] {
            if source.contains(host) {
                return Err(LibraryError::UnknownHost {
                    url: host.to_owned(),
                    file: file.clone(),
                });
            }
        }
        // The hash is derived from the content: a changed chunk gets another address, so browsers may
        // keep each chunk forever.
        let seed = format!("{}/{}", layout.prefix(), layout.chunks());
        let hash = derive(&seed, source);
        code = replace_once(
            &code,
            &format!("\"{}\"", chunk.hash),
            &format!("\"{hash}\""),
        )?;
        let neutral = if chunk.name.bytes().all(|byte| byte.is_ascii_digit()) {
            // The table has no name for a numbered chunk, only its number.
            chunk.name.to_owned()
        } else {
            let neutral = derive(&seed, chunk.name);
            code = replace_name(&code, chunk.name, &neutral)?;
            neutral
        };
        done.push(RewrittenChunk {
            original_name: file.clone(),
            neutral_name: format!("{neutral}.{hash}.js"),
            code: source.to_owned(),
        });
    }
    check_hosts(&code)?;
    let calls = json(&format!("/{}", layout.calls()));
    Ok(Rewritten {
        version,
        loader: format!(
            "{}!function({HOME}){{{}\n}}({});\n",
            sessions.before_the_loader(),
            unanswered::counting(&code, HOME),
            home(layout, &calls)
        ),
        chunks: done,
    })
}

/// Returns the texts of the loader that are replaced, and their replacements. Each text appears once
/// in 1.83.0 and in 1.84.3.
fn literals(layout: &Layout) -> [(&'static str, String); 9] {
    let chunks = json(&format!("/{}/", layout.chunks()));
    [
        // The address of the chunks if the loader finds no CDN.
        (
            "\"https://cdn.segment.com/analytics-next/bundles/\"",
            format!("({HOME}.base+{chunks})"),
        ),
        // The fallback to the library of 2020 after a CSP violation on Segment's CDN.
        (
            "\"https://cdn.segment.com/analytics.js/v1/\"",
            format!("({HOME}.base+\"/analytics.js/v1/\")"),
        ),
        // The CDN if neither `_cdn` nor a script tag names one.
        ("\"https://cdn.segment.com\"", format!("({HOME}.base)")),
        // The host of events and telemetry if the settings name none.
        ("\"api.segment.io/v1\"", format!("({HOME}.calls)")),
        // The paths of chunks and settings on a CDN that the loader finds.
        ("\"/analytics-next/bundles/\"", chunks),
        (
            "\"/v1/projects/\"",
            json(&format!("/{}/", layout.settings())),
        ),
        ("\"/settings\"", "\"\"".to_owned()),
        ("\".bundle.\"", "\".\"".to_owned()),
        // A polyfill from another host for browsers of 2016 and before. These get an empty script
        // instead, because the library does not start before the polyfill has loaded.
        (
            "\"https://cdnjs.cloudflare.com/ajax/libs/babel-polyfill/7.7.0/polyfill.min.js\"",
            "\"data:text/javascript,\"".to_owned(),
        ),
    ]
}

/// Returns the expression that computes the script's origin in the browser. Its `base` replaces
/// Segment's CDN, and its `calls` replaces the API host and has no scheme.
///
/// A script that runs from its own tag knows its address. For any other script (inline, or evaluated
/// by another script) the expression uses the page's host and the layout's prefix.
fn home(layout: &Layout, calls: &str) -> String {
    let script = json(&layout.script_file());
    let prefix = json(layout.prefix());
    format!(
        "function(){{var c=document.currentScript,\
         u=(c&&c.src||\"\").replace(/[?#].*$/,\"\"),\
         f=\"/\"+{script},\
         n=u.length-f.length,\
         m=/^(https?:\\/\\/.*)\\/analytics\\.js\\/v1\\/.*$/.exec(u),\
         b=/^https?:/.test(u)&&n>0&&u.lastIndexOf(f)===n?u.slice(0,n):\
         m?m[1]:location.protocol+\"//\"+location.host+{prefix};\
         return{{base:b,calls:b.replace(/^https?:\\/\\//,\"\")+{calls}}}}}()"
    )
}

/// Returns a text as a JavaScript literal. Nothing is escaped: layout names consist of letters,
/// digits and `-_.`.
fn json(text: &str) -> String {
    format!("\"{text}\"")
}

fn require(code: &str, literal: &str, expected: usize) -> Result<(), LibraryError> {
    let found = code.matches(literal).count();
    if found == expected {
        return Ok(());
    }
    Err(LibraryError::Literal {
        literal: literal.to_owned(),
        file: LOADER.to_owned(),
        expected,
        found,
    })
}

fn replace_once(code: &str, literal: &str, replacement: &str) -> Result<String, LibraryError> {
    require(code, literal, 1)?;
    Ok(code.replacen(literal, replacement, 1))
}

/// Replaces a chunk's name in the loader's table of names: `248:"auto-track"`. The same text may
/// appear elsewhere, but only in the table it follows a number.
fn replace_name(code: &str, name: &str, neutral: &str) -> Result<String, LibraryError> {
    let literal = format!(":\"{name}\"");
    let entries: Vec<usize> = code
        .match_indices(&literal)
        .map(|(position, _)| position)
        .filter(|position| {
            code.get(..*position)
                .is_some_and(|before| before.ends_with(|last: char| last.is_ascii_digit()))
        })
        .collect();
    let (Some(position), 1) = (entries.first().copied(), entries.len()) else {
        return Err(LibraryError::Literal {
            literal: format!("NUMBER{literal}"),
            file: LOADER.to_owned(),
            expected: 1,
            found: entries.len(),
        });
    };
    let (before, rest) = code.split_at(position);
    let rest = rest.strip_prefix(literal.as_str()).unwrap_or(rest);
    Ok(format!("{before}:\"{neutral}\"{rest}"))
}

/// Checks that every chunk in the loader's table is present, with the hash of this version's build.
fn check_chunks_are_complete(
    loader: &str,
    chunks: &BTreeMap<String, &str>,
) -> Result<(), LibraryError> {
    let Some((_, table)) = loader.split_once("\".bundle.\"+{") else {
        return require(loader, "\".bundle.\"+{", 1);
    };
    let table = table.split('}').next().unwrap_or_default();
    let named: BTreeSet<&str> = table
        .split(',')
        .filter_map(|entry| entry.split_once(':'))
        .map(|(_, hash)| hash.trim_matches('"'))
        .collect();
    let present: BTreeSet<&str> = chunks
        .keys()
        .filter_map(|file| ChunkFile::parse(file))
        .map(|chunk| chunk.hash)
        .collect();
    match named.difference(&present).next() {
        Some(hash) => Err(LibraryError::Missing {
            file: format!("*.bundle.{hash}.js"),
        }),
        None => Ok(()),
    }
}

/// Checks that no address is left that a browser could request. Two are allowed: a link that the
/// library prints on the console, and the pattern by which it finds Segment's own CDN in an account's
/// settings.
fn check_hosts(code: &str) -> Result<(), LibraryError> {
    const HARMLESS: &[&str] = &[
        "https://segment.com/docs/",
        "https://cdn.segment.(com|build)",
    ];
    let addresses = code
        .match_indices("http")
        .filter_map(|(position, _)| code.get(position..))
        .filter(|rest| rest.starts_with("http://") || rest.starts_with("https://"))
        .filter(|rest| !rest.starts_with("http://\"") && !rest.starts_with("https://\""));
    for address in addresses {
        if !HARMLESS.iter().any(|known| address.starts_with(known)) {
            let url = address.split(['"', '\'', '`']).next().unwrap_or(address);
            return Err(LibraryError::UnknownHost {
                url: url.chars().take(80).collect(),
                file: LOADER.to_owned(),
            });
        }
    }
    require(code, "segment.io", 0)
}

/// Returns the code without the comment that would make developer tools request a source map, which
/// is not served.
fn without_source_map(code: &str) -> &str {
    let code = code.trim_end();
    match code.rfind("\n//# sourceMappingURL=") {
        Some(position) if !code.get(position + 1..).unwrap_or_default().contains('\n') => {
            code.get(..position).unwrap_or(code)
        }
        _ => code,
    }
}

/// Returns the version in the file, for the log and the live view: the first string literal that is
/// only a version number.
fn version(loader: &str) -> Result<String, LibraryError> {
    let is_version = |text: &&str| {
        let mut parts = text.split('.');
        let numbers = parts
            .by_ref()
            .take(3)
            .filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
            .count();
        numbers == 3 && parts.next().is_none()
    };
    loader
        .split('"')
        .skip(1)
        .step_by(2)
        .find(is_version)
        .or_else(|| loader.split('"').find(is_version))
        .map(str::to_owned)
        .ok_or_else(|| LibraryError::Literal {
            literal: "\"MAJOR.MINOR.PATCH\"".to_owned(),
            file: LOADER.to_owned(),
            expected: 1,
            found: 0,
        })
}

//! The text of a configuration for messages: single lines, with the secrets masked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::problem::{Problem, Problems, SourceExcerpt, SourcePosition};
use super::shape::Sections;
use super::spelling;
use super::tree::{Node, NodeKind, SourceSpan};

/// The most mistakes that are reported one by one.
const PROBLEM_LIMIT: usize = 100;

/// The most characters of a line that are shown.
const WIDTH: usize = 100;

/// A mistake or a warning that has no source line yet.
#[derive(Debug)]
pub(super) struct RawProblem {
    pub span: SourceSpan,
    pub path: String,
    pub message: String,
}

/// The lines of a file, and which parts of them are secret.
pub(super) struct SourceText<'t> {
    lines: Vec<&'t str>,
    /// The masked columns of each line: the first one, and the one after the last.
    masks: BTreeMap<usize, BTreeSet<(usize, usize)>>,
    /// The starts of the values that are already masked: several aliases may lead to the same value.
    masked: HashSet<SourcePosition>,
    /// Whether the text has a tree. Without one it is unknown which values are secret, so each word is
    /// checked.
    parsed: bool,
    /// All sections. Their keys are not secrets.
    sections: Sections,
}

impl<'t> SourceText<'t> {
    /// Creates the source of a text that has no tree.
    pub fn broken(text: &'t str, sections: Sections) -> Self {
        Self {
            sections,
            lines: lines(text),
            masks: BTreeMap::new(),
            masked: HashSet::new(),
            parsed: false,
        }
    }

    /// Creates the source of a text with its tree. Finds the secrets, and adds each key that appears twice
    /// to `findings`.
    pub fn new(
        text: &'t str,
        root: &Node,
        sections: Sections,
        findings: &mut Vec<RawProblem>,
    ) -> Self {
        let mut source = Self {
            parsed: true,
            ..Self::broken(text, sections)
        };
        source.inspect(root, "", Exposure::Public, findings);
        source
    }

    /// Sorts the findings and adds its source line to each.
    pub fn problems(&self, mut findings: Vec<RawProblem>) -> Problems {
        findings.sort_by_key(|finding| (finding.span.start, finding.path.len()));
        let left_out = findings.len().saturating_sub(PROBLEM_LIMIT);
        findings.truncate(PROBLEM_LIMIT);
        Problems {
            list: findings
                .into_iter()
                .map(|finding| Problem {
                    position: finding.span.start,
                    path: mask_words(&finding.path),
                    message: mask_words(&finding.message),
                    snippet: self.snippet(finding.span),
                })
                .collect(),
            left_out,
        }
    }

    fn inspect(
        &mut self,
        node: &Node,
        path: &str,
        exposure: Exposure,
        findings: &mut Vec<RawProblem>,
    ) {
        match &node.kind {
            NodeKind::Nothing => {}
            NodeKind::Text(text) => {
                let harmless =
                    text == "any" || ["env:", "file:"].iter().any(|how| text.starts_with(how));
                // A user may paste a private key instead of its path; the log must not show it.
                let pasted = text.contains("-----BEGIN") || holds_login(text);
                if pasted || (exposure == Exposure::Secret && !harmless) {
                    self.mask(node.span);
                }
            }
            NodeKind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.inspect(item, &format!("{path}[{index}]"), exposure, findings);
                }
            }
            NodeKind::Mapping(entries) => {
                let mut seen = HashMap::new();
                for (index, entry) in entries.iter().enumerate() {
                    let below = match exposure {
                        Exposure::Public => join(path, &entry.key),
                        Exposure::Secret => format!("{path}[{index}]"),
                    };
                    if exposure == Exposure::Secret {
                        self.mask(entry.key_span);
                    }
                    if let Some(line) = seen.insert(&entry.key, entry.key_span.start.line) {
                        findings.push(RawProblem {
                            span: entry.key_span,
                            path: below.clone(),
                            message: format!("this key appears twice; the first is in line {line}"),
                        });
                    }
                    let exposure = match exposure {
                        Exposure::Public if is_secret_key(&entry.key) => Exposure::Secret,
                        inherited => inherited,
                    };
                    self.inspect(&entry.value, &below, exposure, findings);
                }
            }
        }
    }

    fn mask(&mut self, span: SourceSpan) {
        if !self.masked.insert(span.start) {
            return;
        }
        for line in span.start.line..=span.end.line {
            let from = if line == span.start.line {
                span.start.column
            } else {
                1
            };
            let to = if line == span.end.line {
                span.end.column
            } else {
                usize::MAX
            };
            self.masks.entry(line).or_default().insert((from, to));
        }
    }

    fn snippet(&self, span: SourceSpan) -> Option<SourceExcerpt> {
        let SourcePosition { line, column } = span.start;
        let text = *self.lines.get(line.checked_sub(1)?)?;
        let shown = match self.parsed {
            true => self.without_secrets(line, text),
            false if self.may_hold_secrets(line) => mask_some(text, |word| !self.is_known(word)),
            false => text.to_owned(),
        };
        let shown: Vec<char> = mask_words(&shown)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let column = column.saturating_sub(1).min(shown.len());
        let width = if span.end.line == line {
            span.end.column.saturating_sub(span.start.column)
        } else {
            shown.len() - column
        };
        // Of a long line, only the part around the mistake is shown.
        let skipped = column.saturating_sub(WIDTH / 2);
        let window = shown.iter().skip(skipped).take(WIDTH);
        let before = column - skipped;
        Some(SourceExcerpt {
            line: window.collect::<String>().trim_end().to_owned(),
            before,
            width: width.clamp(1, WIDTH - before),
        })
    }

    fn without_secrets(&self, line: usize, text: &str) -> String {
        let Some(masks) = self.masks.get(&line) else {
            return text.to_owned();
        };
        text.chars()
            .enumerate()
            .map(|(index, character)| {
                let hidden = masks
                    .iter()
                    .any(|(from, to)| (*from..*to).contains(&(index + 1)));
                if hidden && !character.is_whitespace() {
                    '*'
                } else {
                    character
                }
            })
            .collect()
    }

    fn is_known(&self, word: &str) -> bool {
        self.sections.iter().any(|section| section.has(word))
    }

    /// Whether a line of a broken file may contain a secret: it contains a login or names a key with secret
    /// values, or the nearest known key above it is such a key.
    fn may_hold_secrets(&self, line: usize) -> bool {
        let this = line.checked_sub(1).and_then(|index| self.lines.get(index));
        if this.is_some_and(|text| holds_login(text)) {
            return true;
        }
        let above = self.lines.iter().take(line).rev();
        for text in above {
            let mut keys = words(text).filter(|word| self.is_known(word) || is_secret_key(word));
            if words(text).any(is_secret_key) {
                return true;
            }
            if keys.next().is_some() {
                return false;
            }
        }
        false
    }
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exposure {
    Public,
    Secret,
}

/// Whether the values of a key are secret: `api_key`, `write_keys`, `secret`, `password`, `token`,
/// `hmac_key` and likely misspellings of them. The `key` of a certificate is a path, not a secret.
pub(super) fn is_secret_key(key: &str) -> bool {
    let letters = spelling::plain(key);
    letters != "key"
        && (["key", "secret", "password", "token", "hmac"]
            .iter()
            .any(|word| letters.contains(word))
            || spelling::nearest(
                key,
                ["api_key", "write_keys", "secret", "password", "token"],
            )
            .is_some())
}

/// Whether a text may contain a URL with a login.
pub(super) fn holds_login(text: &str) -> bool {
    text.contains("://") && text.contains('@')
}

/// Appends a key to the path of keys.
pub(super) fn join(path: &str, key: &str) -> String {
    // The author of the file chooses the key, so its length is limited, and control characters, which
    // could control a terminal, are removed.
    let key: String = key.chars().filter(|c| !c.is_control()).take(64).collect();
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Splits a text into lines. A line ends with LF, CR LF or CR (YAML 1.2, section 5.4).
fn lines(text: &str) -> Vec<&str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        .collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character| !is_word(character))
        .filter(|word| !word.is_empty())
}

/// Masks every word that looks like a PostHog key.
fn mask_words(text: &str) -> String {
    mask_some(text, |word| {
        ["phc_", "phx_"]
            .iter()
            .any(|prefix| word.len() > prefix.len() && word.contains(prefix))
    })
}

fn mask_some(text: &str, hidden: impl Fn(&str) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|character| is_word(character) != is_word(first))
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        if is_word(first) && hidden(piece) {
            shown.extend(piece.chars().map(|_| '*'));
        } else {
            shown.push_str(piece);
        }
        rest = after;
    }
    shown
}

//! Reads typed values from a tree. The reader records every mistake and continues.

use std::time::Duration;

use super::problem::SourcePosition;
use super::secret::{is_reference, SecretSource};
use super::shape::{SectionSchema, Sections};
use super::source::{join, RawProblem};
use super::tree::{MappingEntry, Node, NodeKind, SourceSpan};
use super::{spelling, units};

/// Reads one configuration, and collects its mistakes and warnings.
pub(super) struct ConfigReader<'a> {
    pub secrets: &'a dyn SecretSource,
    /// All sections. If a key is in the wrong section, the message states where it belongs.
    sections: Sections,
    pub mistakes: Vec<RawProblem>,
    pub warnings: Vec<RawProblem>,
    /// The expected values, by path. The JSON Schema is built from them.
    pub accepted: Vec<(String, Accepted)>,
}

/// The values that a key may have.
#[derive(Debug)]
pub(super) enum Accepted {
    /// One of these words.
    Words(Vec<String>),
    /// The smallest and the largest number of bytes.
    Size(u64, u64),
    /// The shortest duration.
    Duration(Duration),
    /// The smallest and the largest number.
    Number(usize, usize),
}

/// One value and the keys that lead to it.
#[derive(Debug, Clone)]
pub(super) struct Field<'n> {
    pub node: &'n Node,
    /// The position of the value's key, or of the value if it has no key.
    pub key_span: SourceSpan,
    pub path: String,
}

/// One mapping whose keys are all known.
#[derive(Debug)]
pub(super) struct Section<'n> {
    pub span: SourceSpan,
    pub path: String,
    fields: Vec<(&'n str, Field<'n>)>,
}

impl<'n> Section<'n> {
    /// Returns the value of a key. If the key is repeated, returns its first value.
    pub fn get(&self, key: &str) -> Option<&Field<'n>> {
        self.fields
            .iter()
            .find_map(|(name, field)| (*name == key).then_some(field))
    }

    /// Returns the value of a required key. Records a mistake if it is missing.
    pub fn require(&self, reader: &mut ConfigReader<'_>, key: &str) -> Option<&Field<'n>> {
        let field = self.get(key);
        if field.is_none() {
            let path = self.path.clone();
            reader.note(self.span, path, format!("`{key}` is missing"));
        }
        field
    }
}

impl<'n> Field<'n> {
    /// Returns the text of a single value; `None` for a list or mapping, or if there is nothing.
    pub fn text(&self) -> Option<&'n str> {
        match &self.node.kind {
            NodeKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns whether the value is `off`. Tools that read YAML 1.1 (Helm, Ansible, PyYAML) write `off` as
    /// `false`.
    pub fn is_off(&self) -> bool {
        matches!(self.text(), Some("off" | "false"))
    }

    /// Returns whether the key has no value.
    pub fn is_nothing(&self) -> bool {
        matches!(self.node.kind, NodeKind::Nothing)
    }

    /// Returns the items of a list, or a list of the value itself.
    pub fn each(&self) -> Vec<Field<'n>> {
        match &self.node.kind {
            NodeKind::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| Field {
                    node: item,
                    key_span: item.span,
                    path: format!("{}[{index}]", self.path),
                })
                .collect(),
            NodeKind::Nothing => Vec::new(),
            _ => vec![self.clone()],
        }
    }

    /// Returns the entries of a mapping with free keys.
    pub fn entries(&self) -> &'n [MappingEntry] {
        match &self.node.kind {
            NodeKind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the value of a key in a mapping that is not read as a section.
    pub fn below(&self, key: &str) -> Option<Field<'n>> {
        let mut entries = self.entries().iter();
        let entry = entries.find(|entry| entry.key == key)?;
        Some(self.entry(entry))
    }

    /// Returns the value of one entry of the mapping.
    pub fn entry(&self, entry: &'n MappingEntry) -> Field<'n> {
        Field {
            node: &entry.value,
            key_span: entry.key_span,
            path: join(&self.path, &entry.key),
        }
    }
}

impl<'a> ConfigReader<'a> {
    pub fn new(
        secrets: &'a dyn SecretSource,
        sections: Sections,
        mistakes: Vec<RawProblem>,
    ) -> Self {
        Self {
            secrets,
            sections,
            mistakes,
            warnings: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn note(&mut self, span: SourceSpan, path: String, message: String) {
        self.mistakes.push(RawProblem {
            span,
            path,
            message,
        });
    }

    /// Records a mistake in a value.
    pub fn wrong(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.note(field.node.span, field.path.clone(), message.into());
    }

    /// Records a mistake in the key of a value.
    pub fn wrong_key(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.note(field.key_span, field.path.clone(), message.into());
    }

    /// Records a mistake in a section as a whole, such as a missing key.
    pub fn incomplete(&mut self, section: &Section<'_>, message: impl Into<String>) {
        self.note(section.span, section.path.clone(), message.into());
    }

    /// Records a warning about a value.
    pub fn warn(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.warnings.push(RawProblem {
            span: field.key_span,
            path: field.path.clone(),
            message: message.into(),
        });
    }

    /// Records that a value is of the wrong kind.
    pub fn expected(&mut self, field: &Field<'_>, expected: &str) {
        let found = field.node.kind.name();
        self.wrong(field, format!("expected {expected}, found {found}"));
    }

    /// Reads a mapping, and records a mistake for each unknown key.
    pub fn section<'n>(
        &mut self,
        field: &Field<'n>,
        schema: &SectionSchema,
    ) -> Option<Section<'n>> {
        let known: Vec<&str> = schema.names().collect();
        let NodeKind::Mapping(entries) = &field.node.kind else {
            self.expected(field, &format!("a mapping of {}", listed(&known)));
            return None;
        };
        let mut fields = Vec::new();
        for entry in entries {
            let below = field.entry(entry);
            if known.contains(&entry.key.as_str()) {
                fields.push((entry.key.as_str(), below));
            } else {
                let message = unknown_key(&entry.key, &known, self.sections);
                self.wrong_key(&below, message);
            }
        }
        let SourcePosition { line, column } = field.node.span.start;
        Some(Section {
            span: SourceSpan::point(SourcePosition { line, column }),
            path: field.path.clone(),
            fields,
        })
    }

    /// Reads a section that may be missing or empty.
    pub fn optional_section<'n>(
        &mut self,
        parent: &Section<'n>,
        key: &str,
        schema: &SectionSchema,
    ) -> Option<Section<'n>> {
        let field = parent.get(key).filter(|field| !field.is_nothing())?;
        self.section(field, schema)
    }

    /// Reads a single value that is not a secret. A reference to a secret is a mistake, because it
    /// would be used as the value itself.
    pub fn text<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<&'n str> {
        let text = self.literal(field, expected)?;
        if is_reference(text) {
            self.wrong(
                field,
                format!("env: and file: are not possible here; expected {expected}"),
            );
            return None;
        }
        if !text.is_empty() && text.trim().is_empty() {
            self.wrong(field, format!("contains only blanks; expected {expected}"));
            return None;
        }
        Some(text)
    }

    /// Refuses a free key that looks like a reference (`env:` or `file:`).
    pub fn refuse_reference_in_key(&mut self, field: &Field<'_>, key: &str) {
        if is_reference(key) {
            self.wrong_key(field, "env: and file: are not read in keys");
        }
    }

    /// Refuses references (`env:` or `file:`) in all keys and values of a field that is used as it is
    /// written.
    pub fn refuse_references(&mut self, field: &Field<'_>) {
        match &field.node.kind {
            NodeKind::Nothing => {}
            NodeKind::Text(text) if is_reference(text) => {
                self.wrong(field, "env: and file: are not read here");
            }
            NodeKind::Text(_) => {}
            NodeKind::List(_) => {
                for item in field.each() {
                    self.refuse_references(&item);
                }
            }
            NodeKind::Mapping(entries) => {
                for entry in entries {
                    let below = field.entry(entry);
                    self.refuse_reference_in_key(&below, &entry.key);
                    self.refuse_references(&below);
                }
            }
        }
    }

    /// Reads a single value exactly as it is written.
    pub fn literal<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<&'n str> {
        let text = field.text();
        if text.is_none() {
            self.expected(field, expected);
        }
        text
    }

    /// Records the words that a value may be.
    pub fn expect_words(&mut self, field: &Field<'_>, words: &[&str]) {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        self.accepted
            .push((field.path.clone(), Accepted::Words(words)));
    }

    /// Reads one of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let field = section.get(key)?;
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.expect_words(field, &names);
        let text = self.text(field, &names.join(" or "))?;
        let found = choices.iter().find(|(name, _)| {
            // Tools that read YAML 1.1 write `on` and `off` so.
            let other = match *name {
                "on" => "true",
                "off" => "false",
                name => name,
            };
            *name == text || other == text
        });
        if found.is_none() {
            let hint = did_you_mean(text, names.iter().copied());
            self.wrong(field, format!("expected {}{hint}", names.join(" or ")));
        }
        found.map(|(_, value)| *value)
    }

    /// Reads a size in bytes within bounds.
    pub fn size(
        &mut self,
        section: &Section<'_>,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        const EXPECTED: &str = "a size such as 10MiB, 900kB or a whole number of bytes";
        let field = section.get(key)?;
        let bounds = Accepted::Size(*range.start(), *range.end());
        self.accepted.push((field.path.clone(), bounds));
        let text = self.text(field, EXPECTED)?;
        let Some(size) = units::size(text) else {
            self.wrong(field, format!("expected {EXPECTED}"));
            return None;
        };
        let print = |bound: &u64| units::print_size(*bound);
        self.within(field, size, range, print)
    }

    /// Reads a duration within bounds.
    pub fn duration(
        &mut self,
        section: &Section<'_>,
        key: &str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Option<Duration> {
        const EXPECTED: &str = "a whole number with its unit (ms, s, m, h or d) such as 3s";
        let field = section.get(key)?;
        let least = Accepted::Duration(*range.start());
        self.accepted.push((field.path.clone(), least));
        let text = self.text(field, EXPECTED)?;
        let Some(duration) = units::duration(text) else {
            self.wrong(field, format!("expected {EXPECTED}"));
            return None;
        };
        let print = |bound: &Duration| units::print_duration(*bound);
        self.within(field, duration, range, print)
    }

    /// Reads a whole number within bounds.
    pub fn number(
        &mut self,
        section: &Section<'_>,
        key: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Option<usize> {
        let field = section.get(key)?;
        let bounds = Accepted::Number(*range.start(), *range.end());
        self.accepted.push((field.path.clone(), bounds));
        self.number_of(field, range)
    }

    /// Reads a whole number within bounds that a table of keys already states.
    pub fn number_of(
        &mut self,
        field: &Field<'_>,
        range: std::ops::RangeInclusive<usize>,
    ) -> Option<usize> {
        let text = self.text(field, "a whole number")?;
        let Ok(number) = text.parse() else {
            self.wrong(field, "expected a whole number");
            return None;
        };
        self.within(field, number, range, ToString::to_string)
    }

    fn within<T: PartialOrd>(
        &mut self,
        field: &Field<'_>,
        value: T,
        range: std::ops::RangeInclusive<T>,
        print: impl Fn(&T) -> String,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = (print(range.start()), print(range.end()));
        self.wrong(field, format!("expected a value from {low} to {high}"));
        None
    }
}

/// Returns `; did you mean x?`, or an empty text if no word is near.
pub(super) fn did_you_mean<'w>(given: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    match spelling::nearest(given, known) {
        Some(word) => format!("; did you mean {word}?"),
        None => String::new(),
    }
}

fn unknown_key(key: &str, known: &[&str], sections: Sections) -> String {
    if let Some(word) = spelling::nearest(key, known.iter().copied()) {
        return format!("unknown key; did you mean {word}?");
    }
    let elsewhere = sections.iter().find(|section| section.has(key));
    match elsewhere {
        Some(section) => format!("unknown key here; it belongs to {}", section.label),
        None => format!("unknown key; expected {}", listed(known)),
    }
}

fn listed(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

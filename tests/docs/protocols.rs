//! Every cited document and number exists in docs/protocols, and every fact there is cited.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders with comments and documents.
const PLACES: [&str; 7] = [
    "src", "crates", "tests", "docs", "benches", "examples", "fuzz",
];
const FACTS: &str = "docs/protocols";
/// Words before the number of a fact.
const POINTS: [&str; 7] = ["point", "points", "rule", "rules", "shape", "step", "steps"];

/// A document with facts.
#[derive(Default)]
struct Document {
    /// The number of facts in each section; a chapter is a section without a dot.
    sections: BTreeMap<Number, usize>,
    /// The mistakes of the document itself.
    mistakes: Vec<String>,
}

/// `5` or `5.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number(usize, Option<usize>);

impl Number {
    fn read(word: &str) -> Option<Self> {
        let word = word.trim_end_matches(|sign: char| !sign.is_ascii_digit());
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok(),
            false => None,
        };
        match word.split_once('.') {
            Some((chapter, section)) => Some(Self(number(chapter)?, Some(number(section)?))),
            None => Some(Self(number(word)?, None)),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(section) => write!(f, "{}.{section}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// `posthog-ingestion 6.2 to 6.6`, `mapping 1.3, point 2`.
#[derive(Debug, PartialEq, Eq)]
struct Citation {
    document: String,
    /// The first and the last number, equal if there is no "to".
    ranges: Vec<(Number, Number)>,
    points: Vec<usize>,
    line: usize,
}

fn documents() -> BTreeMap<String, Document> {
    files(&root().join(FACTS))
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "README.md"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, document(&fs::read_to_string(&path).unwrap()))
        })
        .collect()
}

fn document(text: &str) -> Document {
    let mut document = Document::default();
    let mut sources: BTreeMap<&str, bool> = BTreeMap::new();
    let mut here = None;
    let blocks = blocks(text);
    for block in &blocks {
        let line = block.lines().next().unwrap();
        if line.starts_with('#') {
            let title = line.trim_start_matches('#').trim();
            here = title
                .split_once(' ')
                .and_then(|(word, _)| Number::read(word))
                .or(here);
            if let Some(number) = here {
                if document.sections.insert(number, 0).is_some() {
                    document
                        .mistakes
                        .push(format!("{number} stands there twice"));
                }
            }
        } else if line.starts_with('|') {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if cells[0] != "Source" && !cells[0].starts_with('-') {
                sources.insert(cells[0], false);
                if !cells.last().unwrap().starts_with("20") {
                    document
                        .mistakes
                        .push(format!("source {} has no date", cells[0]));
                }
            }
        } else if let Some(number) = here {
            let facts = document.sections.get_mut(&number).unwrap();
            if let Some((point, _)) = line.split_once(". ") {
                if let Ok(point) = point.parse::<usize>() {
                    *facts += 1;
                    if point != *facts {
                        document
                            .mistakes
                            .push(format!("{number}: {point} is not in its place"));
                    }
                }
            }
            let Some(letters) = sources_of(block) else {
                document
                    .mistakes
                    .push(format!("{number}: no source behind {line:?}"));
                continue;
            };
            for letter in letters {
                match sources.get_mut(letter) {
                    Some(used) => *used = true,
                    None => document
                        .mistakes
                        .push(format!("{number}: no source {letter}")),
                }
            }
        }
    }
    let unused = sources.iter().filter(|(_, used)| !**used);
    let unused = unused.map(|(source, _)| format!("no fact has the source {source}"));
    document.mistakes.extend(unused);
    document
}

/// The letters in brackets at the end of a fact.
fn sources_of(block: &str) -> Option<Vec<&str>> {
    let (_, letters) = block.trim_end().strip_suffix(']')?.rsplit_once('[')?;
    Some(letters.split(',').map(str::trim).collect())
}

/// Headings, table rows, facts and paragraphs, each with its line numbers.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let alone = line.starts_with('#') || line.starts_with('|');
        let item = line
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<usize>().is_ok());
        match blocks.last_mut() {
            Some(block) if open && !alone && !item && !line.is_empty() => {
                block.push('\n');
                block.push_str(line);
            }
            _ if line.is_empty() => open = false,
            _ => {
                blocks.push(line.to_owned());
                open = !alone;
            }
        }
    }
    blocks
}

/// The citations in a text; a comment over several lines is read as one.
fn citations(text: &str, names: &BTreeSet<&str>) -> Vec<Citation> {
    let words: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .flat_map(|(line, text)| {
            let text = text.trim_start().trim_start_matches(['/', '!', '#']);
            text.split_whitespace().map(move |word| (line + 1, word))
        })
        .collect();
    let mut citations = Vec::new();
    for (at, (line, word)) in words.iter().enumerate() {
        let name = word.trim_matches(['(', '`', '[', ',', ':', ';']);
        if !names.contains(name) {
            continue;
        }
        let mut rest = words[at + 1..].iter().map(|(_, word)| *word).peekable();
        let sections = |word: &&str| word.starts_with("section");
        if rest.next_if(sections).is_none() && word.ends_with([',', '`', ';']) {
            continue;
        }
        let Some(ranges) = ranges(&mut rest) else {
            continue;
        };
        let mut points = Vec::new();
        if rest.next_if(|word| POINTS.contains(word)).is_some() {
            for (first, last) in self::ranges(&mut rest).unwrap_or_default() {
                points.extend(first.0..=last.0);
            }
        }
        citations.push(Citation {
            document: name.to_owned(),
            ranges,
            points,
            line: *line,
        });
    }
    citations
}

/// Reads `1.2`, `1.2 and 1.4`, `1 to 3 and 5`, `1.2, 1.4 and 1.6`. `None` unless a number is next.
fn ranges<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str> + Clone>,
) -> Option<Vec<(Number, Number)>> {
    let mut ranges: Vec<(Number, Number)> = Vec::new();
    loop {
        let mut ahead = words.clone();
        let joint = match ranges.is_empty() {
            true => None,
            false => ahead.next_if(|word| ["and", "to"].contains(word)),
        };
        let Some((word, number)) = ahead
            .next()
            .and_then(|word| Some((word, Number::read(word)?)))
        else {
            break;
        };
        *words = ahead;
        match (joint, ranges.last_mut()) {
            (Some("to"), Some((_, last))) => *last = number,
            _ => ranges.push((number, number)),
        }
        let goes_on = word.ends_with(',') && !word.contains(')')
            || word.ends_with(|sign: char| sign.is_ascii_digit())
                && words
                    .peek()
                    .is_some_and(|word| ["and", "to"].contains(word));
        if !goes_on {
            break;
        }
    }
    (!ranges.is_empty()).then_some(ranges)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Code and documents below a folder, without vendored files.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.is_symlink())
        .flat_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let foreign = ["node_modules", "target", "data", "corpus"].contains(&name);
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if foreign || name.starts_with('.') => Vec::new(),
                _ if path.is_dir() => files(&path),
                Some("rs" | "md") => vec![path],
                _ => Vec::new(),
            }
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_citation_leads_to_a_fact_and_every_fact_is_cited() {
    let documents = documents();
    let names: BTreeSet<&str> = documents.keys().map(String::as_str).collect();
    let mut wrong = BTreeSet::new();
    let mut cited: BTreeSet<(&str, Number)> = BTreeSet::new();
    for path in PLACES.iter().flat_map(|place| files(&root().join(place))) {
        let is_a_fact = path.starts_with(root().join(FACTS));
        let text = fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(root()).unwrap().display();
        if path.ends_with(file!()) {
            continue;
        }
        for citation in citations(&text, &names) {
            let (name, document) = documents.get_key_value(&citation.document).unwrap();
            for (first, last) in &citation.ranges {
                for end in [first, last] {
                    if !document.sections.contains_key(end) {
                        wrong.insert(format!("{place}:{}: {name} {end}", citation.line));
                    }
                }
                let within = document.sections.keys().filter(|number| {
                    (first..=last).contains(number) && number.1.is_some() == first.1.is_some()
                });
                cited.extend(
                    within
                        .filter(|_| !is_a_fact)
                        .map(|number| (name.as_str(), *number)),
                );
            }
            let facts = citation
                .ranges
                .last()
                .and_then(|(_, last)| document.sections.get(last));
            for point in citation.points {
                if point == 0 || facts.is_none_or(|facts| point > *facts) {
                    wrong.insert(format!("{place}:{}: {name}, point {point}", citation.line));
                }
            }
        }
    }
    let uncited: Vec<String> = documents
        .iter()
        .flat_map(|(name, document)| document.sections.iter().map(move |section| (name, section)))
        .filter(|(name, (number, facts))| {
            **facts > 0 && !cited.contains(&(name.as_str(), **number))
        })
        .map(|(name, (number, _))| format!("{name} {number}"))
        .collect();
    assert!(cited.len() > 50, "only {} sections are cited", cited.len());
    assert!(
        wrong.is_empty() && uncited.is_empty(),
        "{FACTS} has no such fact:\n  {}\n{FACTS} has what nothing cites:\n  {}",
        wrong.into_iter().collect::<Vec<_>>().join("\n  "),
        uncited.join("\n  ")
    );
}

#[test]
fn each_fact_has_a_source_and_each_source_a_date() {
    let documents = documents();
    let mistakes: Vec<String> = documents
        .iter()
        .flat_map(|(name, document)| {
            document
                .mistakes
                .iter()
                .map(move |mistake| format!("{name}: {mistake}"))
        })
        .collect();
    assert!(
        documents.len() > 1 && mistakes.is_empty(),
        "\n{}",
        mistakes.join("\n")
    );
}

#[test]
fn citations_are_read_as_they_are_written() {
    let names = BTreeSet::from(["mapping", "segment-tracking", "pingora"]);
    let read = |text: &str| -> Vec<String> {
        let show = |citation: Citation| {
            let ranges = citation
                .ranges
                .iter()
                .map(|(first, last)| format!("{first}-{last}"));
            let ranges = ranges.collect::<Vec<_>>().join(" ");
            format!("{}:{ranges}:{:?}", citation.document, citation.points)
        };
        citations(text, &names).into_iter().map(show).collect()
    };
    assert_eq!(read("/// (mapping 1.3, point 2)."), ["mapping:1.3-1.3:[2]"]);
    assert_eq!(
        read("// mapping 5.3,\n// points 3 and 4"),
        ["mapping:5.3-5.3:[3, 4]"]
    );
    assert_eq!(
        read("//! (mapping, section\n//! 1), and 2 more"),
        ["mapping:1-1:[]"]
    );
    assert_eq!(
        read("mapping, sections 1 to 3 and 5."),
        ["mapping:1-3 5-5:[]"]
    );
    assert_eq!(
        read("(segment-tracking 1.6 and 3, mapping 1.10)"),
        ["segment-tracking:1.6-1.6 3-3:[]", "mapping:1.10-1.10:[]"]
    );
    assert_eq!(
        read("(mapping 5.3, 5.4 and 5.6)"),
        ["mapping:5.3-5.3 5.4-5.4 5.6-5.6:[]"]
    );
    assert_eq!(
        read("(mapping 2.2, cloudflare/pingora#935)"),
        ["mapping:2.2-2.2:[]"]
    );
    let none: [&str; 0] = [];
    assert_eq!(
        read("let (mapping, sessions) = sections; pingora 0.9.1, mapping of 5"),
        none
    );
}

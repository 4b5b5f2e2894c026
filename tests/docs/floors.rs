//! The floors of docs/design.md: a file imports only from lower floors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The floors of a folder: the number of each module's floor, 0 for the lowest.
struct Floors {
    /// The folder of the crate's sources.
    sources: &'static str,
    /// The folder as a module path; empty for the crate itself.
    base: Vec<String>,
    rooms: BTreeMap<String, usize>,
}

impl Floors {
    /// The floors of a folder: the indented block below its heading in docs/design.md.
    fn of(sources: &'static str, base: &[&str]) -> Self {
        let document = super::file("docs/design.md");
        let mut lines = document.lines();
        let folder: String = base.iter().map(|part| format!("{part}/")).collect();
        let heading = format!("### The floors of `{sources}/{folder}`");
        assert!(
            lines.any(|line| line == heading),
            "docs/design.md has no {heading}"
        );
        let block = lines
            .skip_while(|line| !line.starts_with("    "))
            .take_while(|line| line.starts_with("    "));
        let mut rooms = BTreeMap::new();
        for (number, line) in block.enumerate() {
            for room in line.split(',').map(|room| room.trim().to_owned()) {
                assert!(
                    rooms.insert(room.clone(), number).is_none(),
                    "{room} is on two floors"
                );
            }
        }
        assert!(!rooms.is_empty(), "no floors below {heading}");
        Self {
            sources,
            base: base.iter().map(|part| (*part).to_owned()).collect(),
            rooms,
        }
    }

    /// The mistakes in the imports of one file, whose module path is `module`.
    fn mistakes(&self, module: &[String], text: &str) -> Vec<String> {
        let depth = self.base.len();
        let Some(own) = module.get(depth) else {
            // `mod.rs` declares the modules of the folder and re-exports their items.
            return Vec::new();
        };
        let Some(floor) = self.rooms.get(own) else {
            return vec![format!("{own} is on no floor of docs/design.md")];
        };
        let mut wrong = BTreeSet::new();
        for path in paths(text) {
            let Some(path) = absolute(module, &path) else {
                continue;
            };
            let (Some(base), Some(room)) = (path.get(..depth), path.get(depth)) else {
                continue;
            };
            if base != self.base || room == own {
                continue;
            }
            match self.rooms.get(room) {
                Some(other) if other < floor => {}
                Some(_) => {
                    wrong.insert(format!("imports {}, which is not below", path.join("::")));
                }
                None => {
                    wrong.insert(format!(
                        "imports {} through the folder's face: name its room",
                        path.join("::")
                    ));
                }
            }
        }
        wrong.into_iter().collect()
    }
}

/// The paths in a text that begin with `crate`, `super` or `self`, with groups expanded; without
/// comments and unit tests.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let text = text.split("\nmod tests {").next().unwrap();
    let text: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for start in ["crate", "super", "self"] {
        for (at, _) in text.match_indices(&format!("{start}::")) {
            let before = text[..at].chars().next_back();
            let is_visibility = text[..at].ends_with("(in ");
            let begins = before.is_none_or(|one| !one.is_alphanumeric() && !"_:$".contains(one));
            if begins && !is_visibility {
                take(&mut text[at..].chars().peekable(), Vec::new(), &mut found);
            }
        }
    }
    found
}

type Characters<'t> = std::iter::Peekable<std::str::Chars<'t>>;

/// Reads one path, and after a brace its whole group.
fn take(text: &mut Characters<'_>, mut path: Vec<String>, found: &mut Vec<Vec<String>>) {
    loop {
        while text.next_if(|one| one.is_whitespace()).is_some() {}
        if text.next_if_eq(&'{').is_some() {
            while text.peek().is_some() && text.next_if_eq(&'}').is_none() {
                take(text, path.clone(), found);
                // Skips `as name` and commas in a group.
                while text.next_if(|one| !matches!(one, ',' | '}')).is_some() {}
                text.next_if_eq(&',');
                while text.next_if(|one| one.is_whitespace()).is_some() {}
            }
            return;
        }
        let mut name = String::new();
        while let Some(one) = text.next_if(|one| one.is_alphanumeric() || *one == '_') {
            name.push(one);
        }
        if name.is_empty() {
            break;
        }
        path.push(name);
        if text.next_if_eq(&':').is_none() || text.next_if_eq(&':').is_none() {
            break;
        }
    }
    found.push(path);
}

/// The path from the crate's root; `None` if it leads above the root.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut here = module.to_vec();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => {
            here.clear();
            rest = &path[1..];
        }
        Some("self") => rest = &path[1..],
        _ => {}
    }
    while let Some(("super", more)) = rest.split_first().map(|(one, more)| (one.as_str(), more)) {
        here.pop()?;
        rest = more;
    }
    here.extend(rest.iter().filter(|name| *name != "self").cloned());
    Some(here)
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.trim_end_matches(".rs").ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if name.ends_with(".rs") {
            into.push(path);
        }
    }
}

/// The module path of a file.
fn module(source: &Path) -> Vec<String> {
    let path = source.with_extension("");
    let mut parts: Vec<String> = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

fn mistakes_below(floors: &Floors) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(floors.sources);
    let mut files = Vec::new();
    sources(
        &floors
            .base
            .iter()
            .fold(root.clone(), |path, part| path.join(part)),
        &mut files,
    );
    let mut wrong = Vec::new();
    let mut rooms = BTreeSet::new();
    for file in files {
        let place = file.strip_prefix(&root).unwrap();
        let module = module(place);
        rooms.extend(module.get(floors.base.len()).cloned());
        let text = std::fs::read_to_string(&file).unwrap();
        for mistake in floors.mistakes(&module, &text) {
            wrong.push(format!("{}/{}: {mistake}", floors.sources, place.display()));
        }
    }
    let gone = floors.rooms.keys().filter(|room| !rooms.contains(*room));
    wrong.extend(gone.map(|room| format!("docs/design.md: {room} is not there")));
    wrong
}

#[test]
fn imports_lead_down_the_floors_of_the_design() {
    const REWRITING: &str = "crates/hedgerow-rewrite/src";
    let wrong: Vec<String> = [
        Floors::of("src", &[]),
        Floors::of("src", &["admin"]),
        Floors::of("src", &["cli"]),
        Floors::of("src", &["config"]),
        Floors::of("src", &["proxy"]),
        Floors::of("src", &["proxy", "outbound"]),
        Floors::of("src", &["site"]),
        Floors::of("src", &["site", "snippet"]),
        Floors::of(REWRITING, &[]),
        Floors::of(REWRITING, &["rewrite"]),
        Floors::of("crates/hedgerow-spool/src", &[]),
    ]
    .iter()
    .flat_map(mistakes_below)
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The sources of a crate as modules, with the modules that each one imports.
struct Modules {
    /// The path of each module, and for each path that it names the module that has it.
    imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
}

impl Modules {
    fn of<'t>(files: impl IntoIterator<Item = (Vec<String>, &'t str)>) -> Self {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        let import = |from: &Vec<String>, path: &Vec<String>| {
            let mut path = absolute(from, path)?;
            while !files.contains_key(&path) {
                path.pop()?;
            }
            (path != *from).then_some(path)
        };
        let imports = files.iter().map(|(from, text)| {
            let of_one = paths(text)
                .into_iter()
                .filter_map(|path| import(from, &path));
            // A face names its own modules in `mod` and `pub use`; these paths begin with their names.
            (from.clone(), of_one.collect())
        });
        Self {
            imports: imports.collect(),
        }
    }

    /// Files that import from a folder that they are in, instead of from the file that has the item:
    /// each file with the folder.
    fn through_the_face(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (from, imports) in &self.imports {
            for face in imports.iter().filter(|to| from.starts_with(to)) {
                found.push((from.join("::"), face.join("::")));
            }
        }
        found
    }

    /// The circles among the files and folders of each folder, as the names that are on one.
    fn circles(&self) -> Vec<String> {
        let mut rooms: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for (from, imports) in &self.imports {
            for to in imports {
                let same = from.iter().zip(to).take_while(|(one, other)| one == other);
                let depth = same.count();
                if let (Some(one), Some(other)) = (from.get(depth), to.get(depth)) {
                    let folder = rooms.entry(&from[..depth]).or_default();
                    folder.entry(one).or_default().insert(other);
                }
            }
        }
        let mut wrong = Vec::new();
        for (folder, mut arrows) in rooms {
            // Removes the rooms that import nothing of what is left; those of a circle stay.
            loop {
                let left: BTreeSet<&str> = arrows.keys().copied().collect();
                arrows.retain(|_, to| to.iter().any(|room| left.contains(room)));
                if arrows.len() == left.len() {
                    break;
                }
            }
            if !arrows.is_empty() {
                wrong.push(format!("{}: a circle in {arrows:?}", folder.join("::")));
            }
        }
        wrong
    }
}

/// The modules that are one type, with its methods in several files: these import it from the first one.
const SPLIT: [&str; 7] = [
    "rewrite::body",
    "rewrite::convert",
    "rewrite::flow",
    "rewrite::message",
    "rewrite::time",
    "rewrite::write",
    "rewrite::write::enriched",
];

#[test]
fn no_files_of_a_folder_import_each_other_in_a_circle() {
    let (mut wrong, mut split) = (Vec::new(), BTreeSet::new());
    for sources_of in [
        "src",
        "crates/hedgerow-rewrite/src",
        "crates/hedgerow-spool/src",
    ] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources_of);
        let mut files = Vec::new();
        sources(&root, &mut files);
        let texts: Vec<_> = files
            .iter()
            .map(|file| {
                let place = file.strip_prefix(&root).unwrap();
                (module(place), std::fs::read_to_string(file).unwrap())
            })
            .collect();
        let modules = Modules::of(texts.iter().map(|(path, text)| (path.clone(), &**text)));
        let circles = modules.circles().into_iter();
        wrong.extend(circles.map(|circle| format!("{sources_of}: {circle}")));
        for (file, folder) in modules.through_the_face() {
            if !SPLIT.contains(&&*folder) {
                wrong.push(format!(
                    "{sources_of}: {file} imports from {folder}, which it is part of"
                ));
            }
            split.insert(folder);
        }
    }
    let gone = SPLIT.iter().filter(|folder| !split.contains(**folder));
    wrong.extend(gone.map(|folder| format!("{folder} is not split any more")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_circle_and_an_import_through_the_face_are_found() {
    let path = |text: &str| text.split("::").map(ToOwned::to_owned).collect::<Vec<_>>();
    let modules = Modules::of([
        (path("a"), "mod one; mod two; pub use one::Item;"),
        (path("a::one"), "use super::two::Other;"),
        (path("a::two"), "use crate::a::one::{Item, More};"),
        (path("a::three"), "use super::Item; use crate::b::Free;"),
        (path("b"), "mod four;"),
        (path("b::four"), "// use crate::a::three;"),
    ]);
    let circles = modules.circles();
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert!(circles[0].starts_with("a: "), "{circles:?}");
    assert!(!circles[0].contains("three"), "{circles:?}");
    let faces = modules.through_the_face();
    assert_eq!(faces, [("a::three".to_owned(), "a".to_owned())]);
}

#[test]
fn an_import_that_leads_up_or_through_the_face_is_found() {
    let module = ["proxy", "limits", "rates"].map(ToOwned::to_owned);
    let floors = Floors::of("src", &["proxy"]);
    for (text, expected) in [
        ("use crate::proxy::server_error::ServerError;", 1),
        ("use crate::proxy::random::random_bits;", 0),
        (
            "use crate::proxy::{limits::budget::Budget, lifecycle::{server::Server, reload}};",
            2,
        ),
        ("use super::super::listen::drain;", 1),
        ("fn one() { crate::proxy::hedgerow::two() }", 1),
        ("use crate::proxy::Hedgerow;", 1),
        ("use crate::config::Config;", 0),
        ("use super::budget::Budget;", 0),
        ("// crate::proxy::lifecycle", 0),
        ("use hedgerow_crate::proxy::lifecycle;", 0),
    ] {
        let found = floors.mistakes(&module, text);
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }
}

//! `docs/public-items/` lists the public items of each library of this workspace, one file for each
//! crate: a change appears in the diff.
//!
//! The test reads rustdoc's JSON. It takes the signatures from the source, at the positions in the
//! JSON, because the JSON's format for them changes between compilers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use super::file;

/// The limit for one crate: types, traits, functions and constants, without their members.
const MOST_ITEMS: usize = 61;
/// Where users begin to read, so each of these needs an example.
const WITH_AN_EXAMPLE: [&str; 6] = [
    "hedgerow",
    "hedgerow::Config",
    "hedgerow::Hedgerow",
    "hedgerow::Observer",
    "hedgerow::Server",
    "hedgerow_rewrite",
];

#[test]
fn the_public_items_are_the_committed_ones_few_and_documented() {
    let mut wrong = Vec::new();
    let mut examples = BTreeSet::new();
    for (package, manifest) in libraries() {
        let document = serde_json::from_str(&rustdoc_json(&package, &manifest)).unwrap();
        let face = PublicItems::of(&package, &document);
        let mut list = String::new();
        writeln!(
            list,
            "# The public items of the crate `{package}`. Written by\n\
             # HEDGEROW_WRITE_DOCS=1 cargo test --test docs public_items\n"
        )
        .unwrap();
        list.extend(face.lines.iter().map(|line| format!("{line}\n")));
        let path = format!("docs/public-items/{package}.txt");
        let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
        if std::env::var_os("HEDGEROW_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(&full, &list).unwrap();
        }
        let known = std::fs::read_to_string(&full).unwrap_or_default();
        if known != list {
            wrong.push(format!(
                "{path} is not what the crate shows. If this is meant, write the list again with \
                 HEDGEROW_WRITE_DOCS=1 cargo test --test docs public_items\n{}",
                difference(&known, &list)
            ));
        }
        if face.items.len() > MOST_ITEMS {
            let (number, items) = (face.items.len(), &face.items);
            wrong.push(format!(
                "{package} shows {number} items, more than {MOST_ITEMS}: {items:?}"
            ));
        }
        examples.extend(face.examples);
        let without = face.undocumented.iter();
        wrong.extend(without.map(|item| format!("{package}: {item} has no docstring")));
    }
    let begins = WITH_AN_EXAMPLE.into_iter();
    let without = begins.filter(|item| !examples.contains(*item));
    wrong.extend(without.map(|item| format!("{item} has no example")));
    println!("{}", wrong.join("\n"));
    assert!(
        wrong.is_empty(),
        "{} differences, printed above",
        wrong.len()
    );
}

/// The libraries of the workspace that other crates can depend on: names and manifests.
fn libraries() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![("hedgerow".to_owned(), "Cargo.toml".to_owned())];
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let manifest = format!("crates/{name}/Cargo.toml");
        let library = root.join(format!("crates/{name}/src/lib.rs")).exists();
        if library && !file(&manifest).contains("publish = false") {
            all.push((name, manifest));
        }
    }
    all.sort();
    all
}

/// The lines that only one of two lists has.
fn difference(known: &str, found: &str) -> String {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (known.lines().collect(), found.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}\n"));
    let came = new.difference(&old).map(|line| format!("+ {line}\n"));
    gone.chain(came).collect()
}

/// The public items of one crate.
struct PublicItems<'a> {
    index: &'a Map<String, Value>,
    lines: Vec<String>,
    /// The items, each once.
    items: BTreeSet<String>,
    undocumented: Vec<String>,
    /// The items with an example in their docstring.
    examples: BTreeSet<String>,
}

impl<'a> PublicItems<'a> {
    fn of(package: &str, document: &'a Value) -> Self {
        let index = document["index"].as_object();
        let mut face = Self {
            index: index.expect("an index of items: has the format of rustdoc's JSON changed?"),
            lines: Vec::new(),
            items: BTreeSet::new(),
            undocumented: Vec::new(),
            examples: BTreeSet::new(),
        };
        face.module(&document["root"], &package.replace('-', "_"));
        face.lines.sort();
        face
    }

    /// An item of this crate in the documentation; an item of another crate is not in the index.
    fn item(&self, id: &Value) -> Option<&'a Value> {
        let key = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let item = self.index.get(&key)?;
        let hidden = item["attrs"].to_string().contains("doc(hidden)");
        (!hidden).then_some(item)
    }

    fn module(&mut self, id: &'a Value, path: &str) {
        let module = self.item(id).expect("the module is in the index");
        self.documented(module, path);
        for id in ids(&module["inner"]["module"]["items"]) {
            let Some(item) = self.item(id) else { continue };
            match item["inner"]["use"].as_object() {
                Some(reexport) => self.reexport(reexport, path),
                None => self.named(item, path, item["name"].as_str()),
            }
        }
    }

    fn reexport(&mut self, reexport: &'a Map<String, Value>, path: &str) {
        let name = reexport["name"].as_str();
        match self.item(&reexport["id"]) {
            Some(item) if reexport["is_glob"] == true => self.module(&item["id"], path),
            Some(item) => self.named(item, path, name),
            None => {
                // The list of the other crate has its members.
                let source = reexport["source"].as_str().unwrap_or_default();
                let name = name.unwrap_or("*");
                self.items.insert(format!("{path}::{name}"));
                self.lines.push(format!("{path}::{name} = {source}"));
            }
        }
    }

    /// An item and its members, under the path where the documentation shows it.
    fn named(&mut self, item: &'a Value, path: &str, name: Option<&str>) {
        let path = format!("{path}::{}", name.unwrap_or("?"));
        let (kind, inner) = kind_of(item);
        if kind == "module" {
            self.module(&item["id"], &path);
            return;
        }
        self.documented(item, &path);
        self.items.insert(path.clone());
        self.lines.push(format!("{path}: {}", head(item)));
        let mut members = Vec::new();
        match kind {
            "struct" => members.extend(fields(&inner["kind"])),
            "enum" => members.extend(ids(&inner["variants"])),
            "trait" => members.extend(ids(&inner["items"])),
            _ => {}
        }
        let mut traits = BTreeSet::new();
        for id in ids(&inner["impls"]) {
            let Some(found) = self.item(id) else { continue };
            let found = &found["inner"]["impl"];
            match found["trait"]["path"].as_str() {
                None => members.extend(ids(&found["items"])),
                Some(name)
                    if !found["is_synthetic"].as_bool().unwrap_or(false)
                        && found["blanket_impl"].is_null() =>
                {
                    let last = name.rsplit("::").next().unwrap_or(name);
                    // Every derived `PartialEq` brings it.
                    if last != "StructuralPartialEq" {
                        traits.insert(last.to_owned());
                    }
                }
                Some(_) => {}
            }
        }
        for member in members {
            self.member(member, &path);
        }
        if !traits.is_empty() {
            let traits: Vec<String> = traits.into_iter().collect();
            self.lines
                .push(format!("{path} implements {}", traits.join(", ")));
        }
    }

    fn member(&mut self, id: &'a Value, path: &str) {
        let Some(item) = self.item(id) else { return };
        let shown = item["visibility"] == "public" || item["visibility"] == "default";
        let Some(name) = item["name"].as_str().filter(|_| shown) else {
            return;
        };
        let path = format!("{path}::{name}");
        // The value in a variant such as `Io(Error)` adds nothing to its type.
        if !name.starts_with(|sign: char| sign.is_ascii_digit()) {
            self.documented(item, &path);
        }
        self.lines.push(format!("{path}: {}", head(item)));
        let (kind, inner) = kind_of(item);
        if kind == "variant" {
            for field in fields(&inner["kind"]) {
                self.member(field, &path);
            }
        }
    }

    fn documented(&mut self, item: &Value, path: &str) {
        match item["docs"].as_str().unwrap_or_default() {
            "" => self.undocumented.push(path.to_owned()),
            docs if docs.contains("```") => {
                self.examples.insert(path.to_owned());
            }
            _ => {}
        }
    }
}

fn ids(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The fields of a struct or a variant, named or numbered.
fn fields(kind: &Value) -> Vec<&Value> {
    let named = kind["plain"]["fields"].as_array();
    let named = named.or(kind["struct"]["fields"].as_array());
    let fields = named.or(kind["tuple"].as_array());
    fields
        .into_iter()
        .flatten()
        .filter(|id| !id.is_null())
        .collect()
}

fn kind_of(item: &Value) -> (&str, &Value) {
    let inner = item["inner"]
        .as_object()
        .and_then(|inner| inner.iter().next());
    inner.map_or(("", &Value::Null), |(kind, inner)| (kind.as_str(), inner))
}

/// The first part of an item as the source has it: a function without its body, a type without its
/// members.
fn head(item: &Value) -> String {
    let span = &item["span"];
    let (Some(path), Some(begin), Some(end)) = (
        span["filename"].as_str(),
        position(&span["begin"]),
        position(&span["end"]),
    ) else {
        return kind_of(item).0.to_owned();
    };
    let source = if Path::new(path).is_absolute() {
        std::fs::read_to_string(path).unwrap_or_default()
    } else {
        file(path)
    };
    let lines = source.lines().enumerate().skip(begin.0 - 1);
    let lines = lines.take(end.0 - begin.0 + 1).map(|(number, line)| {
        let to = if number + 1 == end.0 {
            end.1 - 1
        } else {
            line.len()
        };
        let from = if number + 1 == begin.0 {
            begin.1 - 1
        } else {
            0
        };
        line.get(from..to.min(line.len())).unwrap_or(line)
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = text.as_str();
    let (kind, _) = kind_of(item);
    let end = match kind {
        "variant" => text.find([' ', '(', '{', ',', '\n']),
        "struct_field" => None,
        "constant" | "assoc_const" => text.find([',', ';', '\n']),
        "struct" => text.find(['{', ';', '(']),
        _ => text.find([';', '{']),
    };
    let head = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    let first = head.split(|sign: char| !(sign.is_alphanumeric() || sign == '_'));
    if first
        .clone()
        .next()
        .is_some_and(|word| head[word.len()..].starts_with('!'))
    {
        // A macro generates it, and the source shows only the macro's call.
        return kind.replace('_', " ");
    }
    head.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn position(place: &Value) -> Option<(usize, usize)> {
    let number = |place: &Value| usize::try_from(place.as_u64()?).ok();
    Some((number(&place[0])?, number(&place[1])?))
}

/// The JSON of rustdoc. Only rustdoc gets the variable that allows unstable options on a stable
/// compiler; if Cargo saw it, Cargo would compile all dependencies again.
fn rustdoc_json(package: &str, manifest: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::current_exe().unwrap();
    let target = target.ancestors().find(|folder| folder.ends_with("debug"));
    let target = target
        .and_then(Path::parent)
        .expect("a test runs below target/debug");
    let mut cargo = Command::new(env!("CARGO"));
    // Variables that `cargo test` sets for this package. Build scripts of dependencies would treat
    // them as a change.
    let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in ours.filter(|name| {
        let begins = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        begins.iter().any(|begin| name.starts_with(begin))
    }) {
        cargo.env_remove(name);
    }
    let output = cargo
        .args([
            "rustdoc",
            "--quiet",
            "--locked",
            "--lib",
            "--manifest-path",
            manifest,
        ])
        .arg("--target-dir")
        .arg(target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        // Without this option, the public items of a hidden module would be missing.
        .arg("--document-hidden-items")
        .current_dir(root)
        .env("RUSTDOC", root.join("scripts/rustdoc-json"))
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo rustdoc of {package}: {said}"
    );
    let path = target
        .join("doc")
        .join(package.replace('-', "_"))
        .with_extension("json");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

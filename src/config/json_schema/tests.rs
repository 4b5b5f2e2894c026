use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;
use crate::config::source::join;
use crate::config::tree::{Node, NodeKind};

#[test]
fn every_key_of_every_section_has_a_meaning_and_conditions_are_of_known_keys() {
    let descriptions = descriptions();
    let mut wrong = Vec::new();
    for section in sections() {
        let label = section.label;
        for key in section.names() {
            if !descriptions.contains_key(&(section.name, key)) {
                wrong.push(format!(
                    "{label}: {key} has no row in docs/configuration.md"
                ));
            }
        }
        let named = section.required.iter().copied();
        let named = named.chain(section.one_of.iter().copied().flatten().copied());
        let pairs = section.needs.iter().chain(section.excludes);
        let named = named.chain(pairs.flat_map(|(one, other)| [*one, *other]));
        for key in named.filter(|key| !section.has(key)) {
            wrong.push(format!("{label}: {key} is none of its keys"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_that_the_reader_asks_for_is_in_the_schema_and_the_other_way_round() {
    fn paths(shape: &KeyType, path: &str, into: &mut Vec<String>) {
        match shape {
            KeyType::Read => into.push(path.to_owned()),
            KeyType::ReadAt(other) => into.push((*other).to_owned()),
            KeyType::AnyOf(shapes) => shapes.iter().for_each(|one| paths(one, path, into)),
            KeyType::MapOf(one, _) | KeyType::ListOf(one, ..) | KeyType::OneOrMore(one) => {
                paths(one, path, into);
            }
            _ => {}
        }
    }
    let mut used = Vec::new();
    for section in sections() {
        for (key, shape) in section.keys {
            paths(shape, &format!("{}.{key}", section.at), &mut used);
        }
    }
    used.sort_unstable();
    let accepted: Vec<String> = accepted().into_keys().collect();
    assert_eq!(used, accepted);
}

/// A source in which no variable and every file exists.
struct NoVariable;

impl SecretSource for NoVariable {
    fn variable(&self, _: &str) -> Result<String, VarError> {
        Err(VarError::NotPresent)
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        EverySource.file(path)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        EverySource.resolve(path)
    }
}

/// Replaces the text with this number by `env:NOT_SET`, and returns its path.
fn refer(node: &mut Rc<Node>, path: &str, left: &mut usize) -> Option<String> {
    match &mut Rc::get_mut(node)?.kind {
        NodeKind::Nothing => None,
        NodeKind::Text(text) => {
            if *left == 0 {
                *text = "env:NOT_SET".to_owned();
                return Some(path.to_owned());
            }
            *left -= 1;
            None
        }
        NodeKind::List(items) => items
            .iter_mut()
            .enumerate()
            .find_map(|(index, item)| refer(item, &format!("{path}[{index}]"), left)),
        NodeKind::Mapping(entries) => entries
            .iter_mut()
            .find_map(|entry| refer(&mut entry.value, &join(path, &entry.key), left)),
    }
}

/// A spool on NATS, with all its settings.
const ON_NATS: &str =
    "    nats: {url: tls://127.0.0.1:4222, stream: HEDGEROW, user: u, password: p, token: t, \
    credentials: n.creds, ca_file: ca.pem, certificate: c.pem, key: d.pem}\n";

/// Returns variants of the example. Each lacks some keys that exclude others, so that the others are read.
fn variants() -> Vec<String> {
    let acme = EVERYTHING.split(", acme: {").nth(1).unwrap();
    let acme = acme.split("hmac_key: a2V5}}").next().unwrap();
    let acme = format!(", acme: {{{acme}hmac_key: a2V5}}}}");
    let (user, token, file) = (
        ", user: u, password: p",
        ", token: t",
        ", credentials: n.creds",
    );
    let on_nats = EVERYTHING.replace("    path: spool\n", ON_NATS);
    assert_ne!(on_nats, EVERYTHING);
    let cuts: [(&str, &[&str]); 6] = [
        (EVERYTHING, &[]),
        (EVERYTHING, &[&acme]),
        (EVERYTHING, &["        folder: umd\n"]),
        (&on_nats, &[token, file]),
        (&on_nats, &[user, file]),
        (&on_nats, &[user, token]),
    ];
    let cut = |text: String, part: &&str| {
        assert!(text.contains(part), "{part}");
        text.replace(part, "")
    };
    let cut = |(text, parts): &(&str, &[&str])| parts.iter().fold((*text).to_owned(), cut);
    cuts.iter().map(cut).collect()
}

#[test]
fn what_looks_like_the_place_of_a_value_is_looked_up_or_refused_wherever_it_stands() {
    let (mut refused, mut unrefused) = (BTreeSet::new(), BTreeSet::new());
    for text in variants() {
        for number in 0.. {
            let mut root = tree::read(&text).unwrap();
            let Some(path) = refer(&mut root, "", &mut { number }) else {
                break;
            };
            let mut mistakes = Vec::new();
            SourceText::new(&text, &root, sections(), &mut mistakes);
            let mut reader = ConfigReader::new(&NoVariable, sections(), mistakes);
            compile(&mut reader, &whole(&root));
            let mut mistakes = reader.mistakes.iter();
            match mistakes.any(|mistake| mistake.path.starts_with(&path)) {
                true => refused.insert(path),
                false => unrefused.insert(path),
            };
        }
    }
    assert!(refused.len() > 60, "{refused:#?}");
    let wrong: Vec<&String> = unrefused.difference(&refused).collect();
    assert!(wrong.is_empty(), "taken as they stand: {wrong:#?}");
}

#[test]
fn what_looks_like_the_place_of_a_value_is_refused_in_keys_and_rules() {
    for (text, path) in [
        (
            "privacy: {consent: {'env:A': send}}",
            "privacy.consent.env:A",
        ),
        ("rules: [{event: 'env:A', action: drop}]", "rules[0].event"),
        ("rules: [{event: a, rename: 'file:A'}]", "rules[0].rename"),
        (
            "projects: {'env:A': {host: us, api_key: phc_a}}",
            "projects.env:A",
        ),
        (
            "projects: {a: {host: us, api_key: phc_a, properties: {'env:A': b}}}",
            "projects.a.properties.env:A",
        ),
    ] {
        let root = tree::read(text).unwrap();
        let mut reader = ConfigReader::new(&NoVariable, sections(), Vec::new());
        compile(&mut reader, &whole(&root));
        let is_refused = reader
            .mistakes
            .iter()
            .any(|mistake| mistake.path.starts_with(path) && mistake.message.contains("env:"));
        assert!(is_refused, "{text}: {:?}", reader.mistakes);
    }
}

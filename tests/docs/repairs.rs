use std::collections::BTreeSet;

use hedgerow::rewrite::Mapping;
use serde_json::Value;

use super::{code, file, lacking, rewritten, rows};

const REPAIRS: &str = "docs/repairs.md";

/// The codes in the `fn code` of this type, read from the source, so that the test knows new
/// variants.
fn codes_of(name: &str) -> BTreeSet<String> {
    let source = file("crates/hedgerow-rewrite/src/rewrite/outcome.rs");
    let (_, from) = source.split_once(&format!("impl {name} {{")).unwrap();
    let (_, from) = from.split_once("fn code(").unwrap();
    let (body, _) = from.split_once("\n    }\n").unwrap();
    let codes: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.split('"').next())
        .map(str::to_owned)
        .collect();
    assert!(codes.len() >= 3, "{name}: {codes:?}");
    codes
}

#[test]
fn every_code_is_documented_and_every_documented_code_exists() {
    let document = file(REPAIRS);
    for (heading, name) in [
        ("Refused messages", "Fault"),
        ("Left out", "Omission"),
        ("Refused bodies", "RewriteError"),
        ("Noticed", "Notice<'_>"),
    ] {
        let documented: BTreeSet<String> = rows(&document, Some(heading))
            .iter()
            .map(|row| code(&row[0]).unwrap().to_owned())
            .collect();
        assert_eq!(documented, codes_of(name), "{heading}");
    }
}

#[test]
fn every_example_of_a_refusal_is_refused_for_that_reason() {
    let document = file(REPAIRS);
    let mut wrong = Vec::new();
    let mut tried = 0;
    for heading in ["Refused messages", "Left out", "Refused bodies"] {
        for row in rows(&document, Some(heading)) {
            let (expected, Some(example)) = (code(&row[0]).unwrap(), code(&row[2])) else {
                continue;
            };
            tried += 1;
            let got = match rewritten(example, Mapping::default()) {
                Ok(seen) if seen.events.is_empty() => seen.codes.join(" "),
                Ok(seen) => format!("{:?}", seen.events),
                Err(error) => error.code().to_owned(),
            };
            if got != expected {
                wrong.push(format!("{example}: {got}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 12, "{tried}");
}

#[test]
fn every_example_of_a_repair_gives_the_event_that_it_shows() {
    let document = file(REPAIRS);
    let headings = [
        "The JSON",
        "Who",
        "What",
        "When",
        "What else Segment would have added",
    ];
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for row in headings
        .iter()
        .flat_map(|heading| rows(&document, Some(heading)))
    {
        let (Some(example), Some(expected)) = (code(&row[1]), code(&row[2])) else {
            wrong.push(format!("{row:?}: no example"));
            continue;
        };
        tried += 1;
        let expected: Value = serde_json::from_str(expected).unwrap();
        match rewritten(example, Mapping::default()) {
            Ok(seen) if seen.events.len() == 1 => {
                if let Some(lacking) = lacking(&seen.events[0], &expected) {
                    wrong.push(format!("{example}: {lacking}"));
                }
            }
            Ok(seen) => wrong.push(format!("{example}: {:?} {:?}", seen.events, seen.codes)),
            Err(error) => wrong.push(format!("{example}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried >= 18, "{tried}");
}

use super::*;
use crate::config::schema;

#[test]
fn every_key_of_every_section_has_a_shape_and_a_meaning() {
    let meanings = meanings();
    let mut wrong = Vec::new();
    for (name, keys) in schema::ALL {
        let Some(section) = SECTIONS.iter().find(|section| section.keys == *keys) else {
            wrong.push(format!("{name} is not in the schema"));
            continue;
        };
        let shapes: Vec<&str> = section.shapes.iter().map(|(key, _)| *key).collect();
        if shapes != *keys {
            wrong.push(format!(
                "{name} has {keys:?}, and its shapes are of {shapes:?}"
            ));
        }
        for key in *keys {
            if !meanings.contains_key(&(section.name, *key)) {
                wrong.push(format!("{name}: {key} has no row in docs/configuration.md"));
            }
        }
        let named = section.required.iter().copied();
        let named = named.chain(section.one_of.iter().copied().flatten().copied());
        let pairs = section.needs.iter().chain(section.excludes);
        let named = named.chain(pairs.flat_map(|(one, other)| [*one, *other]));
        for key in named {
            if !keys.contains(&key) {
                wrong.push(format!("{name}: {key} is none of its keys"));
            }
        }
    }
    assert_eq!(SECTIONS.len(), schema::ALL.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_that_the_reader_asks_for_is_in_the_schema_and_the_other_way_round() {
    fn paths(shape: &Shape, path: &str, into: &mut Vec<String>) {
        match shape {
            Shape::Read => into.push(path.to_owned()),
            Shape::ReadAt(other) => into.push((*other).to_owned()),
            Shape::AnyOf(shapes) => shapes.iter().for_each(|one| paths(one, path, into)),
            Shape::MapOf(one, _) | Shape::ListOf(one, ..) | Shape::OneOrMore(one) => {
                paths(one, path, into);
            }
            _ => {}
        }
    }
    let mut used = Vec::new();
    for section in SECTIONS {
        for (key, shape) in section.shapes {
            paths(shape, &format!("{}.{key}", section.at), &mut used);
        }
    }
    used.sort_unstable();
    let seen: Vec<String> = seen().into_keys().collect();
    assert_eq!(used, seen);
}

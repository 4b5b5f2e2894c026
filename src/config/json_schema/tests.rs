use super::*;

#[test]
fn every_key_of_every_section_has_a_meaning_and_conditions_are_of_known_keys() {
    let meanings = meanings();
    let mut wrong = Vec::new();
    for section in sections() {
        let label = section.label;
        for key in section.names() {
            if !meanings.contains_key(&(section.name, key)) {
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
    let seen: Vec<String> = seen().into_keys().collect();
    assert_eq!(used, seen);
}

use super::super::block::BLOCK;
use super::super::keys::{word, Novelty};
use super::super::name_sets::Names;
use super::*;

#[test]
fn every_name_is_recognised_and_no_other_key_is() {
    // One more number is for unknown keys with a prefix.
    assert!(NAMES.len() < 256);
    for (index, name) in NAMES.iter().enumerate().skip(1) {
        let known_name = Name(index as u8);
        assert_eq!(Name::of(name.as_bytes(), hash(name.as_bytes())), known_name);
        assert_eq!(Name::known(name), known_name, "{name} stands there twice");
        assert_eq!(Name::of_text(name.as_bytes()), known_name);
        for other in [format!("{name}x"), name[1..].to_owned(), format!("{name} ")] {
            let expected = NAMES.iter().skip(1).position(|name| *name == other);
            let is_prefixed = other.starts_with("utm_") || other.starts_with("segm");
            let unknown = if is_prefixed {
                Name::PREFIXED
            } else {
                Name::OTHER
            };
            let expected = expected.map_or(unknown, |index| Name(index as u8 + 1));
            for key in [*name, other.as_str()] {
                let expected = if key == *name { known_name } else { expected };
                assert_eq!(
                    Name::of(key.as_bytes(), hash(key.as_bytes())),
                    expected,
                    "{key}"
                );
                if key.len() <= BLOCK {
                    let mut block = [b'"'; BLOCK];
                    block[..key.len()].copy_from_slice(key.as_bytes());
                    let word = word(&block, key.len());
                    assert_eq!(Name::of_word(word, hash_of_word(word)), expected, "{key}");
                }
            }
        }
    }
}

#[test]
fn a_set_holds_what_was_added_and_nothing_else() {
    for added in 1..NAMES.len() {
        let mut names = Names::default();
        assert_eq!(names.note(Name(added as u8)), Novelty::New);
        assert_eq!(names.note(Name(added as u8)), Novelty::Doubtful);
        for asked in 1..NAMES.len() {
            assert_eq!(names.has(Name(asked as u8)), asked == added);
        }
    }
}

#[test]
fn the_names_with_a_prefix_are_those_that_begin_with_it() {
    for name in NAMES {
        let is_prefixed = name.starts_with("utm_") || name.starts_with("segm");
        assert_eq!(
            Names::PREFIXED.has(Name::of_text(name.as_bytes())),
            is_prefixed,
            "{name}"
        );
    }
    assert!(Names::PREFIXED.has(Name::PREFIXED));
    for key in [
        "utm",
        "utm_",
        "utm_own",
        "segm",
        "segment_own",
        "segment_own_with_a_long_name",
        "Utm_own",
    ] {
        let is_prefixed = key.starts_with("utm_") || key.starts_with("segm");
        assert_eq!(
            Name::of_text(key.as_bytes()) == Name::PREFIXED,
            is_prefixed,
            "{key}"
        );
    }
}

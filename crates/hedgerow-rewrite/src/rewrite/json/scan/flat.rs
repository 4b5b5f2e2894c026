//! Small objects of strings alone, whose keys are asked for at once.

use super::asked::{behind_quoted, plain_key};

/// What came of looking for a key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rewrite) enum Sought<'t> {
    Found(&'t str),
    /// None of the keys is it.
    Absent,
    /// The object is not as simple as that; some of its keys have been asked for.
    NotFlat,
}

/// Looks for a key of the object at the start of a clean text, if it has no space in it, short keys and
/// nothing but plain strings. Without anything noted: keys of a clean text are all different.
pub(in crate::rewrite) fn find_flat_key<'t>(
    text: &'t str,
    mut is: impl FnMut(&str) -> bool,
) -> Sought<'t> {
    let bytes = text.as_bytes();
    let mut rest = match bytes {
        [b'{', b'}', ..] => return Sought::Absent,
        [b'{', rest @ ..] => rest,
        _ => return Sought::NotFlat,
    };
    loop {
        let Some((_, length, value)) = plain_key(rest) else {
            return Sought::NotFlat;
        };
        let start = bytes.len() - rest.len() + 1;
        let key = text.get(start..start + length).unwrap_or_default();
        let Some(behind) = behind_quoted(value) else {
            return Sought::NotFlat;
        };
        if is(key) {
            return Sought::Found(key);
        }
        rest = match behind {
            [b',', rest @ ..] => rest,
            [b'}', ..] => return Sought::Absent,
            _ => return Sought::NotFlat,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_flat_object_are_found_and_others_are_left_to_the_scanner() {
        let room = " ".repeat(40);
        for (object, wanted, expected) in [
            (r#"{}"#, "a", Sought::Absent),
            (r#"{"a":"b"}"#, "a", Sought::Found("a")),
            (r#"{"a":"b","c":"d"}"#, "c", Sought::Found("c")),
            (r#"{"a":"b","c":"d"}"#, "b", Sought::Absent),
            (r#"{"é":"b"}"#, "é", Sought::Found("é")),
            (r#"{"":""}"#, "", Sought::Found("")),
            (r#"{"a":1}"#, "a", Sought::NotFlat),
            (r#"{"a":"b" }"#, "c", Sought::NotFlat),
            (r#"{ "a":"b"}"#, "a", Sought::NotFlat),
            (r#"{"a" :"b"}"#, "a", Sought::NotFlat),
            (r#"{"\u0000":"b"}"#, "a", Sought::NotFlat),
            (r#"{"a":"\u0000"}"#, "a", Sought::NotFlat),
            (r#"{"a":{}}"#, "a", Sought::NotFlat),
            (r#"["a"]"#, "a", Sought::NotFlat),
            ("null", "a", Sought::NotFlat),
            ("", "a", Sought::NotFlat),
        ] {
            let text = format!("{object}{room}");
            assert_eq!(
                find_flat_key(&text, |key| key == wanted),
                expected,
                "{object}"
            );
        }
        assert_eq!(find_flat_key(r#"{"a":"b"}"#, |_| true), Sought::NotFlat);
    }
}

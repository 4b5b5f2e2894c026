//! Searches small objects that contain only strings for a key.

use super::plain_key::plain_key;
use super::plain_string::behind_quoted;

/// The result of a search for a key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rewrite) enum FlatSearch<'t> {
    Found(&'t str),
    /// The object does not have the key.
    Absent,
    /// The object is not simple enough for this search, which may have tested some of its keys.
    NotFlat,
}

/// Searches the object at the start of a clean text for a key, if the object has no white space, only
/// short keys and only plain strings. It does not record keys, because a clean text repeats none.
pub(in crate::rewrite) fn find_flat_key<'t>(
    text: &'t str,
    mut is: impl FnMut(&str) -> bool,
) -> FlatSearch<'t> {
    let bytes = text.as_bytes();
    let mut rest = match bytes {
        [b'{', b'}', ..] => return FlatSearch::Absent,
        [b'{', rest @ ..] => rest,
        _ => return FlatSearch::NotFlat,
    };
    loop {
        let Some((_, length, value)) = plain_key(rest) else {
            return FlatSearch::NotFlat;
        };
        let start = bytes.len() - rest.len() + 1;
        let key = text.get(start..start + length).unwrap_or_default();
        let Some(behind) = behind_quoted(value) else {
            return FlatSearch::NotFlat;
        };
        if is(key) {
            return FlatSearch::Found(key);
        }
        rest = match behind {
            [b',', rest @ ..] => rest,
            [b'}', ..] => return FlatSearch::Absent,
            _ => return FlatSearch::NotFlat,
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
            (r#"{}"#, "a", FlatSearch::Absent),
            (r#"{"a":"b"}"#, "a", FlatSearch::Found("a")),
            (r#"{"a":"b","c":"d"}"#, "c", FlatSearch::Found("c")),
            (r#"{"a":"b","c":"d"}"#, "b", FlatSearch::Absent),
            (r#"{"é":"b"}"#, "é", FlatSearch::Found("é")),
            (r#"{"":""}"#, "", FlatSearch::Found("")),
            (r#"{"a":1}"#, "a", FlatSearch::NotFlat),
            (r#"{"a":"b" }"#, "c", FlatSearch::NotFlat),
            (r#"{ "a":"b"}"#, "a", FlatSearch::NotFlat),
            (r#"{"a" :"b"}"#, "a", FlatSearch::NotFlat),
            (r#"{"\u0000":"b"}"#, "a", FlatSearch::NotFlat),
            (r#"{"a":"\u0000"}"#, "a", FlatSearch::NotFlat),
            (r#"{"a":{}}"#, "a", FlatSearch::NotFlat),
            (r#"["a"]"#, "a", FlatSearch::NotFlat),
            ("null", "a", FlatSearch::NotFlat),
            ("", "a", FlatSearch::NotFlat),
        ] {
            let text = format!("{object}{room}");
            assert_eq!(
                find_flat_key(&text, |key| key == wanted),
                expected,
                "{object}"
            );
        }
        assert_eq!(find_flat_key(r#"{"a":"b"}"#, |_| true), FlatSearch::NotFlat);
    }
}

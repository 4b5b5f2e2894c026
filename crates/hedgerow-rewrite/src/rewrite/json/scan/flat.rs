//! Searches small objects that contain only strings for a key.

use super::asked::{behind_quoted, plain_key};

/// The result of a search for a key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rewrite) enum Sought<'t> {
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

//! Masks the keys in texts from outside that are logged, shown or stored. Only the end of each key stays.

use std::borrow::Cow;

/// The name of the field in which Segment's libraries send the write key.
pub(crate) const WRITE_KEY: &str = "writeKey";

/// The prefixes of PostHog's project keys and personal keys.
const PREFIXES: [&str; 2] = ["phc_", "phx_"];
/// The text before a write key in the paths of Segment's files.
const FOLDERS: [&str; 2] = ["/projects/", "/analytics.js/v1/"];

/// Masks the keys in the text of a message, a path or an answer.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    for prefix in PREFIXES {
        masked = each(masked, prefix, "", |character| {
            character.is_ascii_alphanumeric() || character == '_'
        });
    }
    for folder in FOLDERS {
        masked = each(masked, folder, folder, |character| {
            !matches!(character, '/' | '?' | '#' | ' ')
        });
    }
    masked
}

/// Returns the last four characters of a key: enough to recognise it, not enough to use it. A key of at
/// most four characters is masked completely.
pub(crate) fn end(key: &str) -> String {
    let start = key.char_indices().rev().nth(3).map(|(start, _)| start);
    let end = start.filter(|start| *start > 0);
    let end = end.and_then(|start| key.get(start..)).unwrap_or_default();
    // The sender chose these characters.
    let printable = |character: char| {
        if character.is_ascii_graphic() {
            character
        } else {
            '?'
        }
    };
    format!("…{}", end.chars().map(printable).collect::<String>())
}

/// Replaces each key by its end. A key is the text after `mark`, up to the first character for which
/// `belongs` is false. `kept` replaces the mark before the key.
fn each<'a>(text: Cow<'a, str>, mark: &str, kept: &str, belongs: fn(char) -> bool) -> Cow<'a, str> {
    if !text.contains(mark) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some((before, after)) = rest.split_once(mark) {
        let length = after
            .find(|character| !belongs(character))
            .unwrap_or(after.len());
        let (key, next) = after.split_at(length);
        out.push_str(before);
        match key {
            "" => out.push_str(mark),
            _ => {
                out.push_str(kept);
                out.push_str(&end(key));
            }
        }
        rest = next;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_a_key_only_its_end_is_left() {
        for (shown, wanted) in [
            ("nothing", "nothing"),
            ("phc_0123456789abcdef", "…cdef"),
            ("a phc_0123456789abcdef, b", "a …cdef, b"),
            (
                "/ph/array/phc_0123456789abcdef/config",
                "/ph/array/…cdef/config",
            ),
            ("phc_ phx_personal01 phc_", "phc_ …al01 phc_"),
            (
                "GET /hr/v1/projects/wk_0123456789/settings",
                "GET /hr/v1/projects/…6789/settings",
            ),
            ("/projects//x", "/projects//x"),
            (
                "/analytics.js/v1/wk_0123456789/analytics.min.js",
                "/analytics.js/v1/…6789/analytics.min.js",
            ),
            ("phc_ü", "phc_ü"),
        ] {
            assert_eq!(super::text(shown), wanted);
        }
    }
}

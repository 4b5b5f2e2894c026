//! Ids of people that PostHog can use (posthog-ingestion 3.2 and 3.3).

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::percent_decode_str;
use ring::digest::{digest, SHA256};

use super::session::cookie;

/// The longest id that PostHog keeps whole, in characters. It cuts longer ones, and two that begin
/// alike would become one person.
pub const ID_CHARACTERS: usize = 200;

/// Ids that PostHog refuses to merge, in whatever case.
const ILLEGAL_IN_ANY_CASE: &[&str] = &[
    "anonymous",
    "guest",
    "distinctid",
    "distinct_id",
    "id",
    "not_authenticated",
    "email",
    "undefined",
    "true",
    "false",
];

/// Ids that PostHog refuses to merge, spelled exactly so.
const ILLEGAL: &[&str] = &["[object Object]", "NaN", "None", "none", "null", "0"];

/// The id as PostHog shall get it. None for one that stands for nobody in particular: blank, or
/// the `undefined` and `[object Object]` of broken tracking code, which would make one person of
/// everybody who has it.
///
/// Space around an id is taken off, since PostHog would take it for another person's. An id that
/// is too long, or has a NUL that PostHog would replace, becomes `sha256:` and its hash in
/// hexadecimal: the same id gives the same person, and different ids different ones.
pub fn usable(id: &str) -> Option<Cow<'_, str>> {
    let id = id.trim();
    if is_illegal(id) {
        return None;
    }
    let is_long = id.len() > ID_CHARACTERS && id.encode_utf16().count() > ID_CHARACTERS;
    if !is_long && !id.contains('\0') {
        return Some(Cow::Borrowed(id));
    }
    let mut hashed = String::with_capacity(7 + 64);
    hashed.push_str("sha256:");
    for byte in digest(&SHA256, id.as_bytes()).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(hashed, "{byte:02x}");
    }
    Some(Cow::Owned(hashed))
}

/// Whether PostHog refuses every merge with this id. The id is expected without space around it.
pub fn is_illegal(id: &str) -> bool {
    let bare = ['"', '\'']
        .into_iter()
        .find_map(|quote| id.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(id);
    bare.trim().is_empty()
        || ILLEGAL.contains(&bare)
        || ILLEGAL_IN_ANY_CASE
            .iter()
            .any(|illegal| bare.eq_ignore_ascii_case(illegal))
}

/// The group of analytics.js's cookie `ajs_group_id` in a `Cookie` header, if it is a usable id.
///
/// Its value is percent-encoded, and older versions put it into quotes (segment-tracking 3.4).
pub fn group_in_cookie(cookies: &str) -> Option<String> {
    let value = cookie(cookies, "ajs_group_id")?;
    let decoded = percent_decode_str(value).decode_utf8().ok()?;
    let id = match decoded.starts_with('"') {
        true => Cow::Owned(serde_json::from_str::<String>(&decoded).ok()?),
        false => decoded,
    };
    usable(&id).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_stand_for_nobody_are_no_ids() {
        for id in [
            "",
            " ",
            "\t\n",
            "''",
            "\"\"",
            "' '",
            "anonymous",
            "Anonymous",
            "GUEST",
            "distinctId",
            "distinct_id",
            "ID",
            "Not_Authenticated",
            "EMAIL",
            "undefined",
            " Undefined ",
            "TRUE",
            "false",
            "[object Object]",
            "NaN",
            "None",
            "none",
            "null",
            "0",
            "\"null\"",
            "'guest'",
            "'0'",
            "\"UNDEFINED\"",
        ] {
            assert_eq!(usable(id), None, "{id:?}");
        }
    }

    #[test]
    fn other_ids_are_left_as_they_are() {
        for id in [
            "1",
            "00",
            "nan",
            "NULL",
            "NONE",
            "[object object]",
            "user",
            "anonymous-1",
            "'",
            "\"guest'",
            "guest'",
            "rider-1041",
            "日本",
            "a b",
            "-0",
        ] {
            assert!(
                matches!(usable(id), Some(Cow::Borrowed(same)) if same == id),
                "{id:?}"
            );
        }
        assert_eq!(usable("  rider-1041\n").as_deref(), Some("rider-1041"));
    }

    #[test]
    fn the_group_is_read_from_every_form_of_analytics_js_cookie() {
        for (value, expected) in [
            ("acme-inc", Some("acme-inc")),
            ("acme%20%26%20s%C3%B6hne", Some("acme & söhne")),
            ("%22acme%20inc%22", Some("acme inc")),
            ("\"acme\"", Some("acme")),
            ("%22a%5C%22b%22", Some("a\"b")),
            ("42", Some("42")),
            ("", None),
            ("null", None),
            ("%22null%22", None),
            ("undefined", None),
            ("%22", None),
            ("%22a%22b", None),
            ("%FF", None),
            ("%20", None),
        ] {
            let header = format!("a=1; ajs_group_id={value}; b=2");
            assert_eq!(group_in_cookie(&header).as_deref(), expected, "{value}");
        }
        assert_eq!(group_in_cookie("ajs_group=acme"), None);
    }

    #[test]
    fn long_ids_are_hashed_so_that_like_beginnings_stay_two_people() {
        let just = "é".repeat(ID_CHARACTERS);
        assert_eq!(usable(&just).as_deref(), Some(&*just));
        let long = |end: &str| usable(&("x".repeat(300) + end)).unwrap().into_owned();
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
        assert_eq!(long("a").len(), 71);
        // The digest is sha256sum's.
        assert_eq!(
            usable("a\0b").as_deref(),
            Some("sha256:59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138")
        );
    }
}

//! Ids of people that PostHog can use (posthog-ingestion 3.2 and 3.3).

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::percent_decode_str;
use ring::digest::{digest, SHA256};

use super::session::cookie;
use crate::rewrite::usable::{is_nothing, is_printed_nothing, trimmed, NOTHING};

/// The longest id that PostHog stores whole, in UTF-16 units. PostHog cuts longer ids, so two long
/// ids with the same beginning would become one person.
pub const ID_CHARACTERS: usize = 200;

/// Ids that PostHog refuses to merge, in upper or lower case.
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

/// Ids that PostHog refuses to merge, in exactly this spelling.
const ILLEGAL: &[&str] = &["[object Object]", "NaN", "None", "none", "null", "0"];

/// Returns the id as PostHog receives it. Returns `None` for an id that names no person: a blank
/// one, the `undefined` and `(null)` of broken tracking code, or a UUID of zeros, which would make
/// one person of all visitors that have it.
///
/// Spaces around an id are removed, because PostHog would treat the id with spaces as another
/// person. An id that is too long, or that contains a NUL, which PostHog would replace, becomes
/// `sha256:` and its hash in hexadecimal: the same id gives the same person, and different ids give
/// different ones.
pub fn usable(id: &str) -> Option<Cow<'_, str>> {
    let id = trimmed(id);
    if is_illegal(id) || is_nil(id) || is_printed_nothing(id) {
        return None;
    }
    let is_long = id.len() > ID_CHARACTERS && id.encode_utf16().count() > ID_CHARACTERS;
    if !is_long && memchr::memchr(0, id.as_bytes()).is_none() {
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

/// Returns whether the ends and the length of an id are enough to show that it is [`usable`]
/// unchanged, if it has no control characters: it is longer than every word that names no person,
/// and it cannot be a UUID of zeros.
#[inline(always)]
pub(in crate::rewrite) fn is_plainly_usable(id: &[u8]) -> bool {
    let (Some(first), Some(last)) = (id.first(), id.last()) else {
        return false;
    };
    (LONGEST_OF_NOBODY + 1..=ID_CHARACTERS).contains(&id.len())
        && first.is_ascii_alphanumeric()
        && *first != b'0'
        && last.is_ascii_graphic()
}

/// The length of the longest word that names no person.
const LONGEST_OF_NOBODY: usize = {
    let illegal = longest(ILLEGAL, longest(ILLEGAL_IN_ANY_CASE, 0));
    longest(NOTHING, illegal)
};

/// Returns whether PostHog refuses every merge with this id. The id must not have spaces around it.
pub fn is_illegal(id: &str) -> bool {
    // Nearly every id is longer than all of these words and has no quotes around it.
    const LONGEST: usize = longest(ILLEGAL, longest(ILLEGAL_IN_ANY_CASE, 0));
    let is_quoted = matches!(id.as_bytes(), [b'"' | b'\'', ..]);
    if id.len() > LONGEST && !is_quoted && trimmed(id).len() > LONGEST {
        return false;
    }
    let bare = ['"', '\'']
        .into_iter()
        .find_map(|quote| id.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(id);
    trimmed(bare).is_empty()
        || ILLEGAL.contains(&bare)
        || ILLEGAL_IN_ANY_CASE
            .iter()
            .any(|illegal| bare.eq_ignore_ascii_case(illegal))
}

/// Returns the length of the longest word, or `others` if that is larger.
const fn longest(mut words: &[&str], others: usize) -> usize {
    let mut longest = others;
    while let [word, rest @ ..] = words {
        if word.len() > longest {
            longest = word.len();
        }
        words = rest;
    }
    longest
}

/// Returns whether an id is a UUID of zeros. Phones report it as an advertising id that they
/// withhold.
fn is_nil(id: &str) -> bool {
    matches!(id.len(), 32 | 36) && id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
}

/// Returns the id of a device, as [`usable`] does for people. Also returns `None` for words such as
/// `null`, for zeros, and for the id that old Android phones and emulators share.
pub fn usable_device(id: &str) -> Option<Cow<'_, str>> {
    const EVERYBODYS: [&str; 2] = ["unknown", "9774d56d682e549c"];
    let id = usable(id).filter(|id| !is_nothing(id))?;
    let is_zero = id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let is_everybodys = EVERYBODYS
        .iter()
        .any(|other| id.eq_ignore_ascii_case(other));
    (!is_zero && !is_everybodys).then_some(id)
}

/// Returns a JSON number as JavaScript prints it, so that an id is the same whether a program
/// stores it as a number or as a text: pandas writes 42 as `42.0`. Digits that JavaScript could not
/// hold are left as they are written.
pub fn number_as_text(number: &str) -> Cow<'_, str> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    if number != "-0" && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Cow::Borrowed(number);
    }
    Decimal::of(number)
        .and_then(|written| written.as_javascript(number))
        .filter(|printed| printed != number)
        .map_or(Cow::Borrowed(number), Cow::Owned)
}

/// A number as its digits, without zeros at either end, and the position of its point. The value is
/// 0.DIGITS times ten to the power of `point`.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    fn of(number: &str) -> Option<Self> {
        const TOO_SMALL: i64 = 1 << 60;
        let (mantissa, exponent) = match number.split_once(['e', 'E']) {
            // An exponent that does not fit an `i64` makes the number zero. It is never a large
            // positive one, because the scanner rejects numbers that are too large.
            Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(-TOO_SMALL)),
            None => (number, 0),
        };
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        let leading = i64::try_from(all.len() - digits.len()).ok()?;
        let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)? - leading;
        let digits = digits.trim_end_matches('0').to_owned();
        Some(Self {
            is_negative: unsigned.len() < mantissa.len() && !digits.is_empty(),
            point: if digits.is_empty() { 0 } else { point },
            digits,
        })
    }

    /// Prints the nearest double as JavaScript does. If the number is above 2^53 and the double
    /// cannot hold all its digits, keeps the digits of a whole number and returns `None` for a
    /// fraction.
    fn as_javascript(&self, number: &str) -> Option<String> {
        /// JavaScript prints whole numbers below ten to this power without an exponent.
        const PLAIN: i64 = 21;
        let count = i64::try_from(self.digits.len()).ok()?;
        if count <= self.point && self.point <= PLAIN {
            // All digits of a whole number are kept.
            return Some(self.printed());
        }
        let nearest = number.parse::<f64>().ok()?;
        let shortest = Self::of(&format!("{nearest:e}"))?;
        if nearest.abs() <= 2_f64.powi(53) || shortest == *self {
            return Some(shortest.printed());
        }
        let sign = if self.is_negative { "-" } else { "" };
        let whole = usize::try_from(self.point).ok()?;
        (count <= self.point).then(|| format!("{sign}{:0<whole$}", self.digits))
    }

    /// Prints a number with these digits as JavaScript does (ECMA-262, Number::toString).
    fn printed(&self) -> String {
        let Self { digits, point, .. } = self;
        let Some(first) = digits.get(..1) else {
            return "0".to_owned();
        };
        let sign = if self.is_negative { "-" } else { "" };
        let count = digits.len();
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        match (usize::try_from(*point), *point) {
            (Ok(whole), 1..=21) if whole < count => {
                let (whole, fraction) = digits.split_at(whole);
                format!("{sign}{whole}.{fraction}")
            }
            (Ok(whole), 1..=21) => format!("{sign}{digits:0<whole$}"),
            (_, -5..=0) => format!("{sign}0.{}{digits}", zeros(-point)),
            _ => {
                let fraction = digits.get(1..).filter(|rest| !rest.is_empty());
                let dot = fraction.map_or("", |_| ".");
                let fraction = fraction.unwrap_or_default();
                format!("{sign}{first}{dot}{fraction}e{:+}", point - 1)
            }
        }
    }
}

/// Returns the group in analytics.js's cookie `ajs_group_id` from a `Cookie` header, if it is a
/// usable id.
///
/// The cookie's value is percent-encoded, and older versions put it into quotes (segment-tracking
/// 3.4).
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
    fn placeholder_ids_count_as_missing() {
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
            "(null)",
            "<null>",
            "nil",
            "00000000-0000-0000-0000-000000000000",
            "00000000000000000000000000000000",
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
    fn an_id_that_is_plainly_usable_is_left_as_it_is() {
        let letters = [
            "a", "Z", "0", "7", "-", "'", "\"", " ", "é", "\u{a0}", "\u{200b}", "~",
        ];
        let middles = [
            "",
            "x",
            "00000000-0000-0000-0000-0000000000",
            "a b",
            "é日本",
        ];
        let mut plain = 0;
        for (first, last) in letters
            .iter()
            .flat_map(|a| letters.iter().map(move |b| (a, b)))
        {
            for middle in middles {
                for times in [1, 2, 5, 20, 60] {
                    let id = format!("{first}{}{last}", middle.repeat(times));
                    if is_plainly_usable(id.as_bytes()) {
                        plain += 1;
                        let usable = usable(&id);
                        assert!(
                            matches!(&usable, Some(Cow::Borrowed(same)) if *same == id),
                            "{id:?} {usable:?}"
                        );
                    }
                }
            }
        }
        assert!(plain > 50, "{plain}");
        for placeholder in ILLEGAL.iter().chain(ILLEGAL_IN_ANY_CASE).chain(NOTHING) {
            assert!(!is_plainly_usable(placeholder.as_bytes()), "{placeholder}");
        }
    }

    #[test]
    fn a_placeholder_device_id_counts_as_missing() {
        for id in [
            "",
            "unknown",
            "undefined",
            "NULL",
            "000000000000000",
            "0000000000000000",
            "00000000-0000-0000-0000-000000000000",
            "9774d56d682e549c",
        ] {
            assert_eq!(usable_device(id), None, "{id:?}");
        }
        assert_eq!(usable_device(" d-1 ").as_deref(), Some("d-1"));
    }

    #[test]
    fn numbers_are_spelled_as_javascript_prints_them() {
        for (number, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e5", "0"),
            ("42", "42"),
            ("-42", "-42"),
            ("42.0", "42"),
            ("-42.00", "-42"),
            ("42.50", "42.5"),
            ("4.2e1", "42"),
            ("420e-1", "42"),
            ("1e6", "1000000"),
            ("1E+6", "1000000"),
            ("1.5e3", "1500"),
            ("0.1", "0.1"),
            ("1e-1", "0.1"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1.5e-7", "1.5e-7"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.0E21", "1e+21"),
            ("1.25e22", "1.25e+22"),
            ("-1e21", "-1e+21"),
            ("1e-400", "0"),
            ("0.1000000000000000055511151231257827", "0.1"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740993.0", "9007199254740993"),
            ("12345678901234567890", "12345678901234567890"),
            ("1.2345678901234567e19", "12345678901234567000"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("12345678901234567890123.0", "12345678901234567890123"),
            ("1.2345678901234567890123e22", "12345678901234567890123"),
            ("1e-99999999999999999999", "0"),
            ("1000000000000000000000", "1000000000000000000000"),
        ] {
            assert_eq!(number_as_text(number), expected, "{number}");
        }
        // A number that already has this form is not copied.
        for same in ["42", "-7", "1.5", "12345678901234567890"] {
            assert!(matches!(number_as_text(same), Cow::Borrowed(text) if text == same));
        }
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
        // `sha256sum` prints the same digest.
        assert_eq!(
            usable("a\0b").as_deref(),
            Some("sha256:59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138")
        );
    }
}

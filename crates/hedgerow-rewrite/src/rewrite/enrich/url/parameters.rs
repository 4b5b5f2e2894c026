//! What stands in a URL's query, and which of it names a campaign.

use std::borrow::Cow;

/// Whether a parameter tells something about one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// It names a campaign that many people saw.
    Campaign,
    /// An advertiser's id of one click. posthog-js offers to mask these.
    Personal,
}

/// The parameters that become properties of the same name. First posthog-js's own, then two
/// which PostHog lifts to the person as well or that are in common use.
const PARAMETERS: &[(&str, Privacy)] = &[
    ("utm_source", Privacy::Campaign),
    ("utm_medium", Privacy::Campaign),
    ("utm_campaign", Privacy::Campaign),
    ("utm_content", Privacy::Campaign),
    ("utm_term", Privacy::Campaign),
    ("gad_source", Privacy::Campaign),
    ("mc_cid", Privacy::Campaign),
    ("gclid", Privacy::Personal),
    ("gclsrc", Privacy::Personal),
    ("dclid", Privacy::Personal),
    ("gbraid", Privacy::Personal),
    ("wbraid", Privacy::Personal),
    ("fbclid", Privacy::Personal),
    ("msclkid", Privacy::Personal),
    ("twclid", Privacy::Personal),
    ("li_fat_id", Privacy::Personal),
    ("igshid", Privacy::Personal),
    ("ttclid", Privacy::Personal),
    ("rdt_cid", Privacy::Personal),
    ("epik", Privacy::Personal),
    ("qclid", Privacy::Personal),
    ("sccid", Privacy::Personal),
    ("oppref", Privacy::Personal),
    ("bfcid", Privacy::Personal),
    ("irclid", Privacy::Personal),
    ("_kx", Privacy::Personal),
    ("utm_name", Privacy::Campaign),
    ("utm_id", Privacy::Campaign),
];

/// One campaign parameter or click id of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its name, which is also the property's.
    pub name: &'static str,
    /// Its value, decoded; never empty.
    pub value: Cow<'a, str>,
    /// Whether it tells something about one person.
    pub privacy: Privacy,
}

impl Parameter<'_> {
    /// Whether a property of this name is taken from queries, and how private it is.
    pub fn privacy_of(name: &str) -> Option<Privacy> {
        PARAMETERS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, privacy)| *privacy)
    }
}

/// The query of a URL, without its question mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query of a URL of whatever kind, or of `context.page.search`. Empty if there is none.
    pub fn of(url: &'a str) -> Self {
        let without_fragment = split_at(url, b'#').map_or(url, |(url, _)| url);
        let query = split_at(without_fragment, b'?').map_or("", |(_, query)| query);
        let query = query.trim_start_matches('?');
        // The expressions in posthog-js end at the line. No browser's URL has a second one: the
        // first bytes of all line ends say so soon.
        if memchr::memchr3(b'\n', b'\r', 0xe2, query.as_bytes()).is_none() {
            return Self(query);
        }
        Self(query.split(super::is_line_end).next().unwrap_or_default())
    }

    /// Names and values in order, as they stand.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let parts = (!self.0.is_empty()).then(|| self.0.split('&'));
        parts
            .into_iter()
            .flatten()
            .map(|part| split_at(part, b'=').unwrap_or((part, "")))
    }

    /// The decoded value of the first parameter of this name; none if it is missing or empty.
    ///
    /// Names are compared as they stand, as posthog-js compares them.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| decode(value))
            .filter(|value| !value.is_empty())
    }

    /// Campaign parameters and click ids, in the query's order, each the first time it occurs.
    pub fn campaign(self) -> impl Iterator<Item = Parameter<'a>> {
        let mut seen = 0u32;
        self.pairs().filter_map(move |(name, value)| {
            // All known names begin with one of these; most others need no further look.
            let first = *name.as_bytes().first()?;
            b"_bdefgilmoqrstuw".contains(&first).then_some(())?;
            let is_this = |known: &str| known.as_bytes().first() == Some(&first) && known == name;
            let index = PARAMETERS.iter().position(|(known, _)| is_this(known))?;
            let (name, privacy) = *PARAMETERS.get(index)?;
            let is_first = seen & (1 << index) == 0;
            seen |= 1 << index;
            let value = decode(value);
            (is_first && !value.is_empty()).then_some(Parameter {
                name,
                value,
                privacy,
            })
        })
    }
}

/// The parts before and behind the first such byte, which is an ASCII one.
fn split_at(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The value as posthog-js decodes it: plus signs are blanks, and percent signs are decoded unless
/// one of them is wrong or they do not spell UTF-8; then all of them stay.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let plain = match text.contains('+') {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    match decode_percent(plain.as_bytes()) {
        Some(decoded) => Cow::Owned(decoded),
        None => plain,
    }
}

fn decode_percent(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(*bytes.next()?)? << 4 | hexadecimal(*bytes.next()?)?,
            byte => *byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    // A digit of base 16 fits a byte.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_as_posthog_js_decodes_them() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a+b%20c", "a b c"),
            ("%2B", "+"),
            ("100%", "100%"),
            ("100%+%41", "100% %41"),
            ("%zz", "%zz"),
            ("%4", "%4"),
            ("%E2%82%AC", "€"),
            ("%e2%82", "%e2%82"),
            ("%C0%AF", "%C0%AF"),
            ("%ED%A0%80", "%ED%A0%80"),
            ("%C3é", "%C3é"),
            ("日本%21", "日本!"),
            ("%F0%9F%98%80", "😀"),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
        assert!(matches!(decode("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_first_of_several_parameters_counts_even_if_it_is_empty() {
        let query =
            Query::of("/?utm_source=&utm_source=b&gclid=1&gclid=2&utm_medium&x=y&utm_term=a=b");
        let found: Vec<_> = query
            .campaign()
            .map(|parameter| {
                (
                    parameter.name,
                    parameter.value.into_owned(),
                    parameter.privacy,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("gclid", "1".to_owned(), Privacy::Personal),
                ("utm_term", "a=b".to_owned(), Privacy::Campaign),
            ]
        );
        assert_eq!(query.get("utm_source"), None);
        assert_eq!(query.get("x").as_deref(), Some("y"));
    }

    #[test]
    fn every_known_parameter_is_found() {
        let url = PARAMETERS
            .iter()
            .map(|(name, _)| format!("{name}=v_{name}"))
            .collect::<Vec<_>>()
            .join("&");
        let url = format!("https://a.test/?{url}");
        let found: Vec<_> = Query::of(&url).campaign().collect();
        assert_eq!(found.len(), PARAMETERS.len());
        for (parameter, (name, privacy)) in found.iter().zip(PARAMETERS) {
            assert_eq!(parameter.name, *name);
            assert_eq!(parameter.value, format!("v_{name}"));
            assert_eq!(Parameter::privacy_of(name), Some(*privacy));
        }
        assert_eq!(Parameter::privacy_of("utm"), None);
    }

    #[test]
    fn a_query_is_found_where_posthog_js_looks_for_it() {
        for (url, expected) in [
            ("?a=1", vec![("a", "1")]),
            ("a=1", vec![]),
            ("/p?a=1#?b=2", vec![("a", "1")]),
            ("/p#x?b=2", vec![]),
            ("/p???a=1?&b", vec![("a", "1?"), ("b", "")]),
            ("/p?", vec![]),
            ("/p?&", vec![("", ""), ("", "")]),
            ("/p?a=1\n&b=2", vec![("a", "1")]),
        ] {
            assert_eq!(
                Query::of(url).pairs().collect::<Vec<_>>(),
                expected,
                "{url}"
            );
        }
    }
}

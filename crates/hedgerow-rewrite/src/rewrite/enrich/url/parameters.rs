//! Reads the parameters in a URL's query, and selects those that name a campaign.

use std::borrow::Cow;

use crate::rewrite::json::{either, name, Name, Names, BLOCK};

/// Whether a parameter reveals something about one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterPrivacy {
    /// It names a campaign that many people saw.
    Campaign,
    /// An advertiser's id of one click. posthog-js offers to mask these.
    Personal,
}

/// The parameters that become properties of the same name. posthog-js's own are first. The last two
/// are added, because PostHog also copies them to the person or because they are in common use.
const PARAMETERS: &[(Name, ParameterPrivacy)] = &[
    (name!("utm_source"), ParameterPrivacy::Campaign),
    (name!("utm_medium"), ParameterPrivacy::Campaign),
    (name!("utm_campaign"), ParameterPrivacy::Campaign),
    (name!("utm_content"), ParameterPrivacy::Campaign),
    (name!("utm_term"), ParameterPrivacy::Campaign),
    (name!("gad_source"), ParameterPrivacy::Campaign),
    (name!("mc_cid"), ParameterPrivacy::Campaign),
    (name!("gclid"), ParameterPrivacy::Personal),
    (name!("gclsrc"), ParameterPrivacy::Personal),
    (name!("dclid"), ParameterPrivacy::Personal),
    (name!("gbraid"), ParameterPrivacy::Personal),
    (name!("wbraid"), ParameterPrivacy::Personal),
    (name!("fbclid"), ParameterPrivacy::Personal),
    (name!("msclkid"), ParameterPrivacy::Personal),
    (name!("twclid"), ParameterPrivacy::Personal),
    (name!("li_fat_id"), ParameterPrivacy::Personal),
    (name!("igshid"), ParameterPrivacy::Personal),
    (name!("ttclid"), ParameterPrivacy::Personal),
    (name!("rdt_cid"), ParameterPrivacy::Personal),
    (name!("epik"), ParameterPrivacy::Personal),
    (name!("qclid"), ParameterPrivacy::Personal),
    (name!("sccid"), ParameterPrivacy::Personal),
    (name!("oppref"), ParameterPrivacy::Personal),
    (name!("bfcid"), ParameterPrivacy::Personal),
    (name!("irclid"), ParameterPrivacy::Personal),
    (name!("_kx"), ParameterPrivacy::Personal),
    (name!("utm_name"), ParameterPrivacy::Campaign),
    (name!("utm_id"), ParameterPrivacy::Campaign),
];

/// The names of these parameters.
#[allow(clippy::indexing_slicing)]
pub(in crate::rewrite) const PARAMETER_NAMES: Names = {
    let (mut names, mut index) = (Names::of(&[]), 0);
    while index < PARAMETERS.len() {
        names = names.with(PARAMETERS[index].0);
        index += 1;
    }
    names
};

/// One campaign parameter or click id of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The name of the parameter and of the property.
    pub name: &'static str,
    pub(in crate::rewrite) property: Name,
    /// The decoded value; never empty.
    pub value: Cow<'a, str>,
    /// Whether the parameter reveals something about one person.
    pub privacy: ParameterPrivacy,
}

impl Parameter<'_> {
    /// Returns how private a property of this name is. Returns `None` if it is not taken from
    /// queries.
    pub fn privacy_of(name: &str) -> Option<ParameterPrivacy> {
        let index = index_of(name)?;
        PARAMETERS.get(index).map(|(_, privacy)| *privacy)
    }
}

/// The query of a URL, without its question mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Finds the query of any kind of URL, or of `context.page.search`. The query is empty if there
    /// is none.
    pub fn of(url: &'a str) -> Self {
        let without_fragment = split_at(url, b'#').map_or(url, |(url, _)| url);
        let query = split_at(without_fragment, b'?').map_or("", |(_, query)| query);
        let query = query.trim_start_matches('?');
        // posthog-js's regular expressions stop at the end of a line. A browser's URL has only one
        // line, and a search for the first bytes of all line ends shows this quickly.
        if memchr::memchr3(b'\n', b'\r', 0xe2, query.as_bytes()).is_none() {
            return Self(query);
        }
        Self(query.split(is_line_end).next().unwrap_or_default())
    }

    /// Returns the names and values in order, not decoded.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut next = (!self.0.is_empty()).then_some(0);
        let mut delimiters = Delimiters::of(self.0.as_bytes());
        std::iter::from_fn(move || {
            let start = next?;
            let mut equals = None;
            let end = loop {
                match delimiters.next() {
                    None => break self.0.len(),
                    Some((at, b'&')) => break at,
                    Some((at, _)) => {
                        equals.get_or_insert(at);
                    }
                }
            };
            next = (end < self.0.len()).then_some(end + 1);
            Some(match equals {
                Some(at) => (self.0.get(start..at)?, self.0.get(at + 1..end)?),
                None => (self.0.get(start..end)?, ""),
            })
        })
    }

    /// Returns whether the query is empty.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether no value of the query has to be decoded.
    fn is_plain(self) -> bool {
        memchr::memchr2(b'+', b'%', self.0.as_bytes()).is_none()
    }

    /// Returns the decoded value of the first parameter of this name. Returns `None` if it is
    /// missing or empty.
    ///
    /// Names are compared without decoding, as posthog-js compares them.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| decode(value))
            .filter(|value| !value.is_empty())
    }

    /// Returns campaign parameters and click ids, in the query's order. Of several parameters with
    /// one name only the first counts, even if it is empty; empty ones are left out.
    pub fn campaign(self) -> impl Iterator<Item = Parameter<'a>> {
        let (mut seen, is_plain) = (0u32, self.is_plain());
        self.pairs().filter_map(move |(name, value)| {
            let index = index_of(name)?;
            let (property, privacy) = *PARAMETERS.get(index)?;
            let is_first = seen & (1 << index) == 0;
            seen |= 1 << index;
            let value = match is_plain {
                true => Cow::Borrowed(value),
                false => decode(value),
            };
            (is_first && !value.is_empty()).then_some(Parameter {
                name: property.text(),
                property,
                value,
                privacy,
            })
        })
    }
}

/// Finds the ampersands and equals signs of a query, sixteen bytes at a time, because the parts
/// between them are short.
struct Delimiters<'a> {
    text: &'a [u8],
    /// The position of the current block, in bytes.
    block: usize,
    /// A bit for each delimiter in the block that has not been returned yet.
    found: u32,
}

impl<'a> Delimiters<'a> {
    fn of(text: &'a [u8]) -> Self {
        let found = Self::found(text);
        Self {
            text,
            block: 0,
            found,
        }
    }

    fn found(rest: &[u8]) -> u32 {
        let last;
        let block = match rest.first_chunk::<BLOCK>() {
            Some(block) => block,
            None => {
                let mut filled = [0; BLOCK];
                for (place, byte) in filled.iter_mut().zip(rest) {
                    *place = *byte;
                }
                last = filled;
                &last
            }
        };
        either(block, b'&', b'=')
    }
}

impl Iterator for Delimiters<'_> {
    type Item = (usize, u8);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, u8)> {
        while self.found == 0 {
            self.block += BLOCK;
            let rest = self
                .text
                .get(self.block..)
                .filter(|rest| !rest.is_empty())?;
            self.found = Self::found(rest);
        }
        let at = self.block + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some((at, self.text.get(at).copied()?))
    }
}

/// Returns the index of a parameter in the list, if the list has one of this name.
fn index_of(name: &str) -> Option<usize> {
    /// For each name its index plus 1; 0 for a name that is not in the list.
    #[allow(clippy::indexing_slicing)]
    static PLACES: [u8; Name::COUNT] = {
        let mut places = [0; Name::COUNT];
        let mut index = 0;
        while index < PARAMETERS.len() {
            places[PARAMETERS[index].0.index()] = index as u8 + 1;
            index += 1;
        }
        places
    };
    let place = PLACES.get(Name::of_text(name.as_bytes()).index()).copied();
    usize::from(place.unwrap_or(0)).checked_sub(1)
}

/// Returns the parts before and after the first occurrence of a byte, which must be ASCII.
fn split_at(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Decodes a value as posthog-js does: plus signs become spaces, and percent signs are decoded. If
/// one of them is invalid, or if the result is not UTF-8, all percent signs stay.
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
    // The value of a hexadecimal digit fits a byte.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Returns whether a dot in one of posthog-js's regular expressions stops before this character.
pub(super) fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
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
                ("gclid", "1".to_owned(), ParameterPrivacy::Personal),
                ("utm_term", "a=b".to_owned(), ParameterPrivacy::Campaign),
            ]
        );
        assert_eq!(query.get("utm_source"), None);
        assert_eq!(query.get("x").as_deref(), Some("y"));
    }

    #[test]
    fn every_known_parameter_is_found() {
        let url = PARAMETERS
            .iter()
            .map(|(name, _)| format!("{0}=v_{0}", name.text()))
            .collect::<Vec<_>>()
            .join("&");
        let url = format!("https://a.test/?{url}");
        let found: Vec<_> = Query::of(&url).campaign().collect();
        assert_eq!(found.len(), PARAMETERS.len());
        for (parameter, (name, privacy)) in found.iter().zip(PARAMETERS) {
            let name = name.text();
            assert_eq!(parameter.name, name);
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
            (
                "/p?a=&=b&c==d&e=f=g&long-name-of-it=a-value-that-is-longer&&h&",
                vec![
                    ("a", ""),
                    ("", "b"),
                    ("c", "=d"),
                    ("e", "f=g"),
                    ("long-name-of-it", "a-value-that-is-longer"),
                    ("", ""),
                    ("h", ""),
                    ("", ""),
                ],
            ),
        ] {
            assert_eq!(
                Query::of(url).pairs().collect::<Vec<_>>(),
                expected,
                "{url}"
            );
        }
    }
}

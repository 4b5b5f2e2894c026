//! Patterns for names and for paths of names.

use std::fmt;
use std::str::FromStr;

use memchr::memmem::Finder;
use thiserror::Error;

/// The most stars that a pattern may have. The time for a match grows with the stars and the text.
const STARS: usize = 16;

/// The most steps (names and `**`) that a path pattern may have.
const DEPTH: usize = 32;

/// Why a text is not a valid pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PatternError {
    /// The pattern, or a name between two of its dots, is empty.
    #[error("neither a pattern nor a name between its dots may be empty")]
    Empty,
    /// The pattern has too many stars or names, so matching it would take too long.
    #[error("a pattern may have at most {STARS} stars and {DEPTH} names")]
    TooLong,
}

/// A pattern for names, such as those of events. `*` matches any characters, also none. Upper and
/// lower case differ.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: Box<str>,
    /// The parts between the stars, prepared for the search.
    form: PatternForm,
}

#[derive(Debug, Clone)]
enum PatternForm {
    /// The pattern has no star.
    Plain,
    Stars {
        /// The lengths of the parts before the first star and after the last one, in bytes.
        head: usize,
        tail: usize,
        middle: Box<[Finder<'static>]>,
        /// The length of all parts together, in bytes.
        least: usize,
    },
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NamePattern {}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.matches('*').count() > STARS {
            return Err(PatternError::TooLong);
        }
        let form = match text.split_once('*') {
            None => PatternForm::Plain,
            Some((head, rest)) => {
                let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
                let middle = middle.split('*').filter(|part| !part.is_empty());
                PatternForm::Stars {
                    head: head.len(),
                    tail: tail.len(),
                    middle: middle.map(|part| Finder::new(part).into_owned()).collect(),
                    least: text.len() - text.matches('*').count(),
                }
            }
        };
        Ok(Self {
            text: text.into(),
            form,
        })
    }
}

impl NamePattern {
    /// Returns whether the pattern matches a name.
    pub fn matches(&self, name: &str) -> bool {
        self.fits(name.as_bytes())
    }

    /// Returns whether the pattern matches a name that is given as UTF-8 bytes.
    pub(super) fn fits(&self, name: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let PatternForm::Stars {
            head,
            tail,
            middle,
            least,
        } = &self.form
        else {
            return text == name;
        };
        let Some(end) = name.len().checked_sub(*tail) else {
            return false;
        };
        if name.len() < *least
            || name.get(..*head) != text.get(..*head)
            || name.get(end..) != text.get(text.len() - tail..)
        {
            return false;
        }
        // Between two stars, the first place where a part matches is as good as any; the last part
        // has a fixed place.
        let mut left = name.get(*head..end).unwrap_or_default();
        middle.iter().all(|part| {
            let found = part.find(left);
            let behind = found.and_then(|at| left.get(at + part.needle().len()..));
            left = behind.unwrap_or_default();
            behind.is_some()
        })
    }

    /// Returns the name if the pattern has no star.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.form {
            PatternForm::Plain => Some(&self.text),
            PatternForm::Stars { .. } => None,
        }
    }

    /// Returns whether the pattern may match one number and not another.
    pub(super) fn distinguishes_numbers(&self) -> bool {
        let mut characters = self
            .text
            .chars()
            .filter(|character| *character != '*')
            .peekable();
        characters.peek().is_some() && characters.all(|character| character.is_ascii_digit())
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A pattern for positions in an object: names with dots between them. A star matches any
/// characters of one name, and two stars match any number of names, also none.
///
/// Examples: `traits.email`, `properties.*.card_number`, `**.password`, `properties.address.**`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<PatternStep>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PatternStep {
    Name(NamePattern),
    AnyDepth,
}

impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            if at > 0 {
                formatter.write_str(".")?;
            }
            match step {
                PatternStep::Name(name) => fmt::Display::fmt(name, formatter)?,
                PatternStep::AnyDepth => formatter.write_str("**")?,
            }
        }
        Ok(())
    }
}

/// How a pattern matches a position in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// The pattern matches the value there, with everything inside it.
    Here,
    /// The pattern may match something inside the value.
    Within,
    /// Neither: the value can be copied unchanged.
    No,
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let steps = text
            .split('.')
            .map(|name| match name {
                "**" => Ok(PatternStep::AnyDepth),
                name => name.parse().map(PatternStep::Name),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if steps.len() > DEPTH {
            return Err(PatternError::TooLong);
        }
        Ok(Self(steps))
    }
}

/// How far a pattern has matched a path. Bit N is set if the names so far can match the first N
/// steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternProgress(u64);

impl PathPattern {
    pub(super) fn steps(&self) -> &[PatternStep] {
        &self.0
    }

    /// Returns how the pattern matches the value at this path.
    pub fn at(&self, path: &[&str]) -> Hit {
        let followed = path
            .iter()
            .fold(self.begin(), |progress, name| self.follow(progress, name));
        self.hit(followed)
    }

    /// Returns the progress with which every path begins.
    pub fn begin(&self) -> PatternProgress {
        PatternProgress(self.skip_depths(1))
    }

    /// Returns the progress after one more name. A pattern that has matched stays matched, because
    /// it matches a value with everything inside it.
    pub fn follow(&self, PatternProgress(states): PatternProgress, name: &str) -> PatternProgress {
        if states & self.end() != 0 || states == 0 {
            return PatternProgress(states);
        }
        let mut next = 0;
        for (at, step) in self.0.iter().enumerate() {
            if states & 1 << at != 0 {
                match step {
                    PatternStep::AnyDepth => next |= 1 << at,
                    PatternStep::Name(pattern) if pattern.matches(name) => next |= 1 << (at + 1),
                    PatternStep::Name(_) => {}
                }
            }
        }
        PatternProgress(self.skip_depths(next))
    }

    /// Returns how the pattern matches the value that has been reached.
    pub fn hit(&self, PatternProgress(states): PatternProgress) -> Hit {
        if states & self.end() != 0 {
            Hit::Here
        } else if states != 0 {
            Hit::Within
        } else {
            Hit::No
        }
    }

    fn end(&self) -> u64 {
        1 << self.0.len()
    }

    /// Adds the step after each `**`, because `**` also matches no name at all.
    fn skip_depths(&self, mut states: u64) -> u64 {
        for (at, step) in self.0.iter().enumerate() {
            if *step == PatternStep::AnyDepth && states & 1 << at != 0 {
                states |= 1 << (at + 1);
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NamePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, yes, no) in [
            (
                "Order Completed",
                vec!["Order Completed"],
                vec!["Order", "order completed", ""],
            ),
            (
                "Order *",
                vec!["Order Completed", "Order "],
                vec!["Order", "My Order x"],
            ),
            ("*Viewed", vec!["Viewed", "Page Viewed"], vec!["Viewed "]),
            ("*", vec!["", "x", "*"], vec![]),
            (
                "a*b*c",
                vec!["abc", "a1b2c", "abcbc", "abbc"],
                vec!["acb", "ab", "ac", "abcd"],
            ),
            ("a*a", vec!["aa", "aba"], vec!["a", "ab"]),
            ("*a*", vec!["a", "bab"], vec!["", "b"]),
            ("**", vec!["", "x"], vec![]),
            ("ab*bc", vec!["abbc"], vec!["abc"]),
            ("日*本", vec!["日本", "日x本"], vec!["日"]),
        ] {
            for text in yes {
                assert!(name(pattern).matches(text), "{pattern} {text}");
            }
            for text in no {
                assert!(!name(pattern).matches(text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_path_is_met_name_by_name() {
        use Hit::{Here, No, Within};
        for (pattern, path, hit) in [
            ("traits.email", "traits.email", Here),
            ("traits.email", "traits.email.local", Here),
            ("traits.email", "traits", Within),
            ("traits.email", "traits.name", No),
            ("traits.email", "properties.email", No),
            ("traits.*", "traits.email", Here),
            ("traits.*", "traits", Within),
            ("properties.*.card", "properties.payment.card", Here),
            ("properties.*.card", "properties.card", Within),
            ("properties.*.card", "properties.a.b.card", No),
            ("properties.*_token", "properties.csrf_token", Here),
            ("**.password", "password", Here),
            ("**.password", "properties.a.b.password", Here),
            ("**.password", "properties.a.b", Within),
            ("a.**.z", "a.z", Here),
            ("a.**.z", "a.b.c.z", Here),
            ("a.**.z", "b.z", No),
            ("a.**", "a.b", Here),
            ("a.**", "a", Here),
            ("**.**", "a", Here),
        ] {
            let parsed: PathPattern = pattern.parse().unwrap();
            let path: Vec<_> = path.split('.').collect();
            assert_eq!(parsed.at(&path), hit, "{pattern} {path:?}");
            assert_eq!(parsed.to_string(), pattern);
        }
        assert_eq!("a.b".parse::<PathPattern>().unwrap().at(&[]), Within);
    }

    #[test]
    fn patterns_that_mean_nothing_or_cost_too_much_are_refused() {
        let path = |text: &str| text.parse::<PathPattern>().err();
        assert_eq!("".parse::<NamePattern>(), Err(PatternError::Empty));
        assert_eq!(path(""), Some(PatternError::Empty));
        assert_eq!(path("a..b"), Some(PatternError::Empty));
        assert_eq!(path(".a"), Some(PatternError::Empty));
        assert_eq!(
            path(&["a"; DEPTH + 1].join(".")),
            Some(PatternError::TooLong)
        );
        assert_eq!(path(&["a"; DEPTH].join(".")), None);
        assert_eq!(
            "*".repeat(STARS + 1).parse::<NamePattern>(),
            Err(PatternError::TooLong)
        );
    }

    #[test]
    fn patterns_agree_with_a_plain_and_slow_matcher() {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) => {
                    slow(rest, text) || (!text.is_empty() && slow(pattern, &text[1..]))
                }
                (Some((p, pattern)), Some((t, text))) => p == t && slow(pattern, text),
                _ => false,
            }
        }
        let words = |alphabet: &[u8], length: u32| -> Vec<String> {
            (0..=length)
                .flat_map(|length| {
                    (0..(alphabet.len() as u32).pow(length)).map(move |number| (length, number))
                })
                .map(|(length, number)| {
                    (0..length)
                        .map(|at| {
                            let digit = number / (alphabet.len() as u32).pow(at);
                            char::from(alphabet[digit as usize % alphabet.len()])
                        })
                        .collect()
                })
                .collect()
        };
        let texts = words(b"ab", 6);
        for pattern in words(b"ab*", 5)
            .iter()
            .filter(|pattern| !pattern.is_empty())
        {
            for text in &texts {
                let expected = slow(pattern.as_bytes(), text.as_bytes());
                assert_eq!(name(pattern).matches(text), expected, "{pattern} {text}");
            }
        }
    }
}

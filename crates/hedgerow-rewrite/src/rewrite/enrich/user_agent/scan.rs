//! Searches for marks in a text, in one pass each.

/// A user agent together with its lower-case form, for the rules that ignore case. Only ASCII
/// letters are changed, as in posthog-js's regular expressions, so both forms have the same
/// offsets.
pub(super) struct UserAgentText<'a> {
    pub(super) plain: &'a str,
    pub(super) folded: String,
}

impl<'a> UserAgentText<'a> {
    pub(super) fn new(plain: &'a str) -> Self {
        Self {
            plain,
            folded: plain.to_ascii_lowercase(),
        }
    }

    /// Returns whether the text contains the mark in exactly this case.
    pub(super) fn has(&self, mark: &str) -> bool {
        self.plain.contains(mark)
    }

    /// Returns whether the text contains the mark, given in lower case, in any case.
    pub(super) fn has_folded(&self, mark: &str) -> bool {
        self.folded.contains(mark)
    }

    /// Returns whether the text contains one of the marks, given in lower case, in any case.
    pub(super) fn has_one_folded(&self, marks: &[&str]) -> bool {
        marks.iter().any(|mark| self.has_folded(mark))
    }

    /// Returns whether the text contains one of BlackBerry's marks. The rules for browser, system
    /// and device share them.
    pub(super) fn is_blackberry(&self) -> bool {
        self.has_one_folded(&["blackberry", "playbook", "bb10"])
    }
}

/// Returns the text after each occurrence of a mark, in order.
pub(super) fn after<'a, 'm: 'a>(text: &'a str, mark: &'m str) -> impl Iterator<Item = &'a str> {
    text.match_indices(mark)
        .filter_map(move |(at, _)| text.get(at + mark.len()..))
}

/// Returns the lines of a text. A dot in one of posthog-js's regular expressions does not cross
/// them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_line_end)
}

/// Returns whether a dot in one of posthog-js's regular expressions stops before this character.
pub(super) fn is_line_end(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

/// Returns whether `\s` in one of posthog-js's regular expressions matches this character.
pub(super) fn is_space(character: char) -> bool {
    character == '\u{feff}' || (character != '\u{85}' && character.is_whitespace())
}

/// Returns the ASCII digits at the beginning of a text (at least one), and the rest.
pub(super) fn digits(text: &str) -> Option<(&str, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (count > 0).then(|| text.split_at(count))
}

/// Reads a version of two or three numbers, such as `18_7` or `10.15.7`. Returns the numbers with
/// dots between them, and a zero if the third is missing. One of `first` separates the first two
/// numbers; one of `second` may precede the third.
pub(super) fn version(text: &str, first: &[char], second: &[char]) -> Option<String> {
    let (major, rest) = digits(text)?;
    let (minor, rest) = digits(rest.strip_prefix(first)?)?;
    let rest = rest.strip_prefix(second).unwrap_or(rest);
    let patch = digits(rest).map_or("0", |(patch, _)| patch);
    Some([major, minor, patch].join("."))
}

/// Returns the first `count` numbers with the dots between them. Returns `None` if there are fewer.
pub(super) fn dotted(text: &str, count: usize) -> Option<&str> {
    let mut rest = text;
    for number in 0..count {
        if number > 0 {
            rest = rest.strip_prefix('.')?;
        }
        rest = digits(rest)?.1;
    }
    text.get(..text.len() - rest.len())
}

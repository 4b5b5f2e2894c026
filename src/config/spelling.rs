//! Finds the known word that is nearest to a given one, for "did you mean" messages.

/// Returns the known word that `given` is probably a misspelling of.
pub(super) fn nearest<'w>(
    given: &str,
    known: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    // A longer text is not a typing mistake, and the time of the comparison is quadratic.
    if given.len() > 64 {
        return None;
    }
    let given = plain(given);
    known
        .into_iter()
        .filter_map(|word| {
            let target = plain(word);
            let longest = target.chars().count().max(given.chars().count());
            let allowed = (longest / 3).max(1);
            // Counts insertions, deletions, replacements and swaps of adjacent letters.
            let distance = strsim::osa_distance(&given, &target);
            // Words that share no character are not similar, even if they are short.
            (distance <= allowed && distance < target.chars().count().max(1))
                .then_some((distance, word))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Converts to lower case and removes separators, so that `writeKeys`, `write-keys` and `write_keys` are
/// equal.
pub(super) fn plain(word: &str) -> String {
    word.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_different_word_is_not() {
        let known = ["listen", "projects", "write_keys", "us", "eu"];
        for (given, expected) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("project", Some("projects")),
            ("writeKey", Some("write_keys")),
            ("US", Some("us")),
            ("uss", Some("us")),
            ("sinks", None),
            ("", None),
            ("ab", None),
        ] {
            assert_eq!(nearest(given, known), expected, "{given}");
        }
    }
}
